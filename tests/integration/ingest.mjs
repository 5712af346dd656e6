// SPDX-License-Identifier: GPL-3.0-or-later
// Events that the agent is told of jobs, by the real plugin and by gRPC of both generations: too
// early, twice, in another order, of other jobs, too many. It hardly ever queries Slurm by itself, so
// that it is the events that tell.
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT_ARGS, assert, checkOnce, killAgent, longJob, minutesBilled, runTests, startAgent, test, waitFor } from './lib.mjs';
import { freePorts } from '../devnet/process.mjs';
import { grpc, load } from '../interop/common.mjs';

const { supervisor } = load('proto/supervisor.proto');
const SELDOM = ['--slurm.query-interval=10m', '--slurm.timeout=15s'];
const size = { memPerCpu: 10 };
const { OK, PERMISSION_DENIED, INVALID_ARGUMENT } = grpc.status;

// An sbatch that keeps Slurm's answer to itself while there is a file in the customer's home.
const SLOW_SBATCH = `#!/bin/sh
answer=$(/usr/bin/sbatch "$@") || exit
while [ -e "$HOME/wait" ]; do sleep 0.05; done
echo "$answer"
`;

let slow;
let client;

/** The agent at another port than the one that the plugin knows. */
async function withoutPlugin(grid) {
    await grid.agent.stop();
    const [port] = await freePorts(1);
    const args = [...AGENT_ARGS, ...SELDOM, `--slurm.batch=${slow}`, `--grpc.listen-address=127.0.0.1:${port}`];
    await grid.startAgent({ args, wait: false });
    await grid.agent.waitLog(/Slurm answers/);
    client = new supervisor.v1alpha1.JobAPI(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
}

/** Calls a method; its status. */
const tell = (method, request) =>
    new Promise((done) => client[method](request, { deadline: Date.now() + 10000 }, (error) => done(error?.code ?? OK)));

const numberOf = async (grid, id) => Number((await waitFor(`${id} is not in Slurm`, () => grid.slurmJobOf(id))).JobId);
const inSlurm = (grid, id, state) => grid.waitSlurm(id, state, 20000);
const submitted = (grid, id) => grid.agent.waitLog(new RegExp(`-> SUBMITTED.*${id}`), 20000);

async function finish(grid, id, status, exitCode) {
    const job = await grid.waitStatus(id, status, 20000);
    assert.equal(Number(job.exitCode), exitCode);
    assert.equal(minutesBilled(grid, job, size), 1);
    await checkOnce(grid, id);
}

test('by the plugin: over before its submission is answered', async (grid) => {
    slow = grid.path('etc', 'slow-sbatch');
    writeFileSync(slow, SLOW_SBATCH);
    chmodSync(slow, 0o755);
    await grid.agent.stop();
    await startAgent(grid, [...SELDOM, `--slurm.batch=${slow}`]);
    const wait = join(grid.userOf('carol').home, 'wait');
    writeFileSync(wait, '');
    const id = await grid.requestJob({ ...size, customer: 'carol', script: '#!/bin/sh\nexit 6\n' });
    await inSlurm(grid, id, 'FAILED');
    await waitFor('the event is not there', () => /kept an event/.test(grid.agent.log()), 10000);
    rmSync(wait);
    await finish(grid, id, 'FAILED', 6);
    assert.match(grid.agent.log(), new RegExp(`-> ENDED: .*says a plugin, early".*${id}`));
});

test('of 2022: start, and a result with a duration that Slurm knows better', async (grid) => {
    await withoutPlugin(grid);
    const { id, end } = await longJob(grid);
    await submitted(grid, id);
    const job = { job_name: id.slice(2), job_id: await numberOf(grid, id) };
    await inSlurm(grid, id, 'RUNNING');
    for (let i = 0; i < 2; i++) assert.equal(await tell('sendJobStart', job), OK);
    await grid.waitStatus(id, 'RUNNING', 5000);
    // The reference's plugin says so of a job that is requeued, too: it runs, so it has not ended.
    assert.equal(await tell('sendJobResult', { ...job, job_duration: 1 }), OK);
    await grid.agent.waitLog(/tells of an end; Slurm is asked[^]*Slurm: asked for 1 jobs, told of 1/);
    end();
    await inSlurm(grid, id, 'COMPLETED');
    assert.equal((await grid.job(id)).status, 'RUNNING');
    for (let i = 0; i < 2; i++) assert.equal(await tell('sendJobResult', { ...job, job_duration: 9999 }), OK);
    await finish(grid, id, 'FINISHED', 0);
    assert.equal(await tell('sendJobResult', { ...job, job_duration: 9999 }), OK);
});

test('of 2022: a failure, and nothing before it', async (grid) => {
    const id = await grid.requestJob({ ...size, script: '#!/bin/sh\nexit 3\n' });
    await submitted(grid, id);
    await inSlurm(grid, id, 'FAILED');
    assert.equal(await tell('sendJobFail', { job_name: id, job_id: await numberOf(grid, id) }), OK);
    await finish(grid, id, 'FAILED', 3);
});

test('of 2023: end before start, and twice', async (grid) => {
    const id = await grid.requestJob({ ...size, script: '#!/bin/sh\nexit 9\n' });
    await submitted(grid, id);
    await inSlurm(grid, id, 'FAILED');
    const job = { name: id, id: await numberOf(grid, id) };
    const end = { ...job, status: 8, exit_code: 9, duration: 1, record: { state: 0x8005, wait_status: 9 << 8, settled: true } };
    for (const request of [end, { ...job, status: 4 }, end]) assert.equal(await tell('setJobStatus', request), OK);
    await finish(grid, id, 'FAILED', 9);
    assert.match(grid.agent.log(), new RegExp(`-> ENDED: .*says the plugin".*${id}`));
});

test('of another Slurm job, and of none', async (grid) => {
    const id = await grid.requestJob({ ...size, script: '#!/bin/sh\nsleep 2\nexit 5\n' });
    await submitted(grid, id);
    const job = { name: id, id: await numberOf(grid, id) };
    const end = { status: 7, record: { state: 0x8003, settled: true } };
    const from = grid.agent.logSize();
    assert.equal(await tell('setJobStatus', { name: id, id: job.id + 1, ...end }), PERMISSION_DENIED);
    assert.equal(await tell('sendJobResult', { job_name: id, job_id: job.id - 1 }), PERMISSION_DENIED);
    await grid.agent.waitLog(/security: refused an event/, 5000, from);
    assert.equal(await tell('setJobStatus', { name: id, id: 0, ...end }), INVALID_ARGUMENT);
    assert.equal(await tell('setJobStatus', { ...job, ...end, duration: '18446744073709551615' }), INVALID_ARGUMENT);
    assert.equal(await tell('setJobStatus', { name: 'x', id: job.id, ...end }), INVALID_ARGUMENT);
    await inSlurm(grid, id, 'FAILED');
    assert.equal(await tell('sendJobFail', { job_name: id, job_id: job.id }), OK);
    await finish(grid, id, 'FAILED', 5);
});

test('before the submission is answered, in a flood, and the agent is killed', async (grid) => {
    const wait = join(grid.userOf('carol').home, 'wait');
    writeFileSync(wait, '');
    const id = await grid.requestJob({ ...size, customer: 'carol', script: '#!/bin/sh\nexit 4\n' });
    await inSlurm(grid, id, 'FAILED');
    const job = { name: id, id: await numberOf(grid, id) };
    const end = { status: 8, duration: 1, record: { state: 0x8005, wait_status: 4 << 8, settled: true } };
    assert.equal(await tell('setJobStatus', { name: id, id: job.id + 1, status: 7, record: { state: 0x8003, settled: true } }), OK);
    assert.equal(await tell('setJobStatus', { ...job, ...end }), OK);
    assert.equal(await tell('sendJobStart', { job_name: id, job_id: job.id }), OK);
    const began = Date.now();
    const flood = Array.from({ length: 1500 }, (_, i) => tell('setJobStatus', { name: `0x${(i + 1).toString(16).padStart(64, 'a')}`, id: i + 1, ...end }));
    assert.ok((await Promise.all(flood)).every((status) => status === OK));
    console.log(`# 1500 events of unknown jobs: ${Date.now() - began} ms`);
    await grid.agent.waitLog(/too many events of jobs that are not known/);
    await killAgent(grid);
    client.close();
    rmSync(wait);
    await withoutPlugin(grid);
    await finish(grid, id, 'FAILED', 4);
    assert.match(grid.agent.log(), new RegExp(`security: refused an event that names Slurm job ${job.id + 1}.*${id}`));
    assert.match(grid.agent.log(), new RegExp(`-> ENDED: .*says a plugin, early".*${id}`));
    client.close();
});

await runTests({ slurmrestd: false });
