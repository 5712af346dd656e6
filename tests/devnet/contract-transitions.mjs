// SPDX-License-Identifier: GPL-3.0-or-later
// Every pair of statuses, and every other call in every status: what the contract allows and with
// which error it refuses.
import { STATUS } from './chain.mjs';
import {
    CANCELLED,
    COLD,
    FAILED,
    FINISHED,
    HOT,
    META_SCHEDULED,
    NO_JOB,
    PANICKED,
    PENDING,
    RUNNING,
    SCHEDULED,
} from './contract-walk.mjs';
import { same } from './tap.mjs';

// providerSetJobStatus: one row of the table for each status before.
export async function checkTransitions(walk) {
    const { chain, me } = walk;
    const zero = `0x${'0'.repeat(40)}`;
    const targets = [RUNNING, ...COLD];
    const allowed = {
        [META_SCHEDULED]: [CANCELLED, PANICKED],
        [SCHEDULED]: [RUNNING, CANCELLED, FAILED, PANICKED],
        [RUNNING]: COLD,
    };
    for (const from of [...HOT, ...COLD]) {
        const id = await walk.jobIn(from);
        for (const to of targets) {
            let expected = `InvalidTransition(${from},${to})`;
            if (from === PENDING) expected = `JobProviderOnly(${me},${zero})`;
            else if (from === to) expected = 'SameStatusError()';
            else if (from >= CANCELLED) expected = `JobHotStatusOnly(${from})`;
            else if (allowed[from].includes(to)) expected = '';
            same(
                await walk.setRevert('provider', id, to),
                expected,
                `${STATUS[from]} -> ${STATUS[to]}`,
            );
        }
        for (const to of [PENDING, META_SCHEDULED, SCHEDULED]) {
            const expected =
                from === PENDING
                    ? `JobProviderOnly(${me},${zero})`
                    : `RunningColdStatusOnly(${to})`;
            same(
                await walk.setRevert('provider', id, to),
                expected,
                `${STATUS[from]} -> ${STATUS[to]}`,
            );
        }
        if (from < CANCELLED)
            await chain.send('operator', 'MetaScheduler', 'panicJob', [id, 'done']);
    }

    const id = await walk.jobIn(RUNNING);
    const call = chain
        .iface('MetaScheduler')
        .encodeFunctionData('providerSetJobStatus', [id, PANICKED, 1, '', 0]);
    const ninth = call.slice(0, 10 + 64) + '9'.padStart(64, '0') + call.slice(10 + 128);
    same(
        await chain.revertOfData('provider', chain.address.MetaScheduler, ninth),
        'empty revert',
        'status 9',
    );
    same(await walk.setRevert('bob', id, FINISHED), 'ProviderNotJoined()', 'report by a stranger');
    same(
        await walk.setRevert('bob', id, PENDING),
        'ProviderNotJoined()',
        'joining is checked before the target',
    );
    same(
        await walk.setRevert('provider', NO_JOB, FINISHED),
        'InvalidJob()',
        'report of an unknown job',
    );
    await chain.joinProvider({ who: 'bob' });
    same(
        await walk.setRevert('bob', id, PENDING),
        `JobProviderOnly(${chain.addressOf('bob')},${me})`,
        "another provider's job, checked before the target",
    );
    await chain.send('operator', 'ProviderManager', 'ban', [me]);
    same(
        await walk.setRevert('provider', id, FINISHED),
        'ProviderNotJoined()',
        'report while banned',
    );
    await chain.send('operator', 'ProviderManager', 'unban', [me]);

    await walk.set('provider', id, FAILED, 1, 'it broke', 7);
    const { status, lastError, exitCode, time } = await chain.job(id);
    same(
        [status, lastError, exitCode],
        ['FAILED', 'it broke', 7n],
        'error text and exit code are kept',
    );
    same(
        time.end >= time.start && time.start >= time.submit && time.submit > 0n,
        true,
        'times are kept',
    );
    const other = await walk.jobIn(SCHEDULED);
    await walk.set('provider', other, RUNNING, 0, 'early', 3);
    await walk.set('provider', other, FINISHED, 1, '', -1);
    const job = await chain.job(other);
    same(
        [job.lastError, job.exitCode],
        ['early', -1n],
        'an empty text keeps the old one, the code is always set',
    );
}

// The other calls: what they do, or refuse, in each status.
export async function checkCalls(walk) {
    const { chain, me } = walk;
    const MS = 'MetaScheduler';
    const hot = (s) => `JobHotStatusOnly(${s})`;
    const topUpOnly = (s) => `RunningScheduledStatusOnly(${s})`;
    const refuseOnly = (s) => `MetaScheduledScheduledStatusOnly(${s})`;
    const nobody = `JobProviderOnly(${me},0x${'0'.repeat(40)})`;
    const slice = `RemainingTimeAboveLimit(99,30)`;
    const table = {
        metaSchedule: [
            '',
            'SameStatusError()',
            'InvalidTransition(2,1)',
            'InvalidTransition(3,1)',
            hot,
        ],
        refuseJob: [nobody, '', '', refuseOnly(3), refuseOnly],
        timeoutJob: ['SameStatusError()', '', '', 'InvalidTransition(3,0)', hot],
        cancelJob: ['', '', '', '', hot],
        panicJob: ['', '', '', '', hot],
        topUpJob: [topUpOnly(0), topUpOnly(1), '', '', topUpOnly],
        topUpJobDelegate: [topUpOnly(0), topUpOnly(1), slice, slice, topUpOnly],
        setDelegateSpendingAuthority: ['', '', '', '', hot],
    };
    const by = {
        metaSchedule: 'operator',
        timeoutJob: 'operator',
        panicJob: 'operator',
        refuseJob: 'provider',
    };
    const more = {
        metaSchedule: [me],
        panicJob: [''],
        topUpJob: [0],
        setDelegateSpendingAuthority: [false],
    };
    for (const status of [...HOT, ...COLD]) {
        const id = await walk.jobIn(status, { delegate: true });
        for (const [method, row] of Object.entries(table)) {
            const cell = status < CANCELLED ? row[status] : row[4];
            const expected = typeof cell === 'function' ? cell(status) : cell;
            const args = [id, ...(more[method] ?? [])];
            same(
                await walk.revert(by[method] ?? 'alice', MS, method, args),
                expected,
                `${method} in ${STATUS[status]}`,
            );
        }
        if (status !== META_SCHEDULED)
            same(
                await walk.revert('provider', MS, 'claimNextJob'),
                'NoJob()',
                `claimNextJob in ${STATUS[status]}`,
            );
        if (status < CANCELLED) await chain.send('operator', MS, 'panicJob', [id, '']);
    }

    const id = await walk.jobIn(RUNNING);
    const wrong = `CustomerOnly(${chain.addressOf('bob')},${chain.addressOf('alice')})`;
    same(await walk.revert('bob', MS, 'cancelJob', [id]), wrong, 'cancelJob by another customer');
    same(
        await walk.revert('bob', MS, 'setDelegateSpendingAuthority', [id, true]),
        wrong,
        'delegate by another customer',
    );
    same(
        await walk.revert('bob', MS, 'refuseJob', [id]),
        `JobProviderOnly(${chain.addressOf('bob')},${me})`,
        'refuseJob by another provider',
    );
    same(
        await walk.revert('bob', MS, 'topUpJobDelegate', [id]),
        'CustomerMetaSchedulerProviderOnly()',
        'topUpJobDelegate by a stranger',
    );
    same(
        await walk.revert('provider', MS, 'topUpJobDelegate', [id]),
        'NoSpendingAuthority()',
        'topUpJobDelegate without authority',
    );
    for (const method of ['claimNextJob', 'claimNextCancellingJob', 'claimNextTopUpJob']) {
        same(
            await walk.revert('carol', MS, method),
            'ProviderNotJoined()',
            `${method} by a stranger`,
        );
        same(await walk.revert('bob', MS, method), 'NoJob()', `${method} of an empty queue`);
    }
    await walk.set('provider', id, FINISHED, 1);
}
