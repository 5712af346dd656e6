// SPDX-License-Identifier: GPL-3.0-or-later
// Compares the grid's contracts with abi/facts.json (what is known of the public grid's), and walks
// every transition and every rule of billing on a real chain. Prints TAP.
//   node test-contracts.mjs
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MaxUint256 } from 'ethers';
import { loadContracts } from './build-contracts.mjs';
import { CREDIT, Chain, PRICES, STATUS, startNode } from './chain.mjs';
import { checkAbi, facts } from './contract-facts.mjs';
import { checkBilling, checkEvents, checkTopUps } from './contract-money.mjs';
import { checkCalls, checkTransitions } from './contract-transitions.mjs';
import { NO_JOB, PENDING, Walk, flat, lower } from './contract-walk.mjs';
import { freePorts } from './process.mjs';
import { check, finish, same } from './tap.mjs';

export async function checkRoles(walk) {
    const { chain } = walk;
    for (const [contract, role] of [
        ['MetaScheduler', 'METASCHEDULER_ROLE'],
        ['MetaScheduler', 'DEFAULT_ADMIN_ROLE'],
        ['JobRepository', 'METASCHEDULER_ROLE'],
        ['ProviderManager', 'METASCHEDULER_CONTRACT_ROLE'],
    ])
        same(await chain.read(contract, role), facts.roles[role], `${contract}.${role}`);

    const missing = (who, role) =>
        `Error(AccessControl: account ${lower(chain.addressOf(who))} is missing role ${role})`;
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

export async function checkRegistration(walk) {
    const { chain } = walk;
    const hardware = { nodes: 1, gpusPerNode: [0], cpusPerNode: [64], memPerNode: [20000] };
    const register = (change) =>
        walk.revert('provider', 'ProviderManager', 'register', [
            { ...hardware, ...change },
            PRICES,
            [['region', 'earth']],
        ]);
    same(
        await walk.revert('provider', 'MetaScheduler', 'claimNextJob'),
        'ProviderNotJoined()',
        'claim before joining',
    );
    same(await register({ nodes: 0 }), 'InvalidNodesCount()', 'register no nodes');
    same(
        await register({ gpusPerNode: [] }),
        'ArrayLengthMismatch()',
        'register with short arrays',
    );
    same(await register({ cpusPerNode: [0] }), 'InvalidTotalCpus()', 'register no CPUs');
    same(await register({ memPerNode: [0] }), 'InvalidTotalMem()', 'register no memory');
    const { events } = await chain.send('provider', 'ProviderManager', 'register', [
        hardware,
        PRICES,
        [['region', 'earth']],
    ]);
    same(
        events.map((event) => event.name),
        ['ProviderWaitingForApproval'],
        'events of register',
    );
    const state = async () => [
        await chain.read('ProviderManager', 'isWaitingForApproval', [walk.me]),
        await chain.read('ProviderManager', 'isValidForScheduling', [walk.me]),
    ];
    same(await state(), [true, false], 'registered: waits for approval');
    const approved = await chain.approveProvider();
    same(
        approved.events.map((event) => event.name),
        ['ProviderApproved'],
        'events of approve',
    );
    same(await state(), [false, true], 'approved: valid for scheduling');
    same(
        await walk.revert('operator', 'ProviderManager', 'approve', [walk.me]),
        'WaitingApprovalOnly()',
        'approve twice',
    );
    const provider = await chain.read('ProviderManager', 'getProvider', [walk.me]);
    same(
        [
            provider.addr,
            provider.providerHardware,
            provider.providerPrices,
            provider.labels,
            provider.isBanned,
        ].map((value) => flat(value)),
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
    same(
        banned.events.map((event) => [event.name, event.args.status]),
        [['ProviderBanChanged', true]],
        'events of ban',
    );
    same(await state(), [false, false], 'banned: not valid for scheduling');
    same(await register({}), 'Banned()', 'register while banned');
    same(
        await walk.revert('operator', 'ProviderManager', 'ban', [walk.me]),
        'AlreadyDone()',
        'ban twice',
    );
    await chain.send('operator', 'ProviderManager', 'unban', [walk.me]);
    same(await state(), [false, true], 'unbanned');
    same(
        await walk.revert('operator', 'ProviderManager', 'remove', [chain.addressOf('bob')]),
        'NoProvider()',
        'remove a stranger',
    );
}

export async function checkRequest(walk) {
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
    same(
        await request({}, little),
        `InsufficientFunds(${little},${100n * CREDIT})`,
        'too few credits',
    );
    for (const member of ['ntasks', 'cpusPerTask', 'memPerCpu'])
        same(await request({ [member]: 0 }), 'InvalidJobDefinition()', `no ${member}`);
    same(await request({ storageType: 4 }), '', 'storageType 4');
    same(
        await request({}, 100n * CREDIT, 'operator'),
        'Error(ERC20: insufficient allowance)',
        'no allowance',
    );
    same(
        await request({}, 20000n * CREDIT),
        'Error(ERC20: insufficient allowance)',
        'more than allowed',
    );
    await chain.send('operator', 'Credit', 'approve', [chain.address.MetaScheduler, MaxUint256]);
    same(
        await request({}, 100n * CREDIT, 'operator'),
        'Error(ERC20: transfer amount exceeds balance)',
        'no balance',
    );
    const iface = chain.iface('MetaScheduler');
    const words = iface
        .encodeFunctionData('requestNewJob', [
            definition({ storageType: 4 }),
            1,
            `0x${'00'.repeat(32)}`,
            false,
        ])
        .slice(10)
        .match(/.{64}/g);
    words[4 + 5] = '5'.padStart(64, '0'); // the definition begins after four words of head
    const bad = iface.getFunction('requestNewJob').selector + words.join('');
    same(
        await chain.revertOfData('alice', chain.address.MetaScheduler, bad),
        'empty revert',
        'storageType 5',
    );
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
        uses: [
            ['os', 'linux'],
            ['a', 'b'],
        ],
        affinity: [[['zone', 'x'], '0x3d3d']],
    };
    const name = `0x${'41'.repeat(32)}`;
    const args = [definition(rich), 120n * CREDIT, name, true];
    const { names, change, events } = await walk.watch(() =>
        chain.send('alice', 'MetaScheduler', 'requestNewJob', args),
    );
    same(
        names,
        ['JobCreated', 'Approval', 'Transfer', 'NewJobRequestEvent'],
        'events of a request',
    );
    same(
        change,
        { alice: -120n * CREDIT, provider: 0n, contract: 120n * CREDIT },
        'credits are locked',
    );
    const id = events[0].args._jobId;
    same(id, `0x${'1'.padStart(64, '0')}`, 'job ids count from 1');
    const job = await chain.read('JobRepository', 'get', [id]);
    same(
        flat(job.definition),
        [
            '3',
            '100',
            '1',
            '1',
            'ab'.repeat(32),
            '2',
            [
                ['os', 'linux'],
                ['a', 'b'],
            ],
            [[['zone', 'x'], '0x3d3d']],
        ],
        'the definition is kept',
    );
    same(
        [
            job.jobId,
            job.customerAddr,
            job.jobName,
            job.cost.maxCost,
            job.cost.delegateSpendingAuthority,
            Number(job.status),
        ],
        [id, chain.addressOf('alice'), name, 120n * CREDIT, true, PENDING],
        'the job is kept',
    );
    same(
        await chain.read('JobRepository', 'getByCustomer', [chain.addressOf('alice')]),
        [id],
        'getByCustomer',
    );
    same(
        await walk.revert('alice', 'JobRepository', 'get', [NO_JOB]),
        'InvalidJob()',
        'get of an unknown job',
    );
    same(
        await walk.revert('alice', 'MetaScheduler', 'cancelJob', [NO_JOB]),
        'InvalidJob()',
        'cancel of an unknown job',
    );
}

export async function main() {
    console.log('TAP version 13');
    const contracts = loadContracts();
    checkAbi(contracts);
    same(STATUS, facts.enums.JobStatus, 'names of the statuses');
    const dir = mkdtempSync(join(tmpdir(), 'devnet-contracts-'));
    const [port] = await freePorts(1);
    const chain = new Chain(`http://127.0.0.1:${port}`, contracts);
    let anvil;
    try {
        anvil = await startNode({ port, dir });
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
        check(false, 'no surprise', error.stack);
    } finally {
        chain.close();
        await anvil?.stop();
        rmSync(dir, { recursive: true, force: true });
    }
    process.exitCode = finish();
}

await main();
