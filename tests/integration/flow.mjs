// SPDX-License-Identifier: GPL-3.0-or-later
// A flow of jobs of all kinds, for tests that hurt the agent while it has them in hand, and what
// must have become of each: by Slurm's accounting, by the chain and by the agent's own store.
//
//   const flow = await Flow.begin(grid)     before the agent's first start; with slurmdbd
//   await flow.add('cancelled')             requests such a job; what its customer does with it later
//                                           goes on beside the test
//   await flow.claimed()                    waits until there is none to claim
//   await flow.settle()                     waits until each job has its end and the agent is done
//   await flow.check()                      invariants 1 to 3 of doc/architecture.md
import assert from 'node:assert/strict';
import { CREDIT, waitFor } from '../devnet/grid.mjs';
import { runOk } from '../devnet/process.mjs';

const script = (...lines) => ({ memPerCpu: 10, script: `#!/bin/sh\n${lines.join('\n')}\n` });
const CUSTOMERS = ['alice', 'bob', 'carol'];
const LONG = { ...script('sleep 600'), amount: 100n * CREDIT };
const MORE = 50n * CREDIT;
const PATIENCE_MS = 3600000; // of a customer whose provider is killed again and again: settle() has less

/** Asks rarely: there are many jobs, and the agent may be down for long. */
const reached = (grid, id, wanted, timeoutMs = PATIENCE_MS) =>
    waitFor(`job ${BigInt(id)} is not ${wanted}`, async () => {
        const { status } = await grid.job(id);
        if (status !== wanted) throw new Error(`it is ${status}`);
        return true;
    }, timeoutMs, 250);

const limitMinutes = async (grid, id) => {
    const [, days = 0, h, m] = /^(?:(\d+)-)?(\d+):(\d+)/.exec((await grid.slurmJobOf(id)).TimeLimit);
    return Number(days) * 1440 + Number(h) * 60 + Number(m);
};

/** Does it until it is done: the node may be away, or go before it answers. What is refused is an error. */
const insist = (what, isDone, act) =>
    waitFor(what, async () => {
        if (await isDone()) return true;
        await act().catch((error) => {
            throw Object.assign(error, { final: error.errorName !== undefined });
        });
        return true;
    }, PATIENCE_MS, 250);

function cancelled(grid, { id, customer }) {
    const isDone = async () => {
        const job = await grid.job(id);
        return job.hasCancelRequest || job.status === 'CANCELLED';
    };
    return insist(`${id} is not cancelled`, isDone, () => grid.cancelJob(id, customer));
}

async function cancel(grid, job) {
    await reached(grid, job.id, 'RUNNING');
    await cancelled(grid, job);
}

/** As soon as the provider has claimed it: what becomes of it in Slurm is a matter of moments. */
async function withdraw(grid, job) {
    await waitFor(`${job.id} is not claimed`, async () => !/PENDING|META/.test((await grid.job(job.id)).status), PATIENCE_MS, 50);
    await cancelled(grid, job);
}

async function extend(grid, job) {
    const { id, customer } = job;
    await reached(grid, id, 'RUNNING');
    const minutes = Number((LONG.amount + MORE) / grid.price(LONG));
    const isPaid = async () => BigInt((await grid.job(id)).cost.maxCost) > LONG.amount;
    await insist(`${id} is not topped up`, isPaid, () => grid.topUpJob(id, MORE, customer));
    await waitFor(`the limit of ${id} is not raised`, async () => (await limitMinutes(grid, id)) >= minutes - 1, PATIENCE_MS, 500);
    const limit = await limitMinutes(grid, id);
    assert.ok(limit <= minutes + 1, `the limit is ${limit} min, paid are ${minutes}`);
    await cancelled(grid, job);
}

async function panic(grid, { id }) {
    await reached(grid, id, 'RUNNING');
    const isDone = async () => (await grid.job(id)).status === 'PANICKED';
    await insist(`${id} is not panicked`, isDone, () => grid.chain.send('operator', 'MetaScheduler', 'panicJob', [id, 'fire']));
}

/** What is requested, what is done with it, and its end on chain and in Slurm (if it gets there). */
const KINDS = {
    good: { request: script('sleep 0.3'), status: 'FINISHED', slurm: 'COMPLETED' },
    slow: { request: script('sleep 6'), status: 'FINISHED', slurm: 'COMPLETED' },
    bad: { request: script('sleep 0.2', 'exit 3'), status: 'FAILED', slurm: 'FAILED', exitCode: 3 },
    killed: { request: script('kill -9 $$'), status: 'FAILED', slurm: 'FAILED', exitCode: 137 },
    refused: { request: { customer: 'stranger' }, status: 'PENDING' },
    scriptless: { request: { hash: 'f'.repeat(64) }, status: 'FAILED' },
    cancelled: { request: LONG, act: cancel, status: 'CANCELLED', slurm: 'CANCELLED' },
    extended: { request: LONG, act: extend, status: 'CANCELLED', slurm: 'CANCELLED' },
    withdrawn: { request: LONG, act: withdraw, status: 'CANCELLED', early: true },
    panicked: { request: LONG, act: panic, status: 'PANICKED', slurm: 'CANCELLED', free: true },
};
export const KIND_NAMES = Object.keys(KINDS);

export class Flow {
    static async begin(grid) {
        const flow = new Flow();
        Object.assign(flow, { grid, jobs: [], foreign: new Set() });
        flow.firstBlock = await grid.chain.blockNumber();
        return flow;
    }

    /** `when`: a promise that its customer waits for before he does anything more. */
    async add(name, { when } = {}) {
        const kind = KINDS[name];
        const customer = kind.request.customer ?? CUSTOMERS[this.jobs.length % CUSTOMERS.length];
        const id = await this.grid.requestJob({ ...kind.request, customer });
        const job = { id, name, customer, kind };
        job.acts = Promise.resolve(when)
            .then(() => kind.act?.(this.grid, job))
            .catch((error) => (job.error = error));
        this.jobs.push(job);
        return job;
    }

    /** Rows of the agent's store, whether it runs or not. */
    async rows(sql) {
        const file = this.grid.path('agent', 'state', 'agent.db');
        return JSON.parse((await runOk(['sqlite3', '-readonly', '-json', '-cmd', '.timeout 5000', file, sql])) || '[]');
    }

    /** Waits until none of the jobs is left to claim. */
    async claimed() {
        for (const { id } of this.jobs)
            await waitFor(`${id} is not claimed`, async () => (await this.grid.job(id)).status !== 'META_SCHEDULED');
    }

    async settle(timeoutMs = 90000) {
        const end = Date.now() + timeoutMs;
        const left = () => Math.max(1000, end - Date.now());
        for (const job of this.jobs) {
            await reached(this.grid, job.id, job.kind.status, left()).catch((error) => {
                throw job.error ?? error;
            });
            await job.acts;
            if (job.error) throw job.error;
        }
        const open = "SELECT id, state FROM jobs WHERE state <> 'DONE' UNION ALL SELECT id, kind FROM outbox WHERE state < 2";
        await waitFor('the agent is not done', async () => {
            const rows = await this.rows(open);
            if (rows.length) throw new Error(JSON.stringify(rows));
            return true;
        }, left(), 250);
    }

    async check() {
        assert.deepEqual([...(await this.wrongJobs()), ...(await this.wrongTransactions())], []);
    }

    /** Each job whose facts are not what they should be, with both. */
    async wrongJobs() {
        const { grid } = this;
        const events = await grid.events();
        const rows = new Map((await this.rows('SELECT * FROM jobs')).map((row) => [row.id, row]));
        const queue = await grid.slurmJobs();
        const accounted = await this.accounted(queue.length);
        const wrong = [];
        for (const job of this.jobs) {
            const named = (list) => list.filter((one) => one.JobName === job.id);
            const slurm = named(accounted);
            const told = events.filter((event) => [...event.args].includes(job.id));
            const is = {
                ...chainFacts(grid, await grid.job(job.id), told),
                slurm: slurm.map(({ State }) => State.split(' ')[0]),
                queue: named(queue).map(({ JobState }) => JobState),
                seconds: rows.get(job.id)?.duration_s,
                state: rows.get(job.id)?.state,
            };
            const shouldBe = expected(job.kind, is, slurm[0]);
            try {
                assert.deepEqual(is, shouldBe);
            } catch {
                wrong.push({ id: job.id, kind: job.name, is, shouldBe });
            }
        }
        return wrong;
    }

    /** What slurmdbd knows, once it knows the end of all: slurmctld tells it when it finds the time. */
    accounted(count) {
        return waitFor('accounting is behind', async () => {
            const jobs = await this.grid.slurm.accountedJobs();
            const open = jobs.filter(({ State }) => /PENDING|RUNNING|COMPLETING/.test(State));
            return jobs.length >= count && open.length === 0 && jobs;
        }, 30000, 500);
    }

    /** Every transaction of our account on chain has its row; every row's nonce was used. */
    async wrongTransactions() {
        const rows = await this.rows("SELECT nonce, '0x' || lower(hex(hash)) AS hash, mined_ms FROM attempts ORDER BY nonce");
        const mined = await this.transactions();
        const known = new Set([...this.foreign, ...rows.map(({ hash }) => hash)]);
        const hashes = new Set(mined.map(({ hash }) => hash));
        const nonces = new Set(mined.map(({ nonce }) => nonce));
        return [
            ...mined.filter(({ hash }) => !known.has(hash)).map((tx) => ({ ...tx, wrong: 'is in no row' })),
            ...rows.filter(({ hash, mined_ms }) => mined_ms && !hashes.has(hash)).map((tx) => ({ ...tx, wrong: 'is not on chain' })),
            ...rows.filter(({ nonce }) => !nonces.has(nonce)).map((tx) => ({ ...tx, wrong: 'took a nonce for nothing' })),
        ];
    }

    /** Of the provider's account, since the flow began: a nonce is never left out on chain. */
    async transactions() {
        const { chain } = this.grid;
        const provider = chain.addressOf('provider').toLowerCase();
        const found = [];
        const last = await chain.blockNumber();
        for (let block = this.firstBlock + 1; block <= last; block++) {
            const { transactions } = await chain.rpc('eth_getBlockByNumber', [`0x${block.toString(16)}`, true]);
            for (const { from, nonce, hash } of transactions)
                if (from.toLowerCase() === provider) found.push({ nonce: Number(nonce), hash });
        }
        return found;
    }
}

function chainFacts(grid, job, events) {
    const count = (name, test = () => true) => events.filter((event) => event.name === name && test(event.args)).length;
    return {
        claims: count('ClaimJobEvent'),
        running: count('JobTransitionEvent', ({ _to }) => Number(_to) === 3),
        ends: count('JobTransitionEvent', ({ _to }) => Number(_to) >= 4),
        refusals: count('JobRefusedEvent'),
        status: job.status,
        exitCode: Number(job.exitCode),
        minutes: Number(BigInt(job.cost.finalCost) / grid.price({ memPerCpu: Number(job.definition.memPerCpu) })),
    };
}

function expected(kind, is, accounted) {
    const { status, exitCode = 0, early = false } = kind;
    const slurm = early ? is.slurm[0] && 'CANCELLED' : kind.slurm;
    const free = early ? is.running === 0 : kind.free;
    const seconds = Number(accounted?.ElapsedRaw ?? 0);
    return {
        claims: 1,
        running: early ? is.running && 1 : slurm ? 1 : 0,
        ends: status === 'PENDING' ? 0 : 1,
        refusals: status === 'PENDING' ? 1 : 0,
        status,
        exitCode,
        minutes: slurm && !free ? Math.max(1, Math.ceil(seconds / 60)) : 0,
        slurm: slurm ? [slurm] : [], // by accounting: all there ever was
        queue: slurm ? [slurm] : [],
        // A job that is taken away may be done before its end is told.
        seconds: free && is.seconds === 0 ? 0 : seconds,
        state: 'DONE',
    };
}
