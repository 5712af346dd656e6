// SPDX-License-Identifier: GPL-3.0-or-later
// What has left the queue is found in accounting: slurmctld forgets jobs some seconds after their
// end here, and no plugin tells of ends, so that the agent has to ask. For either way to Slurm.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assert, holdSubmissions, killAgent, restartAgent, runTests, sleep, startAgent, test, waitFor, way } from './lib.mjs';

/** A job that ends when it is told to. */
const waiting = (code) => ({
    script: `#!/bin/sh\nuntil [ -e "$HOME/end" ]; do sleep 0.1; done\n${code === 'killed' ? 'kill -9 $$' : `exit ${code}`}\n`,
    memPerCpu: 10,
});
const endAll = (grid) => ['alice', 'bob'].forEach((who) => writeFileSync(join(grid.userOf(who).home, 'end'), ''));
const brief = (code) => ({ script: `#!/bin/sh\nsleep 1\nexit ${code}\n`, memPerCpu: 10 });

/** slurmrestd up to v0.0.39 tells of accounting's exit codes only that they are not 0. */
const told = (grid, code) => (way === 'rest' && !grid.slurm.isNew && code > 0 && code < 128 ? 1 : code);

const accounted = async (grid, id) =>
    (await grid.slurm.accountedJobs()).filter((job) => job.JobName === id);

const left = (grid, id) =>
    waitFor(`${id} is still in the queue`, async () => !(await grid.slurmJobOf(id)), 90000, 200);

/** Kills the agent when Slurm has its job, of which nobody has told it. before(): before sbatch. */
async function loseAnswer(grid, customer, request, before = () => {}) {
    const submissions = await holdSubmissions(grid, customer, 'is awaited');
    await restartAgent(grid, submissions.args);
    const id = await grid.requestJob({ ...request, customer });
    await submissions.called();
    await before();
    submissions.release();
    await waitFor(`${id} did not get into the queue`, () => grid.slurmJobOf(id), 8000, 50);
    await killAgent(grid);
    assert.doesNotMatch(grid.agent.log(), /-> SUBMITTED/);
    return id;
}

/** The end on chain, and one Slurm job for it ever. */
async function finish(grid, id, status, exitCode) {
    const job = await grid.waitStatus(id, status, 60000);
    assert.equal(Number(job.exitCode), told(grid, exitCode));
    const moves = (await grid.events({ name: 'JobTransitionEvent', jobId: id })).map((e) => Number(e.args._to));
    assert.equal(moves.filter((to) => to >= 4).length, 1, `final transitions: ${moves}`);
    await waitFor(`not one Slurm job in accounting for ${id}`, async () => (await accounted(grid, id)).length === 1);
    await left(grid, id);
}

test('jobs that are forgotten while the agent is down, and one whose submission was not answered', async (grid) => {
    const ids = [];
    for (const code of [5, 0, 'killed']) ids.push(await grid.requestJob(waiting(code)));
    for (const id of ids) await grid.waitStatus(id, 'RUNNING', 20000);
    const lost = await loseAnswer(grid, 'bob', waiting(3));
    endAll(grid);
    for (const id of [...ids, lost]) await left(grid, id);
    await startAgent(grid);
    await finish(grid, ids[0], 'FAILED', 5);
    await finish(grid, ids[1], 'FINISHED', 0);
    await finish(grid, ids[2], 'FAILED', 128 + 9);
    await finish(grid, lost, 'FAILED', 3);
    assert.match(grid.agent.log(), new RegExp(`-> SUBMITTED\\b.*${lost}`));
});

test('one that never had nodes, and one that was queued again, while the agent is down', async (grid) => {
    const scontrol = (...args) => grid.slurm.command(['scontrol', ...args]);
    const again = await grid.requestJob({ script: '#!/bin/sh\n[ "$SLURM_RESTART_COUNT" = 1 ] && exit 6\nsleep 60\n' });
    await grid.waitStatus(again, 'RUNNING', 20000);
    await scontrol('update', 'PartitionName=main', 'State=DOWN');
    const waiting = await grid.requestJob({});
    const { JobId } = await grid.waitSlurm(waiting, 'PENDING');
    await grid.agent.waitLog(new RegExp(`-> SUBMITTED\\b.*${waiting}`), 20000);
    await killAgent(grid);
    await grid.slurm.command(['scancel', JobId]);
    const first = await grid.slurmJobOf(again);
    await sleep(2000);
    await scontrol('update', `JobId=${first.JobId}`, 'Requeue=1');
    await scontrol('requeue', first.JobId);
    await waitFor('it is not queued again', async () => (await grid.slurmJobOf(again)).Restarts === '1');
    await scontrol('update', 'PartitionName=main', 'State=UP');
    await scontrol('update', `JobId=${first.JobId}`, 'StartTime=now+2');
    for (const id of [waiting, again]) await left(grid, id);
    await startAgent(grid);
    assert.equal(BigInt((await grid.waitStatus(waiting, 'CANCELLED')).cost.finalCost), 0n);
    assert.equal(Number((await grid.waitStatus(again, 'FAILED')).exitCode), told(grid, 6));
    const [, spent] = await grid.agent.waitLog(new RegExp(`attempt 2; (\\d+) s were spent.*${again}`));
    const [, ended] = await grid.agent.waitLog(new RegExp(`-> ENDED: FAILED, exit code ${told(grid, 6)}, (\\d+) s, says a query.*${again}`));
    const attempts = (await accounted(grid, again)).map((job) => `${job.State} ${job.ElapsedRaw}`);
    assert.deepEqual(attempts, [`REQUEUED ${spent}`, `FAILED ${ended}`]);
    assert.ok(Number(spent) >= 2, `${spent} s`);
});

test('slurmdbd is down: what cannot be looked up waits, what was never sent does not', async (grid) => {
    const lost = await loseAnswer(grid, 'bob', brief(3), () => grid.slurmdbd.kill('SIGKILL'));
    await left(grid, lost);
    await startAgent(grid, ['--slurm.timeout=15s']); // its first try tells why it waits, later ones do not
    await grid.agent.waitLog(/submit: .*wait for slurmdbd/, 20000);
    const fresh = await grid.requestJob(brief(0));
    await grid.agent.waitLog(new RegExp(`-> SUBMITTED\\b.*${fresh}`), 20000);
    await sleep(4000);
    assert.equal(await grid.slurmJobOf(lost), undefined, 'it was submitted again');
    assert.doesNotMatch(grid.agent.log(), /Slurm cannot be used/);
    await grid.slurmdbd.start();
    await finish(grid, lost, 'FAILED', 3);
    await finish(grid, fresh, 'FINISHED', 0);
});

await runTests({ slurmdbd: true, slurmrestd: way === 'rest', pluginDir: null, slurmConf: ['MinJobAge=2'] });
