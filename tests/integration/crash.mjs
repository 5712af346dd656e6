// SPDX-License-Identifier: GPL-3.0-or-later
// The agent is killed with SIGKILL in each state and started again: one Slurm job, one right end.
// A state is held by stopping what the agent waits for in it; FETCHED and REPORTED, which nothing
// outside holds, are left to the moment at which the log tells of them.
import { assert, checkOnce, holdSubmissions, killAgent, restartAgent, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';

const exit3 = { script: '#!/bin/sh\necho once >> "$HOME/ran-$SLURM_JOB_NAME"\nsleep 1\nexit 3\n' };

const inState = (grid, id, state, from = 0) =>
    grid.agent.waitLog(new RegExp(`-> ${state}\\b.*${id}`), 20000, from);

async function finish(grid, id, options) {
    const job = await grid.waitStatus(id, 'FAILED', 60000);
    assert.equal(Number(job.exitCode), 3);
    await checkOnce(grid, id, options);
}

test('claims that are sent and not mined', async (grid) => {
    await grid.chain.rpc('evm_setAutomine', [false]);
    const requests = [grid.requestJob({ ...exit3, schedule: false }), grid.requestJob({ ...exit3, customer: 'bob', schedule: false })];
    await sleep(300);
    await grid.chain.rpc('evm_mine');
    const ids = await Promise.all(requests);
    const scheduled = ids.map((id) => grid.chain.metaSchedule(id));
    await sleep(300);
    await grid.chain.rpc('evm_mine');
    await Promise.all(scheduled);
    await waitFor('no claims wait in the mempool', async () => {
        const pool = await grid.chain.rpc('txpool_status');
        return Number(pool.pending) >= 2;
    });
    await killAgent(grid);
    await startAgent(grid);
    await grid.chain.rpc('evm_setAutomine', [true]);
    await grid.chain.rpc('evm_mine');
    for (const id of ids) await finish(grid, id);
});

test('CLAIMED: the customer API hangs', async (grid) => {
    grid.customerApi.hang(50);
    const id = await grid.requestJob(exit3);
    await inState(grid, id, 'CLAIMED');
    await killAgent(grid);
    grid.customerApi.release();
    await startAgent(grid);
    await finish(grid, id);
});

test('FETCHED', async (grid) => {
    const id = await grid.requestJob(exit3);
    await inState(grid, id, 'FETCHED');
    await killAgent(grid);
    await startAgent(grid);
    await finish(grid, id);
});

test('FETCHED: sshd hangs', async (grid) => {
    grid.sshd.pause();
    const id = await grid.requestJob(exit3);
    await inState(grid, id, 'FETCHED');
    await sleep(300);
    await killAgent(grid);
    grid.sshd.resume();
    await startAgent(grid);
    await finish(grid, id);
});

for (const [what, answer] of [['slurmctld has not the request yet', 'comes'], ['slurmctld has the request, and nobody its answer', 'is awaited']])
    test(`SUBMITTING: ${what}`, async (grid) => {
        const submissions = await holdSubmissions(grid, 'alice', answer);
        await restartAgent(grid, submissions.args);
        const id = await grid.requestJob(exit3);
        await submissions.called();
        if (answer === 'is awaited') {
            submissions.release();
            await waitFor('it is not in the queue', () => grid.slurmJobOf(id));
        }
        await killAgent(grid);
        submissions.release();
        await startAgent(grid);
        await finish(grid, id);
    });

test('SUBMITTED: the job waits in Slurm', async (grid) => {
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=DOWN']);
    const id = await grid.requestJob(exit3);
    await inState(grid, id, 'SUBMITTED');
    await killAgent(grid);
    await startAgent(grid);
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=UP']);
    await finish(grid, id);
});

test('RUNNING: the report waits for the chain', async (grid) => {
    const id = await grid.requestJob({ script: '#!/bin/sh\nsleep 4\nexit 3\n' });
    await inState(grid, id, 'SUBMITTED');
    grid.anvil.pause();
    await inState(grid, id, 'RUNNING');
    await killAgent(grid);
    grid.anvil.resume();
    await startAgent(grid);
    await finish(grid, id);
});

test('RUNNING: the report is mined', async (grid) => {
    const id = await grid.requestJob({ script: '#!/bin/sh\nsleep 4\nexit 3\n' });
    await grid.waitStatus(id, 'RUNNING', 20000);
    await killAgent(grid);
    await startAgent(grid);
    await finish(grid, id);
});

test('ENDED: the end waits for the chain', async (grid) => {
    const id = await grid.requestJob({ script: '#!/bin/sh\nsleep 2\nexit 3\n' });
    await grid.waitStatus(id, 'RUNNING', 20000);
    grid.anvil.pause();
    await inState(grid, id, 'ENDED');
    await killAgent(grid);
    grid.anvil.resume();
    await startAgent(grid);
    await finish(grid, id);
});

test('ENDED: the end is in the mempool', async (grid) => {
    const id = await grid.requestJob({ script: '#!/bin/sh\nsleep 2\nexit 3\n' });
    await grid.waitStatus(id, 'RUNNING', 20000);
    await grid.chain.rpc('evm_setAutomine', [false]);
    await inState(grid, id, 'ENDED');
    await waitFor('the end is not in the mempool', async () => Number((await grid.chain.rpc('txpool_status')).pending) >= 1);
    await killAgent(grid);
    await startAgent(grid);
    await grid.chain.rpc('evm_setAutomine', [true]);
    await grid.chain.rpc('evm_mine');
    await finish(grid, id);
});

test('REPORTED', async (grid) => {
    const id = await grid.requestJob(exit3);
    await inState(grid, id, 'REPORTED');
    await killAgent(grid);
    await startAgent(grid);
    await finish(grid, id);
    await inState(grid, id, 'DONE');
});

test('REFUSED: the refusal waits for the chain', async (grid) => {
    grid.customerApi.hang(1);
    const id = await grid.requestJob({ customer: 'stranger' });
    await inState(grid, id, 'CLAIMED');
    grid.anvil.pause();
    grid.customerApi.release();
    await killAgent(grid);
    await startAgent(grid);
    await sleep(1000);
    await killAgent(grid);
    grid.anvil.resume();
    await startAgent(grid);
    await waitFor('the job is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === 1, 30000);
    await inState(grid, id, 'DONE');
});

test('DONE: nothing is done again', async (grid) => {
    const id = await grid.requestJob(exit3);
    await inState(grid, id, 'DONE');
    const nonce = await grid.chain.rpc('eth_getTransactionCount', [grid.chain.wallets.provider.address, 'latest']);
    await killAgent(grid);
    await startAgent(grid);
    await sleep(2000);
    await finish(grid, id);
    assert.equal(await grid.chain.rpc('eth_getTransactionCount', [grid.chain.wallets.provider.address, 'latest']), nonce);
});

test('20 kills at random moments while 12 jobs run', async (grid) => {
    const seed = Number(process.env.CRASH_SEED ?? Date.now() % 1000000);
    console.log(`# CRASH_SEED=${seed}`);
    let state = seed;
    const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
    const ids = await Promise.all(
        Array.from({ length: 12 }, (_, i) => grid.requestJob({ ...exit3, memPerCpu: 10, customer: ['alice', 'bob', 'carol'][i % 3] })),
    );
    for (let i = 0; i < 20; i++) {
        await sleep(50 + random() * 900);
        await killAgent(grid);
        await startAgent(grid);
    }
    for (const id of ids) await finish(grid, id);
});

await runTests();
