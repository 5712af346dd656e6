// SPDX-License-Identifier: GPL-3.0-or-later
// Compares the grid's contracts with abi/facts.json (what is known of the public grid's), and walks
// every transition and every rule of billing on a real chain. Prints TAP.
//   node test-contracts.mjs
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Interface, MaxUint256, id as keccakOf } from 'ethers';
import { loadContracts } from './build-contracts.mjs';
import { CREDIT, Chain, PRICES, STATUS, startAnvil } from './chain.mjs';
import { freePorts } from './process.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const facts = JSON.parse(readFileSync(join(here, 'abi', 'facts.json'), 'utf8'));
const [PENDING, META_SCHEDULED, SCHEDULED, RUNNING, CANCELLED, FINISHED, FAILED, OUT, PANICKED] =
    STATUS.keys();
const COLD = [CANCELLED, FINISHED, FAILED, OUT, PANICKED];
const HOT = [PENDING, META_SCHEDULED, SCHEDULED, RUNNING];
const NO_JOB = `0x${'f'.repeat(64)}`;

// TAP.

let count = 0;
let failures = 0;

function report(good, name, details) {
    console.log(`${good ? 'ok' : 'not ok'} ${++count} - ${name}`);
    if (good) return;
    failures++;
    for (const line of details.split('\n')) console.log(`# ${line}`);
}

const show = (value) =>
    JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? v.toString() : v));

function same(got, expected, name) {
    report(show(got) === show(expected), name, `got      ${show(got)}\nexpected ${show(expected)}`);
}

// What a compiled ABI says, in the words of facts.json.

function parameter(input) {
    const type = input.type.startsWith('tuple')
        ? `(${input.components.map(parameter).join(', ')})${input.type.slice(5)}`
        : input.type;
    return `${type}${input.indexed ? ' indexed' : ''} ${input.name}`.trim();
}

// Members are compared by signature, so that a failure shows only what differs.
function sameSet(got, expected, name) {
    const table = (list) => new Map(list.map((entry) => [entry.signature, show(entry)]));
    const [mine, theirs] = [table(got), table(expected)];
    const differ = (a, b) => [...a].filter(([key, text]) => b.get(key) !== text).map(([, text]) => text);
    same(differ(mine, theirs), differ(theirs, mine), name);
}

function describe(abi) {
    const iface = new Interface(abi);
    const pick = (type) => abi.filter((entry) => entry.type === type);
    const constructor = pick('constructor')[0];
    return {
        constructor: (constructor?.inputs ?? []).map(parameter),
        functions: pick('function').map((entry) => {
            const signature = canonical(entry);
            return {
                signature,
                selector: iface.getFunction(signature).selector,
                stateMutability: entry.stateMutability,
                inputs: entry.inputs.map(parameter),
                outputs: entry.outputs.map(parameter),
            };
        }),
        events: pick('event').map((entry) => ({
            signature: canonical(entry),
            topic0: iface.getEvent(canonical(entry)).topicHash,
            inputs: entry.inputs.map(parameter),
        })),
        errors: pick('error').map((entry) => ({
            signature: canonical(entry),
            selector: iface.getError(canonical(entry)).selector,
            inputs: entry.inputs.map(parameter),
        })),
    };
}

function canonical(entry) {
    const type = (input) =>
        input.type.startsWith('tuple')
            ? `(${input.components.map(type).join(',')})${input.type.slice(5)}`
            : input.type;
    return `${entry.name}(${entry.inputs.map(type).join(',')})`;
}

function checkAbi(contracts) {
    for (const [name, fact] of Object.entries(facts.contracts)) {
        if (name === 'Tools') continue; // a library: only its errors are seen from outside
        const got = describe(contracts[name].abi);
        same(got.constructor, fact.constructor, `${name}: constructor`);
        for (const kind of ['functions', 'events', 'errors'])
            sameSet(got[kind], fact[kind], `${name}: ${fact[kind].length} ${kind}`);
    }
    const tools = describe(contracts.Tools.abi);
    sameSet(tools.errors, facts.contracts.Tools.errors, 'Tools: its errors');
    same(
        keccakOf('checkNewJobStatus(JobStatus,JobStatus)').slice(0, 10),
        '0x97d2874f',
        'Tools: selectors of a library use the names of types',
    );
    checkStructs(contracts);
}

function checkStructs(contracts) {
    const layouts = {};
    const collect = (input) => {
        if (!input.components) return;
        const name = input.internalType.replace(/^struct (\w+).*$/, '$1');
        layouts[name] = input.components.map((member) => {
            collect(member);
            return { name: member.name, canonical: canonical({ name: '', inputs: [member] }).slice(1, -1) };
        });
    };
    for (const { abi } of Object.values(contracts))
        for (const entry of abi) [...(entry.inputs ?? []), ...(entry.outputs ?? [])].forEach(collect);
    for (const [name, members] of Object.entries(facts.structs))
        same(layouts[name], members, `struct ${name}`);
}

// The chain.

class Walk {
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
        const who = { alice: 'alice', provider: 'provider', contract: this.chain.address.MetaScheduler };
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

const transitions = (events) =>
    events
        .filter((event) => event.name === 'JobTransitionEvent')
        .map((event) => [Number(event.args._from), Number(event.args._to)]);

async function checkRoles(walk) {
    const { chain } = walk;
    for (const [contract, role] of [
        ['MetaScheduler', 'METASCHEDULER_ROLE'],
        ['MetaScheduler', 'DEFAULT_ADMIN_ROLE'],
        ['JobRepository', 'METASCHEDULER_ROLE'],
        ['ProviderManager', 'METASCHEDULER_CONTRACT_ROLE'],
    ])
        same(await chain.read(contract, role), facts.roles[role], `${contract}.${role}`);

    const missing = (who, role) =>
        `Error(AccessControl: account ${chain.addressOf(who).toLowerCase()} is missing role ${role})`;
    const role = facts.roles.METASCHEDULER_ROLE;
    for (const [contract, method, args] of [
        ['MetaScheduler', 'metaSchedule', [NO_JOB, walk.me]],
        ['MetaScheduler', 'timeoutJob', [NO_JOB]],
        ['MetaScheduler', 'panicJob', [NO_JOB, '']],
        ['ProviderManager', 'approve', [walk.me]],
        ['ProviderManager', 'ban', [walk.me]],
        ['JobRepository', 'setJobStatus', [NO_JOB, 5]],
    ])
        same(
            await walk.revert('provider', contract, method, args),
            missing('provider', role),
            `${contract}.${method} by a stranger`,
        );
    for (const [method, args] of [
        ['setEnableRequestNewJob', [false]],
        ['withdrawAdmin', [1]],
    ])
        same(
            await walk.revert('operator', 'MetaScheduler', method, args),
            missing('operator', facts.roles.DEFAULT_ADMIN_ROLE),
            `${method} by a stranger`,
        );
    for (const [contract, method, args] of [
        ['ProviderJobQueues', 'pushClaimableJob', [walk.me, NO_JOB]],
        ['Credit', 'mint', [walk.me, 1]],
        ['Constants', 'setDeepsquareCut', [1]],
    ])
        same(
            await walk.revert('provider', contract, method, args),
            'Error(Ownable: caller is not the owner)',
            `${contract}.${method} by a stranger`,
        );
    const constants = {
        minimumAmount: 100n * CREDIT,
        deepsquareCut: 20n,
        billDurationDeltaMinute: 15n,
        topUpSliceDurationMin: 30n,
        cancellationFeeMinute: 5n,
        claimJobTimeout: 10n,
    };
    for (const [name, value] of Object.entries(constants))
        same(await chain.read('Constants', name), value, `Constants.${name}`);
}

async function checkRegistration(walk) {
    const { chain } = walk;
    const hardware = { nodes: 1, gpusPerNode: [0], cpusPerNode: [64], memPerNode: [20000] };
    const register = (change) =>
        walk.revert('provider', 'ProviderManager', 'register', [
            { ...hardware, ...change },
            PRICES,
            [['region', 'earth']],
        ]);
    same(await walk.revert('provider', 'MetaScheduler', 'claimNextJob'), 'ProviderNotJoined()', 'claim before joining');
    same(await register({ nodes: 0 }), 'InvalidNodesCount()', 'register no nodes');
    same(await register({ gpusPerNode: [] }), 'ArrayLengthMismatch()', 'register with short arrays');
    same(await register({ cpusPerNode: [0] }), 'InvalidTotalCpus()', 'register no CPUs');
    same(await register({ memPerNode: [0] }), 'InvalidTotalMem()', 'register no memory');
    const { events } = await chain.send('provider', 'ProviderManager', 'register', [
        hardware,
        PRICES,
        [['region', 'earth']],
    ]);
    same(events.map((event) => event.name), ['ProviderWaitingForApproval'], 'events of register');
    const state = async () => [
        await chain.read('ProviderManager', 'isWaitingForApproval', [walk.me]),
        await chain.read('ProviderManager', 'isValidForScheduling', [walk.me]),
    ];
    same(await state(), [true, false], 'registered: waits for approval');
    const approved = await chain.approveProvider();
    same(approved.events.map((event) => event.name), ['ProviderApproved'], 'events of approve');
    same(await state(), [false, true], 'approved: valid for scheduling');
    same(
        await walk.revert('operator', 'ProviderManager', 'approve', [walk.me]),
        'WaitingApprovalOnly()',
        'approve twice',
    );
    const provider = await chain.read('ProviderManager', 'getProvider', [walk.me]);
    same(
        [provider.addr, provider.providerHardware, provider.providerPrices, provider.labels, provider.isBanned].map(
            (value) => JSON.parse(show(value)),
        ),
        [
            walk.me,
            ['1', ['0'], ['64'], ['20000']],
            Object.values(PRICES).map(String),
            [['region', 'earth']],
            false,
        ],
        'getProvider gives what was registered',
    );
    const banned = await chain.send('operator', 'ProviderManager', 'ban', [walk.me]);
    same(banned.events.map((event) => [event.name, event.args.status]), [['ProviderBanChanged', true]], 'events of ban');
    same(await state(), [false, false], 'banned: not valid for scheduling');
    same(await register({}), 'Banned()', 'register while banned');
    same(await walk.revert('operator', 'ProviderManager', 'ban', [walk.me]), 'AlreadyDone()', 'ban twice');
    await chain.send('operator', 'ProviderManager', 'unban', [walk.me]);
    same(await state(), [false, true], 'unbanned');
    same(
        await walk.revert('operator', 'ProviderManager', 'remove', [chain.addressOf('bob')]),
        'NoProvider()',
        'remove a stranger',
    );
}

async function checkRequest(walk) {
    const { chain } = walk;
    const definition = (change) => ({
        gpus: 0,
        memPerCpu: 100,
        cpusPerTask: 1,
        ntasks: 1,
        batchLocationHash: '',
        storageType: 0,
        uses: [],
        affinity: [],
        ...change,
    });
    const request = (change, amount = 100n * CREDIT, who = 'alice') =>
        walk.revert(who, 'MetaScheduler', 'requestNewJob', [
            definition(change),
            amount,
            `0x${'00'.repeat(32)}`,
            false,
        ]);
    const little = 100n * CREDIT - 1n;
    same(await request({}), '', 'no GPU and no hash are allowed');
    same(await request({}, little), `InsufficientFunds(${little},${100n * CREDIT})`, 'too few credits');
    for (const member of ['ntasks', 'cpusPerTask', 'memPerCpu'])
        same(await request({ [member]: 0 }), 'InvalidJobDefinition()', `no ${member}`);
    same(await request({ storageType: 4 }), '', 'storageType 4');
    same(await request({}, 100n * CREDIT, 'operator'), 'Error(ERC20: insufficient allowance)', 'no allowance');
    same(await request({}, 20000n * CREDIT), 'Error(ERC20: insufficient allowance)', 'more than allowed');
    await chain.send('operator', 'Credit', 'approve', [chain.address.MetaScheduler, MaxUint256]);
    same(
        await request({}, 100n * CREDIT, 'operator'),
        'Error(ERC20: transfer amount exceeds balance)',
        'no balance',
    );
    const iface = chain.iface('MetaScheduler');
    const words = iface
        .encodeFunctionData('requestNewJob', [definition({ storageType: 4 }), 1, `0x${'00'.repeat(32)}`, false])
        .slice(10)
        .match(/.{64}/g);
    words[4 + 5] = '5'.padStart(64, '0'); // the definition begins after four words of head
    const bad = iface.getFunction('requestNewJob').selector + words.join('');
    same(await chain.revertOfData('alice', chain.address.MetaScheduler, bad), 'empty revert', 'storageType 5');
    same(
        await chain.revertOfData('alice', chain.address.MetaScheduler, '0x5fae1450'),
        'empty revert',
        'short calldata',
    );

    await chain.send('admin', 'MetaScheduler', 'setEnableRequestNewJob', [false]);
    same(await request({}), 'NewJobRequestDisabled()', 'requests disabled');
    await chain.send('admin', 'MetaScheduler', 'setEnableRequestNewJob', [true]);

    const rich = {
        gpus: 3n,
        batchLocationHash: 'ab'.repeat(32),
        storageType: 2,
        uses: [['os', 'linux'], ['a', 'b']],
        affinity: [[['zone', 'x'], '0x3d3d']],
    };
    const name = `0x${'41'.repeat(32)}`;
    const args = [definition(rich), 120n * CREDIT, name, true];
    const { names, change, events } = await walk.watch(() =>
        chain.send('alice', 'MetaScheduler', 'requestNewJob', args),
    );
    same(names, ['JobCreated', 'Approval', 'Transfer', 'NewJobRequestEvent'], 'events of a request');
    same(change, { alice: -120n * CREDIT, provider: 0n, contract: 120n * CREDIT }, 'credits are locked');
    const id = events[0].args._jobId;
    same(id, `0x${'1'.padStart(64, '0')}`, 'job ids count from 1');
    const job = await chain.read('JobRepository', 'get', [id]);
    same(JSON.parse(show(job.definition)), ['3', '100', '1', '1', 'ab'.repeat(32), '2', [['os', 'linux'], ['a', 'b']], [[['zone', 'x'], '0x3d3d']]], 'the definition is kept');
    same(
        [job.jobId, job.customerAddr, job.jobName, job.cost.maxCost, job.cost.delegateSpendingAuthority, Number(job.status)],
        [id, chain.addressOf('alice'), name, 120n * CREDIT, true, PENDING],
        'the job is kept',
    );
    same(await chain.read('JobRepository', 'getByCustomer', [chain.addressOf('alice')]), [id], 'getByCustomer');
    same(await walk.revert('alice', 'JobRepository', 'get', [NO_JOB]), 'InvalidJob()', 'get of an unknown job');
    same(await walk.revert('alice', 'MetaScheduler', 'cancelJob', [NO_JOB]), 'InvalidJob()', 'cancel of an unknown job');
}

// providerSetJobStatus: one row of the table for each status before.
async function checkTransitions(walk) {
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
            same(await walk.setRevert('provider', id, to), expected, `${STATUS[from]} -> ${STATUS[to]}`);
        }
        for (const to of [PENDING, META_SCHEDULED, SCHEDULED]) {
            const expected =
                from === PENDING ? `JobProviderOnly(${me},${zero})` : `RunningColdStatusOnly(${to})`;
            same(await walk.setRevert('provider', id, to), expected, `${STATUS[from]} -> ${STATUS[to]}`);
        }
        if (from < CANCELLED) await chain.send('operator', 'MetaScheduler', 'panicJob', [id, 'done']);
    }

    const id = await walk.jobIn(RUNNING);
    const call = chain
        .iface('MetaScheduler')
        .encodeFunctionData('providerSetJobStatus', [id, PANICKED, 1, '', 0]);
    const ninth = call.slice(0, 10 + 64) + '9'.padStart(64, '0') + call.slice(10 + 128);
    same(await chain.revertOfData('provider', chain.address.MetaScheduler, ninth), 'empty revert', 'status 9');
    same(await walk.setRevert('bob', id, FINISHED), 'ProviderNotJoined()', 'report by a stranger');
    same(await walk.setRevert('bob', id, PENDING), 'ProviderNotJoined()', 'joining is checked before the target');
    same(await walk.setRevert('provider', NO_JOB, FINISHED), 'InvalidJob()', 'report of an unknown job');
    await chain.joinProvider({ who: 'bob' });
    same(
        await walk.setRevert('bob', id, PENDING),
        `JobProviderOnly(${chain.addressOf('bob')},${me})`,
        "another provider's job, checked before the target",
    );
    await chain.send('operator', 'ProviderManager', 'ban', [me]);
    same(await walk.setRevert('provider', id, FINISHED), 'ProviderNotJoined()', 'report while banned');
    await chain.send('operator', 'ProviderManager', 'unban', [me]);

    await walk.set('provider', id, FAILED, 1, 'it broke', 7);
    const { status, lastError, exitCode, time } = await chain.job(id);
    same([status, lastError, exitCode], ['FAILED', 'it broke', 7n], 'error text and exit code are kept');
    same(time.end >= time.start && time.start >= time.submit && time.submit > 0n, true, 'times are kept');
    const other = await walk.jobIn(SCHEDULED);
    await walk.set('provider', other, RUNNING, 0, 'early', 3);
    await walk.set('provider', other, FINISHED, 1, '', -1);
    const job = await chain.job(other);
    same([job.lastError, job.exitCode], ['early', -1n], 'an empty text keeps the old one, the code is always set');
}

// The other calls: what they do, or refuse, in each status.
async function checkCalls(walk) {
    const { chain, me } = walk;
    const MS = 'MetaScheduler';
    const hot = (s) => `JobHotStatusOnly(${s})`;
    const topUpOnly = (s) => `RunningScheduledStatusOnly(${s})`;
    const refuseOnly = (s) => `MetaScheduledScheduledStatusOnly(${s})`;
    const nobody = `JobProviderOnly(${me},0x${'0'.repeat(40)})`;
    const slice = `RemainingTimeAboveLimit(99,30)`;
    const table = {
        metaSchedule: ['', 'SameStatusError()', 'InvalidTransition(2,1)', 'InvalidTransition(3,1)', hot],
        refuseJob: [nobody, '', '', refuseOnly(3), refuseOnly],
        timeoutJob: ['SameStatusError()', '', '', 'InvalidTransition(3,0)', hot],
        cancelJob: ['', '', '', '', hot],
        panicJob: ['', '', '', '', hot],
        topUpJob: [topUpOnly(0), topUpOnly(1), '', '', topUpOnly],
        topUpJobDelegate: [topUpOnly(0), topUpOnly(1), slice, slice, topUpOnly],
        setDelegateSpendingAuthority: ['', '', '', '', hot],
    };
    const by = { metaSchedule: 'operator', timeoutJob: 'operator', panicJob: 'operator', refuseJob: 'provider' };
    const more = { metaSchedule: [me], panicJob: [''], topUpJob: [0], setDelegateSpendingAuthority: [false] };
    for (const status of [...HOT, ...COLD]) {
        const id = await walk.jobIn(status, { delegate: true });
        for (const [method, row] of Object.entries(table)) {
            const cell = status < CANCELLED ? row[status] : row[4];
            const expected = typeof cell === 'function' ? cell(status) : cell;
            const args = [id, ...(more[method] ?? [])];
            same(await walk.revert(by[method] ?? 'alice', MS, method, args), expected, `${method} in ${STATUS[status]}`);
        }
        if (status !== META_SCHEDULED)
            same(await walk.revert('provider', MS, 'claimNextJob'), 'NoJob()', `claimNextJob in ${STATUS[status]}`);
        if (status < CANCELLED) await chain.send('operator', MS, 'panicJob', [id, '']);
    }

    const id = await walk.jobIn(RUNNING);
    const wrong = `CustomerOnly(${chain.addressOf('bob')},${chain.addressOf('alice')})`;
    same(await walk.revert('bob', MS, 'cancelJob', [id]), wrong, 'cancelJob by another customer');
    same(await walk.revert('bob', MS, 'setDelegateSpendingAuthority', [id, true]), wrong, 'delegate by another customer');
    same(await walk.revert('bob', MS, 'refuseJob', [id]), `JobProviderOnly(${chain.addressOf('bob')},${me})`, 'refuseJob by another provider');
    same(await walk.revert('bob', MS, 'topUpJobDelegate', [id]), 'CustomerMetaSchedulerProviderOnly()', 'topUpJobDelegate by a stranger');
    same(await walk.revert('provider', MS, 'topUpJobDelegate', [id]), 'NoSpendingAuthority()', 'topUpJobDelegate without authority');
    for (const method of ['claimNextJob', 'claimNextCancellingJob', 'claimNextTopUpJob']) {
        same(await walk.revert('carol', MS, method), 'ProviderNotJoined()', `${method} by a stranger`);
        same(await walk.revert('bob', MS, method), 'NoJob()', `${method} of an empty queue`);
    }
    await walk.set('provider', id, FINISHED, 1);
}

const locked = 100n * CREDIT;
const price = CREDIT + CREDIT / 100n; // a CPU and 100 MB, a minute

async function checkEvents(walk) {
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
    same((await chain.read('ProviderManager', 'getJobCount', [walk.me])) - counted, 1n, 'RUNNING counts the job');
    seen = await walk.watch(() => chain.send('alice', MS, 'cancelJob', [id]));
    same(seen.names, [], 'cancelJob of a running job gives no event');
    await walk.is(id, RUNNING, 'and it stays RUNNING');
    same((await chain.job(id)).hasCancelRequest, true, 'with a request to cancel');
    await chain.send('alice', MS, 'cancelJob', [id]);
    same(await chain.read('ProviderJobQueues', 'getCancellingJobQueueSize', [walk.me]), 2n, 'each repeat is queued');
    for (const round of ['first', 'second']) {
        seen = await walk.watch(() => chain.send('provider', MS, 'claimNextCancellingJob'));
        same(seen.names, ['ClaimNextCancellingJobEvent'], `events of the ${round} claimNextCancellingJob`);
        same([...seen.events[0].args], [chain.addressOf('alice'), walk.me, id], 'it names customer, provider, job');
    }
    same(await chain.read('ProviderJobQueues', 'hasCancellingJob', [walk.me]), false, 'the queue is empty');
    seen = await walk.watch(() => walk.set('provider', id, CANCELLED, 1));
    same(seen.names, ['Transfer', 'Transfer', 'JobTransitionEvent'], 'events of an end');
    same(
        seen.events.slice(0, 2).map((event) => event.args.to),
        [walk.me, chain.addressOf('alice')],
        'the provider is paid first, then the customer',
    );

    for (const [method, who] of [['refuseJob', 'provider'], ['timeoutJob', 'operator']])
        for (const status of [META_SCHEDULED, SCHEDULED]) {
            id = await walk.jobIn(status);
            seen = await walk.watch(() => chain.send(who, MS, method, [id]));
            same(seen.names, ['JobRefusedEvent', 'JobTransitionEvent'], `events of ${method} in ${STATUS[status]}`);
            same([...seen.events[0].args], [id, walk.me, chain.addressOf('alice')], 'it names job, provider, customer');
            same(transitions(seen.events), [[status, 0]], 'back to PENDING');
            same(await walk.revert('provider', MS, 'claimNextJob'), 'NoJob()', 'and not claimable');
            await chain.metaSchedule(id, 'bob');
            await walk.claim('bob');
            same((await chain.job(id)).providerAddr, chain.addressOf('bob'), 'another provider can have it');
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
        same(seen.change, { alice: locked, provider: 0n, contract: -locked }, `${name}: full refund`);
        same(transitions(seen.events), [[status, to]], `${name}: transition`);
        if (method === 'panicJob') same((await chain.job(id)).lastError, 'oh', `${name}: text`);
    }

    const first = await walk.jobIn(META_SCHEDULED);
    const second = await walk.jobIn(META_SCHEDULED);
    const third = await walk.jobIn(META_SCHEDULED);
    await chain.send('alice', MS, 'cancelJob', [first]);
    const claimed = [];
    for (let i = 0; i < 2; i++) claimed.push((await walk.claim()).events[0].args.jobId);
    same(claimed, [second, third], 'first in, first out; what was cancelled in the queue is skipped');
    for (const job of [second, third]) await walk.set('provider', job, CANCELLED);
}

async function checkBilling(walk) {
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
        if (tooMuch) same([...seen.events[0].args], [id, walk.me, reported], `billing, ${name}: event`);
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
    same(events[0].args.maxDurationMinute, (1000n * CREDIT) / bigPrice, 'price: tasks x (CPUs + memory) + GPUs of the job');
    await walk.set('provider', id, RUNNING);
    await chain.advanceTime(120);
    const raised = Object.fromEntries(Object.entries(PRICES).map(([name, value]) => [name, 10n * value]));
    await chain.joinProvider({ prices: raised });
    seen = await walk.watch(() => walk.set('provider', id, FINISHED, 2));
    same((await chain.job(id)).cost.finalCost, 20n * bigPrice, 'prices are those of the end');
    await chain.joinProvider({ prices: { gpuPricePerMin: 0n, cpuPricePerMin: 0n, memPricePerMin: 0n } });
    id = await walk.jobIn(META_SCHEDULED);
    same(await walk.revert('provider', MS, 'claimNextJob'), 'Panic(18)', 'no prices: claimNextJob divides by zero');
    await chain.send('alice', MS, 'cancelJob', [id]);
    await chain.joinProvider();

    const held = await chain.balance(chain.address.MetaScheduler);
    await chain.send('admin', MS, 'withdrawAdmin', [1n]);
    same(held - (await chain.balance(chain.address.MetaScheduler)), 1n, 'withdrawAdmin');
}

async function checkTopUps(walk) {
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
    same(await chain.read('ProviderJobQueues', 'getTopUpJobQueueSize', [walk.me]), 3n, 'each is queued');
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
        same(await walk.revert(who, MS, 'topUpJobDelegate', [id]), '', `topUpJobDelegate by ${who}`);
    seen = await walk.watch(() => chain.send('provider', MS, 'topUpJobDelegate', [id]));
    same(seen.change.alice, -30n * price, 'it adds half an hour at the expense of the customer');
    same(await walk.revert('provider', MS, 'topUpJobDelegate', [id]), 'RemainingTimeAboveLimit(60,30)', 'but not twice');
    await chain.advanceTime(60 * 70);
    same(await walk.revert('provider', MS, 'topUpJobDelegate', [id]), 'Panic(17)', 'nor when the time is over');
    await walk.set('provider', id, OUT_OF_CREDITS, 129);
    await chain.send('provider', MS, 'claimNextTopUpJob');
}

const OUT_OF_CREDITS = OUT;

async function main() {
    console.log('TAP version 13');
    const contracts = loadContracts();
    checkAbi(contracts);
    same(STATUS, facts.enums.JobStatus, 'names of the statuses');
    const dir = mkdtempSync(join(tmpdir(), 'devnet-contracts-'));
    const [port] = await freePorts(1);
    const anvil = await startAnvil({ port, dir });
    const chain = new Chain(`http://127.0.0.1:${port}`, contracts);
    try {
        await chain.deploy();
        await chain.fundCustomers();
        const walk = new Walk(chain);
        await checkRoles(walk);
        await checkRegistration(walk);
        await checkRequest(walk);
        await checkTransitions(walk);
        await checkCalls(walk);
        await checkEvents(walk);
        await checkBilling(walk);
        await checkTopUps(walk);
    } catch (error) {
        report(false, 'no surprise', error.stack);
    } finally {
        chain.close();
        await anvil.stop();
        rmSync(dir, { recursive: true, force: true });
    }
    console.log(`1..${count}`);
    process.exitCode = failures === 0 ? 0 : 1;
}

await main();
