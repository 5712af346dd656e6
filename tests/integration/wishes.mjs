// SPDX-License-Identifier: GPL-3.0-or-later
// What customers and operators ask for on the way: cancel, more time, another provider. And how
// little Slurm is asked. For either way to Slurm.
import { assert, CREDIT, checkOnce, holdSubmissions, killAgent, minutesBilled, restartAgent, runTests, sleep, startAgent, test, waitFor, way } from './lib.mjs';

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

const statesOf = async (grid, id) =>
    (await grid.slurmJobs()).filter((job) => job.JobName === id).map((job) => job.JobState).sort();

test('cancelled on chain, or taken away and given back, while its submission is under way', async (grid) => {
    const submissions = await holdSubmissions(grid, 'alice', 'is lost');
    await restartAgent(grid, submissions.args);
    try {
        const brief = { ...long, script: '#!/bin/sh\nexit 0\n' };
        const [id, back] = [await grid.requestJob(brief), await grid.requestJob(brief)];
        for (const each of [id, back]) await grid.agent.waitLog(new RegExp(`-> SUBMITTING.*${each}`), 10000);
        await submissions.called();
        await partition(grid, 'DOWN'); // so that they wait
        await grid.cancelJob(id);
        await grid.chain.send('operator', 'MetaScheduler', 'timeoutJob', [back]);
        for (const each of [id, back]) await grid.agent.waitLog(new RegExp(`-> CANCELLING.*${each}`), 10000);
        submissions.release();
        for (const each of [id, back]) await grid.agent.waitLog(new RegExp(`CANCELLING -> DONE.*${each}`), 40000);
        assert.deepEqual([await statesOf(grid, id), await statesOf(grid, back)], [['CANCELLED'], ['CANCELLED']]);
        await partition(grid, 'UP');
        await checkOnce(grid, id, { ran: false });
        // The Slurm job of its earlier life is not taken for that of this one.
        await grid.chain.metaSchedule(back);
        await grid.waitStatus(back, 'FINISHED', 30000);
        assert.deepEqual(await statesOf(grid, back), ['CANCELLED', 'COMPLETED']);
        assert.doesNotMatch(grid.agent.log(), /security:/, 'the plugin\'s word of a job that was cancelled is refused');
    } finally {
        await partition(grid, 'UP');
        await restartAgent(grid);
    }
});

test('more than there is: refused, with the reason; given back, it is refused again', async (grid) => {
    const refusals = async (id, n) => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === n;
    const told = (id) => grid.customerApi.lines.filter((line) => line.logName === id && /the cluster is too small/.test(line.text)).length;
    const id = await grid.requestJob({ gpus: 9, memPerCpu: 10 });
    for (const n of [1, 2]) {
        await waitFor('it is not refused', () => refusals(id, n), 20000);
        await waitFor('its customer is not told', () => told(id) === n);
        await waitFor('it is not PENDING', async () => (await grid.job(id)).status === 'PENDING');
        if (n === 1) await grid.chain.metaSchedule(id);
    }
    // What slurmctld keeps of it never ran and is no end of this job.
    for (const job of (await grid.slurmJobs()).filter((each) => each.JobName === id)) {
        assert.equal(job.JobState, 'FAILED');
        assert.equal(job.NodeList, '');
    }
    const moves = (await grid.events({ name: 'JobTransitionEvent', jobId: id })).map((e) => Number(e.args._to));
    assert.deepEqual(moves.filter((to) => to >= 3), [], 'it is not RUNNING, nor at an end');
    assert.doesNotMatch(grid.agent.log(), /security:/);
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

/** Calls of slurmctld's API that users made, by type; sdiag's own left out. */
async function calls(grid) {
    const text = await grid.slurm.command(['sdiag']);
    const part = /by message type([^]*?)\n\n/.exec(text)[1];
    const counts = [...part.matchAll(/(REQUEST_\w+) +\( *\d+\) count:(\d+)/g)].map(([, type, count]) => [type, Number(count)]);
    return new Map(counts.filter(([type]) => type !== 'REQUEST_STATS_INFO'));
}

/** Those since then, when nobody but the agent asked. */
async function callsSince(grid, before) {
    const after = [...(await calls(grid))].map(([type, count]) => [type, count - (before.get(type) ?? 0)]);
    return after.filter(([, count]) => count > 0);
}

async function callsIn(grid, seconds) {
    const before = await calls(grid);
    await sleep(seconds * 1000);
    return callsSince(grid, before);
}

const sum = (list) => list.reduce((total, [, count]) => total + count, 0);

test('one query for all jobs, and next to none at rest', async (grid) => {
    const ids = await Promise.all(['alice', 'bob', 'carol', 'alice'].map((customer) => grid.requestJob({ ...long, customer })));
    for (const id of ids) await grid.waitStatus(id, 'RUNNING', 20000);
    await sleep(2000);
    const [began, before] = [Date.now(), await calls(grid)];
    const queries = await waitFor('it does not ask', async () => {
        const jobInfo = (await callsSince(grid, before)).filter(([type]) => type.startsWith('REQUEST_JOB_INFO'));
        return sum(jobInfo) >= 3 && sum(jobInfo);
    }, 10000, 500);
    const seconds = (Date.now() - began) / 1000;
    console.log(`# 4 jobs, ${seconds} s: ${queries} queries`);
    assert.ok(queries <= seconds + 1, `${queries} queries in ${seconds} s`); // the interval is 1 s here
    for (const [i, id] of ids.entries()) await grid.cancelJob(id, ['alice', 'bob', 'carol', 'alice'][i]);
    for (const id of ids) await grid.waitStatus(id, 'CANCELLED', 30000);
    for (const id of ids) await grid.agent.waitLog(new RegExp(`-> DONE.*${id}`), 20000);
    await waitFor('it does not rest', async () => sum(await callsIn(grid, 2)) === 0);
    const idle = await callsIn(grid, 12);
    console.log(`# no job, 12 s: ${JSON.stringify(idle)}`);
    assert.ok(sum(idle) <= 1, JSON.stringify(idle));
});

await runTests({ slurmrestd: way === 'rest' });
