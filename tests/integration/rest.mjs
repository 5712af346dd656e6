// SPDX-License-Identifier: GPL-3.0-or-later
// Slurm over slurmrestd, and the change between it and SSH.
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AGENT_ARGS, Notified, assert, checkOnce, longJob, runJob, runTests, sleep, test, waitFor } from './lib.mjs';
import { run } from '../devnet/process.mjs';
import { Proxy } from './proxy.mjs';

async function restart(grid, args, env) {
    await grid.agent.stop();
    await grid.startAgent({ args: [...AGENT_ARGS, ...args], env });
}

const rest = (grid, ...more) => restart(grid, ['--slurm.backend=rest', ...grid.restArgs(), ...more]);
const auto = (grid, ...more) => restart(grid, [...grid.restArgs(), ...more]);
const ssh = (grid, ...more) => restart(grid, ['--slurm.backend=ssh', ...more]);

/** How many submissions slurmrestd got since a size of its log. */
const restSubmissions = (grid, from) => (grid.slurmrestd.log(from).match(/job\/submit/g) ?? []).length;

const SHOW_ENV = '#!/bin/bash\nenv | grep -v ^_= | sort\npwd\numask\n';

/**
 * What differs by nature: ids, times, and what the login node's sshd sets; and what newer sbatch says a
 * second time (of SLURM_CPUS_PER_TASK), in words that change from release to release. The
 * priority is that of whoever runs sbatch: a test may be run under nice.
 */
const comparable = (text) =>
    text
        .split('\n')
        .filter((line) => !/^(SLURM_JOB_?ID|SLURM_TASK_PID|PATH|LANG|SLURM_JOB_NAME|SLURM_JOB_(START|END)_TIME|SLURM_TRES_PER_TASK|SLURM_PRIO_PROCESS)=/.test(line))
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

test('its output: in its user\'s home, where the template says; never in /tmp', async (grid) => {
    const { home, uid } = grid.userOf('alice');
    for (const start of [rest, ssh]) {
        for (const [template, path] of [[undefined, /\/deepsquare-\d+\.out$/], ['out of %x.%j', /\/out of 0x[0-9a-f]{64}\.\d+$/]]) {
            await start(grid, ...(template ? [`--slurm.output=${template}`] : []));
            const { id } = await runJob(grid);
            const { StdOut, StdErr } = await grid.slurmJobOf(id);
            assert.ok(StdOut.startsWith(`${home}/`) && path.test(StdOut), StdOut);
            assert.equal(StdErr, StdOut);
            assert.equal(statSync(StdOut).uid, uid);
            assert.equal(await grid.outputOf(id), 'hello\n');
        }
    }
    const foreign = readdirSync('/tmp').filter((name) => statSync(join('/tmp', name), { throwIfNoEntry: false })?.uid === uid);
    assert.deepEqual(foreign, []);
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
    assert.deepEqual(grid.agent.log().match(/over SSH \(change \d+ of way\)/g), ['over SSH (change 1 of way)']);
    await grid.slurmrestd.start();
    await grid.agent.waitLog(/over slurmrestd again \(change 2 of way\)/, 30000);
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
    const args = grid.restArgs();
    writeFileSync(grid.path('agent', 'jwt.key'), Buffer.alloc(32, 7), { mode: 0o600 });
    await grid.startAgent({ args: [...AGENT_ARGS, ...args] });
    await runJob(grid, {}, { timeoutMs: 60000 });
    assert.match(grid.agent.log(), /out of order/);
    await grid.agent.stop();
    await grid.startAgent({ args: [...AGENT_ARGS, '--slurm.backend=rest', ...args] });
    const id = await grid.requestJob();
    await sleep(6000);
    assert.equal(await grid.slurmJobOf(id), undefined);
    assert.equal((await grid.events({ name: 'JobRefusedEvent', jobId: id })).length, 0);
    await rest(grid); // with the right key it runs after all
    await grid.waitStatus(id, 'FINISHED', 40000);
    await checkOnce(grid, id);
    const log = readFileSync(join(grid.logDir, 'agent.log'), 'latin1');
    assert.doesNotMatch(log, /eyJ/, 'a token in the log');
    const key = readFileSync(grid.slurm.jwtKey);
    for (const text of ['latin1', 'hex', 'base64', 'base64url']) assert.ok(!log.includes(key.toString(text)), 'the key in the log');
});

test('a service token, by file, renewed while the agent runs', async (grid) => {
    const file = grid.path('agent', 'token');
    writeFileSync(file, `${grid.slurm.token('root')}\n`, { mode: 0o600 });
    await restart(grid, ['--slurm.backend=rest', grid.restArgs()[0], `--slurm.rest.token-file=${file}`]);
    await runJob(grid);
    const printed = await grid.slurm.command(['scontrol', 'token', 'username=gridadmin', 'lifespan=86400']);
    writeFileSync(file, printed.replace('SLURM_JWT=', ''), { mode: 0o600 });
    await runJob(grid, { customer: 'bob' });
});

test('the answer to a submission is lost: one Slurm job', async (grid) => {
    const proxy = new Proxy(grid.ports.slurmrestd);
    await proxy.listen();
    let left = 3;
    proxy.cut = (method, path) => path.endsWith('/job/submit') && left-- > 0;
    try {
        await restart(grid, ['--slurm.backend=rest', ...grid.restArgs(proxy.port)]);
        await Promise.all(['alice', 'bob', 'carol'].map((customer) => runJob(grid, { customer })));
        assert.equal(proxy.cuts, 3);
        left = 1;
        await restart(grid, grid.restArgs(proxy.port)); // found over SSH
        await runJob(grid);
        assert.equal(proxy.cuts, 4);
        assert.match(grid.agent.log(), /out of order/);
    } finally {
        proxy.close();
    }
});

test('both ways are away: nothing is claimed, what is claimed waits, and the status says so', async (grid) => {
    const notified = new Notified(grid);
    await restart(grid, grid.restArgs(), { NOTIFY_SOCKET: notified.path });
    const { id: running, end } = await longJob(grid, { code: 4 });
    await grid.waitStatus(running, 'RUNNING', 20000);
    await notified.waitStatus(/^STATUS=1 jobs in hand; chain ok; Slurm ok over slurmrestd \(0 changes of way\)$/);
    await Promise.all([grid.slurmrestd.kill(), grid.sshd.stop()]);
    await run(['pkill', '-KILL', '-x', 'sshd']); // its sessions; the PID namespace is ours alone
    await notified.waitStatus(/; Slurm unreachable: no new claims$/);
    end();
    const waiting = await grid.requestJob({ memPerCpu: 10 });
    await grid.waitSlurm(running, 'FAILED', 20000);
    assert.equal((await grid.job(waiting)).status, 'META_SCHEDULED');
    assert.ok(grid.agent.alive);
    await Promise.all([grid.slurmrestd.start(), grid.sshd.start()]);
    await notified.waitStatus(/; Slurm ok over slurmrestd \(2 changes of way\)$/, 30000);
    assert.equal(Number((await grid.waitStatus(running, 'FAILED', 40000)).exitCode), 4);
    await grid.waitStatus(waiting, 'FINISHED', 40000);
    for (const id of [running, waiting]) await checkOnce(grid, id);
    await notified.program.kill();
});

test('slurmctld is away while jobs are submitted by slurmrestd', async (grid) => {
    await rest(grid);
    await grid.slurmctld.stop();
    const id = await grid.requestJob();
    await sleep(2000);
    await grid.slurmctld.start();
    await grid.waitStatus(id, 'FINISHED', 60000);
    await checkOnce(grid, id);
});

/** The lines of the first example in the document that has such a line. */
function example(text, line) {
    const blocks = text.split(/\n(?! {4}|\n)/).map((part) => part.split('\n').filter((l) => l.startsWith('    ')));
    return blocks.find((lines) => lines.some((l) => line.test(l))).map((l) => l.trim());
}

test('doc/slurmrestd.md, step by step', async (grid) => {
    const doc = readFileSync(fileURLToPath(new URL('../../doc/slurmrestd.md', import.meta.url)), 'utf8');
    // The cluster is not the reader's: another path for the key, another SlurmUser.
    const key = grid.path('doc.key');
    const local = (lines) => lines.map((line) => line.replaceAll('/var/spool/slurmctld/jwt_hs256.key', key).replace('chown slurm:', 'chown gridadmin:'));
    await Promise.all([grid.agent.stop(), grid.slurmrestd.stop()]);

    const made = await run(['sh', '-euc', local(example(doc, /^ *dd /)).join('\n')]);
    assert.equal(made.code, 0, made.stderr);
    assert.equal(statSync(key).mode & 0o777, 0o600);
    const conf = readFileSync(grid.slurm.conf, 'utf8').replace(/^AuthAlt.*\n/gm, '');
    writeFileSync(grid.slurm.conf, `${local(example(doc, /^ *AuthAltTypes=/)).join('\n')}\n${conf}`);
    await grid.slurmctld.restart();

    const unit = example(doc, /ExecStart=\//);
    const value = (name) => unit.findLast((line) => line.startsWith(`${name}=`)).slice(name.length + 1);
    const argv = value('ExecStart').split(' ');
    const [older, newer] = [...doc.matchAll(/`(-s [^`]+)`/g)].map(([, words]) => words.split(' '));
    argv.splice(1, 0, ...(grid.slurm.isNew ? newer : older)); // this cluster has no slurmdbd
    const [name, setting] = value('Environment').split('=');
    const { uid, gid } = grid.slurm.restUser;
    const as = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
    const slurmrestd = grid.slurm.program('slurmrestd-doc', [...as, ...argv], { env: { [name]: setting } });
    const port = argv.at(-1).split(':')[1];
    await grid.slurm.waitUp(slurmrestd, async () => (await run(['ss', '-Hltn', `sport = :${port}`])).stdout.trim());

    const agentConf = example(doc, /slurm\.rest\.endpoint =/);
    mkdirSync(grid.path('agent', 'secrets'), { mode: 0o700 });
    const install = local(example(doc, /^ *install /)).map((line) => line.replace('/etc/deepsquare-agent/', `${grid.path('agent')}/`));
    assert.equal((await run(['sh', '-euc', install.join('\n')])).code, 0);
    writeFileSync(grid.path('agent', 'agent.conf'), `${agentConf.join('\n')}\nslurm.backend = rest\n`);
    await grid.startAgent({ args: [...AGENT_ARGS, `--config=${grid.path('agent', 'agent.conf')}`] });
    await grid.agent.waitLog(/Slurm answers/, 15000);
    await runJob(grid);
    await slurmrestd.stop();
});

await runTests();
