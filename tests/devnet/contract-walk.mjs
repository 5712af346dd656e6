// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests of the contracts share: jobs in a wanted status, and what an action changes.
import { STATUS } from './chain.mjs';
import { same } from './tap.mjs';

export const [
    PENDING,
    META_SCHEDULED,
    SCHEDULED,
    RUNNING,
    CANCELLED,
    FINISHED,
    FAILED,
    OUT,
    PANICKED,
] = STATUS.keys();
export const COLD = [CANCELLED, FINISHED, FAILED, OUT, PANICKED];
export const HOT = [PENDING, META_SCHEDULED, SCHEDULED, RUNNING];
export const NO_JOB = `0x${'f'.repeat(64)}`;

/** An ABI result without names, its integers as text. */
export const flat = (value) =>
    JSON.parse(JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v)));

export class Walk {
    constructor(chain) {
        this.chain = chain;
        this.revert = chain.revertOf.bind(chain);
        this.me = chain.addressOf('provider');
    }

    set(who, id, status, minutes = 0, error = '', code = 0) {
        const args = [id, status, minutes, error, code];
        return this.chain.send(who, 'MetaScheduler', 'providerSetJobStatus', args);
    }

    setRevert(who, id, status) {
        return this.revert(who, 'MetaScheduler', 'providerSetJobStatus', [id, status, 1, '', 0]);
    }

    claim(who = 'provider') {
        return this.chain.send(who, 'MetaScheduler', 'claimNextJob');
    }

    /** A job of alice in the status given. */
    async jobIn(status, { definition, amount, delegate } = {}) {
        const { chain } = this;
        const id = await chain.requestNewJob('alice', definition, { amount, delegate });
        if (status === PENDING) return id;
        await chain.metaSchedule(id);
        if (status === META_SCHEDULED) return id;
        await this.claim();
        if (status === SCHEDULED) return id;
        await this.set('provider', id, RUNNING);
        if (status !== RUNNING) await this.set('provider', id, status, 1);
        return id;
    }

    /** Does something; returns the names of its events, and the change of balances. */
    async watch(action) {
        const who = {
            alice: 'alice',
            provider: 'provider',
            contract: this.chain.address.MetaScheduler,
        };
        const before = {};
        for (const [name, address] of Object.entries(who))
            before[name] = await this.chain.balance(address);
        const { events } = await action();
        const change = {};
        for (const [name, address] of Object.entries(who))
            change[name] = (await this.chain.balance(address)) - before[name];
        return { events, names: events.map((event) => event.name), change };
    }

    async is(id, status, name) {
        same(await this.chain.status(id), STATUS[status], name);
    }
}

export const lower = (address) => address.toLowerCase();

export const transitions = (events) =>
    events
        .filter((event) => event.name === 'JobTransitionEvent')
        .map((event) => [Number(event.args._from), Number(event.args._to)]);
