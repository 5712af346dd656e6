// SPDX-License-Identifier: GPL-3.0-or-later
// The demo's story, a line a step; ./demo prepares and calls it, under tests/devnet/enter.
// Exits with 0 only if everything that it tells at the end is as it should be.
import { writeFileSync } from 'node:fs';
import { CREDIT, Grid, PRICES, STATUS, sleep, waitFor } from './grid.mjs';

const SCRIPT = `#!/bin/sh
echo "Hello from $(id -un)"
echo "on node $SLURMD_NODENAME with $SLURM_NTASKS tasks of $SLURM_CPUS_PER_TASK CPUs"
sleep 3
echo "done"
`;
const WAYS = {
    rest: { name: 'slurmrestd', args: (grid) => grid.restArgs(), proof: (grid) => submissions(grid) === 1 },
    ssh: { name: 'SSH', args: () => ['--slurm.backend=ssh'], proof: (grid) => submissions(grid) === 0 },
};
const way = WAYS[process.env.DEVNET_DEMO_BACKEND ?? 'rest'];
const COLD = STATUS.slice(4);
const TIMEOUT_MS = 120000;

const begin = Date.now();

function step(who, text) {
    const seconds = ((Date.now() - begin) / 1000).toFixed(1).padStart(5);
    console.log(`${seconds} s  ${who.padEnd(9)} ${text}`);
}

/** An amount of credits, rounded to 4 digits. */
function credits(amount) {
    const units = (amount + CREDIT / 20000n) / (CREDIT / 10000n);
    return `${units / 10000n}.${String(units % 10000n).padStart(4, '0')}`;
}

const short = (address) => `${address.slice(0, 8)}...${address.slice(-4)}`;

/** What an event of a job says, as a step; undefined for those that say nothing to a reader. */
function tell(event) {
    const { args } = event;
    switch (event.name) {
        case 'ClaimJobEvent':
            return ['agent', `claims the job: ${args.maxDurationMinute} minutes are paid for`];
        case 'JobTransitionEvent': {
            const [from, to] = [args._from, args._to].map((status) => STATUS[Number(status)]);
            return ['chain', `${from} -> ${to}`];
        }
        case 'JobRefusedEvent':
            return ['agent', 'refuses the job'];
        case 'BilledTooMuchEvent':
            return ['chain', `the report of ${args._billingAmount} minutes is too much`];
        default:
            return undefined;
    }
}

/** Tells what happens to the job, on chain and in Slurm, until it is over. Returns the job. */
async function follow(grid, id, fromBlock) {
    const end = Date.now() + TIMEOUT_MS;
    let told = 0;
    let slurmState;
    for (;;) {
        const job = await grid.job(id);
        const inSlurm = await grid.slurmJobOf(id);
        if (inSlurm && inSlurm.JobState !== slurmState) {
            slurmState = inSlurm.JobState;
            step(
                'Slurm',
                `job ${inSlurm.JobId} of ${inSlurm.UserId.replace(/[(].*/, '')} is ${slurmState}`,
            );
        }
        const events = await grid.events({ jobId: id, fromBlock });
        for (const line of events.slice(told).map(tell)) if (line) step(...line);
        told = events.length;
        if (COLD.includes(job.status)) return job;
        if (Date.now() > end) throw new Error(`the job is still ${job.status}`);
        if (!grid.attached && !grid.agent.alive)
            throw new Error(`the agent has ended\n${grid.agent.tail()}`);
        await sleep(100);
    }
}

async function request(grid, order) {
    const { chain } = grid;
    const price = grid.price(order);
    const fromBlock = await chain.blockNumber();
    const before = await grid.balances();
    const id = await grid.requestJob({ ...order, schedule: false });
    const { cost } = await grid.job(id);
    const customer = short(chain.addressOf(order.customer));
    step(
        'customer',
        `${customer} requests job ${BigInt(id)}, locks ${credits(cost.maxCost)} credits`,
    );
    await chain.metaSchedule(id);
    step('operator', `gives it to the provider ${short(chain.addressOf('provider'))}`);
    const job = await follow(grid, id, fromBlock);
    const minutes = job.cost.finalCost / price;
    const after = await grid.balances();
    const change = (who) => after[who] - before[who];
    const [paid, got] = [-change(order.customer), change('provider')].map(credits);
    step('chain', `the customer paid ${paid} credits, the provider got ${got}`);
    return { id, job, minutes, price, change, slurm: await grid.slurmJobOf(id) };
}

/** How many jobs slurmrestd was asked to submit. */
const submissions = (grid) => (grid.slurmrestd.log().match(/POST \S*job\/submit/g) ?? []).length;

/** What must be true of a job that went well: [what, is it so]. */
async function proofs(grid, order, result, output) {
    const { id, job, minutes, price, change, slurm } = result;
    const user = grid.userOf(order.customer);
    const ours = (await grid.slurmJobs()).filter((each) => each.JobName === id);
    const { finalCost } = job.cost;
    return [
        ['the job is FINISHED on chain', job.status === 'FINISHED'],
        ['exit code 0 on chain', job.exitCode === 0n],
        ['one Slurm job, no more', ours.length === 1],
        [`it was submitted over ${way.name}`, way.proof(grid)],
        ['Slurm calls it COMPLETED', slurm?.JobState === 'COMPLETED' && slurm.ExitCode === '0:0'],
        ["it ran as the customer's user", slurm?.UserId === `${user.name}(${user.uid})`],
        [
            'its output is complete',
            output.startsWith(`Hello from ${user.name}\n`) && output.endsWith('done\n'),
        ],
        [
            'its size is what was paid for',
            output.includes(`with ${order.ntasks} tasks of ${order.cpusPerTask} CPUs`),
        ],
        ['one minute is billed', minutes === 1n && finalCost === minutes * price],
        ['the customer paid that', change(order.customer) === -finalCost],
        ['the provider got 80 % of it', change('provider') === (finalCost * 80n) / 100n],
    ];
}

function summary(grid, order, result, output) {
    const { id, job, minutes } = result;
    const rows = [
        ['job', id],
        ['user', grid.userOf(order.customer).name],
        ...(grid.attached ? [] : [['submitted', `over ${way.name}`]]),
        [
            'output',
            output
                .trimEnd()
                .split('\n')
                .join(`\n${' '.repeat(12)}`),
        ],
        ['exit code', String(job.exitCode)],
        [
            'billed',
            `${minutes} minute${minutes === 1n ? '' : 's'}, ${credits(job.cost.finalCost)} credits`,
        ],
        ['status', `${job.status} (read from the chain)`],
    ];
    console.log();
    for (const [name, value] of rows) console.log(`${name.padEnd(12)}${value}`);
}

const outputOf = (grid, id) => grid.outputOf(id).catch(() => '');

/** The agent registers by itself; the operator approves what he is asked to. */
async function join(grid) {
    const { chain } = grid;
    const self = [chain.addressOf('provider')];
    const asks = () => chain.read('ProviderManager', 'isWaitingForApproval', self);
    await waitFor('the agent does not register', asks, 20000);
    const asked = await chain.read('ProviderManager', 'getWaitingForApprovalProvider', self);
    const { nodes, cpusPerNode, gpusPerNode } = asked.providerHardware;
    const sum = (list) => list.reduce((a, b) => a + b, 0n);
    step('agent', `registers ${nodes} node, ${sum(cpusPerNode)} CPUs, ${sum(gpusPerNode)} GPUs`);
    await chain.approveProvider();
    step('operator', `approves the provider ${short(self[0])}`);
}

async function runDemo(grid) {
    await grid.start({ onStep: (text) => step('grid', text) });
    const [cpu, gpu] = [PRICES.cpuPricePerMin, PRICES.gpuPricePerMin].map(credits);
    step('grid', `prices: ${cpu} credits a CPU and minute, ${gpu} a GPU and minute`);
    await grid.startAgent({ args: way.args(grid) });
    const where = grid.ports[way.name === 'SSH' ? 'sshd' : 'slurmrestd'];
    step('agent', `deepsquare-agent listens at 127.0.0.1:${grid.ports.agent}`);
    step('agent', `reaches Slurm over ${way.name} at 127.0.0.1:${where}`);
    await join(grid);
    const order = { customer: 'alice', ntasks: 2, cpusPerTask: 2, memPerCpu: 100, script: SCRIPT };
    const result = await request(grid, order);
    const output = await outputOf(grid, result.id);
    const wrong = (await proofs(grid, order, result, output)).filter(([, good]) => !good);
    summary(grid, order, result, output);
    if (wrong.length === 0) return true;
    console.log();
    for (const [what] of wrong) console.log(`NOT TRUE: ${what}`);
    if (result.job.lastError) console.log(`The chain says: ${result.job.lastError}`);
    console.log(grid.agent.tail());
    return false;
}

function sayHow(grid) {
    console.log(`
The grid stays until Ctrl-C. Meanwhile, in another terminal:
  ./demo --submit 'hostname; nproc'                            one more job
  tests/devnet/enter --join ${grid.dir} squeue --all    a command on the grid
  tests/devnet/enter --join ${grid.dir}                 a shell there
  less ${grid.dir}/log/agent.log                        what the agent says
  build/deepsquare-agent billing --state-dir ${grid.dir}/agent/state    what each job cost`);
}

async function submit(dir, text) {
    const grid = Grid.attach(dir);
    grid.attached = true;
    const script = text.startsWith('#!') ? text : `#!/bin/bash\n${text}\n`;
    const order = { customer: 'bob', ntasks: 1, cpusPerTask: 1, memPerCpu: 100, script };
    const result = await request(grid, order);
    summary(grid, order, result, await outputOf(grid, result.id));
    return result.job.status === 'FINISHED';
}

async function main() {
    const [mode, text] = process.argv.slice(2);
    if (mode === '--submit') return submit(process.env.DEVNET_DIR, text);
    const grid = new Grid({ join: false });
    let good = false;
    try {
        good = await runDemo(grid);
        if (good && mode === '--keep') {
            writeFileSync(process.env.DEVNET_DEMO_DIR_FILE, `${grid.dir}\n`);
            sayHow(grid);
            await new Promise((done) =>
                ['SIGINT', 'SIGTERM'].forEach((s) => process.once(s, done)),
            );
        }
    } finally {
        await grid.stop();
    }
    return good;
}

try {
    process.exit((await main()) ? 0 : 1);
} catch (error) {
    console.error(`demo: ${error.message}`);
    process.exit(1);
}
