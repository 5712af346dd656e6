// SPDX-License-Identifier: GPL-3.0-or-later
// The chain is reorganised under jobs in all states: one Slurm job each, one right end each.
import { join } from 'node:path';
import { assert, checkOnce, killAgent, longJob, restartAgent, runJob, runTests, startAgent, test, waitFor } from './lib.mjs';
import { runOk } from '../devnet/process.mjs';

const sleeping = (seconds, code) => ({ script: `#!/bin/sh\nsleep ${seconds}\nexit ${code}\n`, memPerCpu: 10 });
const inState = (grid, id, state, from) => grid.agent.waitLog(new RegExp(`-> ${state}\\b.*${id}`), 20000, from);

/** A job in each state: waiting, running, and reported to the end; requested by three customers. */
async function jobsInAllStates(grid) {
    const done = await grid.requestJob({ ...sleeping(0, 3), customer: 'alice' });
    await grid.waitStatus(done, 'FAILED', 20000);
    await inState(grid, done, 'DONE');
    const { id: running, end } = await longJob(grid, { code: 4, customer: 'bob' });
    await grid.waitStatus(running, 'RUNNING', 20000);
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=DOWN']);
    const waiting = await grid.requestJob({ ...sleeping(0, 5), customer: 'carol' });
    await inState(grid, waiting, 'SUBMITTED');
    return { done, running, waiting, end };
}

async function finish(grid, id, code) {
    const job = await grid.waitStatus(id, 'FAILED', 40000);
    assert.equal(Number(job.exitCode), code);
    await inState(grid, id, 'DONE');
    await checkOnce(grid, id);
}

const up = (grid) => grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=UP']);
const height = (grid) => grid.chain.blockNumber();

/** What the log says of the job after a reorganisation. */
async function takenBack(grid, id, from, { reported = false } = {}) {
    if (reported) await grid.agent.waitLog(new RegExp(`the end is mined no more.*${id}`), 5000, from);
    else await grid.agent.waitLog(new RegExp(`its claim is gone from the chain.*${id}`), 5000, from);
    await grid.agent.waitLog(new RegExp(`claimed again in block \\d+, as before.*${id}`), 10000, from);
}

const reorged = (grid, from, what = '') => grid.agent.waitLog(new RegExp(`chain: reorganised.*${what}`), 10000, from);

/** Blocks are mined until there are so many above `fork`, and the agent has read them all. */
async function mineAndRead(grid, fork, blocks) {
    const more = fork + blocks - (await height(grid));
    assert.ok(more > 0, `${-more} blocks too many`);
    await grid.chain.rpc('anvil_mine', [`0x${more.toString(16)}`]);
    const sql = ['sqlite3', '-readonly', '-cmd', '.timeout 5000', join(grid.path('agent', 'state'), 'agent.db'), "SELECT value FROM meta WHERE key = 'cursor'"];
    await waitFor('the blocks are not read', async () => Number(await runOk(sql)) === fork + blocks, 10000);
}

/** The transactions above `fork` that are not ours, or all: [raw bytes, how many blocks above it]. */
async function transactionsAbove(grid, fork, { all = false } = {}) {
    const { chain } = grid;
    const ours = chain.wallets.provider.address.toLowerCase();
    const head = await height(grid);
    const pairs = [];
    for (let n = fork + 1; n <= head; n++) {
        const { transactions } = await chain.rpc('eth_getBlockByNumber', [`0x${n.toString(16)}`, true]);
        for (const { hash, from } of transactions)
            if (all || from !== ours) pairs.push([await chain.rpc('eth_getRawTransactionByHash', [hash]), n - fork - 1]);
    }
    return pairs;
}

/** The blocks above `fork` are replaced by as many, with these transactions. */
const replaceBlocks = async (grid, fork, pairs) => grid.chain.rpc('anvil_reorg', [(await height(grid)) - fork, pairs]);

async function finishAll(grid, jobs, from) {
    await takenBack(grid, jobs.done, from, { reported: true });
    await takenBack(grid, jobs.running, from);
    await takenBack(grid, jobs.waiting, from);
    jobs.end();
    await up(grid);
    await finish(grid, jobs.done, 3);
    await finish(grid, jobs.running, 4);
    await finish(grid, jobs.waiting, 5);
}

test('64 blocks are replaced, and everything is in others: nothing changes for anybody', async (grid) => {
    const fork = await height(grid);
    const from = grid.agent.logSize();
    const jobs = await jobsInAllStates(grid);
    await mineAndRead(grid, fork, 64);
    await replaceBlocks(grid, fork, await transactionsAbove(grid, fork, { all: true }));
    await grid.chain.rpc('evm_mine');
    await reorged(grid, from, `64 blocks are gone, block ${fork} is the last`);
    await finishAll(grid, jobs, from);
});

for (const deep of [false, true])
    test(`our transactions are gone from the chain, and from the mempool${deep ? ', deeper than is remembered' : ''}`, async (grid) => {
        const jobs = await jobsInAllStates(grid);
        const [claim] = await grid.events({ name: 'ClaimJobEvent', jobId: jobs.done });
        const fork = claim.block - 1;
        if (deep) await mineAndRead(grid, fork, 100);
        await killAgent(grid); // what it would send again at once shall be gone first
        // The requests stay, and what the operator assigned.
        await replaceBlocks(grid, fork, await transactionsAbove(grid, fork));
        await grid.chain.rpc('anvil_dropAllTransactions');
        assert.equal((await grid.job(jobs.running)).status, 'META_SCHEDULED');
        const from = grid.agent.logSize();
        await startAgent(grid);
        await reorged(grid, from, deep ? 'deeper than the 65 blocks' : `block ${fork} is the last`);
        await finishAll(grid, jobs, from);
    });

test('64 blocks deep, by snapshot and revert', async (grid) => {
    const { chain } = grid;
    const snapshot = await chain.rpc('evm_snapshot');
    const fork = await height(grid);
    const from = grid.agent.logSize();
    const { id, end } = await longJob(grid, { code: 6 });
    await grid.waitStatus(id, 'RUNNING', 20000);
    await mineAndRead(grid, fork, 64);
    const pairs = await transactionsAbove(grid, fork);
    await chain.rpc('evm_revert', [snapshot]);
    await chain.rpc('anvil_mine', ['0x1']); // so that what comes has other hashes
    for (const [raw] of pairs) await chain.rpc('eth_sendRawTransaction', [raw]);
    await chain.rpc('anvil_mine', ['0x40']);
    await reorged(grid, from, `64 blocks are gone, block ${fork} is the last`);
    await takenBack(grid, id, from);
    end();
    await finish(grid, id, 6);
});

test('what is not done again: a claim, whose job is cancelled; a cancel, whose job is not waited for', async (grid) => {
    await restartAgent(grid, ['--reconcile.grace=2s']);
    const { chain } = grid;
    // Claimed before the fork, and in the queue.
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=DOWN']);
    const cancelled = await grid.requestJob({ ...sleeping(0, 8), customer: 'alice' });
    await inState(grid, cancelled, 'SUBMITTED');
    await grid.slurm.command(['scontrol', 'hold', (await grid.slurmJobOf(cancelled)).JobId]);
    await up(grid);
    const fork = await height(grid);
    const from = grid.agent.logSize();
    const claimed = await grid.requestJob({ ...sleeping(60, 0), customer: 'bob', schedule: false });
    await chain.metaSchedule(claimed);
    await grid.waitStatus(claimed, 'RUNNING', 20000);
    await grid.cancelJob(cancelled);
    await inState(grid, cancelled, 'DONE', from);
    const [request] = await transactionsAbove(grid, fork);
    await replaceBlocks(grid, fork, [request]); // the assignment is gone, too
    await chain.rpc('evm_mine');
    await reorged(grid, from);
    await killAgent(grid); // what it is to ask is in its store
    assert.equal((await grid.job(cancelled)).status, 'SCHEDULED');
    await startAgent(grid, ['--reconcile.grace=2s']);
    await grid.waitSlurm(claimed, 'CANCELLED', 30000);
    assert.equal((await grid.job(claimed)).status, 'PENDING');
    // As Slurm told of its end in time, or not.
    await grid.waitStatus(cancelled, ['CANCELLED', 'PENDING'], 20000);
    await grid.agent.waitLog(new RegExp(`DONE -> REPORTED.*${cancelled}`), 1000, from);
    assert.equal((await grid.slurmJobs()).filter(({ JobName }) => JobName === cancelled).length, 1);
});

test('with confirmations a reorganisation of few blocks is nothing to see', async (grid) => {
    await restartAgent(grid, ['--metascheduler.confirmations=4']);
    const { chain } = grid;
    await chain.rpc('evm_setIntervalMining', [1]);
    const from = grid.agent.logSize();
    const reorganise = async () => {
        await new Promise((done) => setTimeout(done, 2500));
        const fork = (await height(grid)) - 2;
        await replaceBlocks(grid, fork, await transactionsAbove(grid, fork, { all: true }));
    };
    await Promise.all([reorganise(), runJob(grid, sleeping(1, 7), { status: 'FAILED', exitCode: 7, timeoutMs: 60000 })]);
    await chain.rpc('evm_setIntervalMining', [0]);
    assert.doesNotMatch(grid.agent.log(from), /chain: reorganised/);
});

await runTests();
