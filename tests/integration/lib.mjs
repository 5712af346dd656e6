// SPDX-License-Identifier: GPL-3.0-or-later
// What the integration tests share: TAP, a grid with the agent on it, and the invariants of
// doc/architecture.md that must hold after whatever happened.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Grid, CREDIT, sleep, waitFor } from '../devnet/grid.mjs';
import { Program } from '../devnet/process.mjs';
import { Proxy } from './proxy.mjs';

export { assert, CREDIT, sleep, waitFor };

const build = process.env.AGENT_BUILD;
if (!build) throw new Error('AGENT_BUILD: the directory in which make was run');

/**
 * The way that this run is about, of a file that is run for several ("name:rest" of run): to Slurm, or
 * the chain's node and its blocks.
 */
export const way = process.env.WAY ?? 'ssh';

const overSsh = () => ['--slurm.backend=ssh'];
const WAYS = {
    ssh: { args: overSsh },
    rest: { args: (grid) => ['--slurm.backend=rest', ...grid.restArgs()] },
    ganache: { args: overSsh, ofChain: true, grid: { node: 'ganache' } },
    blocks1: { args: overSsh, ofChain: true, blocks: { seconds: 1, everyMs: 1000 } },
    blocks12: { args: overSsh, ofChain: true, blocks: { seconds: 12, everyMs: 300 } }, // warped
};

const tests = [];
/**
 * together: may be run at the same time as its neighbours that say so, too. chain: the chain's node and
 * blocks make a difference; what is about Slurm or scripts alone is not run for each of them.
 */
export function test(name, fn, { agent = true, together = false, chain = true } = {}) {
    if (chain || !WAYS[way].ofChain) tests.push({ name, fn, agent, together });
}

// Slurm in a root of its own, and what was built for it there: see suite_trixie of check.
const slurmRoot = process.env.DEVNET_SLURM_ROOT;
const slurmBuild = process.env.DEVNET_SLURM_BUILD ?? build;

export const agentProgram = process.env.AGENT_PROGRAM ?? join(build, 'deepsquare-agent'); // another build of it

export const newGrid = (options = {}) =>
    new Grid({
        agent: agentProgram,
        pluginDir: join(slurmBuild, '.libs'),
        forwarder: join(slurmBuild, 'deepsquare-forwarder'),
        slurmRoot,
        ...options,
    });

// A short Slurm time-out: after a crash a submission may be tried again only when it is over.
export const AGENT_ARGS = ['--slurm.timeout=3s', '--log.level=debug'];

// Settings of a sanitizer that the agent may be built with (AGENT_PROGRAM).
const AGENT_ENV = Object.fromEntries(
    ['TSAN_OPTIONS', 'ASAN_OPTIONS', 'LSAN_OPTIONS', 'UBSAN_OPTIONS'].flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
);

/** Neighbours that may be run together are one round of [number, test]. */
function rounds() {
    const found = [];
    for (const [i, next] of tests.entries()) {
        const last = found.at(-1);
        if (next.together && last?.at(-1)[1].together) last.push([i + 1, next]);
        else found.push([[i + 1, next]]);
    }
    return found;
}

/** Runs one test, once that is ready; what came of it, and the lines that say so. */
async function runTest(grid, ready, number, { name, fn }) {
    const began = Date.now();
    try {
        await ready;
        await fn(grid);
        return { good: true, text: `ok ${number} - ${name} (${Date.now() - began} ms)` };
    } catch (error) {
        const logs = `${error.stack}\n--- agent:\n${grid.agent.tail(40)}\n--- slurmctld:\n${grid.slurmctld.tail(8)}`;
        return { good: false, text: `not ok ${number} - ${name} (${Date.now() - began} ms)\n${logs.replace(/^/gm, '# ')}` };
    }
}

/**
 * Runs the tests one after the other on one grid; the agent runs, with args, at the start of each that
 * wants it. prepare(grid): what else there is to do, before it is first started.
 */
export async function runTests(options = {}, prepare = async () => {}, args = []) {
    const { grid: wayOptions, blocks } = WAYS[way];
    const grid = newGrid({ ...wayOptions, ...options });
    let failed = 0;
    let stopBlocks;
    test('the log has no word of a sanitizer, a crash or a forbidden event', checkLog);
    console.log(`1..${tests.length}`);
    try {
        await grid.start();
        await prepare(grid);
        if (blocks) stopBlocks = await mineBlocks(grid.chain, blocks);
        for (const round of rounds()) {
            const ready = round[0][1].agent && !grid.agent.alive ? startAgent(grid, args) : undefined;
            const results = await Promise.all(round.map(([number, next]) => runTest(grid, ready, number, next)));
            for (const { good, text } of results) {
                if (!good) failed++;
                console.log(text);
            }
        }
    } catch (error) {
        console.log(`Bail out! ${String(error.stack).replace(/\n/g, ' | ')}`);
        failed++;
    } finally {
        await stopBlocks?.();
        await grid.stop().catch((error) => console.log(`# stop: ${error.message}`));
    }
    process.exit(failed ? 1 : 0);
}

/** All that every agent of this grid wrote. */
async function checkLog(grid) {
    await grid.agent.stop();
    const log = readFileSync(join(grid.logDir, 'agent.log'), 'utf8');
    assert.ok(log.includes('msg="stopping"'), 'the log is not what it was taken for');
    const bad = log.split('\n').filter((line) => /Sanitizer|runtime error:|is not allowed in state|Assertion|stack smashing/.test(line));
    assert.deepEqual(bad, []);
    if (grid.options.join) assert.doesNotMatch(log, /registration: registering/, 'the grid registers another provider than the agent would');
}

/** Minutes that the contract billed, from what it took. */
export function minutesBilled(grid, job, size = {}) {
    const price = grid.price(size);
    const cost = BigInt(job.cost.finalCost);
    assert.equal(cost % price, 0n, `${cost} is not a whole number of minutes at ${price}`);
    return Number(cost / price);
}

/**
 * Invariants: exactly `slurmJobs` Slurm jobs of that name, exactly one final status on chain, RUNNING
 * before it if `ran`, and none of it twice.
 */
export async function checkOnce(grid, id, { slurmJobs = 1, ran = true } = {}) {
    const named = (await grid.slurmJobs()).filter((job) => job.JobName === id);
    assert.equal(named.length, slurmJobs, `Slurm jobs named ${id}`);
    const moves = (await grid.events({ name: 'JobTransitionEvent', jobId: id })).map((e) => Number(e.args._to));
    assert.equal(moves.filter((to) => to >= 4).length, 1, `final transitions: ${moves}`);
    assert.equal(moves.filter((to) => to === 3).length, ran ? 1 : 0, `RUNNING transitions: ${moves}`);
    const claims = await grid.events({ name: 'ClaimJobEvent', jobId: id });
    assert.equal(claims.length, 1, 'claims');
}

/** Requests a job, waits for its end and checks everything about it; returns the job on chain. */
export async function runJob(grid, request = {}, wanted = {}) {
    const { status = 'FINISHED', exitCode = 0, timeoutMs = 40000, slurmJobs, ran } = wanted;
    const id = await grid.requestJob(request);
    const job = await grid.waitStatus(id, status, timeoutMs);
    assert.equal(Number(job.exitCode), exitCode);
    await checkOnce(grid, id, { slurmJobs, ran });
    return { id, ...job };
}

let longJobs = 0;

/** Requests a job that runs until end() is called, however long things take: { id, end }. */
export async function longJob(grid, { customer = 'alice', code = 0, ...request } = {}) {
    const name = `end${longJobs++}`;
    const script = `#!/bin/sh\nuntil [ -e "$HOME/${name}" ]; do sleep 0.1; done\nexit ${code}\n`;
    const id = await grid.requestJob({ customer, memPerCpu: 10, script, ...request });
    return { id, end: () => writeFileSync(join(grid.userOf(customer).home, name), '') };
}

/** The agent is killed without warning; starting it again is the next thing that a test does. */
export async function killAgent(grid) {
    await grid.agent.kill('SIGKILL');
    await waitFor('the agent is still alive', () => !grid.agent.alive, 5000);
}

/** Blocks that come by themselves, `everyMs` apart, whose times are `seconds` apart; returns how to stop. */
async function mineBlocks(chain, { seconds, everyMs }) {
    let on = true;
    let time = Number((await chain.rpc('eth_getBlockByNumber', ['latest', false])).timestamp);
    await chain.rpc('evm_setAutomine', [false]);
    const miner = (async () => {
        for (; on; await sleep(everyMs)) await chain.rpc('evm_mine', [{ timestamp: (time += seconds) }]);
    })();
    return () => ((on = false), miner);
}

export const startAgent = (grid, args = [], { env = {}, ...rest } = {}) =>
    grid.startAgent({ args: [...AGENT_ARGS, ...WAYS[way].args(grid), ...args], env: { ...AGENT_ENV, ...env }, ...rest });

export async function restartAgent(grid, args, options) {
    await grid.agent.stop();
    await startAgent(grid, args, options);
}

/** What the agent tells systemd, by the socket that it is told of. */
export class Notified {
    constructor(grid) {
        this.path = grid.path('notify');
        const script = `my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die; $| = 1;
            while (defined $s->recv(my $text, 4096)) { print "$text\\n" }`;
        this.program = new Program('notify', ['perl', '-MIO::Socket', '-e', script, this.path], { logPath: join(grid.logDir, 'notify.log') });
    }
    lines() {
        return this.program.log().split('\n');
    }
    waitStatus(pattern, timeoutMs = 20000) {
        return waitFor(`no status ${pattern}`, () => pattern.test(this.lines().filter((l) => l.startsWith('STATUS=')).at(-1)), timeoutMs);
    }
}

// An sbatch that tells when it is called, waits to be let go, and may keep Slurm's answer to itself.
const heldSbatch = (name, answer) => `#!/bin/sh
touch "$HOME/${name}-called"
until [ -e "$HOME/${name}-go" ]; do sleep 0.05; done
/usr/bin/sbatch "$@" ${answer === 'comes' ? '' : '> /dev/null 2>&1'} || exit
${{ comes: '', 'is lost': 'exit 1', 'is awaited': 'sleep 60' }[answer]}
`;
let held = 0;

/**
 * Holds the submissions of an agent that is started with .args, over whichever way: called() is when
 * one is on its way, release() lets it go on. Its answer 'comes', 'is lost' with the connection, or
 * 'is awaited' in vain.
 */
export async function holdSubmissions(grid, customer, answer = 'comes') {
    const long = '--slurm.timeout=30s'; // it must not give up meanwhile
    if (way !== 'rest') {
        const name = `sbatch${held++}`;
        const file = (what) => join(grid.userOf(customer).home, `${name}-${what}`);
        const script = grid.path('etc', name);
        writeFileSync(script, heldSbatch(name, answer));
        chmodSync(script, 0o755);
        return {
            args: [`--slurm.batch=${script}`, long],
            called: () => waitFor('sbatch is not called', () => existsSync(file('called')), 20000),
            release: () => writeFileSync(file('go'), ''),
        };
    }
    const proxy = new Proxy(grid.ports.slurmrestd);
    await proxy.listen();
    const isSubmission = (method, path) => path.endsWith('/job/submit');
    let release;
    const released = new Promise((go) => (release = go));
    proxy.before = (method, path) => (isSubmission(method, path) ? released : undefined);
    proxy.cut = (method, path) => answer !== 'comes' && isSubmission(method, path);
    proxy.hangs = answer === 'is awaited';
    return {
        args: [...grid.restArgs(proxy.port), long],
        called: () => waitFor('nothing is submitted', () => proxy.requests.some((line) => line.endsWith('/job/submit')), 20000),
        release,
    };
}
