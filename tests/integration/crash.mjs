// SPDX-License-Identifier: GPL-3.0-or-later
// The crash campaign: the agent dies at each of its fault points, then at random ones and at random
// moments, while jobs of all kinds flow; after that every job has one right end (flow.mjs).
//   CRASH_CAMPAIGN=30   random deaths, 0 for none
//   CRASH_SEED=N        which ones: what a seed chooses is always the same, not what it meets
//   CRASH_POINTS=REGEX  only these points; "none": random deaths only
// The agent (AGENT_PROGRAM) is of a build with --enable-fault-injection. With another one, and "none",
// there are deaths at random moments only.
import { writeFileSync } from 'node:fs';
import { agentProgram, assert, killAgent, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { Flow, KIND_NAMES } from './flow.mjs';
import { PATIENCE_MS, isCommon, rankOf, situationOf } from './situations.mjs';
import { runOk } from '../devnet/process.mjs';

const RANDOM_DEATHS = Number(process.env.CRASH_CAMPAIGN ?? 30);
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 1000000);
const BATCH = 30;

const only = process.env.CRASH_POINTS ?? '';
const list = await runOk([agentProgram, '--version'], { env: { AGENT_FAULT: 'list' } });
const all = [...list.matchAll(/^(\w+\.\S+) /gm)].map(([, name]) => name);
const points = all.filter((point) => new RegExp(only).test(point)).sort((a, b) => rankOf(a) - rankOf(b));

let flow;

/** A test that starts the agent itself, and leaves none. */
const deadly = (name, fn) =>
    test(name, async (grid) => {
        try {
            await fn(grid);
        } finally {
            await killAgent(grid);
        }
    }, { agent: false });

function restArgs(grid) {
    const token = grid.path('agent', 'slurm.token');
    writeFileSync(token, `${grid.slurm.token('root')}\n`, { mode: 0o600 });
    return [`--slurm.rest.endpoint=http://127.0.0.1:${grid.ports.slurmrestd}`, `--slurm.rest.token-file=${token}`];
}

/** The ways to Slurm by turns: what one of them began the next one has to find. */
const waysToSlurm = (grid, i) =>
    [() => [], () => restArgs(grid), () => ['--slurm.backend=rest', ...restArgs(grid)]][i % 3]();

/** Before a commit the other threads get time to do what must not be done yet. */
const stalled = (point, passage = 1) => `${point}:${passage}${/^turn.*before/.test(point) ? ':100' : ''}`;

const starts = (grid, args, AGENT_FAULT) =>
    startAgent(grid, ['--reconcile.interval=1s', ...args], { env: { AGENT_FAULT }, wait: false });

const died = (grid, timeoutMs) => Promise.race([grid.agent.ended, sleep(timeoutMs)]);

async function dead(grid, point) {
    const end = await died(grid, PATIENCE_MS);
    assert.ok(end, `${point} is never passed`);
    assert.equal(end.signal, 'SIGKILL', grid.agent.tail(5));
}

async function dieAt(grid, point, i) {
    const situation = situationOf(point, i);
    try {
        await situation.before?.(grid, flow);
        await starts(grid, situation.args?.(grid) ?? waysToSlurm(grid, i), stalled(point));
        await situation.after?.(grid, flow).catch((error) => {
            if (grid.agent.alive) throw error; // else a job of before has brought it there
        });
        await dead(grid, point);
    } finally {
        await killAgent(grid);
        await situation.cleanup?.(grid);
    }
}

/** All goes on to its end without another death, and nothing comes after the end. */
async function allEnd(grid) {
    await startAgent(grid);
    await flow.settle();
    const count = (await flow.transactions()).length;
    await killAgent(grid);
    await startAgent(grid);
    await sleep(1500);
    await flow.check();
    assert.equal((await flow.transactions()).length, count, 'transactions after the end');
}

deadly('the agent has fault points', async (grid) => {
    flow = await Flow.begin(grid);
    assert.ok(all.length > 60 || only === 'none', `${all.length} points: configure --enable-fault-injection`);
});

for (const [i, point] of points.entries()) deadly(`dies at ${point}`, (grid) => dieAt(grid, point, i));

if (points.length) deadly('after a death at each point every job has one right end', allEnd);

deadly('dies with its claim, its RUNNING and its end in the mempool', async (grid) => {
    const { chain } = grid;
    const { id } = await flow.add('bad');
    await chain.rpc('evm_setAutomine', [false]);
    await startAgent(grid);
    try {
        for (const status of ['SCHEDULED', 'RUNNING', 'FAILED']) {
            await waitFor(`nothing waits for ${status}`, async () => Number((await chain.rpc('txpool_status')).pending) > 0, PATIENCE_MS);
            await killAgent(grid);
            await startAgent(grid); // it finds its transaction where it was
            await chain.rpc('evm_mine');
            await grid.waitStatus(id, status);
        }
    } finally {
        await chain.rpc('evm_setAutomine', [true]);
    }
});

if (all.length)
    deadly('dies after a submission, and again when the job was taken away: it does not run on', async (grid) => {
        let withdraw;
        const when = new Promise((resolve) => (withdraw = resolve));
        const { id, acts } = await flow.add('withdrawn', { when });
        await starts(grid, [], 'slurm.submit.after');
        await dead(grid, 'slurm.submit.after');
        withdraw();
        await acts; // a log alone tells of it
        await starts(grid, [], 'turn.chain_logs.after');
        await dead(grid, 'turn.chain_logs.after');
        await startAgent(grid);
        await grid.waitSlurm(id, 'CANCELLED');
    });

// Random deaths, a batch at a time: a job that is being submitted when the agent dies waits until one
// of its successors lives for longer than a submission may take.

let state = SEED;
const random = (n) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor((state / 2147483648) * n);
};
const common = all.filter(isCommon);
const passages = (point) => (/ready/.test(point) ? 1 : 5); // that happen in a short life

async function dieAtRandom(grid) {
    const kind = KIND_NAMES[random(KIND_NAMES.length)];
    const point = common[random(common.length)];
    const fault = point && random(3) ? stalled(point, 1 + random(passages(point))) : undefined;
    const delayMs = fault ? 3000 : random(1500);
    const way = random(3);
    await flow.add(kind);
    await starts(grid, waysToSlurm(grid, way), fault);
    const end = await died(grid, delayMs);
    console.log(`#   ${kind}, ${fault ?? 'SIGKILL'}${end ? '' : ` after ${delayMs} ms`}`);
    if (end) await dead(grid, fault);
    await killAgent(grid);
}

for (let left = RANDOM_DEATHS; left > 0; left -= BATCH) {
    const n = Math.min(left, BATCH);
    deadly(`${n} random deaths (CRASH_SEED=${SEED})`, async (grid) => {
        for (let i = 0; i < n; i++) await dieAtRandom(grid);
    });
    deadly('after random deaths every job has one right end', allEnd);
}

await runTests({ slurmdbd: true, customerCredits: 1000000n });
