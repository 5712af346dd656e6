// SPDX-License-Identifier: GPL-3.0-or-later
// The backends alone, without the agent around them, on a real Slurm: what both say of the same
// jobs, submissions whose answer is lost, and requests that a server comes to too late.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import tls from 'node:tls';
import net from 'node:net';
import { assert, runTests, sleep, test, waitFor } from './lib.mjs';
import { Proxy } from './proxy.mjs';

const TOOL = join(process.env.AGENT_BUILD, 'tests', 'integration', 'backend_tool');
let serial = 0;
const newName = () => `0x${(Date.now() * 1000 + serial++).toString(16).padStart(64, '0')}`;

/** Runs the tool with these commands; its lines, split into the code and the rest. */
function tool(grid, options, commands) {
    const child = spawn(TOOL, Object.entries(options).map(([k, v]) => `${k}=${v}`));
    let out = '';
    let err = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.stdin.end(`${commands.join('\n')}\n`);
    return new Promise((resolve, reject) => {
        child.on('close', (code) => {
            if (code !== 0) return reject(new Error(`backend_tool: ${code} ${err}`));
            const lines = out.trimEnd().split('\n');
            resolve({ err, lines, codes: lines.filter((l) => !l.startsWith(' ')).map((l) => l.split(' ')[0]) });
        });
    });
}

function restOptions(grid, endpoint = `http://127.0.0.1:${grid.ports.slurmrestd}`) {
    grid.restArgs(); // makes the agent's copy of the key
    return { endpoint, key: grid.path('agent', 'jwt.key') };
}

const sshOptions = (grid) => ({
    ssh: `127.0.0.1:${grid.ports.sshd}`,
    'ssh-admin': 'gridadmin',
    'ssh-key': grid.path('ssh', 'agent.base64'),
    'known-hosts': grid.path('ssh', 'known_hosts'),
});

const jobsNamed = async (grid, name) => (await grid.slurmJobs()).filter((job) => job.JobName === name);
const idOf = (line) => Number(/id=(\d+)/.exec(line)[1]);

test('both ways say the same of jobs and the partition', async (grid) => {
    const { name: user } = grid.userOf('alice');
    const name = newName();
    const submit = await tool(grid, restOptions(grid), [
        'ping', `user ${user}`, 'user nobody-of-that-name',
        `submit ${name} ${user} 2 2 10 2 7 main`,
        `submit ${newName()} ${user} 1 1 10 0 7 nowhere`,
        `submit ${newName()} ${user} 1 1 10 9 7 main`,
        `submit ${newName()} root 1 1 10 0 7 main`,
    ]);
    assert.deepEqual(submit.codes, ['OK', 'OK', 'NOTFOUND', 'OK', 'REFUSED', 'REFUSED', 'INVALID']);
    const id = idOf(submit.lines[3]);
    await grid.waitSlurm(name, 'COMPLETED');
    await sleep(1000); // until COMPLETING is over
    assert.deepEqual(readFileSync(join(grid.userOf('alice').home, `tool-${id}.out`)), Buffer.from([0xff, 0xfe, 0x20, 0x01, 0x09, 0xc3, 0xa9]));
    await grid.slurm.command(['scontrol', 'create', 'PartitionName=hidden', 'Nodes=n1', 'Hidden=YES', 'MaxTime=1-01:01:00']);
    const many = Array.from({ length: 40 }, (_, i) => 100000 + i).join(' ');
    const questions = [
        `find ${name} ${user}`, `find ${newName()} ${user}`, `find ${name} ${grid.userOf('bob').name}`,
        `query ${id}`, `query 99999`, `query ${id} ${many}`,
        `cancel ${id} ${user}`, `cancel 99999 ${user}`, `limit ${id} 9`, 'limit 99999 9',
        'list', 'partition main', 'partition hidden', 'partition nowhere',
    ];
    const over = { rest: await tool(grid, restOptions(grid), questions), ssh: await tool(grid, sshOptions(grid), questions) };
    assert.deepEqual(over.rest.codes, ['OK', 'NOTFOUND', 'NOTFOUND', 'OK', 'OK', 'OK', 'OK', 'OK', 'EXISTS', 'NOTFOUND', 'OK', 'OK', 'OK', 'NOTFOUND']);
    const facts = ({ lines }) => lines.map((line) => (/^(OK|  )/.test(line) ? line : line.split(' ')[0]));
    assert.deepEqual(facts(over.rest), facts(over.ssh));
    const node = '  n1 cpus=0/64 mem=0/20000 gpus=0/4 flags=0';
    assert.deepEqual(over.rest.lines.slice(-5, -1), ['OK 1 max_time=-1', node, 'OK 1 max_time=1501', node]);
});

test('what slurmctld keeps of a submission that it refused is not found', async (grid) => {
    const { name: user } = grid.userOf('alice');
    for (const options of [restOptions(grid), sshOptions(grid)]) {
        const name = newName();
        const { codes } = await tool(grid, options, [`submit ${name} ${user} 1 1 10 9 7 main`, `find ${name} ${user}`]);
        assert.deepEqual(codes, ['REFUSED', 'NOTFOUND']);
        const [kept] = await jobsNamed(grid, name);
        if (!grid.slurm.isNew || kept) assert.equal(kept.JobState, 'FAILED');
    }
});

test('time limits are raised, and running jobs cancelled', async (grid) => {
    const { name: user } = grid.userOf('bob');
    const sbatch = ['sbatch', '--parsable', '--wrap=sleep 60', '--time=5', '--output=/dev/null'];
    const id = Number(await grid.slurm.command(sbatch, { as: user }));
    await waitFor('it does not run', async () => (await grid.slurmJobs()).find((j) => Number(j.JobId) === id)?.JobState === 'RUNNING');
    const commands = [`limit ${id} 99`];
    // Nobody but the owner cancels it: without slurmdbd slurmctld of 24.11 and later hangs for ever if
    // another user tries.
    if (!grid.slurm.isNew) commands.push(`cancel ${id} ${grid.userOf('alice').name}`);
    const { codes } = await tool(grid, restOptions(grid), commands);
    assert.deepEqual(codes, grid.slurm.isNew ? ['OK'] : ['OK', 'REFUSED']);
    const job = (await grid.slurmJobs()).find((j) => Number(j.JobId) === id);
    assert.equal(job.TimeLimit, '01:39:00');
    assert.deepEqual((await tool(grid, restOptions(grid), [`cancel ${id} ${user}`])).codes, ['OK']);
    await waitFor('it is not cancelled', async () => (await grid.slurmJobs()).find((j) => Number(j.JobId) === id)?.JobState === 'CANCELLED');
});

test('200 submissions, the answers to half of them lost: 200 Slurm jobs', async (grid) => {
    const proxy = new Proxy(grid.ports.slurmrestd);
    await proxy.listen();
    let n = 0;
    proxy.cut = (method, path) => path.endsWith('/job/submit') && n++ % 2 === 0;
    const users = ['alice', 'bob', 'carol'].map((who) => grid.userOf(who).name);
    const names = Array.from({ length: 200 }, newName);
    const part = (k, size) => names.slice(k * size, (k + 1) * size).map((name, i) => `once ${name} ${users[i % 3]}`);
    const options = restOptions(grid, `http://127.0.0.1:${proxy.port}`);
    const began = Date.now();
    const runs = await Promise.all([
        ...[0, 1, 2].map((k) => tool(grid, options, part(k, 40))),
        // The look-up goes over SSH where the two are combined.
        ...[3, 4].map((k) => tool(grid, { ...options, ...sshOptions(grid) }, part(k, 40))),
    ]);
    proxy.close();
    for (const run of runs) for (const line of run.lines) assert.match(line, /^OK (submitted|adopted) id=\d+$/);
    const adopted = runs.flatMap((run) => run.lines).filter((line) => line.includes('adopted')).length;
    console.log(`# ${Date.now() - began} ms, ${proxy.cuts} answers lost, ${adopted} jobs adopted`);
    assert.ok(proxy.cuts >= 60 && adopted === proxy.cuts, `${proxy.cuts} cuts, ${adopted} adopted`);
    const found = (await grid.slurmJobs()).filter((job) => names.includes(job.JobName));
    assert.equal(found.length, 200);
    assert.equal(new Set(found.map((job) => job.JobName)).size, 200);
});

for (const piece of ['slurmrestd', 'slurmctld'])
    test(`${piece} hangs: a submission is not carried out after its deadline`, async (grid) => {
        const name = newName();
        const { name: user } = grid.userOf('carol');
        const options = { ...restOptions(grid), timeout: 2000 };
        const run = tool(grid, options, ['ping', 'sleep 1000', `submit ${name} ${user}`]);
        await sleep(500);
        grid[piece].pause();
        let codes;
        try {
            ({ codes } = await run);
            await sleep(2500); // until its token has expired
        } finally {
            grid[piece].resume();
        }
        assert.deepEqual(codes, ['OK', 'OK', 'OUTCOME_UNKNOWN']);
        await sleep(3000);
        assert.equal((await jobsNamed(grid, name)).length, 0);
        const later = await tool(grid, { ...options, timeout: 10000 }, [`find ${name} ${user}`]);
        assert.deepEqual(later.codes, ['NOTFOUND']);
    });

test('slurmctld is away: nothing is "not found"', async (grid) => {
    const { name: user } = grid.userOf('alice');
    await grid.slurmctld.stop();
    const options = { ...restOptions(grid), timeout: 30000 };
    const asked = ['ping', 'query 1', `find ${newName()} ${user}`].map((c) => tool(grid, options, [c]));
    const codes = (await Promise.all(asked)).map((answer) => answer.codes[0]);
    await grid.slurmctld.start();
    assert.deepEqual(codes, ['UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
});

test('over a Unix socket, and over TLS with a CA', async (grid) => {
    const path = grid.path('restd.sock');
    const gate = net.createServer((c) => c.pipe(net.connect(grid.ports.slurmrestd, '127.0.0.1')).pipe(c));
    await new Promise((resolve) => gate.listen(path, resolve));
    assert.ok(existsSync(path));
    const file = (name) => readFileSync(grid.path('tls', name));
    const secure = tls.createServer({ key: file('api.key'), cert: file('api.pem') }, (c) => {
        const target = net.connect(grid.ports.slurmrestd, '127.0.0.1');
        c.pipe(target).pipe(c);
        c.on('error', () => target.destroy());
    });
    await new Promise((resolve) => secure.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${secure.address().port}`;
    const name = newName();
    const { name: user } = grid.userOf('alice');
    try {
        const unix = await tool(grid, restOptions(grid, `unix:${path}`), ['ping', `submit ${name} ${user}`, `find ${name} ${user}`]);
        assert.deepEqual(unix.codes, ['OK', 'OK', 'OK']);
        const ca = grid.path('tls', 'ca.pem');
        assert.deepEqual((await tool(grid, { ...restOptions(grid, url), ca }, ['ping'])).codes, ['OK']);
        assert.deepEqual((await tool(grid, restOptions(grid, url), ['ping'])).codes, ['UNAVAILABLE']);
    } finally {
        gate.close();
        secure.close();
    }
});

test('who goes away comes back: auto', async (grid) => {
    const { name: user } = grid.userOf('alice');
    await grid.slurmrestd.kill();
    const name = newName();
    const options = { ...restOptions(grid), ...sshOptions(grid) };
    const run = tool(grid, options, [`submit ${name} ${user}`, 'changes', 'sleep 8000', 'changes', `find ${name} ${user}`]);
    await sleep(3000);
    await grid.slurmrestd.start();
    const { lines, codes, err } = await run;
    assert.deepEqual(codes, ['OK', 'OK', 'OK', 'OK', 'OK']);
    assert.equal(lines[1], 'OK 1');
    assert.equal(lines[3], 'OK 2');
    assert.match(err, /now over ssh: .*\nnow over rest: /);
});

await runTests();
