// SPDX-License-Identifier: GPL-3.0-or-later
// Slurm over slurmrestd, and the change between it and SSH.
import { copyFileSync, chmodSync, chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT_ARGS, assert, checkOnce, runJob, runTests, sleep, test, waitFor } from './lib.mjs';
import { Proxy } from './proxy.mjs';

const keyFile = (grid) => grid.path('agent', 'jwt.key');

/** The agent reads secrets that are its own or root's: the key is copied, as a site would do. */
function copyKey(grid) {
    copyFileSync(grid.slurm.jwtKey, keyFile(grid));
    chownSync(keyFile(grid), 0, 0);
    chmodSync(keyFile(grid), 0o600);
}

const restArgs = (grid, port = grid.ports.slurmrestd) => [
    `--slurm.rest.endpoint=http://127.0.0.1:${port}`,
    `--slurm.rest.jwt-key-file=${keyFile(grid)}`,
];

async function restart(grid, args) {
    await grid.agent.stop();
    copyKey(grid);
    await grid.startAgent({ args: [...AGENT_ARGS, ...args] });
}

const rest = (grid, ...more) => restart(grid, ['--slurm.backend=rest', ...restArgs(grid), ...more]);
const auto = (grid, ...more) => restart(grid, [...restArgs(grid), ...more]);
const ssh = (grid) => restart(grid, ['--slurm.backend=ssh']);

/** How many submissions slurmrestd got since a size of its log. */
const restSubmissions = (grid, from) => (grid.slurmrestd.log(from).match(/job\/submit/g) ?? []).length;

const SHOW_ENV = '#!/bin/bash\nenv | grep -v ^_= | sort\npwd\numask\n';

/** What differs by nature: ids, times, and what the login node's sshd sets. */
const comparable = (text) =>
    text
        .split('\n')
        .filter((line) => !/^(SLURM_JOB_?ID|SLURM_TASK_PID|PATH|LANG|SLURM_JOB_NAME)=/.test(line))
        .join('\n');

test('the life of a job, by slurmrestd alone', async (grid) => {
    await rest(grid);
    const from = grid.slurmrestd.logSize();
    await grid.sshd.stop();
    try {
        const job = await runJob(grid, {
            minutes: 30, ntasks: 2, cpusPerTask: 2, memPerCpu: 50, gpus: 2,
            script: '#!/bin/bash\nid -un\necho "$SLURM_NTASKS $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_CPU $SLURM_GPUS $SLURM_GPUS_ON_NODE"\n',
        });
        const user = grid.userOf('alice');
        assert.equal(await grid.outputOf(job.id), `${user.name}\n2 2 50 2 2\n`);
        const slurm = await grid.slurmJobOf(job.id);
        assert.match(slurm.UserId, new RegExp(`^${user.name}\\(`));
        assert.match(slurm.Comment, /^supervisor /);
        assert.match(slurm.StdOut, new RegExp(`^${user.home}/deepsquare-\\d+\\.out$`));
        assert.equal(slurm.Requeue, '0');
        assert.equal(slurm.TimeLimit, '00:30:00');
        assert.equal(restSubmissions(grid, from), 1);
    } finally {
        await grid.sshd.start();
    }
});

test('exit codes, and #SBATCH lines that ask for more', async (grid) => {
    await rest(grid);
    await runJob(grid, { script: '#!/bin/sh\nexit 3\n' }, { status: 'FAILED', exitCode: 3 });
    await runJob(grid, { script: '#!/bin/sh\nkill -9 $$\n' }, { status: 'FAILED', exitCode: 137 });
    const job = await runJob(grid, {
        script: '#!/bin/sh\n#SBATCH --ntasks=7\n#SBATCH --array=0-3\necho "$SLURM_NTASKS ${SLURM_ARRAY_TASK_ID:-none}"\n',
    });
    assert.equal(await grid.outputOf(job.id), '1 none\n');
});

test('what JSON has to escape reaches the job as it is', async (grid) => {
    await rest(grid);
    const job = await runJob(grid, { script: '#!/bin/sh\nprintf "%s" "é\\t\\"\u0001"\n' });
    assert.equal(await grid.outputOf(job.id), 'é\\t"\u0001');
});

test('a job is the same by slurmrestd and by SSH', async (grid) => {
    const size = { ntasks: 2, cpusPerTask: 2, memPerCpu: 50, gpus: 1, minutes: 30 };
    await rest(grid);
    const one = await runJob(grid, { ...size, script: SHOW_ENV });
    await ssh(grid);
    const two = await runJob(grid, { ...size, script: SHOW_ENV });
    assert.equal(comparable(await grid.outputOf(one.id)), comparable(await grid.outputOf(two.id)));
    const [a, b] = [await grid.slurmJobOf(one.id), await grid.slurmJobOf(two.id)];
    const same = ['UserId', 'Comment', 'Partition', 'TimeLimit', 'NumTasks', 'CPUs/Task', 'NumCPUs', 'MinMemoryCPU', 'TresPerJob', 'TRES', 'Requeue', 'WorkDir', 'StdIn', 'ExitCode'];
    for (const name of same) assert.equal(a[name], b[name], name);
});

test('a refusal by Slurm is a verdict: no second way is tried', async (grid) => {
    await auto(grid, '--slurm.partition=nowhere');
    const id = await grid.requestJob();
    await waitFor('it is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: id })).length === 1, 20000);
    assert.match(grid.agent.log(), /Invalid partition name/);
    assert.doesNotMatch(grid.agent.log(), /over SSH/);
    assert.equal(await grid.slurmJobOf(id), undefined);
});

test('slurmrestd dies: SSH; slurmrestd is back: slurmrestd', async (grid) => {
    await auto(grid);
    let from = grid.slurmrestd.logSize();
    await runJob(grid);
    assert.equal(restSubmissions(grid, from), 1);
    await grid.slurmrestd.kill();
    const began = Date.now();
    await runJob(grid);
    assert.ok(Date.now() - began < 30000);
    assert.equal((grid.agent.log().match(/out of order/g) ?? []).length, 1);
    await grid.slurmrestd.start();
    await grid.agent.waitLog(/over slurmrestd again/, 30000);
    from = grid.slurmrestd.logSize();
    await runJob(grid);
    assert.equal(restSubmissions(grid, from), 1);
    assert.equal((grid.agent.log().match(/out of order/g) ?? []).length, 1);
});

test('slurmrestd hangs: SSH within 30 s', async (grid) => {
    await auto(grid);
    await runJob(grid);
    grid.slurmrestd.pause();
    try {
        await runJob(grid);
    } finally {
        grid.slurmrestd.resume();
    }
    await grid.agent.waitLog(/over slurmrestd again/, 30000);
});

test('the wrong key: SSH where there is one, else nothing is claimed', async (grid) => {
    await auto(grid);
    await grid.agent.stop();
    writeFileSync(keyFile(grid), Buffer.alloc(32, 7), { mode: 0o600 });
    await grid.startAgent({ args: [...AGENT_ARGS, ...restArgs(grid)] });
    await runJob(grid, {}, { timeoutMs: 60000 });
    assert.match(grid.agent.log(), /out of order/);
    await grid.agent.stop();
    await grid.startAgent({ args: [...AGENT_ARGS, '--slurm.backend=rest', ...restArgs(grid)] });
    const id = await grid.requestJob();
    await sleep(6000);
    assert.equal(await grid.slurmJobOf(id), undefined);
    assert.equal((await grid.events({ name: 'JobRefusedEvent', jobId: id })).length, 0);
    await rest(grid); // with the right key it runs after all
    await grid.waitStatus(id, 'FINISHED', 40000);
    await checkOnce(grid, id);
    const log = readFileSync(join(grid.logDir, 'agent.log'), 'utf8');
    assert.doesNotMatch(log, /eyJ/, 'a token in the log');
});

test('a service token, by file, renewed while the agent runs', async (grid) => {
    const file = grid.path('agent', 'token');
    writeFileSync(file, `${grid.slurm.token('root')}\n`, { mode: 0o600 });
    await restart(grid, ['--slurm.backend=rest', restArgs(grid)[0], `--slurm.rest.token-file=${file}`]);
    await runJob(grid);
    writeFileSync(file, `${grid.slurm.token('gridadmin')}\n`, { mode: 0o600 });
    await runJob(grid, { customer: 'bob' });
});

test('the answer to a submission is lost: one Slurm job', async (grid) => {
    const proxy = new Proxy(grid.ports.slurmrestd);
    await proxy.listen();
    let left = 3;
    proxy.cut = (method, path) => path.endsWith('/job/submit') && left-- > 0;
    try {
        await restart(grid, ['--slurm.backend=rest', ...restArgs(grid, proxy.port)]);
        await Promise.all(['alice', 'bob', 'carol'].map((customer) => runJob(grid, { customer })));
        assert.equal(proxy.cuts, 3);
        left = 1;
        await restart(grid, restArgs(grid, proxy.port)); // found over SSH
        await runJob(grid);
        assert.equal(proxy.cuts, 4);
        assert.match(grid.agent.log(), /out of order/);
    } finally {
        proxy.close();
    }
});

await runTests();
