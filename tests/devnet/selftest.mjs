// SPDX-License-Identifier: GPL-3.0-or-later
// Proves the private grid without an agent: a provider of some lines claims a job, fetches its
// script with a signed challenge, submits it as the customer's user over SSH, and reports.
// Prints TAP. Run it as  tests/devnet/enter node tests/devnet/selftest.mjs
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getBytes } from 'ethers';
import { CREDIT, Grid, waitFor } from './grid.mjs';
import { run } from './process.mjs';
import { check, finish, same } from './tap.mjs';

const require = createRequire(import.meta.url);
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const here = dirname(fileURLToPath(import.meta.url));

class FakeProvider {
    constructor(grid) {
        this.grid = grid;
        const files = ['sbatchapi', 'customer', 'logger'].map((name) =>
            join(here, 'proto', `${name}.proto`),
        );
        const root = grpc.loadPackageDefinition(protoLoader.loadSync(files, { keepCase: true }));
        const ca = readFileSync(grid.path('tls', 'ca.pem'));
        const args = { 'grpc.ssl_target_name_override': 'customer.devnet' };
        const client = (Service) =>
            new Service(grid.customerApi.endpoint, grpc.credentials.createSsl(ca), args);
        this.auth = client(root.sbatchapi.v1alpha1.AuthAPI);
        this.sbatch = client(root.sbatchapi.v1alpha1.SBatchAPI);
        this.customer = client(root.customer.v1alpha1.JobAPI);
        this.logger = client(root.logger.v1alpha1.LoggerAPI);
    }

    call(client, method, request) {
        const deadline = Date.now() + 3000;
        return new Promise((done) =>
            client[method](request, { deadline }, (error, answer) =>
                done(error ? { error: grpc.status[error.code] } : answer),
            ),
        );
    }

    async claim() {
        const { events } = await this.grid.chain.send('provider', 'MetaScheduler', 'claimNextJob');
        return events.find((event) => event.name === 'ClaimJobEvent').args;
    }

    /** A request for the script of the job, signed as it should be; change spoils it. */
    async fetch(claim, change = {}) {
        const { wallets } = this.grid.chain;
        const given = change.challenge ? change : await this.call(this.auth, 'Challenge', {});
        if (given.error) return given;
        const { challenge } = given;
        const signature = getBytes(
            await (change.signer ?? wallets.provider).signMessage(challenge),
        );
        signature[64] -= 27;
        return this.call(this.sbatch, 'GetSBatch', {
            batch_location_hash: claim.jobDefinition.batchLocationHash,
            signed_challenge: signature,
            challenge,
            provider_address: getBytes(wallets.provider.address),
            customer_address: getBytes(claim.customerAddr),
            job_id: claim.jobId,
            ...change.fields,
        });
    }

    /** sbatch on the login node, as the customer. */
    async submit(claim, script) {
        const { grid } = this;
        const user = claim.customerAddr.toLowerCase();
        const ssh = [
            'ssh',
            '-F',
            'none',
            '-p',
            String(grid.ports.sshd),
            '-i',
            grid.path('ssh', 'agent'),
        ];
        ssh.push(
            '-o',
            `UserKnownHostsFile=${grid.path('ssh', 'known_hosts')}`,
            '-o',
            'BatchMode=yes',
        );
        ssh.push('-o', 'StrictHostKeyChecking=yes', `${user}@127.0.0.1`);
        const { gpus, ntasks, cpusPerTask, memPerCpu } = claim.jobDefinition;
        const command = ['sbatch', '--parsable', `--job-name=${claim.jobId}`, '--comment=devnet'];
        command.push('--output=job-%j.out', `--ntasks=${ntasks}`, `--cpus-per-task=${cpusPerTask}`);
        command.push(`--mem-per-cpu=${memPerCpu}`, `--time=${claim.maxDurationMinute}`);
        if (gpus > 0n) command.push(`--gpus=${gpus}`);
        return run([...ssh, command.join(' ')], { input: script });
    }

    report(id, status, minutes, exitCode = 0) {
        const args = [id, status, minutes, '', exitCode];
        return this.grid.chain.send('provider', 'MetaScheduler', 'providerSetJobStatus', args);
    }
}

async function checkJob(grid, provider) {
    const script = '#!/bin/sh\nid -un; echo gpus=$CUDA_VISIBLE_DEVICES; sleep 1; exit 3\n';
    const id = await grid.requestJob({
        customer: 'alice',
        script,
        gpus: 1,
        cpusPerTask: 2,
        minutes: 20,
    });
    const claim = await provider.claim();
    same(claim.jobId, id, 'the provider claims the job');
    same(claim.maxDurationMinute, 20n, 'for the minutes that were paid');
    const answer = await provider.fetch(claim);
    same(answer.sbatch, script, 'the script comes for a signed challenge');
    same(answer.grid_logger_url, grid.customerApi.endpoint, 'with the address of the logger');
    const { code, stderr } = await provider.submit(claim, answer.sbatch);
    check(code === 0, "sbatch over SSH as the customer's user", stderr);
    await grid.waitSlurm(id, ['RUNNING', 'COMPLETING', 'FAILED']);
    await provider.report(id, 3, 0);
    same((await grid.job(id)).status, 'RUNNING', 'RUNNING on chain');
    const job = await grid.waitSlurm(id, 'FAILED');
    same(job.ExitCode, '3:0', 'Slurm knows the exit code');
    const user = grid.userOf('alice').name;
    same(job.UserId, `${user}(${grid.userOf('alice').uid})`, 'and the user');
    const output = await waitFor('output', () => grid.outputOf(id));
    same(output, `${user}\ngpus=0\n`, 'the job ran as the customer, with its GPU');
    const before = await grid.balances();
    await provider.report(id, 6, 1, 3);
    const done = await grid.waitStatus(id, 'FAILED');
    same(done.exitCode, 3n, 'FAILED on chain with the exit code');
    const price = grid.price({ gpus: 1, cpusPerTask: 2 });
    same(done.cost.finalCost, price, 'a minute is billed');
    const after = await grid.balances();
    same(after.provider - before.provider, (price * 80n) / 100n, 'the provider has its share');
    same(
        (await grid.events({ jobId: id, name: 'JobTransitionEvent' })).length,
        4,
        'four transitions',
    );
}

async function checkStrictness(grid, provider) {
    const { chain } = grid;
    const id = await grid.requestJob({ customer: 'bob' });
    const claim = await provider.claim();
    const error = async (change) => (await provider.fetch(claim, change)).error;
    same(await error({}), undefined, 'customer API: all in order');
    same(await error({ signer: chain.wallets.bob }), 'UNAUTHENTICATED', 'signed by another');
    const forged = Buffer.from('{"message":"login","nonce":"AAAAAAAAAAAAAAAAAAAAAA=="}');
    same(await error({ challenge: forged }), 'UNAUTHENTICATED', 'a nonce of our own making');
    const fields = (change) => error({ fields: change });
    const alice = getBytes(chain.addressOf('alice'));
    same(await fields({ customer_address: alice }), 'UNAUTHENTICATED', "not the job's customer");
    same(await fields({ job_id: `0x${'0'.repeat(62)}99` }), 'INTERNAL', 'a job that is not there');
    same(await fields({ batch_location_hash: '0'.repeat(64) }), 'NOT_FOUND', 'an unknown hash');
    const { challenge } = await provider.call(provider.auth, 'Challenge', {});
    grid.customerApi.now = () => Date.now() + 601000;
    same(await error({ challenge }), 'UNAUTHENTICATED', 'a nonce older than ten minutes');
    grid.customerApi.now = Date.now;
    same(await error({ challenge }), undefined, 'the same nonce within its time');
    grid.customerApi.fail(1);
    same(await error({}), 'UNAVAILABLE', 'a fault on order');
    grid.customerApi.fail(1, { method: 'GetSBatch', code: 'UNAVAILABLE' });
    same(await error({}), 'UNAVAILABLE', 'a fault on order, of a method');
    grid.customerApi.hang(1, { method: 'GetSBatch' });
    same(await error({}), 'DEADLINE_EXCEEDED', 'a hang on order');
    grid.customerApi.release();
    const hash = claim.jobDefinition.batchLocationHash;
    const old = await provider.call(provider.customer, 'FetchJobBatch', {
        job_location_hash: hash,
    });
    same(old.body, '#!/bin/sh\necho hello\n', 'the older generation');
    await new Promise((done, fail) => {
        const stream = provider.logger.Write((failed) => (failed ? fail(failed) : done()));
        const write = (text) =>
            stream.write({ log_name: id, user: 'bob', data: Buffer.from(text), timestamp: '5' });
        write('one');
        write('two');
        stream.end();
    });
    same(
        grid.customerApi.lines.map((line) => line.text).join(),
        'one,two',
        'lines for the customer',
    );
    await grid.cancelJob(id, 'bob');
}

async function checkFaults(grid, provider) {
    const id = await grid.requestJob({ customer: 'carol' });
    await grid.anvil.restart();
    same((await grid.job(id)).status, 'META_SCHEDULED', 'the chain outlives a restart of anvil');
    same(
        (await grid.events({ jobId: id, name: 'NewJobRequestEvent' })).length,
        1,
        'its events, too',
    );
    const claim = await provider.claim();
    same(claim.jobId, id, 'and it goes on');
    await grid.slurmctld.kill();
    await grid.slurmctld.start();
    await grid.slurmd.restart();
    await grid.sshd.restart();
    await grid.slurmrestd.restart();
    await grid.munged.restart();
    const { code, stderr } = await provider.submit(claim, '#!/bin/sh\nexit 0\n');
    check(code === 0, 'Slurm works after each part was started again', stderr);
    await grid.waitSlurm(id, 'COMPLETED');
    await grid.customerApi.stop();
    same(
        (await provider.fetch(claim, { challenge: Buffer.from('x') })).error,
        'UNAVAILABLE',
        'customer API down',
    );
    await grid.customerApi.start();
    await grid.cancelJob(id, 'carol');
    const stranger = await grid.requestJob({ customer: 'stranger' });
    const { code: refused } = await provider.submit(await provider.claim(), '#!/bin/sh\n');
    same(refused, 255, 'a customer without a Unix user cannot log in');
    await grid.cancelJob(stranger, 'stranger');
    const url = `http://127.0.0.1:${grid.ports.slurmrestd}/slurm/v0.0.38/ping`;
    const curl = ['curl', '-sf', '-H', `X-SLURM-USER-TOKEN: ${grid.slurm.token('root')}`];
    const ping = await run([...curl, '-H', 'X-SLURM-USER-NAME: root', url]);
    check(
        JSON.parse(ping.stdout || '{}').pings?.[0].ping === 'UP',
        'slurmrestd takes our token',
        ping.stdout,
    );
    const spent = 10000n * CREDIT - (await grid.balances()).carol;
    same(spent, 0n, 'a job cancelled in time costs nothing');
}

async function main() {
    console.log('TAP version 13');
    const grid = new Grid();
    try {
        const begin = Date.now();
        await grid.start();
        console.log(`# up in ${Date.now() - begin} ms`);
        const provider = new FakeProvider(grid);
        await checkJob(grid, provider);
        await checkStrictness(grid, provider);
        await checkFaults(grid, provider);
    } catch (error) {
        check(false, 'no surprise', error.stack);
    }
    await grid.stop();
    process.exit(finish());
}

await main();
