// SPDX-License-Identifier: GPL-3.0-or-later
// Another implementation of the node, and one that went on while the agent was away.
import { readFileSync } from 'node:fs';
import { assert, CREDIT, checkOnce, killAgent, longJob, minutesBilled, runJob, runTests, startAgent, test, waitFor } from './lib.mjs';
import { RpcProxy } from './rpcproxy.mjs';

const peakKb = (grid) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${grid.agent.pid}/status`, 'utf8'))[1]);

test('jobs of all ends, a refusal, a cancel, more time', async (grid) => {
    const small = { memPerCpu: 10 };
    const cancelled = async () => {
        const { id } = await longJob(grid, { customer: 'bob', amount: 100n * CREDIT });
        await grid.waitStatus(id, 'RUNNING', 60000);
        await grid.topUpJob(id, 20n * CREDIT, 'bob');
        await grid.agent.waitLog(new RegExp(`more minutes.*${id}`), 40000);
        await grid.cancelJob(id, 'bob');
        await grid.waitStatus(id, 'CANCELLED', 60000);
        await checkOnce(grid, id);
    };
    const refused = async () => {
        const id = await grid.requestJob({ customer: 'stranger' });
        await waitFor('the job is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === 1, 60000);
    };
    const [good] = await Promise.all([
        runJob(grid, { ...small, minutes: 30 }, { timeoutMs: 60000 }),
        runJob(grid, { ...small, script: '#!/bin/sh\nexit 3\n' }, { status: 'FAILED', exitCode: 3, timeoutMs: 60000 }),
        runJob(grid, { ...small, hash: 'f'.repeat(64) }, { status: 'FAILED', slurmJobs: 0, ran: false, timeoutMs: 60000 }),
        cancelled(),
        refused(),
    ]);
    assert.equal(minutesBilled(grid, good, small), 1);
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
