// SPDX-License-Identifier: GPL-3.0-or-later
// Money: RUNNING is reported at once, and the table of what was billed agrees with the chain and
// with Slurm's accounting.
import { CREDIT, assert, killAgent, longJob, minutesBilled, restartAgent, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { grpc, load } from '../interop/common.mjs';
import { run } from '../devnet/process.mjs';
import { RpcProxy } from './rpcproxy.mjs';

const { JobAPI } = load('proto/supervisor.proto').supervisor.v1alpha1;
const size = { memPerCpu: 10 };
const sleeping = (seconds, more = {}) => ({ ...size, ...more, script: `#!/bin/sh\nsleep ${seconds}\n` });

/** The rows of `deepsquare-agent billing`, by job, and its last line. */
async function billing(grid, args = [], code = 0) {
    const argv = [grid.options.agent, 'billing', `--state-dir=${grid.path('agent', 'state')}`, ...args];
    const out = await run(argv, { env: grid.agentEnv() });
    assert.equal(out.code, code, out.stderr);
    const lines = out.stdout.trimEnd().split('\n');
    const names = ['day', 'time', 'slurm', 'start', 'seconds', 'suspended', 'limit', 'minutes', 'reported', 'billed', 'credits', 'status', 'job', 'why'];
    const row = /^(\S+) (\S+) +(\S+) +(-|\S+ \S+) +(\d+) +(\d+) +(\d+) +(\d+) +(\S+) +(\S+) +(\S+) +(\S+) +(0x\S+)(?: +<-- (.*))?$/;
    const rows = new Map();
    for (const line of lines.slice(1, -1)) {
        const match = row.exec(line);
        assert.ok(match, line);
        const fields = Object.fromEntries(names.map((name, i) => [name, match[i + 1] ?? '']));
        rows.set(fields.job, fields);
    }
    return { rows, sums: lines.at(-1), stderr: out.stderr };
}

const credits = (text) => {
    const [whole, part = ''] = text.split('.');
    return BigInt(whole) * CREDIT + BigInt(part.padEnd(18, '0'));
};

/** Slurm's accounting of a job that has ended: seconds without suspended time, and suspended. */
async function accounted(grid, id) {
    const seconds = (text) => text.split(/[:-]/).reduce((sum, part, i, all) => sum * (i === all.length - 3 && i > 0 ? 24 : 60) + Number(part), 0);
    const argv = ['sacct', '-aXnP', '--starttime=now-1days', `--name=${id}`, '--format=ElapsedRaw,Suspended,End'];
    return waitFor(`accounting has no end of ${id}`, async () => {
        const [elapsed, suspended, end] = (await grid.slurm.command(argv)).trim().split('|');
        return /^\d/.test(end) && { elapsed: Number(elapsed), suspended: seconds(suspended) };
    });
}

const done = (grid, id, timeoutMs = 30000) => grid.agent.waitLog(new RegExp(`-> DONE.*${id}`), timeoutMs);

// Over-long: one minute is paid for. It runs while the other tests do.
let overlong;

test('RUNNING is broadcast within a second of the event, and mined in the next block', async (grid) => {
    overlong = await grid.requestJob(sleeping(600, { cpusPerTask: 60, amount: 100n * CREDIT }));
    await grid.waitStatus(overlong, 'RUNNING', 20000);
    await grid.agent.stop();
    await startAgent(grid, ['--slurm.query-interval=1h']); // only the event tells of the start
    const api = new JobAPI(`127.0.0.1:${grid.ports.agent}`, grpc.credentials.createInsecure());
    const began = (id, slurm) =>
        new Promise((ok, fail) => {
            api.setJobStatus({ name: id, id: slurm.JobId, status: 4 }, { deadline: Date.now() + 5000 }, (error) => (error ? fail(error) : ok()));
        });
    const runningBlock = (id) =>
        waitFor('not RUNNING', async () => (await grid.events({ name: 'JobTransitionEvent', jobId: id })).find((e) => Number(e.args._to) === 3)?.block, 10000, 5);

    // A loaded machine may hold up some of them.
    const times = [];
    for (let i = 0; i < 8 && !times.some((ms) => ms < 1000); i++) {
        const id = await grid.requestJob(sleeping(60));
        await grid.agent.waitLog(new RegExp(`-> SUBMITTED.*${id}`), 20000);
        const slurm = await grid.waitSlurm(id, 'RUNNING');
        const t0 = Date.now();
        await began(id, slurm);
        await runningBlock(id);
        times.push(Date.now() - t0);
        await grid.slurm.command(['scancel', slurm.JobId]);
        await grid.waitStatus(id, 'CANCELLED', 20000);
    }
    console.log(`# from the event to RUNNING on chain: ${times.join(', ')} ms`);
    assert.ok(Math.min(...times) < 1000, `${times} ms`);

    // Blocks each second: the next one has it.
    await grid.chain.rpc('evm_setAutomine', [false]);
    await grid.chain.rpc('evm_setIntervalMining', [1]);
    try {
        const blocks = [];
        for (let i = 0; i < 8 && !blocks.some((after) => after <= 2); i++) { // 2: the event crossed a block
            const id = await grid.requestJob(sleeping(60));
            await grid.agent.waitLog(new RegExp(`-> SUBMITTED.*${id}`), 30000);
            const slurm = await grid.waitSlurm(id, 'RUNNING');
            const head = await grid.chain.blockNumber();
            await began(id, slurm);
            blocks.push((await runningBlock(id)) - head);
            await grid.slurm.command(['scancel', slurm.JobId]);
            await grid.waitStatus(id, 'CANCELLED', 20000);
        }
        console.log(`# RUNNING is in block ${blocks} after the event`);
        assert.ok(Math.min(...blocks) <= 2, `block ${blocks} after the event`);
    } finally {
        await grid.chain.rpc('evm_setIntervalMining', [0]);
        await grid.chain.rpc('evm_setAutomine', [true]);
        await grid.chain.rpc('evm_mine');
        api.close();
    }
    await grid.agent.stop();
    await startAgent(grid);
});

test('by how much a report may exceed the minutes that passed is asked of the contract', async (grid) => {
    const { chain } = grid;
    await grid.agent.stop();
    const from = grid.agent.logSize();
    await startAgent(grid, ['--register.interval=4s']); // it is asked each second
    await chain.send('admin', 'Constants', 'setBillDurationDeltaMinute', [0n]);
    await grid.agent.waitLog(/since RUNNING by 0, before by 15/, 10000, from);
    const id = await grid.requestJob(sleeping(1));
    await done(grid, id);
    // No whole minute passed on chain.
    const row = (await billing(grid)).rows.get(id);
    assert.deepEqual([row.minutes, row.reported, row.why], ['1', '0', 'RUNNING was reported too late to bill all of it']);
    // It outlasts a restart: whatever is reported before the contract is asked again.
    await grid.agent.stop();
    await startAgent(grid, ['--register.interval=4s']);
    const { Constants } = chain.address;
    const code = await chain.rpc('eth_getCode', [Constants, 'latest']);
    await chain.rpc('anvil_setCode', [Constants, '0x']);
    await grid.agent.waitLog(/billDurationDeltaMinute.*taking it as 15 minutes/, 10000);
    await grid.agent.waitLog(/since RUNNING by 15, before by 0/, 1000);
    await chain.rpc('anvil_setCode', [Constants, code]);
    await chain.send('admin', 'Constants', 'setBillDurationDeltaMinute', [15n]);
});

test('the table agrees with the chain and with Slurm', async (grid) => {
    const partition = (state) => grid.slurm.command(['scontrol', 'update', 'PartitionName=main', `State=${state}`]);
    const [short, failed] = await Promise.all([
        grid.requestJob(sleeping(1)),
        grid.requestJob({ ...size, script: '#!/bin/sh\nexit 3\n' }),
    ]);
    const long = await Promise.all(Array.from({ length: 4 }, () => longJob(grid)));
    const [suspended, topped, cancelled, panicked] = long.map(({ id }) => id);
    const refused = await grid.requestJob({ customer: 'stranger' });
    const { id: stolen } = await longJob(grid);
    await Promise.all([suspended, topped, cancelled, panicked, stolen].map((id) => grid.waitStatus(id, 'RUNNING', 30000)));
    await sleep(1500); // so that each has run for a second at least
    const slurmId = async (id) => (await grid.slurmJobOf(id)).JobId;
    await grid.slurm.command(['scontrol', 'suspend', await slurmId(suspended)]);
    await Promise.all([
        grid.topUpJob(topped, 50n * CREDIT),
        grid.cancelJob(cancelled),
        grid.chain.send('operator', 'MetaScheduler', 'panicJob', [panicked, 'fire']),
    ]);
    // Somebody who has our key reports an end of his own: five minutes. The agent may take his nonce.
    await waitFor('no report by another', () => grid.chain.send('provider', 'MetaScheduler', 'providerSetJobStatus', [stolen, 5, 5n, '', 0n]));
    await sleep(4000);
    await grid.slurm.command(['scontrol', 'resume', await slurmId(suspended)]);
    long.forEach(({ end }) => end());
    await partition('DOWN');
    const queued = await grid.requestJob(size);
    await grid.waitSlurm(queued, 'PENDING');
    await grid.slurm.command(['scancel', await slurmId(queued)]);
    await done(grid, queued);
    await partition('UP');
    for (const id of [short, failed, suspended, topped, cancelled, panicked, refused, stolen]) await done(grid, id);
    await grid.waitStatus(overlong, 'OUT_OF_CREDITS', 120000);
    await done(grid, overlong);
    await killAgent(grid); // what it wrote is there
    await startAgent(grid);

    const { rows, sums } = await billing(grid);
    // Slurm looks at the limits each half minute: it may have done so in that very second.
    const over = (await accounted(grid, overlong)).elapsed > 60;
    const expected = {
        // job: status on chain, minutes that Slurm measured, reported, billed, what is marked
        [short]: ['FINISHED', '1', '1', '1', ''],
        [failed]: ['FAILED', null, null, '1', ''],
        [suspended]: ['FINISHED', '1', '1', '1', ''],
        [topped]: ['FINISHED', '1', '1', '1', ''],
        [cancelled]: ['CANCELLED', '1', '1', '1', ''],
        [queued]: ['CANCELLED', '0', '0', '0', ''],
        [refused]: ['-', '0', '-', '-', ''],
        [panicked]: ['PANICKED', '1', '-', '0', 'ran, and was taken back: nothing is billed'],
        [stolen]: ['FINISHED', '1', '-', '5', 'its end was not reported by this agent'],
        [overlong]: ['OUT_OF_CREDITS', over ? '2' : '1', '1', '1', over ? 'ran longer than was paid for' : ''],
    };
    for (const [id, wanted] of Object.entries(expected)) {
        const row = rows.get(id);
        assert.ok(row, `no row for ${id}`);
        const got = [row.status, row.minutes, row.reported, row.billed, row.why];
        wanted.forEach((value, i) => value === null || assert.equal(got[i], value, `${id}: ${got}`));
        const job = await grid.job(id);
        if (row.status !== '-') assert.equal(job.status, row.status);
        assert.equal(row.credits === '-' ? 0n : credits(row.credits), BigInt(job.cost.finalCost), id);
        const definition = { ntasks: 1, cpusPerTask: Number(job.definition.cpusPerTask), memPerCpu: Number(job.definition.memPerCpu) };
        assert.equal(row.billed === '-' ? 0 : Number(row.billed), minutesBilled(grid, job, definition), id);
        if (id === refused) continue;
        const slurm = await accounted(grid, id);
        assert.ok(Math.abs(Number(row.seconds) - slurm.elapsed) <= 1, `${id}: ${row.seconds} s, accounting has ${slurm.elapsed}`);
        assert.ok(Math.abs(Number(row.suspended) - slurm.suspended) <= 1, `${id}: suspended ${row.suspended} s, accounting has ${slurm.suspended}`);
    }
    assert.ok(Number(rows.get(suspended).suspended) >= 3);
    assert.equal(Number(rows.get(topped).limit), Number((100n * CREDIT) / grid.price(size)) + Number((50n * CREDIT) / grid.price(size)));
    assert.equal(rows.get(overlong).limit, '1');
    assert.match(sums, new RegExp(`^${rows.size} jobs, ${over ? 4 : 3} marked; `));
});

test('a price that changes between the end and our question', async (grid) => {
    const proxy = await new RpcProxy(grid.rpcUrl).listen();
    grid.agentRpcUrl = proxy.url;
    await restartAgent(grid, ['--register.auto=false']);
    const { providerHardware, providerPrices, labels } = await grid.chain.read('ProviderManager', 'getProvider', [grid.chain.addressOf('provider')]);
    const join = (times) => grid.chain.joinProvider({ hardware: providerHardware, prices: providerPrices.map((price) => price * times), labels });
    const id = await grid.requestJob(sleeping(1));
    let changed;
    proxy.on('eth_call', async ([{ data }], next) => {
        const asks = data === `0x8eaa6ac0${id.slice(2)}`; // JobRepository.get
        if (asks && (await grid.job(id)).status === 'FINISHED') await (changed ??= join(2n));
        return next();
    });
    await done(grid, id);
    assert.ok(changed, 'it was not asked');
    await join(1n);
    proxy.heal();
    grid.agentRpcUrl = undefined;
    await restartAgent(grid);
    proxy.close();
    const row = (await billing(grid)).rows.get(id);
    assert.deepEqual([row.reported, row.billed, row.why], ['1', '1', '']);
    assert.equal(minutesBilled(grid, await grid.job(id), size), 1);
});

test('--since, and what is no date; no table, no answer', async (grid) => {
    assert.equal((await billing(grid, ['--since=2100-01-01'])).rows.size, 0);
    assert.ok((await billing(grid, ['--since=2020-01-31'])).rows.size > 0);
    assert.match((await billing(grid, ['--since=31.1.2020'], 2)).stderr, /expected YYYY-MM-DD/);
    assert.match((await billing(grid, [`--state-dir=${grid.path('agent')}`], 2)).stderr, /agent\.db/);
});

await runTests({ slurmdbd: true, slurmrestd: false, nodes: 2 });
