// SPDX-License-Identifier: GPL-3.0-or-later
// What customers and operators ask for on the way: cancel, more time, another provider.
import { assert, CREDIT, checkOnce, killAgent, minutesBilled, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';

const long = { script: '#!/bin/sh\nsleep 60\n', memPerCpu: 10 };
const partition = (grid, state) => grid.slurm.command(['scontrol', 'update', 'PartitionName=main', `State=${state}`]);
const limitMinutes = async (grid, id) => {
    const [h, m] = (await grid.slurmJobOf(id)).TimeLimit.replace(/^(\d+)-/, (_, d) => '').split(':').map(Number);
    return h * 60 + m;
};
const cancelledInSlurm = (grid, id) => grid.waitSlurm(id, 'CANCELLED', 20000);

test('cancelled by its customer while it runs: CANCELLED, billed', async (grid) => {
    const id = await grid.requestJob(long);
    await grid.waitStatus(id, 'RUNNING', 20000);
    await grid.cancelJob(id);
    await grid.cancelJob(id); // a repeat puts it into the queue again
    const job = await grid.waitStatus(id, 'CANCELLED', 30000);
    assert.equal(minutesBilled(grid, job, long), 1);
    await cancelledInSlurm(grid, id);
    await checkOnce(grid, id);
});

test('cancelled on chain before it is submitted: nothing runs', async (grid) => {
    grid.customerApi.hang(5);
    const id = await grid.requestJob(long);
    await grid.waitStatus(id, 'SCHEDULED');
    await grid.cancelJob(id);
    await grid.agent.waitLog(new RegExp(`CLAIMED -> DONE.*${id}`), 10000);
    grid.customerApi.release();
    await sleep(1500);
    assert.equal(await grid.slurmJobOf(id), undefined);
    await checkOnce(grid, id, { slurmJobs: 0, ran: false });
});

test('cancelled on chain while its submission is under way', async (grid) => {
    grid.slurmctld.pause();
    const id = await grid.requestJob(long);
    await grid.agent.waitLog(new RegExp(`-> SUBMITTING.*${id}`), 10000);
    await grid.cancelJob(id);
    await grid.agent.waitLog(new RegExp(`-> CANCELLING.*${id}`), 10000);
    grid.slurmctld.resume();
    await grid.agent.waitLog(new RegExp(`CANCELLING -> DONE.*${id}`), 40000);
    const slurm = await grid.slurmJobOf(id);
    assert.ok(!slurm || slurm.JobState === 'CANCELLED', slurm?.JobState);
});

test('cancelled on chain while it waits in Slurm', async (grid) => {
    await partition(grid, 'DOWN');
    const id = await grid.requestJob(long);
    await grid.waitSlurm(id, 'PENDING');
    await grid.cancelJob(id);
    await cancelledInSlurm(grid, id);
    await partition(grid, 'UP');
    await checkOnce(grid, id, { ran: false });
});

test('cancelled after its end: nothing changes', async (grid) => {
    const id = await grid.requestJob({ ...long, script: '#!/bin/sh\nexit 0\n' });
    await grid.waitStatus(id, 'FINISHED');
    await assert.rejects(grid.cancelJob(id), /JobHotStatusOnly/);
    await checkOnce(grid, id);
});

test('the agent is killed between the request and the cancelling', async (grid) => {
    const id = await grid.requestJob(long);
    await grid.waitStatus(id, 'RUNNING', 20000);
    await killAgent(grid);
    await grid.cancelJob(id);
    await startAgent(grid);
    await grid.agent.waitLog(new RegExp(`-> STOPPING.*${id}`), 10000);
    await killAgent(grid);
    await startAgent(grid);
    await grid.waitStatus(id, 'CANCELLED', 30000);
    await cancelledInSlurm(grid, id);
    await checkOnce(grid, id);
});

test('panicked by the operator while it runs: its Slurm job is cancelled', async (grid) => {
    const id = await grid.requestJob(long);
    await grid.waitStatus(id, 'RUNNING', 20000);
    await grid.chain.send('operator', 'MetaScheduler', 'panicJob', [id, 'fire']);
    await cancelledInSlurm(grid, id);
    assert.equal((await grid.job(id)).status, 'PANICKED');
    await checkOnce(grid, id);
});

test('taken away by the operator while it waits, given back, and run', async (grid) => {
    await partition(grid, 'DOWN');
    const id = await grid.requestJob({ ...long, script: '#!/bin/sh\nexit 0\n' });
    await grid.waitSlurm(id, 'PENDING');
    await grid.chain.send('operator', 'MetaScheduler', 'timeoutJob', [id]);
    await cancelledInSlurm(grid, id);
    await grid.agent.waitLog(new RegExp(`CANCELLING -> DONE.*${id}`), 10000);
    await partition(grid, 'UP');
    await grid.chain.metaSchedule(id);
    await grid.waitStatus(id, 'FINISHED', 30000);
    const named = (await grid.slurmJobs()).filter((job) => job.JobName === id);
    assert.deepEqual(named.map((job) => job.JobState).sort(), ['CANCELLED', 'COMPLETED']);
});

test('more time for a running job, twice, and for one that waits', async (grid) => {
    const id = await grid.requestJob({ ...long, amount: 100n * CREDIT });
    await grid.waitStatus(id, 'RUNNING', 20000);
    const before = await limitMinutes(grid, id);
    await Promise.all([grid.topUpJob(id, 20n * CREDIT), grid.topUpJob(id, 30n * CREDIT)]);
    const more = Number((50n * CREDIT) / grid.price(long));
    await waitFor('the limit is not raised', async () => Math.abs((await limitMinutes(grid, id)) - before - more) <= 1, 15000);
    await grid.cancelJob(id);
    await grid.waitStatus(id, 'CANCELLED', 30000);

    await partition(grid, 'DOWN');
    const waiting = await grid.requestJob({ ...long, amount: 100n * CREDIT });
    await grid.waitSlurm(waiting, 'PENDING');
    const was = await limitMinutes(grid, waiting);
    await grid.topUpJob(waiting, 0n); // costs a claim, gives no time
    await grid.topUpJob(waiting, 50n * CREDIT);
    await waitFor('the limit is not raised', async () => Math.abs((await limitMinutes(grid, waiting)) - was - more) <= 1, 15000);
    await grid.cancelJob(waiting);
    await cancelledInSlurm(grid, waiting);
    await partition(grid, 'UP');
});

test('a restart in the middle of a top-up neither loses nor repeats it', async (grid) => {
    const id = await grid.requestJob({ ...long, amount: 100n * CREDIT });
    await grid.waitStatus(id, 'RUNNING', 20000);
    const before = await limitMinutes(grid, id);
    const more = Number((50n * CREDIT) / grid.price(long));
    grid.slurmctld.pause();
    await grid.topUpJob(id, 50n * CREDIT);
    await grid.agent.waitLog(new RegExp(`more minutes.*${id}`), 10000);
    await killAgent(grid);
    grid.slurmctld.resume();
    await startAgent(grid);
    await waitFor('the limit is not raised', async () => Math.abs((await limitMinutes(grid, id)) - before - more) <= 1, 15000);
    await killAgent(grid);
    await startAgent(grid);
    await sleep(3000);
    assert.ok(Math.abs((await limitMinutes(grid, id)) - before - more) <= 1);
    await grid.cancelJob(id);
    await grid.waitStatus(id, 'CANCELLED', 30000);
});

await runTests();
