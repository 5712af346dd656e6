// SPDX-License-Identifier: GPL-3.0-or-later
// Reconciliation: the world is changed while the agent is down, or its state is lost or replaced by
// an older one. When it is back, every job has one Slurm job and one right end. The cells of
// doc/reconciliation.md that are meant stand beside the jobs: here x on chain x in Slurm.
import { cpSync, renameSync, rmSync } from 'node:fs';
import { assert, checkOnce, killAgent, longJob, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';

const ARGS = ['--reconcile.interval=2s', '--reconcile.grace=2s'];
const start = (grid, args = []) => startAgent(grid, [...ARGS, ...args]);

const long = { script: '#!/bin/sh\nsleep 300\n', memPerCpu: 10 };
const short = { script: '#!/bin/sh\nsleep 1\n', memPerCpu: 10 };
const wide = { ...short, ntasks: 64, memPerCpu: 1 }; // waits as long as anything else runs

const inState = (grid, id, state, from = 0) => grid.agent.waitLog(new RegExp(`-> ${state}\\b.*${id}`), 20000, from);
const operator = (grid, method, ...args) => grid.chain.send('operator', 'MetaScheduler', method, args);
const STATUS = { RUNNING: 3, FINISHED: 5 };
const asProvider = (grid, id, status) =>
    grid.chain.send('provider', 'MetaScheduler', 'providerSetJobStatus', [id, STATUS[status], 0n, '', 0n]);
const slurmId = async (grid, id) => (await grid.slurmJobOf(id)).JobId;
const scontrol = (grid, ...words) => grid.slurm.command(['scontrol', ...words]);
const stateDir = (grid, name = 'state') => grid.path('agent', name);
const stateOf = async (grid, jobId) => (await grid.slurm.command(['squeue', '--noheader', '--states=all', '--format=%T', `--jobs=${jobId}`])).trim();
const namedIn = async (grid, id) => (await grid.slurmJobs()).filter((job) => job.JobName === id).map((job) => job.JobState);

async function over(grid, id, status, options) {
    await grid.waitStatus(id, status, 30000);
    await checkOnce(grid, id, options);
}

/** A job of which the customer API holds back the script: it stays CLAIMED. */
async function claimOnly(grid, request) {
    const from = grid.agent.logSize();
    grid.customerApi.hang(1);
    const id = await grid.requestJob(request);
    await inState(grid, id, 'CLAIMED', from);
    return id;
}

test('while the agent is down: Slurm ends, the contract takes away, somebody uses our key', async (grid) => {
    await grid.agent.stop();
    await start(grid);
    const ids = {};
    for (const name of ['ended', 'panicked', 'finished', 'stopped']) ids[name] = await grid.requestJob(long);
    const again = await longJob(grid);
    ids.again = again.id;
    for (const id of Object.values(ids)) await grid.waitStatus(id, 'RUNNING', 20000);
    await scontrol(grid, 'update', `JobId=${await slurmId(grid, ids.again)}`, 'Requeue=1');
    ids.taken = await grid.requestJob(wide);
    ids.early = await grid.requestJob({ ...wide, customer: 'bob' });
    for (const id of [ids.taken, ids.early]) await grid.waitSlurm(id, 'PENDING');
    again.end();
    await over(grid, ids.again, 'FINISHED');
    ids.cancelled = await claimOnly(grid, short);
    await killAgent(grid);
    grid.customerApi.release();
    ids.claimed = ids.cancelled;

    await grid.slurm.command(['scancel', await slurmId(grid, ids.ended)]); // RUNNING x RUNNING x ENDED: END
    await operator(grid, 'panicJob', ids.panicked, 'fire'); // RUNNING x FINAL x RUNNING: GONE
    await operator(grid, 'timeoutJob', ids.taken); // SUBMITTED x PENDING x WAITING: GONE
    await asProvider(grid, ids.finished, 'FINISHED'); // RUNNING x FINAL x RUNNING: GONE
    await asProvider(grid, ids.early, 'RUNNING'); // SUBMITTED x RUNNING x WAITING: nothing, then STARTED
    await grid.cancelJob(ids.cancelled); // CLAIMED x FINAL x UNKNOWN: GONE
    await grid.cancelJob(ids.stopped); // RUNNING x RUNNING x RUNNING, and the request
    await scontrol(grid, 'requeuehold', await slurmId(grid, ids.again)); // DONE x FINAL x WAITING: STRAY
    await start(grid);

    await over(grid, ids.ended, 'CANCELLED');
    await over(grid, ids.panicked, 'PANICKED');
    await over(grid, ids.stopped, 'CANCELLED');
    await over(grid, ids.cancelled, 'CANCELLED', { slurmJobs: 0, ran: false });
    for (const name of ['panicked', 'finished', 'stopped', 'taken', 'again']) await grid.waitSlurm(ids[name], 'CANCELLED');
    await checkOnce(grid, ids.again);
    await checkOnce(grid, ids.finished);
    await over(grid, ids.early, 'FINISHED'); // the room is free now
    assert.equal((await grid.job(ids.taken)).status, 'PENDING');
    assert.deepEqual(await namedIn(grid, ids.taken), ['CANCELLED']);
});

test('the state is an older one', async (grid) => {
    const { id: ends, end } = await longJob(grid);
    const runs = await grid.requestJob(long);
    for (const id of [ends, runs]) await grid.waitStatus(id, 'RUNNING', 20000);
    const claimed = await claimOnly(grid, long);
    await killAgent(grid);
    cpSync(stateDir(grid), stateDir(grid, 'backup'), { recursive: true, preserveTimestamps: true });
    grid.customerApi.release();
    await start(grid);
    const later = await grid.requestJob(long);
    const gone = await grid.requestJob(long);
    for (const id of [claimed, later, gone]) await grid.waitStatus(id, 'RUNNING', 20000);
    end();
    await over(grid, ends, 'FINISHED');
    await killAgent(grid);
    rmSync(stateDir(grid), { recursive: true });
    renameSync(stateDir(grid, 'backup'), stateDir(grid));
    // The script of what is submitted already cannot be had any more.
    await operator(grid, 'panicJob', gone, 'fire'); // claimed anew from the log, then FINAL x RUNNING
    const from = grid.agent.logSize();
    await start(grid);
    await inState(grid, claimed, 'SUBMITTED', from); // CLAIMED x RUNNING x RUNNING: adopted
    await inState(grid, later, 'SUBMITTED', from);
    await inState(grid, ends, 'DONE', from);
    await grid.waitSlurm(gone, 'CANCELLED');
    for (const id of [runs, claimed, later]) await grid.cancelJob(id);
    for (const id of [runs, claimed, later]) await over(grid, id, 'CANCELLED');
    await checkOnce(grid, ends);
    await checkOnce(grid, gone);
});

/** Slurm jobs that look like ours and are not: none of them may be touched. */
async function plantOthers(grid, finalId) {
    const alice = grid.userOf('alice').name;
    const bob = grid.userOf('bob').name;
    const comment = `supervisor 127.0.0.1:${grid.ports.agent}`;
    const nobody = `0x${'ab'.repeat(32)}`;
    const plant = (as, name, mark) =>
        grid.slurm.command(['sbatch', '--parsable', '--job-name', name, '--comment', mark, '--mem', '1', '--output', '/dev/null', '--chdir', '/tmp', '--wrap', 'sleep 300'], { as });
    const planted = [
        await plant(bob, finalId, comment), // of another user
        await plant(alice, finalId, 'supervisor other.example.com:3000'), // of another agent
        await plant(alice, nobody, comment), // of no job on chain
        await plant(bob, 'a|b\nsupervisor \u00e9 |', `${comment}\n|`), // of no good
    ];
    return planted.map((id) => id.trim());
}

test('the state is lost', async (grid) => {
    const ids = { runs: await grid.requestJob(long), panicked: await grid.requestJob(long) };
    ids.cancel = await grid.requestJob(long);
    const ends = await longJob(grid, { code: 3 });
    ids.ends = ends.id;
    for (const id of Object.values(ids)) await grid.waitStatus(id, 'RUNNING', 20000);
    ids.waits = await grid.requestJob({ ...wide, customer: 'carol' });
    ids.taken = await grid.requestJob(wide);
    for (const id of [ids.waits, ids.taken]) await grid.waitSlurm(id, 'PENDING');
    const panicked = await slurmId(grid, ids.panicked);
    await killAgent(grid);
    rmSync(stateDir(grid), { recursive: true });
    await operator(grid, 'panicJob', ids.panicked, 'fire');
    await operator(grid, 'timeoutJob', ids.taken);
    await grid.cancelJob(ids.cancel);
    const planted = await plantOthers(grid, ids.panicked);
    ends.end();
    await grid.waitSlurm(ids.ends, 'FAILED', 20000);

    // From Slurm alone: the log of the chain is not read back.
    await start(grid, ['--metascheduler.look-back=0']);
    await inState(grid, ids.runs, 'RUNNING'); // NONE x RUNNING x RUNNING: FOUND
    await waitFor('it runs on', async () => (await stateOf(grid, panicked)) === 'CANCELLED', 20000, 100); // NONE x FINAL x RUNNING: STRAY
    await grid.waitSlurm(ids.taken, 'CANCELLED'); // NONE x PENDING x WAITING: STRAY
    await over(grid, ids.cancel, 'CANCELLED'); // NONE x RUNNING x RUNNING, and the request
    await checkOnce(grid, ids.panicked, { slurmJobs: 3 });
    await inState(grid, ids.waits, 'SUBMITTED'); // NONE x SCHEDULED x WAITING: FOUND
    await grid.agent.waitLog(/security: Slurm job .*left alone/, 10000);
    for (const id of planted) assert.match(await stateOf(grid, id), /RUNNING|PENDING/);
    await grid.slurm.command(['scancel', ...planted]);

    // From the log of the chain: claimed, and never submitted; running; over and told.
    ids.never = await claimOnly(grid, short);
    await killAgent(grid);
    grid.customerApi.release();
    rmSync(stateDir(grid), { recursive: true });
    const from = grid.agent.logSize();
    await start(grid);
    await inState(grid, ids.runs, 'RUNNING', from); // CLAIMED x RUNNING x RUNNING: adopted
    await inState(grid, ids.waits, 'SUBMITTED', from);
    await grid.cancelJob(ids.runs);
    await over(grid, ids.runs, 'CANCELLED');
    await over(grid, ids.waits, 'FINISHED');
    await over(grid, ids.never, 'FINISHED');
    await over(grid, ids.ends, 'FAILED');
    assert.equal(Number((await grid.job(ids.ends)).exitCode), 3);
    for (const id of [ids.panicked, ids.cancel]) assert.ok(!(await namedIn(grid, id)).includes('PENDING'));
});

test('claimed again while its earlier life is being ended: given back, and run later', async (grid) => {
    await grid.agent.stop();
    await start(grid, ['--reconcile.interval=1h']); // not by chance
    const blocker = await grid.requestJob(long);
    await grid.waitStatus(blocker, 'RUNNING', 20000);
    const id = await grid.requestJob(wide);
    await grid.waitSlurm(id, 'PENDING');
    grid.slurmctld.pause();
    await operator(grid, 'timeoutJob', id);
    await inState(grid, id, 'CANCELLING');
    await grid.chain.metaSchedule(id);
    await grid.agent.waitLog(new RegExp(`claimed again .*${id}`), 20000);
    grid.slurmctld.resume();
    await inState(grid, id, 'REFUSED'); // DONE x SCHEDULED x UNKNOWN: GIVE_BACK
    await grid.waitStatus(id, 'PENDING');
    await grid.cancelJob(blocker);
    await grid.chain.metaSchedule(id);
    await grid.waitStatus(id, 'FINISHED', 30000);
    assert.deepEqual((await namedIn(grid, id)).sort(), ['CANCELLED', 'COMPLETED']);
});

await runTests({ slurmrestd: false });
