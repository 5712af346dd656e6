// SPDX-License-Identifier: GPL-3.0-or-later
// Registration: the agent registers, the operator approves, bans, removes; and jobs are claimed only
// when the contract lets us.
import { CREDIT, assert, checkOnce, killAgent, longJob, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { run } from '../devnet/process.mjs';

const SOON = '--register.interval=2s'; // a check every half second
const LABEL = '--label=OS=Debian 12!';
const ARGS = [SOON, LABEL];

const restart = async (grid, args = []) => {
    await grid.agent.stop();
    await startAgent(grid, [...ARGS, ...args]);
};
const registrations = async (grid) => (await grid.events({ name: 'ProviderWaitingForApproval' })).length;
const operator = (grid, method) => grid.chain.send('operator', 'ProviderManager', method, [grid.chain.addressOf('provider')]);
const registered = (grid) => grid.chain.read('ProviderManager', 'getProvider', [grid.chain.addressOf('provider')]);
const told = (grid, words, from) => grid.agent.waitLog(words, 15000, from);
/** Does something that the agent is to answer with these words, which it may have said before. */
async function tells(grid, words, act) {
    const from = grid.agent.logSize();
    await act();
    await told(grid, words, from);
}
const GOOD = /approved, and as it should be/;

/** `deepsquare-agent register`: prints only, unless args are others. */
async function look(grid, status, args = ['--dry-run', LABEL]) {
    const argv = [grid.options.agent, 'register', ...grid.agentArgs(), ...args];
    const out = await run(argv, { env: grid.agentEnv(), timeoutMs: 15000 });
    assert.equal(out.code, status, `${out.stdout}\n${out.stderr}`);
    return out.stdout + out.stderr;
}

test('not registered: the agent registers, waits, is approved, and works', async (grid) => {
    await told(grid, /registering: 2 nodes of 64 CPUs, 4 GPUs, 20000 MB; .*labels: os=debian-12/);
    await told(grid, /waits for the operator's approval; no job is claimed until then/);
    await told(grid, /status: .*registration waits for approval/);
    assert.match(await look(grid, 0), /state +waits for the operator's approval; no jobs/);
    await tells(grid, GOOD, () => grid.chain.approveProvider());
    assert.match(await look(grid, 0), /state +approved\n/);
    assert.match(await look(grid, 1, ['--dry-run']), /differs +label: os debian-12 -> \(none\)/);
    const { providerHardware, labels } = await registered(grid);
    assert.deepEqual(providerHardware.toArray(true), [2n, [4n, 4n], [64n, 64n], [20000n, 20000n]]);
    assert.deepEqual(labels.map((label) => label.toArray()), [['os', 'debian-12']]);
    const id = await grid.requestJob();
    await grid.waitStatus(id, 'FINISHED', 20000);
    await checkOnce(grid, id);
});

test('a restart does not register again; neither do nodes that come and go', async (grid) => {
    const count = await registrations(grid);
    await restart(grid, ['--register.skip-down', '--register.interval=8s']); // a check every 2 s
    await told(grid, GOOD);
    const node = (state) => grid.slurm.command(['scontrol', 'update', 'NodeName=n2', `State=${state}`, 'Reason=test']);
    await node('DRAIN');
    await told(grid, /differs from what it should be: hardware: 2 nodes .* -> 1 node .*--register.interval/);
    await tells(grid, GOOD, () => node('RESUME'));
    await restart(grid);
    await node('DRAIN'); // without --register.skip-down it counts all the same
    await told(grid, GOOD);
    await sleep(1500); // three checks
    assert.match(await look(grid, 0), /differs +in nothing/);
    await node('RESUME');
    assert.equal(await registrations(grid), count);
});

test('another price: registered once, what was approved counts until it is approved too', async (grid) => {
    const count = await registrations(grid);
    ARGS.push('--metascheduler.gpu-price-per-min=9000000000000000000');
    assert.match(await look(grid, 1, ['--dry-run', ...ARGS]), /differs +credits a minute: GPU 8 -> 9\n/);
    await restart(grid);
    await told(grid, /registering again, since it differs: credits a minute: GPU 8 -> 9/);
    await killAgent(grid); // its intent is in the store
    await startAgent(grid, ARGS);
    await told(grid, /waits for the operator's approval; until then what was approved before counts/);
    assert.match(await look(grid, 0, ['--dry-run', ...ARGS]), /a new registration waits for approval/);
    const id = await grid.requestJob();
    await grid.waitStatus(id, 'FINISHED', 20000);
    await tells(grid, GOOD, () => grid.chain.approveProvider());
    assert.equal((await registered(grid)).providerPrices.gpuPricePerMin, 9n * CREDIT);
    assert.equal(await registrations(grid), count + 1);
});

test('banned: told, nothing is claimed, what runs is reported when the ban is lifted', async (grid) => {
    const { id: running, end } = await longJob(grid);
    await grid.waitStatus(running, 'RUNNING', 20000);
    await grid.agent.stop();
    const waiting = await grid.requestJob();
    await operator(grid, 'ban');
    await startAgent(grid, ARGS);
    await told(grid, /the operator has banned this provider: no job is claimed/);
    await told(grid, /status: .*BANNED by the operator/);
    assert.match(await look(grid, 0, ['--dry-run', ...ARGS]), /state +BANNED by the operator; no jobs/);
    end();
    await told(grid, new RegExp(`RUNNING -> ENDED.*${running}`));
    await told(grid, new RegExp(`report: ProviderNotJoined.*${running}`));
    assert.equal((await grid.job(waiting)).status, 'META_SCHEDULED');
    assert.equal((await grid.job(running)).status, 'RUNNING');
    await operator(grid, 'unban');
    await Promise.all([running, waiting].map((id) => grid.waitStatus(id, 'FINISHED', 15000)));
    await Promise.all([running, waiting].map((id) => checkOnce(grid, id)));
});

test('removed: told, and not registered again before a human asks for it', async (grid) => {
    const count = await registrations(grid);
    await operator(grid, 'remove');
    await told(grid, /the operator has removed this provider/);
    await restart(grid);
    await told(grid, /the operator has removed this provider/);
    assert.match(await look(grid, 1, ['--dry-run', ...ARGS]), /state +not registered; no jobs/);
    assert.match(await look(grid, 1, ARGS), /Nothing is changed: the agent runs/);
    await sleep(2500); // --register.interval, and a check
    assert.equal(await registrations(grid), count);
    await grid.agent.stop();
    assert.match(await look(grid, 1, ARGS), /The agent registers this when it is started/);
    await startAgent(grid, ARGS);
    await told(grid, /no job is claimed until then/);
    await tells(grid, GOOD, () => grid.chain.approveProvider());
    await restart(grid);
    await told(grid, GOOD);
    assert.equal(await registrations(grid), count + 1);
});

test('approved with prices of zero: told, no claim that would revert, the right ones are registered', async (grid) => {
    await grid.agent.stop();
    await grid.chain.joinProvider({ hardware: grid.hardware(), prices: { gpuPricePerMin: CREDIT, cpuPricePerMin: 0n, memPricePerMin: 0n } });
    const id = await grid.requestJob();
    assert.match(await grid.chain.revertOf('provider', 'MetaScheduler', 'claimNextJob', []), /Panic|0x12|18/);
    await startAgent(grid, ARGS);
    await told(grid, /approved with prices of zero/);
    await told(grid, /waits for the operator's approval/);
    assert.equal((await grid.job(id)).status, 'META_SCHEDULED');
    assert.doesNotMatch(grid.agent.log(), /claimNextJob/);
    await grid.chain.approveProvider();
    await grid.waitStatus(id, 'FINISHED', 15000);
});

test('a contract that takes no new jobs: what runs is finished, nothing is claimed, until it opens', async (grid) => {
    const open = (yes) => grid.chain.send('admin', 'MetaScheduler', 'setEnableRequestNewJob', [yes]);
    const { id: running, end } = await longJob(grid);
    await grid.waitStatus(running, 'RUNNING', 20000);
    const waiting = await grid.requestJob({ schedule: false });
    await open(false);
    await told(grid, /the contract takes no new jobs any more: it is being retired/);
    await told(grid, /status: .*CLOSED/);
    await grid.chain.metaSchedule(waiting);
    end();
    await grid.waitStatus(running, 'FINISHED', 15000);
    assert.equal((await grid.job(waiting)).status, 'META_SCHEDULED');
    await open(true);
    await grid.waitStatus(waiting, 'FINISHED', 15000);
});

test('--claim.only-if-free: a job is claimed when there is room for it', async (grid) => {
    const whole = { ntasks: 2, cpusPerTask: 64, memPerCpu: 10, minutes: 2 }; // both nodes
    await restart(grid, ['--claim.only-if-free']);
    const { id: first, end: endFirst } = await longJob(grid, whole);
    await grid.waitStatus(first, 'RUNNING', 20000);
    const second = await grid.requestJob({ ...whole, script: '#!/bin/sh\nsleep 1\n' });
    const small = await grid.requestJob({ memPerCpu: 10 });
    await told(grid, /not claimed yet, since the partition has no room for 2 tasks of 64 CPUs/);
    assert.deepEqual(await Promise.all([second, small].map((id) => grid.chain.status(id))), ['META_SCHEDULED', 'META_SCHEDULED']);
    endFirst();
    await Promise.all([first, second, small].map((id) => grid.waitStatus(id, 'FINISHED', 30000)));
    const claims = (await grid.events({ name: 'ClaimJobEvent' })).filter((event) => event.args.jobId === second);
    const [end] = (await grid.events({ name: 'JobTransitionEvent', jobId: first })).filter((event) => Number(event.args._to) === 5);
    assert.ok(claims[0].block > end.block, 'the second was claimed before the first had ended');

    const never = await grid.requestJob({ ...whole, ntasks: 3, minutes: 3 }); // Slurm would take it
    await waitFor('it is not refused', async () => (await grid.events({ name: 'JobRefusedEvent', jobId: never })).length === 1, 15000);
    await waitFor('its customer is not told', () => grid.customerApi.lines.some((line) => line.logName === never && /too small/.test(line.text)));
});

async function before(grid) {
    const text = await look(grid, 1);
    assert.match(text, /state +not registered; no jobs/);
    assert.match(text, /wanted +2 nodes of 64 CPUs, 4 GPUs, 20000 MB/);
    assert.match(text, /differs +hardware: no nodes -> 2 nodes of 64 CPUs/);
}

await runTests({ join: false, nodes: 2 }, before, ARGS);
