// SPDX-License-Identifier: GPL-3.0-or-later
// The chain is reorganised under jobs in all states: one Slurm job each, one right end each.
import { assert, checkOnce, longJob, runJob, runTests, startAgent, killAgent, test } from './lib.mjs';

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

/** All three come to their ends. */
async function finishAll(grid, { done, running, waiting, end }) {
    end();
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=UP']);
    await finish(grid, done, 3);
    await finish(grid, running, 4);
    await finish(grid, waiting, 5);
}

const height = (grid) => grid.chain.blockNumber();
/** What the log says of the job after a reorganisation. */
async function takenBack(grid, id, from, { reported = false } = {}) {
    if (reported) await grid.agent.waitLog(new RegExp(`the end is mined no more.*${id}`), 5000, from);
    else await grid.agent.waitLog(new RegExp(`its claim is gone from the chain.*${id}`), 5000, from);
    await grid.agent.waitLog(new RegExp(`claimed again in block \\d+, as before.*${id}`), 10000, from);
}

const reorged = (grid, from) => grid.agent.waitLog(/chain: reorganised/, 10000, from);

/** All transactions of blocks after `block`, mined again in their order, one a block. */
async function sameTransactionsAgain(grid, block) {
    const { chain } = grid;
    const head = await height(grid);
    const pairs = [];
    for (let n = block + 1; n <= head; n++) {
        const { transactions } = await chain.rpc('eth_getBlockByNumber', [`0x${n.toString(16)}`, false]);
        for (const hash of transactions) pairs.push([await chain.rpc('eth_getRawTransactionByHash', [hash]), n - block - 1]);
    }
    await chain.rpc('anvil_reorg', [head - block, pairs]);
}

test('everything is in other blocks: nothing changes for anybody', async (grid) => {
    const fork = await height(grid);
    const from = grid.agent.logSize();
    const jobs = await jobsInAllStates(grid);
    await sameTransactionsAgain(grid, fork);
    await grid.chain.rpc('evm_mine');
    await reorged(grid, from);
    await takenBack(grid, jobs.done, from, { reported: true });
    await takenBack(grid, jobs.running, from);
    await takenBack(grid, jobs.waiting, from);
    await finishAll(grid, jobs);
});

test('our transactions are gone from the chain, and from the mempool', async (grid) => {
    const jobs = await jobsInAllStates(grid);
    await killAgent(grid); // what it would send again at once shall be gone first
    const { chain } = grid;
    // Every transaction but ours stays: the requests, and what the operator assigned.
    const claims = (await grid.events({ name: 'ClaimJobEvent', jobId: jobs.done }))[0];
    const fork = claims.block - 1;
    const head = await height(grid);
    const pairs = [];
    for (let n = fork + 1; n <= head; n++) {
        const { transactions } = await chain.rpc('eth_getBlockByNumber', [`0x${n.toString(16)}`, true]);
        for (const { hash, from } of transactions)
            if (from !== chain.wallets.provider.address.toLowerCase()) pairs.push([await chain.rpc('eth_getRawTransactionByHash', [hash]), n - fork - 1]);
    }
    await chain.rpc('anvil_reorg', [head - fork, pairs]);
    await chain.rpc('anvil_dropAllTransactions');
    assert.equal((await grid.job(jobs.running)).status, 'META_SCHEDULED');
    const from = grid.agent.logSize();
    await startAgent(grid);
    await reorged(grid, from);
    await takenBack(grid, jobs.done, from, { reported: true });
    await takenBack(grid, jobs.running, from);
    await takenBack(grid, jobs.waiting, from);
    await finishAll(grid, jobs);
});

test('64 blocks deep, by snapshot and revert', async (grid) => {
    const { chain } = grid;
    const snapshot = await chain.rpc('evm_snapshot');
    const fork = await height(grid);
    const from = grid.agent.logSize();
    const { id, end } = await longJob(grid, { code: 6 });
    await grid.waitStatus(id, 'RUNNING', 20000);
    const mined = await height(grid);
    const provider = chain.wallets.provider.address.toLowerCase();
    const raws = [];
    for (let n = fork + 1; n <= mined; n++) {
        const { transactions } = await chain.rpc('eth_getBlockByNumber', [`0x${n.toString(16)}`, true]);
        for (const { hash, from: sender } of transactions)
            if (sender !== provider) raws.push(await chain.rpc('eth_getRawTransactionByHash', [hash]));
    }
    await chain.rpc('anvil_mine', [`0x${(fork + 63 - mined).toString(16)}`]);
    await new Promise((done) => setTimeout(done, 1000)); // three polls: the last block is read
    await chain.rpc('evm_revert', [snapshot]);
    await chain.rpc('anvil_mine', ['0x1']); // so that what comes has other hashes
    for (const raw of raws) await chain.rpc('eth_sendRawTransaction', [raw]);
    await chain.rpc('anvil_mine', ['0x40']);
    await reorged(grid, from);
    await takenBack(grid, id, from);
    end();
    await finish(grid, id, 6);
});

test('a claim that is not made again: the job of another, and its Slurm job is cancelled', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, ['--reconcile.grace=2s']);
    const { chain } = grid;
    const id = await grid.requestJob(sleeping(60, 0));
    await grid.waitStatus(id, 'RUNNING', 20000);
    const [schedule] = await grid.events({ name: 'JobTransitionEvent', jobId: id });
    const head = await height(grid);
    const from = grid.agent.logSize();
    await chain.rpc('anvil_reorg', [head - schedule.block + 1, []]); // the assignment is gone, too
    await chain.rpc('evm_mine');
    await reorged(grid, from);
    await grid.waitSlurm(id, 'CANCELLED', 30000);
    assert.equal((await grid.job(id)).status, 'PENDING');
});

test('with confirmations a reorganisation of few blocks is nothing to see', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, ['--metascheduler.confirmations=4']);
    const { chain } = grid;
    await chain.rpc('evm_setIntervalMining', [1]);
    const from = grid.agent.logSize();
    const reorganise = async () => {
        await new Promise((done) => setTimeout(done, 2500));
        await sameTransactionsAgain(grid, (await height(grid)) - 2);
    };
    await Promise.all([reorganise(), runJob(grid, sleeping(1, 7), { status: 'FAILED', exitCode: 7, timeoutMs: 60000 })]);
    await chain.rpc('evm_setIntervalMining', [0]);
    assert.doesNotMatch(grid.agent.log(from), /chain: reorganised/);
});

await runTests();
