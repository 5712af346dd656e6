// SPDX-License-Identifier: GPL-3.0-or-later
// Transactions on a bad day, each trouble one that is known from others' trackers: the node is real,
// between it and the agent is a proxy that fails and lies.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Transaction, toQuantity } from '../devnet/chain.mjs';
import { runOk } from '../devnet/process.mjs';
import { assert, checkOnce, killAgent, runJob, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { RpcError, RpcProxy } from './rpcproxy.mjs';

const GWEI = 10n ** 9n;
const NO_SCRIPT = { hash: 'f'.repeat(64), memPerCpu: 10 }; // such a job ends as FAILED without Slurm
const SELECTORS = { claimNextJob: '0x5d3a7180', setStatus: '0xe1c0fdd4', refuse: '0x1f92a63f' };
const CUSTOMERS = ['alice', 'bob', 'carol'];
const state = (grid) => grid.path('agent', 'state');
const rows = async (grid, sql) => JSON.parse((await runOk(['sqlite3', '-json', '-readonly', join(state(grid), 'agent.db'), sql])) || '[]');
const openRows = async (grid) => (await rows(grid, 'SELECT id FROM outbox WHERE state < 2')).length;
const mined = async (grid) => Number(await grid.chain.rpc('eth_getTransactionCount', [grid.chain.wallets.provider.address, 'latest']));
const poolOf = async (grid) => Number((await grid.chain.rpc('txpool_status')).pending);
const automine = (grid, on) => grid.chain.rpc('evm_setAutomine', [on]);
const mine = (grid) => grid.chain.rpc('evm_mine');
const setBaseFee = (grid, wei) => grid.chain.rpc('anvil_setNextBlockBaseFeePerGas', [toQuantity(wei)]);

/** The agent is done with all that it wanted of the chain, and nothing of the bad day is left. */
async function settled(grid) {
    grid.proxy.heal();
    await automine(grid, true);
    await setBaseFee(grid, GWEI);
    await mine(grid);
    await waitFor('transactions are open', async () => (await openRows(grid)) === 0, 20000);
}

/** Jobs that are claimed and, once release() is called, are to be reported as FAILED; no block comes by itself. */
async function reportsInWaiting(grid, customers = ['alice']) {
    grid.customerApi.hang(customers.length);
    const ids = [];
    for (const customer of customers) ids.push(await grid.requestJob({ ...NO_SCRIPT, customer }));
    for (const id of ids) await grid.waitStatus(id, 'SCHEDULED');
    await waitFor('claims are open', async () => (await openRows(grid)) === 0);
    await automine(grid, false);
    return { ids, release: () => grid.customerApi.release() };
}

/** Waits for its end as FAILED (no script), and checks that all happened once. */
async function failedOnce(grid, id) {
    await grid.waitStatus(id, 'FAILED', 30000);
    await checkOnce(grid, id, { slurmJobs: 0, ran: false });
}

test('what is signed: the calls that are made, for this chain, at fees and gas that were asked for', async (grid) => {
    const { id } = await runJob(grid);
    await settled(grid);
    const { sent } = grid.proxy;
    assert.equal(sent.length, 3); // claim, RUNNING, the end
    for (const tx of sent) {
        assert.equal(tx.type, 2);
        assert.equal(tx.chainId, 31337n);
        assert.equal(tx.value, 0n);
        assert.equal(tx.to.toLowerCase(), grid.chain.address.MetaScheduler.toLowerCase());
        assert.ok(tx.gasLimit < 600000n, `gas limit ${tx.gasLimit}`);
        assert.ok(tx.maxFeePerGas < 10n * GWEI, `max fee ${tx.maxFeePerGas}`);
    }
    assert.deepEqual(sent.map((tx) => tx.data.slice(0, 10)), [SELECTORS.claimNextJob, SELECTORS.setStatus, SELECTORS.setStatus]);
    // Each call is one row with a key of its own, its bytes and what it cost.
    const claim = Number((await grid.events({ name: 'ClaimJobEvent', jobId: id }))[0].block);
    const kept = await rows(grid, 'SELECT key, nonce, cost_wei, lower(hex(raw)) AS raw FROM outbox JOIN attempts ON tx = id ORDER BY nonce');
    assert.match(kept[0].key, /^claimNextJob\/\d+\/0$/);
    assert.deepEqual(kept.slice(1).map((row) => row.key), [`running/${id}/${claim}`, `end/${id}/${claim}`]);
    for (const [i, tx] of sent.entries()) {
        const receipt = await grid.chain.receipt(tx.hash);
        assert.equal(`0x${kept[i].raw}`, tx.serialized);
        assert.equal(BigInt(kept[i].cost_wei), BigInt(receipt.gasUsed) * BigInt(receipt.effectiveGasPrice));
    }
});

test('"nonce too low" as an internal error, for transactions that had landed', async (grid) => {
    const from = grid.agent.logSize();
    grid.proxy.land('Internal error: nonce too low', -32603);
    await failedOnce(grid, await grid.requestJob(NO_SCRIPT));
    assert.doesNotMatch(grid.agent.log(from), /cannot be used|transactions wait|made anew/);
    await settled(grid);
});

test('a broadcast that failed, in every way, and had landed', async (grid) => {
    const failures = [{ cut: true }, { status: 500, body: 'oops' }, { status: 200, body: '<html>' }, { status: 429, headers: { 'retry-after': '1' } }];
    let failed = 0;
    grid.proxy.http = (requests) => {
        if (!requests.some(({ method }) => method === 'eth_sendRawTransaction') || failed >= failures.length) return undefined;
        return { ...failures[failed++], forward: true };
    };
    for (let i = 0; i < 4 && failed < failures.length; i++) await failedOnce(grid, await grid.requestJob(NO_SCRIPT));
    assert.equal(failed, failures.length);
    await settled(grid);
});

test('a node that says yes and forwards nothing', async (grid) => {
    const before = grid.proxy.sent.length;
    let swallowed = 0;
    grid.proxy.on('eth_sendRawTransaction', ([raw], next) => (swallowed++ < 1 ? Transaction.from(raw).hash : next()));
    await failedOnce(grid, await grid.requestJob(NO_SCRIPT));
    const hashes = grid.proxy.sent.slice(before).map((tx) => tx.hash);
    assert.equal(hashes.length, 3);
    assert.equal(hashes[1], hashes[0]); // the same bytes
    await settled(grid);
});

test('a node that lies about receipts: there are none', async (grid) => {
    const { ids: [id], release } = await reportsInWaiting(grid);
    grid.proxy.on('eth_getTransactionReceipt', () => null);
    await automine(grid, true);
    const from = grid.agent.logSize();
    release();
    // The call is made anew, the contract says that it is done, and that is believed.
    await grid.agent.waitLog(new RegExp(`cannot be mined: another transaction.*${id}`), 20000, from);
    await failedOnce(grid, id);
    await settled(grid);
});

test('stuck in the mempool: replaced by the same call at more, which is stored before it is sent', async (grid) => {
    const { ids, release } = await reportsInWaiting(grid);
    release();
    await waitFor('the report is not in the pool', async () => (await poolOf(grid)) === 1);
    const stuck = grid.proxy.sent.at(-1);
    let known;
    grid.proxy.on('eth_sendRawTransaction', async (params, next) => {
        known = await rows(grid, `SELECT lower(hex(raw)) AS raw FROM attempts WHERE nonce = ${stuck.nonce}`);
        return next();
    });
    // The base fee rises above all that it offers.
    for (let i = 0; i < 3; i++) {
        assert.equal(grid.proxy.sent.at(-1).hash, stuck.hash);
        await setBaseFee(grid, 40n * GWEI);
        await mine(grid);
        await sleep(350);
    }
    await waitFor('it is not replaced', () => grid.proxy.sent.at(-1).hash !== stuck.hash, 5000);
    const next = grid.proxy.sent.at(-1);
    assert.equal(next.nonce, stuck.nonce);
    assert.equal(next.data, stuck.data);
    assert.ok(next.maxFeePerGas * 8n >= stuck.maxFeePerGas * 9n && next.maxFeePerGas >= 40n * GWEI);
    assert.ok(next.maxPriorityFeePerGas * 8n >= stuck.maxPriorityFeePerGas * 9n);
    // The first may have been sent once more just before.
    await waitFor('it is not in the pool', () => known?.length === 2);
    assert.deepEqual(known.map(({ raw }) => `0x${raw}`), [stuck.serialized, next.serialized]);
    await settled(grid);
    await failedOnce(grid, ids[0]);
});

test('the tip begins below its cap, and is raised up to it; then the same bytes are sent until the chain is cheaper', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, ['--eth.max-priority-fee-per-gas=1gwei', '--eth.max-fee-per-gas=100000gwei', '--eth.bump-after=1']);
    const { ids, release } = await reportsInWaiting(grid);
    const before = grid.proxy.sent.length;
    const from = grid.agent.logSize();
    release();
    await waitFor('the report is not in the pool', async () => (await poolOf(grid)) === 1);
    const offers = () => [...new Map(grid.proxy.sent.slice(before).map((tx) => [tx.hash, tx])).values()];
    // The base fee leaves behind all that it offers, time and again.
    for (const [i, fee] of [40n, 130n, 400n, 1300n, 5000n].entries()) {
        assert.equal(offers().length, i + 1);
        await setBaseFee(grid, fee * GWEI);
        await mine(grid);
        if (i < 4) await waitFor('it is not replaced', () => offers().length === i + 2, 5000);
    }
    await grid.agent.waitLog(/may not offer 1\/8 more/, 5000, from);
    const tips = offers().map((tx) => tx.maxPriorityFeePerGas);
    assert.ok(tips[0] > (GWEI * 6n) / 10n && tips[4] <= GWEI && tips[4] > (GWEI * 9n) / 10n, `${tips}`);
    tips.slice(1).forEach((tip, i) => assert.ok(tip * 8n >= tips[i] * 9n, `${tips}`));
    const sent = grid.proxy.sent.length; // the node has dropped it by now
    await waitFor('it does not come again', () => grid.proxy.sent.length > sent);
    assert.equal(offers().length, 5);
    await settled(grid);
    await failedOnce(grid, ids[0]);
    await grid.agent.stop();
});

test('dropped from the mempool, and the bytes come again', async (grid) => {
    const { ids, release } = await reportsInWaiting(grid);
    release();
    await waitFor('the report is not in the pool', async () => (await poolOf(grid)) === 1);
    const { hash } = grid.proxy.sent.at(-1);
    const before = grid.proxy.sent.length;
    await grid.chain.rpc('anvil_dropTransaction', [hash]);
    await waitFor('it does not come again', async () => (await poolOf(grid)) === 1);
    assert.deepEqual(grid.proxy.sent.slice(before).map((tx) => tx.hash), [hash]);
    await settled(grid);
    await failedOnce(grid, ids[0]);
});

test('dearer than the caps: nothing is signed until the chain is cheaper', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, ['--eth.max-fee-per-gas=5gwei']);
    await setBaseFee(grid, 40n * GWEI);
    await mine(grid);
    const before = grid.proxy.sent.length;
    const id = await grid.requestJob(NO_SCRIPT);
    await setBaseFee(grid, 40n * GWEI);
    await mine(grid);
    await grid.agent.waitLog(/more than --eth.max-fee-per-gas allows/, 10000);
    assert.equal(grid.proxy.sent.length, before);
    await settled(grid);
    await failedOnce(grid, id);
    for (const tx of grid.proxy.sent.slice(before)) assert.ok(tx.maxFeePerGas <= 5n * GWEI);
    await grid.agent.stop();
});

test('a day\'s limit is spent: no new jobs, reports go on', async (grid) => {
    const { ids, release } = await reportsInWaiting(grid);
    await automine(grid, true);
    await killAgent(grid); // a fetch hangs
    await startAgent(grid, ['--eth.max-spend-per-day=1wei']);
    await grid.agent.waitLog(/today's transactions cost \d+ wei, --eth.max-spend-per-day is 1/, 5000);
    const waiting = await grid.requestJob(NO_SCRIPT);
    release();
    await failedOnce(grid, ids[0]);
    await sleep(700); // some polls that show its claim as possible
    assert.equal((await grid.job(waiting)).status, 'META_SCHEDULED');
    await grid.agent.stop();
    await startAgent(grid);
    await failedOnce(grid, waiting);
});

test('less than --eth.min-balance: no new jobs, reports go on; once it is funded all goes on', async (grid) => {
    const { ids, release } = await reportsInWaiting(grid);
    await automine(grid, true);
    await killAgent(grid); // a fetch hangs
    await startAgent(grid, ['--eth.min-balance=2000ether']);
    await grid.agent.waitLog(/has \d+ wei, which is less than the 2000000000000000000000 it should have/, 5000);
    const waiting = await grid.requestJob(NO_SCRIPT);
    release();
    await failedOnce(grid, ids[0]);
    await grid.agent.waitLog(/status: .*no money for new claims/, 5000);
    await sleep(700); // some polls that show its claim as possible
    assert.equal((await grid.job(waiting)).status, 'META_SCHEDULED');
    const from = grid.agent.logSize();
    await grid.chain.fund('provider', 3000n);
    await failedOnce(grid, waiting);
    assert.match(grid.agent.log(from), /jobs are claimed again/);
    assert.match(grid.agent.log(from), /status: .*chain ok; /);
    await grid.chain.fund('provider');
    await grid.agent.stop();
});

test('a chain without EIP-1559', async (grid) => {
    const { proxy } = grid;
    const before = proxy.sent.length;
    const unknown = () => {
        throw new RpcError('the method does not exist', -32601);
    };
    proxy.on('eth_getBlockByNumber', async (params, next) => ({ ...(await next()), baseFeePerGas: undefined }));
    proxy.on('eth_maxPriorityFeePerGas', unknown);
    proxy.on('eth_feeHistory', unknown);
    await mine(grid);
    const seen = proxy.count('eth_getBlockByNumber');
    await waitFor('the agent has not seen that block', () => proxy.count('eth_getBlockByNumber') >= seen + 4);
    await failedOnce(grid, await grid.requestJob(NO_SCRIPT));
    const sent = proxy.sent.slice(before);
    assert.deepEqual(sent.map((tx) => [tx.type, tx.chainId]), [[0, 31337n], [0, 31337n]]);
    await settled(grid);
});

test('out of gas money, and funded later', async (grid) => {
    const { address } = grid.chain.wallets.provider;
    const { ids, release } = await reportsInWaiting(grid, CUSTOMERS);
    await automine(grid, true);
    const [from, before] = [grid.agent.logSize(), grid.proxy.sent.length];
    await grid.chain.rpc('anvil_setBalance', [address, toQuantity(1000n)]);
    await mine(grid);
    await grid.agent.waitLog(/no new jobs are claimed until it is funded/, 5000, from);
    const waiting = await grid.requestJob(NO_SCRIPT);
    release();
    await grid.agent.waitLog(/does not take transaction .*[Ii]nsufficient funds/, 20000, from);
    await sleep(2500);
    const kinds = (await rows(grid, 'SELECT kind FROM outbox WHERE state < 2')).map(({ kind }) => kind);
    assert.deepEqual(kinds, [3, 3, 3]); // the reports, and no claim, not even one that waits for money
    assert.ok(grid.proxy.sent.length - before < 12, `${grid.proxy.sent.length - before} broadcasts`); // no hot loop
    for (const id of ids) assert.equal((await grid.job(id)).status, 'SCHEDULED'); // the reports are kept
    await grid.chain.fund('provider');
    for (const id of ids) await grid.waitStatus(id, 'FAILED', 10000);
    for (const id of [...ids, waiting]) await failedOnce(grid, id);
    await grid.agent.waitLog(/jobs are claimed again/, 1000, from);
    await settled(grid);
});

test("somebody else's transactions: mined, in the way, and one that is gone and leaves a gap", async (grid) => {
    const { chain } = grid;
    const [wallet, other] = [chain.wallets.provider, chain.wallets.alice.address];
    const foreign = async (nonce, fee = 30n) => {
        const tx = { type: 2, chainId: 31337, nonce, to: other, value: 1n, gasLimit: 21000n, maxFeePerGas: fee * GWEI, maxPriorityFeePerGas: GWEI };
        return chain.rpc('eth_sendRawTransaction', [await wallet.signTransaction(tx)]);
    };
    const from = grid.agent.logSize();
    await foreign(await mined(grid));
    await grid.agent.waitLog(/nonce \d+ of this account: not by the agent, but mined/, 5000, from);

    // One behind the nonce that the agent takes next: its own of the same nonce is made anew.
    const two = await reportsInWaiting(grid, ['alice', 'bob']);
    const first = await mined(grid);
    const taken = await foreign(first + 1);
    two.release();
    await waitFor('the report is not sent', () => grid.proxy.sent.some((tx) => tx.nonce === first + 1));
    await settled(grid);
    await grid.chain.receipt(taken); // it was not outbid
    for (const id of two.ids) await failedOnce(grid, id);
    assert.equal(grid.proxy.sent.at(-1).nonce, first + 2);

    // One waits in the pool, and is gone: the agent's behind it wait for a nonce that nobody has.
    const { ids, release } = await reportsInWaiting(grid);
    const next = await mined(grid);
    const gone = await foreign(next);
    await grid.agent.waitLog(new RegExp(`nonce ${next} of this account: not by the agent, but in the pool`), 5000, from);
    release();
    await waitFor('the report is not sent', () => grid.proxy.sent.some((tx) => tx.nonce === next + 1));
    await chain.rpc('anvil_dropTransaction', [gone]);
    for (let i = 0; i < 4; i++) {
        await mine(grid);
        await sleep(300);
    }
    await grid.agent.waitLog(new RegExp(`ours wait for nonce ${next}, which no transaction has`), 5000, from);
    await waitFor('the gap is not filled', () => grid.proxy.sent.some((tx) => tx.nonce === next));
    const fill = grid.proxy.sent.find((tx) => tx.nonce === next);
    assert.deepEqual([fill.to, fill.data, fill.value], [wallet.address, '0x', 0n]);
    assert.equal(await mined(grid), next); // nothing could be mined before
    await settled(grid);
    await failedOnce(grid, ids[0]);
    const told = grid.agent.log(from).match(/nonces? [\d to]+ of this account: not by the agent/g);
    assert.equal(new Set(told).size, told.length); // each once
});

test("somebody else's transactions in the pool that nobody mines, with a nonce of ours and below it: replaced", async (grid) => {
    const { chain } = grid;
    const { provider, alice } = chain.wallets;
    const foreign = async (nonce, maxFeePerGas) => {
        const tx = { type: 2, chainId: 31337, nonce, to: alice.address, value: 1n, gasLimit: 21000n, maxFeePerGas, maxPriorityFeePerGas: maxFeePerGas / 10n };
        return chain.rpc('eth_sendRawTransaction', [await provider.signTransaction(tx)]);
    };
    /** Blocks that have no room for a transaction, until there is no such one any more. */
    const emptyBlocks = async (hash, most) => {
        for (let i = 0; i < most && (await chain.rpc('eth_getTransactionByHash', [hash])); i++) {
            await chain.rpc('evm_setBlockGasLimit', [toQuantity(20000)]);
            await mine(grid);
            await chain.rpc('evm_setBlockGasLimit', [toQuantity(60000000)]);
            await sleep(350);
        }
        assert.equal(await chain.rpc('eth_getTransactionByHash', [hash]), null);
    };
    await grid.agent.stop();
    await startAgent(grid, ['--eth.bump-after=1']);

    // Ours is dropped, and another of its nonce comes in its place.
    const one = await reportsInWaiting(grid);
    one.release();
    await waitFor('the report is not in the pool', async () => (await poolOf(grid)) === 1);
    const ours = grid.proxy.sent.at(-1);
    await chain.rpc('anvil_dropTransaction', [ours.hash]);
    await emptyBlocks(await foreign(ours.nonce, (ours.maxFeePerGas * 12n) / 10n), 20);
    assert.equal(await mined(grid), ours.nonce);
    const same = grid.proxy.sent.filter((tx) => tx.nonce === ours.nonce);
    assert.ok(same.length > 1 && same.every((tx) => tx.data === ours.data));
    await settled(grid);
    await failedOnce(grid, one.ids[0]);

    // Ours is behind another, which is given ten times as long.
    const two = await reportsInWaiting(grid);
    const next = await mined(grid);
    const below = await foreign(next, (GWEI * 13n) / 10n);
    const from = grid.agent.logSize();
    await grid.agent.waitLog(new RegExp(`nonce ${next} of this account: not by the agent, but in the pool`), 5000);
    two.release();
    await waitFor('the report is not sent', () => grid.proxy.sent.some((tx) => tx.nonce === next + 1));
    const began = await chain.blockNumber();
    await emptyBlocks(below, 40);
    assert.ok((await chain.blockNumber()) - began >= 10);
    assert.match(grid.agent.log(from), new RegExp(`ours wait for nonce ${next}, which another one holds up`));
    assert.equal(await mined(grid), next);
    const fill = grid.proxy.sent.findLast((tx) => tx.nonce === next);
    assert.deepEqual([fill.to, fill.data, fill.value], [provider.address, '0x', 0n]);
    await settled(grid);
    await failedOnce(grid, two.ids[0]);
    await grid.agent.stop();
});

test('100 reports at once, and at most 64 in flight', async (grid) => {
    const { proxy } = grid;
    await grid.agent.stop();
    const ids = await Promise.all(Array.from({ length: 100 }, (_, i) => grid.requestJob({ ...NO_SCRIPT, customer: CUSTOMERS[i % 3] })));
    grid.customerApi.hang(200);
    await startAgent(grid, ['--claim.batch=100', '--log.level=info']);
    const claimed = async () => (await rows(grid, "SELECT count(*) AS n FROM jobs WHERE state = 'CLAIMED'"))[0].n;
    await waitFor('not all are claimed', async () => (await claimed()) === 100, 30000, 100);
    await waitFor('claims are open', async () => (await openRows(grid)) === 0);
    const [first, before] = [await mined(grid), proxy.sent.length];
    await automine(grid, false);
    grid.customerApi.release();
    await waitFor('not all reports are wanted', async () => (await openRows(grid)) === 100, 20000, 100);
    await waitFor('64 are not in the pool', async () => (await poolOf(grid)) === 64);
    const states = await rows(grid, 'SELECT state, count(*) AS n FROM outbox WHERE state < 2 GROUP BY state ORDER BY state');
    assert.deepEqual(states, [{ state: 0, n: 36 }, { state: 1, n: 64 }]);
    await mine(grid);
    await automine(grid, true);
    await settled(grid);
    for (const id of ids) await grid.waitStatus(id, 'FAILED', 20000);
    const nonces = [...new Set(proxy.sent.slice(before).map((tx) => tx.nonce))].sort((a, b) => a - b);
    assert.deepEqual(nonces, Array.from({ length: 100 }, (_, i) => first + i));
    const ends = (await grid.events({ name: 'JobTransitionEvent' })).filter((e) => Number(e.args._to) >= 4).map((e) => e.args._jobId);
    for (const id of ids) assert.equal(ends.filter((other) => other === id).length, 1);
    await grid.agent.stop();
});

test('a transaction that reverts in its block', async (grid) => {
    const { proxy } = grid;
    const from = grid.agent.logSize();
    const before = proxy.sent.length;
    const id = await grid.requestJob({ ...NO_SCRIPT, schedule: false });
    let open;
    const gate = new Promise((done) => (open = done));
    proxy.on('eth_sendRawTransaction', async (params, next) => (await gate, next()));
    await grid.chain.metaSchedule(id);
    await waitFor('no claim is sent', () => proxy.sent.length > before);
    await grid.cancelJob(id); // the queue keeps it, the claim finds nothing to do
    open();
    await grid.agent.waitLog(/claimNextJob: reverted: /, 10000, from);
    const [row] = await rows(grid, 'SELECT state, reason, cost_wei FROM outbox JOIN attempts ON tx = id ORDER BY id DESC LIMIT 1');
    assert.equal(row.state, 3);
    assert.match(row.reason, /NoJob/);
    assert.ok(BigInt(row.cost_wei) > 0n);
    await settled(grid);
    await grid.agent.stop(); // it would not claim for some seconds
});

test('a node that says it is of another chain gets no signature for it', async (grid) => {
    const { ids, release } = await reportsInWaiting(grid);
    await automine(grid, true);
    const [from, before] = [grid.agent.logSize(), grid.proxy.sent.length];
    grid.proxy.chainId(1);
    await grid.agent.waitLog(/chain 1\b.*31337|31337.*chain 1\b/, 10000, from);
    release();
    await grid.agent.waitLog(new RegExp(`-> ENDED.*${ids[0]}`), 10000, from);
    await sleep(300);
    await killAgent(grid); // and after a restart, too
    await startAgent(grid);
    await grid.agent.waitLog(/chain 1\b.*31337|31337.*chain 1\b/, 10000);
    await sleep(500);
    assert.equal(grid.proxy.sent.length, before);
    grid.proxy.heal();
    await failedOnce(grid, ids[0]);
    assert.ok(grid.proxy.sent.every((tx) => tx.chainId === 31337n));
    await settled(grid);
});

test('the state of an old backup, with a report in flight', async (grid) => {
    const copy = grid.path('agent', 'copy');
    const { ids: [id], release } = await reportsInWaiting(grid);
    release();
    await waitFor('the report is not in the pool', async () => (await poolOf(grid)) === 1);
    await killAgent(grid);
    cpSync(state(grid), copy, { recursive: true });
    await startAgent(grid);
    await settled(grid);
    await failedOnce(grid, id);
    await failedOnce(grid, await grid.requestJob(NO_SCRIPT)); // the account goes on
    await killAgent(grid);
    rmSync(state(grid), { recursive: true });
    cpSync(copy, state(grid), { recursive: true });
    await startAgent(grid);
    await grid.agent.waitLog(new RegExp(`-> DONE.*${id}`), 10000);
    await settled(grid);
    await failedOnce(grid, id);
    await failedOnce(grid, await grid.requestJob(NO_SCRIPT));
});

await runTests({}, async (grid) => {
    grid.proxy = await new RpcProxy(grid.rpcUrl).listen();
    grid.agentRpcUrl = grid.proxy.url;
});
