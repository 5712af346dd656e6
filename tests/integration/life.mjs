// SPDX-License-Identifier: GPL-3.0-or-later
// Jobs that nothing happens to but what is in their nature. Also for blocks of 1 s and of 12 s, and for
// another implementation of the chain's node.
import { assert, checkOnce, minutesBilled, runJob, runTests, startAgent, test, waitFor, way } from './lib.mjs';

const together = { together: true };
const ofSlurm = { together: true, chain: false };
const MANY = ['ssh', 'rest'].includes(way) ? 20 : 4;

/** The customer's logger has a line about the job. */
const told = (grid, id, words) =>
    waitFor('the customer is not told', () => grid.customerApi.lines.some((line) => line.logName === id && words.test(line.text)));

test('the life of a job', async (grid) => {
    const before = await grid.balances();
    const size = { ntasks: 1, cpusPerTask: 2, memPerCpu: 50 };
    const job = await runJob(grid, {
        ...size,
        minutes: 30,
        script: '#!/bin/bash\n# a comment\nid -un\necho "$SLURM_JOB_NAME $SLURM_CPUS_PER_TASK"\nenv | grep -c ETH_PRIVATE || true\n',
    });
    const user = grid.userOf('alice').name;
    assert.equal(await grid.outputOf(job.id), `${user}\n${job.id} 2\n0\n`);
    const slurm = await grid.slurmJobOf(job.id);
    assert.match(slurm.UserId, new RegExp(`^${user}\\(`));
    assert.match(slurm.Comment, /^supervisor /);
    assert.ok(slurm.StdOut.startsWith(grid.userOf('alice').home), slurm.StdOut);
    assert.equal(slurm.Requeue, '0');
    // A job of some seconds is billed one minute; the provider gets 80 %, the customer the rest back.
    assert.equal(minutesBilled(grid, job, size), 1);
    const after = await grid.balances();
    assert.equal(after.provider - before.provider, (grid.price(size) * 80n) / 100n);
    assert.equal(before.alice - after.alice, grid.price(size));
});

test('the paid time is the time limit', async (grid) => {
    const job = await runJob(grid, { amount: 100n * 10n ** 18n, cpusPerTask: 4, memPerCpu: 1 });
    const paid = (100n * 10n ** 18n) / grid.price({ cpusPerTask: 4, memPerCpu: 1 });
    const slurm = await grid.slurmJobOf(job.id);
    const [h, m, s] = slurm.TimeLimit.split(':').map(Number);
    assert.equal(h * 60 + m + s / 60, Number(paid));
}, together);

test('a job that fails with exit code 3', async (grid) => {
    await runJob(grid, { script: '#!/bin/sh\nexit 3\n' }, { status: 'FAILED', exitCode: 3 });
}, together);

test('a job that is killed by a signal: 128 + 9', async (grid) => {
    await runJob(grid, { script: '#!/bin/sh\nkill -9 $$\n' }, { status: 'FAILED', exitCode: 137 });
}, ofSlurm);

test('GPUs, tasks and memory are what was paid for', async (grid) => {
    const job = await runJob(grid, {
        gpus: 2, ntasks: 3, cpusPerTask: 2, memPerCpu: 20,
        script: '#!/bin/sh\necho "$SLURM_NTASKS $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_CPU $SLURM_GPUS"\n',
    });
    assert.equal(await grid.outputOf(job.id), '3 2 20 2\n');
}, ofSlurm);

test('what a script asks for in #SBATCH lines is not given', async (grid) => {
    const job = await runJob(grid, {
        customer: 'bob',
        script: '#!/bin/sh\n#SBATCH --ntasks=7\n#SBATCH --array=0-3\n#SBATCH --time=9999\n#SBATCH --exclusive\n#SBATCH --job-name=mine\necho "$SLURM_NTASKS ${SLURM_ARRAY_TASK_ID:-none}"\n',
    });
    assert.equal(await grid.outputOf(job.id), '1 none\n');
    assert.equal((await grid.slurmJobOf(job.id)).OverSubscribe, 'OK');
}, ofSlurm);

test('a script that is not found: FAILED, with the reason', async (grid) => {
    const job = await runJob(grid, { hash: 'f'.repeat(64) }, { status: 'FAILED', slurmJobs: 0, ran: false });
    assert.match(job.lastError, /not found|NOT_FOUND|no such|unknown/i);
    assert.equal(BigInt(job.cost.finalCost), 0n);
}, together);

test('an empty script, and one with a NUL byte', async (grid) => {
    const empty = await runJob(grid, { script: '' }, { status: 'FAILED', slurmJobs: 0, ran: false });
    assert.match(empty.lastError, /empty/);
    const nul = await runJob(grid, { script: '#!/bin/sh\necho \0\n' }, { status: 'FAILED', slurmJobs: 0, ran: false });
    assert.match(nul.lastError, /NUL/);
}, ofSlurm);

test('a script over the limit', async (grid) => {
    const big = await runJob(grid, { script: `#!/bin/sh\n${'#'.repeat(5 * 1024 * 1024)}\n` }, { status: 'FAILED', slurmJobs: 0, ran: false });
    assert.match(big.lastError, /5242880|larger|limit/);
}, ofSlurm);

test('a customer without a Unix user: refused', async (grid) => {
    const id = await grid.requestJob({ customer: 'stranger' });
    await waitFor('the job is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === 1);
    await waitFor('it is not PENDING again', async () => (await grid.job(id)).status === 'PENDING');
    await grid.agent.waitLog(new RegExp(`no Unix user.*${id}`));
    assert.equal(await grid.slurmJobOf(id), undefined);
    await told(grid, id, /no Unix user/);
}, together);

test('a refused job that is assigned again is claimed and refused again', async (grid) => {
    const id = await grid.requestJob({ customer: 'stranger' });
    const refusals = async (n) => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === n;
    await waitFor('no first refusal', () => refusals(1));
    await waitFor('it is not PENDING', async () => (await grid.job(id)).status === 'PENDING');
    await grid.chain.metaSchedule(id);
    await waitFor('no second refusal', () => refusals(2), 20000);
}, together);

test('a job that Slurm refuses: its words go to the customer, the job back to the grid', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, ['--slurm.partition=nowhere']);
    const id = await grid.requestJob();
    await waitFor('the job is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === 1, 20000);
    await told(grid, id, /invalid partition/i);
    assert.equal(await grid.slurmJobOf(id), undefined);
    await grid.agent.stop();
}, { chain: false });

test('a job larger than the partition or longer than its MaxTime, which Slurm would take and never start; one for a drained node', async (grid) => {
    const tooLarge = [{ cpusPerTask: 65 }, { ntasks: 65 }, { memPerCpu: 20001 }, { gpus: 5 }].map((size) => ({ memPerCpu: 1, minutes: 2, ...size }));
    const state = (to) => grid.slurm.command(['scontrol', 'update', 'NodeName=n1', `State=${to}`, 'Reason=test']);
    const maxTime = (to) => grid.slurm.command(['scontrol', 'update', 'PartitionName=main', `MaxTime=${to}`]);
    const refused = async (id, words) => {
        await waitFor('the job is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === 1, 20000);
        await told(grid, id, words);
        assert.equal(await grid.slurmJobOf(id), undefined);
    };
    await maxTime(200);
    assert.match(await grid.slurm.command(['scontrol', 'show', 'config']), /EnforcePartLimits +=? *NO/);
    const as = grid.userOf('alice').name;
    const sbatch = ['sbatch', '--parsable', '--partition=main', '--mem-per-cpu=1', '--wrap=true'];
    for (const more of ['--cpus-per-task=65', '--time=201']) {
        const taken = await grid.slurm.command([...sbatch, more], { as });
        await grid.slurm.command(['scancel', taken.trim()]);
    }
    await state('DRAIN');
    const ids = await Promise.all(tooLarge.map((size) => grid.requestJob(size)));
    const waiting = await grid.requestJob({ cpusPerTask: 64, memPerCpu: 10, gpus: 4, minutes: 2 });
    await Promise.all(ids.map((id) => refused(id, /the cluster is too small for/)));
    await grid.waitSlurm(waiting, 'PENDING');
    // What is learnt of the partition for a job that does not fit is asked anew: no restart is needed.
    const [long, short] = await Promise.all([201, 200].map((minutes) => grid.requestJob({ memPerCpu: 1, minutes })));
    await refused(long, /the partition's MaxTime is 200 minutes, paid are 201/);
    await maxTime('UNLIMITED');
    const raised = await grid.requestJob({ memPerCpu: 1, minutes: 201 });
    await grid.waitSlurm(raised, 'PENDING');
    await state('RESUME');
    for (const id of [waiting, short, raised]) {
        await grid.waitStatus(id, 'FINISHED', 40000);
        await checkOnce(grid, id);
    }
}, { chain: false });

test('a job cancelled by its Unix user while it waits: CANCELLED, refunded', async (grid) => {
    const before = await grid.balances();
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=DOWN']);
    const id = await grid.requestJob();
    const slurm = await grid.waitSlurm(id, 'PENDING');
    await grid.slurm.command(['scancel', slurm.JobId]);
    const job = await grid.waitStatus(id, 'CANCELLED');
    await grid.slurm.command(['scontrol', 'update', 'PartitionName=main', 'State=UP']);
    assert.equal(BigInt(job.cost.finalCost), 0n);
    await checkOnce(grid, id, { ran: false });
    assert.equal((await grid.balances()).alice, before.alice);
});

test(`${MANY} jobs at once`, async (grid) => {
    const size = { memPerCpu: 10 };
    const ids = await Promise.all(
        Array.from({ length: MANY }, (_, i) =>
            grid.requestJob({ ...size, customer: ['alice', 'bob', 'carol'][i % 3], script: `#!/bin/sh\necho job ${i}\nexit ${i % 4}\n` }),
        ),
    );
    for (const [i, id] of ids.entries()) {
        const job = await grid.waitStatus(id, i % 4 ? 'FAILED' : 'FINISHED', 60000);
        assert.equal(Number(job.exitCode), i % 4);
        assert.equal(await grid.outputOf(id), `job ${i}\n`);
        assert.equal(minutesBilled(grid, job, size), 1);
        await checkOnce(grid, id);
    }
});

await runTests();
