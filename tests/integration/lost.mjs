// SPDX-License-Identifier: GPL-3.0-or-later
// Jobs that Slurm has lost: slurmctld begins anew with an empty StateSaveLocation, and gives the
// ids that it has given before to others. Lost is what queue and accounting are proved not to have,
// for a grace time; not what cannot be asked about. No plugin tells of anything here.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { assert, CREDIT, killAgent, minutesBilled, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { run } from '../devnet/process.mjs';

const GRACE_S = 2;
const start = (grid) => startAgent(grid, ['--reconcile.interval=2s', `--reconcile.grace=${GRACE_S}s`]);

const long = { script: '#!/bin/sh\nsleep 300\n', memPerCpu: 10 };
const wide = { ...long, ntasks: 64, memPerCpu: 1 }; // waits as long as anything else runs

const stateOf = async (grid, jobId) => (await grid.slurmJobs()).find((job) => job.JobId === jobId)?.JobState;

/** Claimed, not submitted, and RUNNING on chain by somebody who has our key: never submitted then. */
async function claimAndStart(grid) {
    grid.customerApi.hang(1);
    const id = await grid.requestJob(long);
    await waitFor('its script is not asked for', () => grid.customerApi.hanging.length, 10000); // so its claim is stored
    await killAgent(grid);
    grid.customerApi.release();
    await grid.chain.send('provider', 'MetaScheduler', 'providerSetJobStatus', [id, 3, 0n, '', 0n]);
    await start(grid);
    return id;
}

/** slurmctld ends and begins without jobs; firstId is the first that it gives. */
async function loseSlurmJobs(grid, firstId) {
    await grid.slurmctld.stop();
    // Without the associations in the other files it does not start while slurmdbd is down.
    for (const name of readdirSync(grid.path('state')))
        if (/^(job_state|hash|dbd)/.test(name)) rmSync(join(grid.path('state'), name), { recursive: true });
    grid.slurm.extraConf = [`FirstJobId=${firstId}`, 'MinJobAge=2'];
    grid.slurm.writeConf();
    await grid.slurmctld.start();
    // What slurmd still runs of the old jobs is ended by their ids: whoever gets one now is ended, too.
    await waitFor('old jobs run', async () => (await run(['pgrep', 'slurmstepd'])).code === 1, 30000, 100);
    await waitFor('no node', async () => /idle|mixed|alloc/.test(await grid.slurm.command(['sinfo', '-h', '-o', '%T'])), 20000, 100);
}

/** A job of somebody who has nothing to do with the grid. */
const plant = async (grid, as, name = 'mine') =>
    (await grid.slurm.command(['sbatch', '--parsable', '--job-name', name, '--mem', '1', '--output', '/dev/null', '--chdir', '/tmp', '--wrap', 'sleep 300'], { as: grid.userOf(as).name })).trim();

async function isPanicked(grid, id, reason) {
    const job = await grid.waitStatus(id, 'PANICKED', 30000);
    assert.match(job.lastError, reason);
    return job;
}

const finals = async (grid, id) =>
    (await grid.events({ name: 'JobTransitionEvent', jobId: id })).map((e) => Number(e.args._to)).filter((to) => to >= 4);

const ownJobId = async (grid, id) => (await grid.slurmJobOf(id)).JobId;

test('slurmctld has lost its jobs, and ids come again: lost once accounting has said so, too', async (grid) => {
    await grid.agent.stop();
    await start(grid);
    const open = await grid.requestJob(long);
    await waitFor('accounting has nothing', async () => (await grid.slurm.accountedJobs()).some((job) => job.State === 'RUNNING'), 30000, 200);
    await grid.slurmdbd.kill('SIGKILL'); // of what follows it will never hear
    const [runs, stops] = [await grid.requestJob(long), await grid.requestJob(long)];
    for (const id of [runs, stops]) await grid.waitStatus(id, 'RUNNING', 20000);
    const waits = await grid.requestJob({ ...wide, customer: 'bob' });
    await grid.waitSlurm(waits, 'PENDING');
    const ids = [];
    for (const id of [open, runs, stops, waits]) ids.push(await ownJobId(grid, id));
    const paid = await grid.balances();
    const never = await claimAndStart(grid);

    await loseSlurmJobs(grid, Math.min(...ids.map(Number)));
    const others = []; // Alice's own jobs, with the ids of ours but for Bob's
    for (let i = 0; i < 3; i++) others.push(await plant(grid, 'alice'));
    assert.deepEqual([...others].sort(), [...ids].sort().slice(0, 3));
    await sleep((3 * GRACE_S + 3) * 1000);
    assert.doesNotMatch(grid.agent.log(), /has job \d+ no more/); // while accounting cannot be asked
    for (const id of [open, runs, stops, never]) assert.equal((await grid.job(id)).status, 'RUNNING');
    assert.equal((await grid.job(waits)).status, 'SCHEDULED');

    await grid.cancelJob(stops); // must not end Alice's own job, which has its id now
    await grid.agent.waitLog(new RegExp(`-> STOPPING.*${stops}`), 10000);
    await grid.slurmdbd.start();
    for (const id of [runs, stops]) {
        const job = await isPanicked(grid, id, /lost by Slurm/);
        assert.equal(minutesBilled(grid, job, long), 1);
    }
    await isPanicked(grid, never, /Slurm does not know it/);
    await isPanicked(grid, waits, /lost by Slurm/); // never started: a full refund
    assert.equal((await grid.balances()).bob, paid.bob + 100n * CREDIT);
    // slurmctld tells accounting that what was open is CANCELLED: found there by its name.
    assert.equal(minutesBilled(grid, await grid.waitStatus(open, 'CANCELLED', 60000), long), 1);
    for (const id of [open, runs, stops, waits, never]) assert.equal((await finals(grid, id)).length, 1);
    for (const id of others) assert.match((await stateOf(grid, id)) ?? 'gone', /RUNNING|PENDING/);
    await grid.slurm.command(['scancel', ...others]);
});

test('without accounting: lost once the queue has not had it for three times as long', async (grid) => {
    grid.slurm.accounting = null;
    grid.slurm.writeConf();
    await grid.slurmctld.restart();
    await grid.slurmd.restart();
    const id = await grid.requestJob(long);
    await grid.waitStatus(id, 'RUNNING', 20000);
    await sleep(3000); // it is known to have run for some time
    await grid.slurmctld.restart(); // which it outlives
    assert.equal((await grid.slurmJobOf(id)).JobState, 'RUNNING');
    await loseSlurmJobs(grid, 1000);
    const job = await isPanicked(grid, id, /lost by Slurm/);
    const told = (text) => Date.parse(grid.agent.log().match(new RegExp(`time=(\\S+) .*${text}.*${id}`))[1]);
    const waited = told('-> ENDED: lost') - told('has job \\d+ no more .not in the queue.;');
    assert.ok(waited >= 3 * GRACE_S * 1000, `${waited} ms`);
    assert.equal(minutesBilled(grid, job, long), 1);
    assert.equal((await finals(grid, id)).length, 1);
});

await runTests({ slurmdbd: true, slurmrestd: false, pluginDir: null, slurmConf: ['MinJobAge=2'] });
