// SPDX-License-Identifier: GPL-3.0-or-later
// Two endpoints, of which the first fails in all the ways that nodes do.
import { connect, createServer } from 'node:net';
import { CREDIT, assert, checkOnce, runJob, runTests, startAgent, test, waitFor } from './lib.mjs';
import { toQuantity } from '../devnet/chain.mjs';
import { RpcError, RpcProxy } from './rpcproxy.mjs';

const CLAIM_TOPIC = '0xc8d7c7c2914e1aa1462fe7999f8a18a0f1043d7d94ab692c3ac9af846f1be8c7';
// A cancel and a top-up that are claimed, and all that moves a job on.
const HIDDEN_TOPICS = [
    '0x290fa751f58fe2a1f5758b401eb3110dbbb71b68540282856c0dcdcc7011e07d',
    '0xa42f2b4a7ee7f91857a4c98fc71fc48546a284d5db48dd77b7ab81030a494470',
    '0x0bba917f0a1e0fc0d51a75273e7088a4dfecb010699e60ac9c58526429f6c37f',
];
const EXIT_5 = { script: '#!/bin/sh\nexit 5\n', memPerCpu: 10 };
const FAILED = { status: 'FAILED', exitCode: 5 };

let first;
let second;

/** An agent with the proxies `first` and `second` as its endpoints, both well. */
async function useProxies(grid, args = []) {
    first ??= await new RpcProxy(grid.rpcUrl).listen();
    second ??= await new RpcProxy(grid.rpcUrl).listen();
    first.heal();
    second.heal();
    grid.agentRpcUrl = `${first.url},${second.url}`;
    await grid.agent.stop();
    await startAgent(grid, args);
}

const left = (grid, proxy, from) => grid.agent.waitLog(new RegExp(`${proxy.url} is not used`), 10000, from);
const back = (grid, proxy, from) => grid.agent.waitLog(new RegExp(`${proxy.url} is well again`), 20000, from);

const polls = (proxy) => proxy.calls.filter(({ params }) => params[0]?.data?.startsWith('0x79490261')).length; // queue lengths

/** How many calls `other` gets until `one` has got so many. */
async function callsUntil(one, other, calls, what) {
    const before = [one, other].map((proxy) => proxy.calls.length);
    await waitFor(`${what}: it is not asked`, () => one.calls.length - before[0] > calls);
    return other.calls.length - before[1];
}

test('the first fails, and the second does all the work within a poll', async (grid) => {
    await useProxies(grid);
    const began = grid.agent.logSize();
    const faults = [
        ['cut', (proxy) => proxy.cut()],
        ['garbage', (proxy) => proxy.garbage()],
        ['500', (proxy) => proxy.status(500)],
        ['null', (proxy) => proxy.garbage('null')],
    ];
    // By turns: who is left is healed while the other works.
    let [worker, idle] = [first, second];
    for (const [name, fault] of faults) {
        idle.heal();
        fault(worker);
        const before = [idle, worker].map(polls);
        await waitFor(`${name}: the other one is not asked`, () => polls(idle) - before[0] >= 5);
        assert.ok(polls(worker) - before[1] <= 2, `${name}: ${polls(worker) - before[1]} polls more`); // one was under way
        [worker, idle] = [idle, worker];
    }
    await runJob(grid, EXIT_5, FAILED); // with one endpoint out of order
    assert.doesNotMatch(grid.agent.log(began), /cannot be used/);
    idle.heal();
    worker.heal();
});

test('one that hangs', async (grid) => {
    await useProxies(grid);
    const from = grid.agent.logSize();
    const isLeft = async () => {
        first.delayMs = 60000;
        const at = Date.now();
        await left(grid, first, from);
        const [, time] = grid.agent.log(from).match(new RegExp(`time=(\\S+) .*${first.url} is not used`));
        assert.ok(Date.parse(time) - at < 4000, `left after ${Date.parse(time) - at} ms`);
    };
    await Promise.all([isLeft(), runJob(grid, EXIT_5, FAILED)]);
});

test('HTTP 429: it gets the rest that it asks for, and is used again', async (grid) => {
    await useProxies(grid);
    const from = grid.agent.logSize();
    let refused, again;
    first.http = () => {
        refused ??= Date.now();
        if (Date.now() - refused < 1000) return { status: 429, headers: { 'retry-after': '4' }, body: 'no' }; // and what was under way
        again ??= Date.now();
    };
    await left(grid, first, from);
    await runJob(grid, EXIT_5, FAILED);
    await back(grid, first, from);
    assert.ok(again - refused >= 4000, `${again - refused} ms of rest`);
    const more = await callsUntil(first, second, 24, 'the first');
    assert.ok(more <= 8, `${more} calls of the second`); // a probe each second, of two calls
});

test('one that is behind, and one of another chain', async (grid) => {
    await useProxies(grid);
    const from = grid.agent.logSize();
    await first.staleHead(0);
    await grid.chain.rpc('anvil_mine', ['0x8']);
    await grid.agent.waitLog(new RegExp(`${first.url} is not used for now: it is at block`), 10000, from);
    await runJob(grid, EXIT_5, FAILED);
    first.heal();
    await back(grid, first, from);
    second.chainId(5);
    await grid.agent.waitLog(new RegExp(`level=error msg="chain: ${second.url} is not used: .*a node of chain 5, and this agent's is 31337`), 10000, from);
    first.chainId(6);
    await grid.agent.waitLog(/cannot be used: .*a node of chain/, 10000, from);
    const [a, b] = [first, second].map((proxy) => proxy.count('eth_sendRawTransaction'));
    const id = await grid.requestJob(EXIT_5);
    await new Promise((done) => setTimeout(done, 1500));
    assert.equal(first.count('eth_sendRawTransaction') - a + second.count('eth_sendRawTransaction') - b, 0);
    first.heal();
    await grid.waitStatus(id, 'FAILED', 60000);
    await checkOnce(grid, id);
    assert.equal(grid.agent.log(from).match(new RegExp(`${second.url} is not used`, 'g')).length, 1);
});

test('logs that lack our claim', async (grid) => {
    await useProxies(grid);
    const from = grid.agent.logSize();
    first.on('eth_getLogs', async (params, next) => (await next()).filter(({ topics }) => topics[0] !== CLAIM_TOPIC));
    await runJob(grid, EXIT_5, FAILED);
    await grid.agent.waitLog(new RegExp(`${first.url}: the logs of block \\d+ lack a claim`), 5000, from);
    // The second has them: what came after was read, too.
    const head = await grid.chain.blockNumber();
    await waitFor('the logs are not read', () => second.calls.some(({ method, params }) => method === 'eth_getLogs' && Number(params[0].toBlock) >= head), 5000);
});

test('what all nodes leave out for ever: the contract is asked', async (grid) => {
    await useProxies(grid, ['--reconcile.interval=2s', '--reconcile.grace=1s']);
    const lacks = ({ topics }) => !HIDDEN_TOPICS.includes(topics[0]);
    for (const proxy of [first, second]) {
        proxy.on('eth_getLogs', async (params, next) => (await next()).filter(lacks));
        proxy.on('eth_getTransactionReceipt', async (params, next) => {
            const receipt = await next();
            return receipt && { ...receipt, logs: receipt.logs.filter(lacks) };
        });
    }
    const long = { script: '#!/bin/sh\nsleep 60\n', memPerCpu: 10 };
    const ids = await Promise.all(['alice', 'bob'].map((customer) => grid.requestJob({ ...long, customer })));
    const [topped, stopped] = ids;
    await Promise.all(ids.map((id) => grid.waitStatus(id, 'RUNNING', 30000)));
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=DOWN']);
    const taken = await grid.requestJob({ ...long, customer: 'carol' });
    await grid.agent.waitLog(new RegExp(`-> SUBMITTED.*${taken}`), 20000);
    const limit = Number(100n * CREDIT / grid.price(long));
    const more = Number(50n * CREDIT / grid.price(long));
    await Promise.all([grid.topUpJob(topped, 50n * CREDIT), grid.cancelJob(stopped, 'bob'), grid.cancelJob(taken, 'carol')]);
    await grid.waitStatus(stopped, 'CANCELLED', 30000);
    await grid.waitSlurm(taken, 'CANCELLED', 30000);
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=UP']);
    await grid.agent.waitLog(new RegExp(`paid for \\d+ minutes, here it is ${limit}: .*${topped}`), 20000);
    [first, second].forEach((proxy) => proxy.heal()); // or a node that has them
    const minutesIn = async (id) => {
        const [days, rest] = (await grid.slurmJobOf(id)).TimeLimit.match(/^(?:(\d+)-)?(.*)$/).slice(1);
        const [hours, minutes] = rest.split(':').map(Number);
        return Number(days ?? 0) * 1440 + hours * 60 + minutes;
    };
    await waitFor('Slurm was not told', async () => (await minutesIn(topped)) === limit + more, 20000);
    await grid.slurm.command(['scancel', (await grid.slurmJobOf(topped)).JobId]);
    await grid.waitStatus(topped, 'CANCELLED', 20000);
    for (const id of ids) await checkOnce(grid, id);
});

test('receipts of a block that is not in the chain', async (grid) => {
    await useProxies(grid);
    const from = grid.agent.logSize();
    first.on('eth_getTransactionReceipt', async (params, next) => {
        const receipt = await next();
        return receipt && { ...receipt, blockHash: `0x${'ab'.repeat(32)}` };
    });
    await runJob(grid, EXIT_5, FAILED);
    await grid.agent.waitLog(new RegExp(`${first.url} is not used for now: its block is not in the chain`), 5000, from);
});

test('ranges of logs that the node finds too large', async (grid) => {
    await useProxies(grid);
    await grid.agent.stop();
    await grid.chain.rpc('anvil_mine', [toQuantity(300)]);
    const words = [
        [-32005, 'query returned more than 10000 results'],
        [-32614, 'eth_getLogs is limited to a 40 range'],
        [-32602, 'You can make eth_getLogs requests with up to a 40 block range.'],
    ];
    let complaints = 0;
    for (const proxy of [first, second])
        proxy.on('eth_getLogs', ([{ fromBlock, toBlock }], next) => {
            if (toBlock - fromBlock < 40) return next();
            const [code, message] = words[complaints++ % words.length];
            throw new RpcError(message, code);
        });
    const from = grid.agent.logSize();
    await startAgent(grid);
    await runJob(grid, EXIT_5, FAILED);
    assert.ok(complaints >= 3 && complaints < 12, `${complaints} complaints`);
    assert.doesNotMatch(grid.agent.log(from), /is not used/);
});

test('new heads over WebSocket: sooner with it, as well without', async (grid) => {
    const sockets = [];
    const relay = createServer((client) => {
        const node = connect(grid.ports.anvil, '127.0.0.1');
        for (const [one, other] of [[client, node], [node, client]])
            one.pipe(other).on('error', () => {}).on('close', () => other.destroy());
        sockets.push(client);
    });
    await new Promise((done) => relay.listen(0, '127.0.0.1', done));
    const { port } = relay.address();
    await useProxies(grid, ['--metascheduler.poll-interval=6s', `--metascheduler.endpoint.ws=ws://127.0.0.1:${port}/`]);
    const [at, before] = [Date.now(), polls(first)];
    await runJob(grid, EXIT_5, FAILED);
    const due = Math.ceil((Date.now() - at) / 6000);
    // How many more depends on how many heads come at once: they are one reason to poll.
    assert.ok(polls(first) - before > due, `${polls(first) - before} polls, ${due} were due anyway`);
    relay.close();
    sockets.forEach((socket) => socket.destroy());
    await grid.agent.waitLog(/no new heads over WebSocket, polling goes on as before/, 5000);
    const id = await grid.requestJob(EXIT_5);
    await grid.waitStatus(id, ['SCHEDULED', 'RUNNING', 'FAILED'], 10000);
    await grid.agent.stop();
    await startAgent(grid); // at the usual pace
    await grid.waitStatus(id, 'FAILED', 30000);
});

await runTests();
