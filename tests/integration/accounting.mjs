// SPDX-License-Identifier: GPL-3.0-or-later
// What has left the queue is found in accounting: slurmctld forgets jobs two seconds after their
// end here, and no plugin tells of ends, so that the agent has to ask.
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assert, killAgent, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';

const ending = (seconds, code) => ({ script: `#!/bin/sh\nsleep ${seconds}\nexit ${code}\n` });

const inState = (grid, id, state, from = 0) =>
    grid.agent.waitLog(new RegExp(`-> ${state}\\b.*${id}`), 20000, from);

const accounted = async (grid, id) =>
    (await grid.slurm.accountedJobs()).filter((job) => job.JobName === id);

const left = (grid, id) =>
    waitFor(`${id} is still in the queue`, async () => !(await grid.slurmJobOf(id)), 90000, 200);

// An sbatch that tells when it is called, waits to be let go, and keeps Slurm's answer to itself.
const MUTE_SBATCH = `#!/bin/sh
touch "$HOME/sbatch-called"
until [ -e "$HOME/sbatch-go" ]; do sleep 0.05; done
/usr/bin/sbatch "$@" > /dev/null
sleep 60
`;

/** Kills the agent when Slurm has its job, of which nobody has told it. before(): before sbatch. */
async function loseAnswer(grid, customer, request, before = () => {}) {
    const mute = grid.path('etc', 'mute-sbatch');
    writeFileSync(mute, MUTE_SBATCH);
    chmodSync(mute, 0o755);
    await killAgent(grid);
    await startAgent(grid, [`--slurm.batch=${mute}`, '--slurm.timeout=10s']);
    const { home } = grid.userOf(customer);
    const id = await grid.requestJob({ ...request, customer });
    await waitFor('sbatch is not called', () => existsSync(join(home, 'sbatch-called')), 20000);
    await before();
    writeFileSync(join(home, 'sbatch-go'), '');
    await waitFor(`${id} did not get into the queue`, () => grid.slurmJobOf(id), 8000, 50);
    await killAgent(grid);
    assert.doesNotMatch(grid.agent.log(), /-> SUBMITTED/);
    return id;
}

/** The end on chain, and one Slurm job for it ever. */
async function finish(grid, id, status, exitCode) {
    const job = await grid.waitStatus(id, status, 60000);
    assert.equal(Number(job.exitCode), exitCode);
    const moves = (await grid.events({ name: 'JobTransitionEvent', jobId: id })).map((e) => Number(e.args._to));
    assert.equal(moves.filter((to) => to >= 4).length, 1, `final transitions: ${moves}`);
    await waitFor(`not one Slurm job in accounting for ${id}`, async () => (await accounted(grid, id)).length === 1);
    await left(grid, id);
}

test('a submission whose answer is lost, and whose job is over and forgotten', async (grid) => {
    const id = await loseAnswer(grid, 'alice', ending(1, 3));
    await left(grid, id);
    await startAgent(grid);
    await finish(grid, id, 'FAILED', 3);
    assert.match(grid.agent.log(), new RegExp(`-> SUBMITTED\\b.*${id}`));
});

test('jobs that end and are forgotten while the agent is down', async (grid) => {
    const ids = [];
    for (const code of [5, 0]) ids.push(await grid.requestJob(ending(4, code)));
    const killed = await grid.requestJob({ script: '#!/bin/sh\nsleep 4\nkill -9 $$\n' });
    for (const id of [...ids, killed]) await grid.waitStatus(id, 'RUNNING', 20000);
    await killAgent(grid);
    for (const id of [...ids, killed]) await left(grid, id);
    await startAgent(grid);
    await finish(grid, ids[0], 'FAILED', 5);
    await finish(grid, ids[1], 'FINISHED', 0);
    await finish(grid, killed, 'FAILED', 128 + 9);
});

test('one that never had nodes, and one that was queued again, while the agent is down', async (grid) => {
    const scontrol = (...args) => grid.slurm.command(['scontrol', ...args]);
    const again = await grid.requestJob({ script: '#!/bin/sh\n[ "$SLURM_RESTART_COUNT" = 1 ] && exit 6\nsleep 60\n' });
    await grid.waitStatus(again, 'RUNNING', 20000);
    await scontrol('update', 'PartitionName=main', 'State=DOWN');
    const waiting = await grid.requestJob({});
    const { JobId } = await grid.waitSlurm(waiting, 'PENDING');
    await inState(grid, waiting, 'SUBMITTED');
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
    assert.equal(Number((await grid.waitStatus(again, 'FAILED')).exitCode), 6);
    const [, spent] = await grid.agent.waitLog(new RegExp(`attempt 2; (\\d+) s were spent.*${again}`));
    const [, ended] = await grid.agent.waitLog(new RegExp(`-> ENDED: FAILED, exit code 6, (\\d+) s, says a query.*${again}`));
    const attempts = (await accounted(grid, again)).map((job) => `${job.State} ${job.ElapsedRaw}`);
    assert.deepEqual(attempts, [`REQUEUED ${spent}`, `FAILED ${ended}`]);
    assert.ok(Number(spent) >= 2, `${spent} s`);
});

test('slurmdbd is down: what cannot be looked up waits', async (grid) => {
    const id = await loseAnswer(grid, 'bob', ending(1, 3), () => grid.slurmdbd.kill('SIGKILL'));
    await left(grid, id);
    await startAgent(grid);
    await grid.agent.waitLog(/submit: .*(Problem talking to the database|wait for slurmdbd)/, 20000);
    await sleep(5000);
    assert.equal(await grid.slurmJobOf(id), undefined, 'it was submitted again');
    await grid.slurmdbd.start();
    await finish(grid, id, 'FAILED', 3);
});

test('slurmdbd is down: a job that was never sent does not wait', async (grid) => {
    await grid.slurmdbd.kill('SIGKILL');
    const id = await grid.requestJob(ending(1, 0));
    await grid.agent.waitLog(new RegExp(`-> SUBMITTED\\b.*${id}`), 20000);
    await grid.slurmdbd.start();
    await finish(grid, id, 'FINISHED', 0);
});

await runTests({ slurmdbd: true, slurmrestd: false, pluginDir: null, slurmConf: ['MinJobAge=2'] });
