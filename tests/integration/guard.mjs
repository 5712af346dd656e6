// SPDX-License-Identifier: GPL-3.0-or-later
// Wrong input, and people who wish others ill.
import { once } from 'node:events';
import { chmodSync, copyFileSync, writeFileSync, statSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { assert, checkOnce, holdSubmissions, killAgent, longJob, restartAgent, runJob, runTests, startAgent, test, waitFor } from './lib.mjs';
import { freePorts, run } from '../devnet/process.mjs';

const again = (grid, args = []) =>
    run([grid.options.agent, ...grid.agentArgs(), ...args], { env: grid.agentEnv(), timeoutMs: 15000 });

test('a second agent on the same state directory names the first', async (grid) => {
    const other = await again(grid, ['--grpc.listen-address=127.0.0.1:0']);
    assert.notEqual(other.code, 0);
    assert.match(other.stderr, new RegExp(`process ${grid.agent.pid}\\b`));
    assert.ok(grid.agent.alive);
});

test('a port that is in use is told', async (grid) => {
    const other = await again(grid, [`--state-dir=${grid.path('agent', 'other')}`]);
    assert.notEqual(other.code, 0);
    assert.match(other.stderr, new RegExp(`127.0.0.1:${grid.ports.agent}`));
});

test('the state of another contract is refused', async (grid) => {
    await grid.agent.stop();
    const other = await again(grid, ['--metascheduler.smart-contract=0x00000000000000000000000000000000000000aa']);
    assert.notEqual(other.code, 0);
    assert.match(other.stderr, /belongs to contract/);
    await startAgent(grid);
});

test('nothing of a secret is in the log, the arguments or the store', async (grid) => {
    await runJob(grid);
    const key = grid.chain.wallets.provider.privateKey.slice(2);
    const ssh = readFileSync(grid.path('ssh', 'agent.base64'), 'utf8').trim();
    const state = grid.path('agent', 'state');
    const texts = [grid.agent.log(), readFileSync(`/proc/${grid.agent.pid}/cmdline`, 'latin1'),
        ...readdirSync(state).map((name) => readFileSync(join(state, name), 'latin1'))];
    for (const text of texts) {
        assert.ok(!text.toLowerCase().includes(key.toLowerCase()));
        assert.ok(!text.includes(Buffer.from(key, 'hex').toString('latin1')));
        assert.ok(!text.includes(ssh.slice(0, 60)));
    }
    for (const name of readdirSync(state)) assert.equal(statSync(join(state, name)).mode & 0o077, 0, name);
});

test('a user who names his job like another\'s gets nowhere', async (grid) => {
    const { id, end } = await longJob(grid, { code: 7 });
    await grid.waitStatus(id, 'RUNNING', 20000);
    // Bob, who has an account, submits a job with Alice's name and our mark, which ends at once.
    const bob = grid.userOf('bob').name;
    await grid.slurm.command(['sbatch', '--job-name', id, '--comment', 'supervisor x', '--output', '/dev/null', '--chdir', '/tmp', '--mem', '10', '--wrap', 'exit 0'], { as: bob });
    await grid.agent.waitLog(new RegExp(`security: refused an event.*${id}`), 20000);
    end();
    const job = await grid.waitStatus(id, 'FAILED', 30000);
    assert.equal(Number(job.exitCode), 7);
    await checkOnce(grid, id, { slurmJobs: 2 });
});

test('a job that was named like a customer\'s before, be it by himself, is not adopted', async (grid) => {
    const next = `0x${(BigInt(await grid.requestJob({ schedule: false })) + 1n).toString(16).padStart(64, '0')}`;
    for (const who of ['bob', 'alice'])
        await grid.slurm.command(['sbatch', '--job-name', next, '--comment', 'supervisor x', '--output', '/dev/null', '--chdir', '/tmp', '--mem', '10', '--wrap', 'sleep 30'], { as: grid.userOf(who).name });
    // Nor when the next agent does not know whether the last one has submitted its own.
    const submissions = await holdSubmissions(grid, 'alice');
    await restartAgent(grid, submissions.args);
    const id = await grid.requestJob({ script: '#!/bin/sh\nexit 8\n' });
    assert.equal(id, next);
    await submissions.called();
    await killAgent(grid);
    await startAgent(grid);
    assert.equal(Number((await grid.waitStatus(id, 'FAILED', 40000)).exitCode), 8);
    await checkOnce(grid, id, { slurmJobs: 3 });
});

test('a login node with another host key gets no script', async (grid) => {
    await grid.agent.stop();
    const wrong = grid.path('agent', 'wrong_known_hosts');
    const made = await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', grid.path('agent', 'wrong_key')]);
    assert.equal(made.code, 0);
    const pub = readFileSync(grid.path('agent', 'wrong_key.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
    writeFileSync(wrong, `[127.0.0.1]:${grid.ports.sshd} ${pub}\n`);
    await startAgent(grid, [`--slurm.ssh.known-hosts=${wrong}`]);
    await grid.agent.waitLog(/Slurm cannot be used: .*key/i, 15000);
    const id = await grid.requestJob();
    await new Promise((done) => setTimeout(done, 1500));
    assert.equal((await grid.job(id)).status, 'META_SCHEDULED'); // no new claims while Slurm is away
    await grid.agent.stop();
    await startAgent(grid);
    await grid.waitStatus(id, 'FINISHED', 30000);
});

// A second sshd, which knows alice's key from the program alone; the program where sshd wants it, in
// directories of root that nobody else may write to.
async function sshdThatAsks(grid, name, endpoint) {
    const [port] = await freePorts(1);
    const program = `/run/${name}`;
    copyFileSync(join(process.env.AGENT_BUILD, 'deepsquare-authorized-keys'), program);
    chmodSync(program, 0o755);
    const conf = grid.path('etc', name);
    writeFileSync(conf, [`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${grid.path('ssh', 'host')}`, 'UsePAM no', 'PidFile none', 'PermitRootLogin yes',
        `AuthorizedKeysCommand ${program} --supervisor.endpoint=${endpoint} --supervisor.tls=false %u`, 'AuthorizedKeysCommandUser nobody',
        `Match User ${grid.userOf('alice').name},root`, 'AuthorizedKeysFile none', ''].join('\n'));
    const sshd = grid.slurm.program(name, ['/usr/sbin/sshd', '-D', '-e', '-f', conf]);
    await waitFor('sshd is not up', async () => sshd.log().includes('Server listening'), 10000);
    return async (user) => {
        const began = Date.now();
        const { code, stdout } = await run(['ssh', '-F', 'none', '-i', grid.path('ssh', 'agent'), '-p', port, '-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no',
            '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', `${user}@127.0.0.1`, 'id', '-un'], { timeoutMs: 30000 });
        return { name: code === 0 ? stdout.trim() : null, ms: Date.now() - began, sshd };
    };
}

test('sshd asks the agent for its key: no file is needed, root is not let in, and an agent that is away holds up nobody', async (grid) => {
    const [alice, bob] = ['alice', 'bob'].map((who) => grid.userOf(who).name);
    const login = await sshdThatAsks(grid, 'sshd-asks', `127.0.0.1:${grid.ports.agent}`);
    assert.equal((await login(alice)).name, alice);
    assert.equal((await login('root')).name, null);
    const hole = createServer(() => {}).listen(0, '127.0.0.1');
    await once(hole, 'listening');
    const slow = await sshdThatAsks(grid, 'sshd-hole', `127.0.0.1:${hole.address().port}`);
    await grid.agent.stop();
    for (const to of [login, slow]) {
        const got = await to(alice);
        assert.equal(got.name, null);
        assert.ok(got.ms < 9000, `refused after ${got.ms} ms`); // the program's 3 s, and what sshd takes
        assert.match(got.sshd.log(), /AuthorizedKeysCommand.* failed, status 1/);
        assert.equal((await to(bob)).name, bob); // by his file
        await got.sshd.stop();
    }
    hole.close();
});

test('the provider is not approved: no claim, a clear word, and it goes on by itself', async (grid) => {
    const { address } = grid.chain.wallets.provider;
    await grid.agent.stop();
    const id = await grid.requestJob();
    await grid.chain.send('operator', 'ProviderManager', 'ban', [address]);
    await startAgent(grid);
    await grid.agent.waitLog(/the operator has banned this provider: no job is claimed/, 15000);
    await grid.chain.send('operator', 'ProviderManager', 'unban', [address]);
    await grid.waitStatus(id, 'FINISHED', 30000);
    await checkOnce(grid, id);
});

test('another transaction of the same key takes a nonce', async (grid) => {
    const { id, end } = await longJob(grid);
    await grid.waitStatus(id, 'RUNNING', 20000);
    for (let i = 0; i < 3; i++) await grid.chain.sendData('provider', grid.chain.wallets.alice.address, '0x', { value: 1n });
    end();
    await grid.waitStatus(id, 'FINISHED', 30000);
    await checkOnce(grid, id);
    await runJob(grid);
});

test('a claim that is in the log only is found there', async (grid) => {
    await grid.agent.stop();
    const id = await grid.requestJob();
    await grid.chain.send('provider', 'MetaScheduler', 'claimNextJob', []); // by our key, not by us
    await startAgent(grid);
    await grid.waitStatus(id, 'FINISHED', 30000);
    await checkOnce(grid, id);
});

test('the agent refuses events of names that are none, and of jobs it does not know', async (grid) => {
    // By the plugin: a job of ours by its mark, with a name that is not an id.
    const user = grid.userOf('carol').name;
    await grid.slurm.command(['sbatch', '--job-name', 'not an id', '--mem', '10', '--comment', 'supervisor x', '--output', '/dev/null', '--chdir', '/tmp', '--wrap', 'true'], { as: user });
    await waitFor('the job has not ended', async () => (await grid.slurmJobs()).some((job) => job.JobName === 'not an id' && job.JobState === 'COMPLETED'), 20000);
    await runJob(grid); // the spool behind it is delivered all the same
});

await runTests();
