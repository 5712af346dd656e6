// SPDX-License-Identifier: GPL-3.0-or-later
// Events in their order, refunds, bills and top-ups.
import { CREDIT, PRICES, STATUS } from './chain.mjs';
import {
    CANCELLED,
    COLD,
    FAILED,
    FINISHED,
    HOT,
    META_SCHEDULED,
    OUT,
    PANICKED,
    PENDING,
    RUNNING,
    SCHEDULED,
    transitions,
} from './contract-walk.mjs';
import { same } from './tap.mjs';

const locked = 100n * CREDIT;
const price = CREDIT + CREDIT / 100n; // a CPU and 100 MB, a minute

export async function checkEvents(walk) {
    const { chain } = walk;
    const MS = 'MetaScheduler';
    let id = await walk.jobIn(PENDING);
    let seen = await walk.watch(() => chain.metaSchedule(id));
    same(seen.names, ['JobTransitionEvent'], 'events of metaSchedule');
    same(transitions(seen.events), [[0, 1]], 'metaSchedule: 0 -> 1');
    seen = await walk.watch(() => walk.claim());
    same(seen.names, ['ClaimJobEvent', 'JobTransitionEvent'], 'events of claimNextJob');
    same(transitions(seen.events), [[1, 2]], 'claimNextJob: 1 -> 2');
    const { customerAddr, providerAddr, jobId, maxDurationMinute } = seen.events[0].args;
    same(
        [customerAddr, providerAddr, jobId, maxDurationMinute],
        [chain.addressOf('alice'), walk.me, id, locked / price],
        'ClaimJobEvent tells customer, provider, job and whole minutes paid for',
    );
    const counted = await chain.read('ProviderManager', 'getJobCount', [walk.me]);
    seen = await walk.watch(() => walk.set('provider', id, RUNNING));
    same(seen.names, ['JobTransitionEvent'], 'events of RUNNING');
    same(transitions(seen.events), [[2, 3]], 'RUNNING: 2 -> 3');
    same(
        (await chain.read('ProviderManager', 'getJobCount', [walk.me])) - counted,
        1n,
        'RUNNING counts the job',
    );
    seen = await walk.watch(() => chain.send('alice', MS, 'cancelJob', [id]));
    same(seen.names, [], 'cancelJob of a running job gives no event');
    await walk.is(id, RUNNING, 'and it stays RUNNING');
    same((await chain.job(id)).hasCancelRequest, true, 'with a request to cancel');
    await chain.send('alice', MS, 'cancelJob', [id]);
    same(
        await chain.read('ProviderJobQueues', 'getCancellingJobQueueSize', [walk.me]),
        2n,
        'each repeat is queued',
    );
    for (const round of ['first', 'second']) {
        seen = await walk.watch(() => chain.send('provider', MS, 'claimNextCancellingJob'));
        same(
            seen.names,
            ['ClaimNextCancellingJobEvent'],
            `events of the ${round} claimNextCancellingJob`,
        );
        same(
            [...seen.events[0].args],
            [chain.addressOf('alice'), walk.me, id],
            'it names customer, provider, job',
        );
    }
    same(
        await chain.read('ProviderJobQueues', 'hasCancellingJob', [walk.me]),
        false,
        'the queue is empty',
    );
    seen = await walk.watch(() => walk.set('provider', id, CANCELLED, 1));
    same(seen.names, ['Transfer', 'Transfer', 'JobTransitionEvent'], 'events of an end');
    same(
        seen.events.slice(0, 2).map((event) => event.args.to),
        [walk.me, chain.addressOf('alice')],
        'the provider is paid first, then the customer',
    );

    for (const [method, who] of [
        ['refuseJob', 'provider'],
        ['timeoutJob', 'operator'],
    ])
        for (const status of [META_SCHEDULED, SCHEDULED]) {
            id = await walk.jobIn(status);
            seen = await walk.watch(() => chain.send(who, MS, method, [id]));
            same(
                seen.names,
                ['JobRefusedEvent', 'JobTransitionEvent'],
                `events of ${method} in ${STATUS[status]}`,
            );
            same(
                [...seen.events[0].args],
                [id, walk.me, chain.addressOf('alice')],
                'it names job, provider, customer',
            );
            same(transitions(seen.events), [[status, 0]], 'back to PENDING');
            same(await walk.revert('provider', MS, 'claimNextJob'), 'NoJob()', 'and not claimable');
            await chain.metaSchedule(id, 'bob');
            await walk.claim('bob');
            same(
                (await chain.job(id)).providerAddr,
                chain.addressOf('bob'),
                'another provider can have it',
            );
            await chain.send('operator', MS, 'panicJob', [id, '']);
        }

    const refunds = [];
    for (const status of [PENDING, META_SCHEDULED, SCHEDULED])
        refunds.push([status, 'alice', 'cancelJob', [], CANCELLED]);
    for (const status of HOT) refunds.push([status, 'operator', 'panicJob', ['oh'], PANICKED]);
    for (const status of [META_SCHEDULED, SCHEDULED])
        for (const to of [CANCELLED, PANICKED])
            refunds.push([status, 'provider', 'providerSetJobStatus', [to, 9, '', 0], to]);
    refunds.push([SCHEDULED, 'provider', 'providerSetJobStatus', [FAILED, 9, '', 1], FAILED]);
    for (const [status, who, method, args, to] of refunds) {
        id = await walk.jobIn(status);
        seen = await walk.watch(() => chain.send(who, MS, method, [id, ...args]));
        const name = `${method} by ${who}, ${STATUS[status]} -> ${STATUS[to]}`;
        same(seen.names, ['Transfer', 'JobTransitionEvent'], `${name}: events`);
        same(
            seen.change,
            { alice: locked, provider: 0n, contract: -locked },
            `${name}: full refund`,
        );
        same(transitions(seen.events), [[status, to]], `${name}: transition`);
        if (method === 'panicJob') same((await chain.job(id)).lastError, 'oh', `${name}: text`);
    }

    const first = await walk.jobIn(META_SCHEDULED);
    const second = await walk.jobIn(META_SCHEDULED);
    const third = await walk.jobIn(META_SCHEDULED);
    await chain.send('alice', MS, 'cancelJob', [first]);
    const claimed = [];
    for (let i = 0; i < 2; i++) claimed.push((await walk.claim()).events[0].args.jobId);
    same(
        claimed,
        [second, third],
        'first in, first out; what was cancelled in the queue is skipped',
    );
    for (const job of [second, third]) await walk.set('provider', job, CANCELLED);
}

export async function checkBilling(walk) {
    const { chain } = walk;
    const MS = 'MetaScheduler';
    // name, minutes on chain, minutes reported, credits billed, event of too much
    const cases = [
        ['0 counts as 1', 0, 0n, price, false],
        ['as reported', 10, 10n, 10n * price, false],
        ['less than elapsed is not questioned', 10, 2n, 2n * price, false],
        ['15 minutes more than elapsed', 10, 25n, 25n * price, false],
        ['16 more: only what elapsed', 10, 26n, 10n * price, true],
        ['16 at once: nothing', 0, 16n, 0n, true],
        ['2^64-1 minutes', 3, 2n ** 64n - 1n, 3n * price, true],
        ['capped at what was locked', 200, 200n, locked, false],
    ];
    for (const [name, elapsed, reported, billed, tooMuch] of cases) {
        const id = await walk.jobIn(RUNNING);
        if (elapsed > 0) await chain.advanceTime(elapsed * 60);
        const seen = await walk.watch(() => walk.set('provider', id, FINISHED, reported));
        const expected = ['Transfer', 'Transfer', 'JobTransitionEvent'];
        if (tooMuch) expected.unshift('BilledTooMuchEvent');
        same(seen.names, expected, `billing, ${name}: events`);
        if (tooMuch)
            same([...seen.events[0].args], [id, walk.me, reported], `billing, ${name}: event`);
        const reward = (billed * 80n) / 100n;
        same(
            seen.change,
            { alice: locked - billed, provider: reward, contract: billed - reward - locked },
            `billing, ${name}: credits`,
        );
        same((await chain.job(id)).cost.finalCost, billed, `billing, ${name}: finalCost`);
    }
    for (const status of COLD) {
        const id = await walk.jobIn(RUNNING);
        await chain.advanceTime(300);
        const seen = await walk.watch(() => walk.set('provider', id, status, 5));
        same(seen.change.alice, locked - 5n * price, `${STATUS[status]} from RUNNING is billed`);
    }
    let id = await walk.jobIn(RUNNING);
    let seen = await walk.watch(() => walk.set('provider', id, PANICKED, 0));
    same(seen.change.alice, locked - price, 'PANICKED by the provider with 0 minutes costs one');

    const big = { gpus: 3n, memPerCpu: 2000n, cpusPerTask: 4n, ntasks: 2n };
    const bigPrice = 2n * (4n * CREDIT + (4n * 2000n * CREDIT) / 10000n) + 3n * 8n * CREDIT;
    id = await walk.jobIn(META_SCHEDULED, { definition: big, amount: 1000n * CREDIT });
    const { events } = await walk.claim();
    same(
        events[0].args.maxDurationMinute,
        (1000n * CREDIT) / bigPrice,
        'price: tasks x (CPUs + memory) + GPUs of the job',
    );
    await walk.set('provider', id, RUNNING);
    await chain.advanceTime(120);
    const raised = Object.fromEntries(
        Object.entries(PRICES).map(([name, value]) => [name, 10n * value]),
    );
    await chain.joinProvider({ prices: raised });
    seen = await walk.watch(() => walk.set('provider', id, FINISHED, 2));
    same((await chain.job(id)).cost.finalCost, 20n * bigPrice, 'prices are those of the end');
    await chain.joinProvider({
        prices: { gpuPricePerMin: 0n, cpuPricePerMin: 0n, memPricePerMin: 0n },
    });
    id = await walk.jobIn(META_SCHEDULED);
    same(
        await walk.revert('provider', MS, 'claimNextJob'),
        'Panic(18)',
        'no prices: claimNextJob divides by zero',
    );
    await chain.send('alice', MS, 'cancelJob', [id]);
    await chain.joinProvider();

    const held = await chain.balance(chain.address.MetaScheduler);
    await chain.send('admin', MS, 'withdrawAdmin', [1n]);
    same(held - (await chain.balance(chain.address.MetaScheduler)), 1n, 'withdrawAdmin');
}

export async function checkTopUps(walk) {
    const { chain } = walk;
    const MS = 'MetaScheduler';
    let id = await walk.jobIn(SCHEDULED);
    let seen = await walk.watch(() => chain.send('alice', MS, 'topUpJob', [id, 10n * CREDIT]));
    same(seen.names, ['Approval', 'Transfer'], 'events of topUpJob');
    same(seen.change.alice, -10n * CREDIT, 'topUpJob locks the credits');
    await walk.set('provider', id, RUNNING);
    await chain.send('bob', MS, 'topUpJob', [id, 5n * CREDIT]);
    await chain.send('alice', MS, 'topUpJob', [id, 0n]);
    same((await chain.job(id)).cost.maxCost, locked + 15n * CREDIT, 'anyone may top up');
    same(
        await chain.read('ProviderJobQueues', 'getTopUpJobQueueSize', [walk.me]),
        3n,
        'each is queued',
    );
    for (const minutes of [(15n * CREDIT) / price, 0n, 0n]) {
        seen = await walk.watch(() => chain.send('provider', MS, 'claimNextTopUpJob'));
        same(seen.names, ['ClaimNextTopUpJobEvent'], 'events of claimNextTopUpJob');
        same([...seen.events[0].args], [id, walk.me, minutes], `it tells ${minutes} minutes more`);
    }
    same((await chain.job(id)).cost.pendingTopUp, 0n, 'nothing is pending any more');
    await walk.set('provider', id, FINISHED, 1);

    id = await walk.jobIn(RUNNING, { delegate: true });
    await chain.advanceTime(60 * 69); // 99 paid for: 30 left
    for (const who of ['provider', 'operator', 'alice'])
        same(
            await walk.revert(who, MS, 'topUpJobDelegate', [id]),
            '',
            `topUpJobDelegate by ${who}`,
        );
    seen = await walk.watch(() => chain.send('provider', MS, 'topUpJobDelegate', [id]));
    same(seen.change.alice, -30n * price, 'it adds half an hour at the expense of the customer');
    same(
        await walk.revert('provider', MS, 'topUpJobDelegate', [id]),
        'RemainingTimeAboveLimit(60,30)',
        'but not twice',
    );
    await chain.advanceTime(60 * 70);
    same(
        await walk.revert('provider', MS, 'topUpJobDelegate', [id]),
        'Panic(17)',
        'nor when the time is over',
    );
    await walk.set('provider', id, OUT, 129);
    await chain.send('provider', MS, 'claimNextTopUpJob');
}
