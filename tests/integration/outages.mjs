// SPDX-License-Identifier: GPL-3.0-or-later
// Parts are away for a while; nothing is lost, nothing comes twice.
import { assert, checkOnce, killAgent, longJob, minutesBilled, runJob, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { run } from '../devnet/process.mjs';

async function finished(grid, id, exitCode = 0) {
    const job = await grid.waitStatus(id, exitCode ? 'FAILED' : 'FINISHED', 60000);
    assert.equal(Number(job.exitCode), exitCode);
    await checkOnce(grid, id);
    return job;
}

test('the agent is down while jobs end', async (grid) => {
    const jobs = [];
    for (let code = 0; code < 3; code++) jobs.push(await longJob(grid, { code }));
    for (const { id } of jobs) await grid.waitSlurm(id, 'RUNNING');
    await killAgent(grid);
    jobs.forEach(({ end }) => end());
    for (const { id } of jobs) await grid.waitSlurm(id, ['COMPLETED', 'FAILED'], 20000);
    await startAgent(grid);
    for (const [i, { id }] of jobs.entries()) await finished(grid, id, i);
});

test('slurmctld is restarted with events in the spool', async (grid) => {
    const { id, end } = await longJob(grid, { code: 5 });
    await grid.waitSlurm(id, 'RUNNING');
    await killAgent(grid);
    end();
    await grid.waitSlurm(id, 'FAILED', 20000);
    await grid.slurmctld.restart();
    const from = grid.agent.logSize();
    await startAgent(grid, ['--slurm.query-interval=10m']); // the plugin alone tells
    await finished(grid, id, 5);
    await grid.agent.waitLog(/-> ENDED.*says the plugin/, 1000, from);
    await grid.agent.stop(); // the next test has one that asks each second
});

test('slurmctld is away while jobs are submitted', async (grid) => {
    await grid.slurmctld.stop();
    const id = await grid.requestJob();
    await sleep(2000);
    await grid.slurmctld.start();
    await finished(grid, id);
});

test('the node of the chain is down for 10 s', async (grid) => {
    const { id, end } = await longJob(grid, { code: 4 });
    await grid.waitStatus(id, 'RUNNING', 20000);
    await grid.anvil.stop();
    end();
    await sleep(10000);
    assert.ok(grid.agent.alive);
    await grid.anvil.start();
    await finished(grid, id, 4);
    await runJob(grid);
});

test('the node of the chain hangs for 5 s in the middle of everything', async (grid) => {
    const ids = await Promise.all(['alice', 'bob', 'carol'].map((customer) => grid.requestJob({ customer, memPerCpu: 10 })));
    grid.anvil.pause();
    await sleep(5000);
    grid.anvil.resume();
    for (const id of ids) await finished(grid, id);
});

test('the customer API is down, then slow, then well', async (grid) => {
    await grid.customerApi.stop();
    const id = await grid.requestJob();
    await sleep(1500);
    await grid.customerApi.start();
    grid.customerApi.fail(3);
    await finished(grid, id);
});

test('sshd is down for a while', async (grid) => {
    await grid.sshd.stop();
    await run(['pkill', '-KILL', '-x', 'sshd']); // its sessions; the PID namespace is ours alone
    const id = await grid.requestJob();
    await sleep(3000);
    await grid.sshd.start();
    await finished(grid, id);
});

test('SIGTERM stops it soon, and it goes on later', async (grid) => {
    const { id, end } = await longJob(grid);
    await grid.waitStatus(id, 'RUNNING', 20000);
    const began = Date.now();
    await grid.agent.stop(15000);
    assert.ok(Date.now() - began < 10000, `took ${Date.now() - began} ms`);
    assert.match(grid.agent.log(), /msg="stopping"/);
    await startAgent(grid);
    end();
    const job = await finished(grid, id);
    assert.equal(minutesBilled(grid, job, { memPerCpu: 10 }), 1);
});

test('everything is away at once', async (grid) => {
    const { id, end } = await longJob(grid, { code: 6 });
    await grid.waitSlurm(id, 'RUNNING');
    await killAgent(grid);
    await grid.anvil.stop();
    end();
    await grid.waitSlurm(id, 'FAILED', 20000);
    await grid.slurmctld.stop();
    await startAgent(grid);
    await sleep(2000);
    await grid.slurmctld.start();
    await sleep(1000);
    await grid.anvil.start();
    await finished(grid, id, 6);
});

await runTests();
