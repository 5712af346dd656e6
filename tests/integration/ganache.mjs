// SPDX-License-Identifier: GPL-3.0-or-later
// Another implementation of the node (life.mjs runs on it, too), and one that went on while the agent was
// away.
import { readFileSync } from 'node:fs';
import { assert, CREDIT, checkOnce, killAgent, longJob, runJob, runTests, startAgent, test, waitFor } from './lib.mjs';
import { RpcProxy } from './rpcproxy.mjs';

const peakKb = (grid) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${grid.agent.pid}/status`, 'utf8'))[1]);

test('more time, and a cancel', async (grid) => {
    const { id } = await longJob(grid, { amount: 100n * CREDIT });
    await grid.waitStatus(id, 'RUNNING', 60000);
    await grid.topUpJob(id, 20n * CREDIT);
    await grid.agent.waitLog(new RegExp(`more minutes.*${id}`), 40000);
    await grid.cancelJob(id);
    await grid.waitStatus(id, 'CANCELLED', 60000);
    await checkOnce(grid, id);
});

test('the node is restarted', async (grid) => {
    const { id, end } = await longJob(grid, { code: 4 });
    await grid.waitStatus(id, 'RUNNING', 40000);
    await grid.anvil.stop();
    end();
    await grid.anvil.start();
    await grid.waitStatus(id, 'FAILED', 60000);
    await checkOnce(grid, id);
});

test('50,000 blocks went by while the agent was down', async (grid) => {
    const proxy = await new RpcProxy(grid.rpcUrl).listen();
    const mine = (blocks) => grid.chain.rpc('evm_mine', [{ blocks }], 300000);
    grid.agentRpcUrl = proxy.url;
    await grid.agent.stop();
    await startAgent(grid);
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=DOWN']);
    const taken = await grid.requestJob();
    await grid.waitSlurm(taken, 'PENDING');
    const before = peakKb(grid);
    await killAgent(grid);
    await mine(25000);
    await grid.chain.send('operator', 'MetaScheduler', 'timeoutJob', [taken]); // a needle in the haystack
    await mine(25000);
    const head = await grid.chain.blockNumber();

    let requests = 0;
    let needed; // HTTP requests until the last block's logs were asked for
    proxy.http = (calls) => {
        requests++;
        const logs = calls.filter(({ method }) => method === 'eth_getLogs');
        if (logs.some(({ params }) => Number(params[0].toBlock) >= head)) needed ??= requests;
        return undefined;
    };
    const began = Date.now();
    await startAgent(grid);
    await waitFor('the agent is not in step', () => needed, 30000);
    const seconds = (Date.now() - began) / 1000;
    console.log(`# ${needed} requests, ${seconds} s, VmHWM ${before} kB before, ${peakKb(grid)} kB after`);
    assert.ok(needed <= 60, `${needed} requests`);
    assert.ok(peakKb(grid) - before < 4096, `${before} kB before, ${peakKb(grid)} kB after`);
    await grid.waitSlurm(taken, 'CANCELLED');
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=UP']);
    await runJob(grid);
    await grid.agent.stop();
    proxy.close();
});

await runTests({ node: 'ganache' }, undefined, ['--metascheduler.poll-interval=1s']); // each poll is a lot of work for it
