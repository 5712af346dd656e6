// SPDX-License-Identifier: GPL-3.0-or-later
// Every end of doc/slurm-states.md that a real slurmctld can be brought to: each job has exactly one
// right end on chain. Jobs run at the same time: some that the plugin tells of, then some that only
// the agent's query finds out (over slurmrestd), then some whose ends may not be the last.
import { appendFileSync, chmodSync, chownSync, copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT_ARGS, assert, checkOnce, minutesBilled, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { runOk } from '../devnet/process.mjs';

const build = process.env.AGENT_BUILD;
const dir = process.env.DEVNET_DIR;
const sh = (...lines) => `#!/bin/sh\n${lines.join('\n')}\n`;
const LAUNCH = { boot: 1 << 17, oom: 0xfd }; // JOB_RECONFIG_FAIL; Slurm's SIG_OOM

/** One look at all jobs for all who wait: some twenty rows would ask twenty times. */
class Look {
    constructor(grid) {
        this.grid = grid;
        this.jobs = [];
        this.ended = this.loop();
    }

    async loop() {
        while (!this.stopped) {
            this.jobs = await this.grid.slurmJobs().catch(() => this.jobs);
            await sleep(200);
        }
    }

    of(id) {
        return this.jobs.filter((job) => job.JobName === id).pop();
    }

    wait(id, what, matches, timeoutMs = 40000) {
        return waitFor(`Slurm job ${BigInt(id)} is not ${what}`, () => {
            const job = this.of(id);
            if (job && matches(job)) return job;
            throw new Error(job ? `it is ${job.JobState}, ${job.Reason}` : 'there is none');
        }, timeoutMs, 100);
    }

    state(id, state) {
        return this.wait(id, state, (job) => job.JobState === state);
    }

    async stop() {
        this.stopped = true;
        await this.ended;
    }
}

let look;
const scontrol = (grid, ...args) => grid.slurm.command(['scontrol', ...args]);
const update = (grid, job, ...fields) => scontrol(grid, 'update', `JobId=${job.JobId}`, ...fields);
const cancel = (grid, job) => grid.slurm.command(['scancel', job.JobId]);

/** A job of bob's that takes a node for itself, in a partition that preempts. */
const preempt = (grid, node) =>
    grid.slurm.command(['sbatch', '-p', 'high', '-w', node, '--exclusive', '--mem=10', '-o', '/dev/null', '--wrap', 'true'], { as: grid.userOf('bob').name });

const api = (grid, fn, job, number) => {
    const plugins = readdirSync('/usr/lib').map((arch) => `/usr/lib/${arch}/slurm-wlm/libslurmfull.so`);
    return runOk(['sh', '-c', 'for lib; do [ -e "$lib" ] && exec "$0" "$lib" $ARGS; done', join(build, 'tests', 'integration', 'slurm_api'), ...plugins],
        { env: { SLURM_CONF: grid.slurm.conf, ARGS: `${fn} ${job.JobId} ${number}` } });
};

/** Queued again Slurm waits two minutes by itself; at once the nodes would not take it. */
async function runAgain(grid, id, ...fields) {
    const job = await look.wait(id, 'queued again', (j) => j.Restarts === '1' && ['PENDING', 'SPECIAL_EXIT', 'REQUEUE_HOLD'].includes(j.JobState));
    await update(grid, job, 'StartTime=now+2', ...fields);
    return job;
}

/** Runs until it is let go. */
const held = (code) => sh('until [ -e "$HOME/go-$SLURM_JOB_ID" ]; do sleep 0.1; done', `exit ${code}`);
const letGo = (grid, job) => ['alice', 'carol'].forEach((who) => writeFileSync(join(grid.userOf(who).home, `go-${job.JobId}`), ''));

const AGAIN = sh('[ "$SLURM_RESTART_COUNT" = 1 ] && exit 4', 'sleep 60');

// name: [request, what is done while it waits, what is done when it runs, what is expected]. `node`
// is where it is to run; the minutes are what the contract took.
const byPlugin = {
    'COMPLETED': { script: sh('true'), end: { status: 'FINISHED' } },
    'FAILED: its exit code': { script: sh('exit 3'), end: { exitCode: 3 } },
    'FAILED: 128 + its signal': { script: sh('kill -9 $$'), end: { exitCode: 137 } },
    'FAILED: no such interpreter': { script: '#!/nonexistent/sh\ntrue\n', end: { exitCode: 2 } },
    'FAILED: its output cannot be written': {
        script: sh('true'), waits: (grid, job) => update(grid, job, 'StdOut=/nonexistent/x'),
        end: { exitCode: 181, reason: /could not be started/ },
    },
    'CANCELLED while it runs': { script: sh('sleep 60'), runs: cancel, end: { status: 'CANCELLED' } },
    'CANCELLED while it is held': {
        script: sh('true'), waits: async (grid, job) => { await scontrol(grid, 'hold', job.JobId); await cancel(grid, job); },
        end: { status: 'CANCELLED', ran: false },
    },
    'CANCELLED: its dependency is never satisfied': {
        script: sh('true'), waits: (grid, job, rows) => update(grid, job, `Dependency=afterok:${rows['FAILED: its exit code'].job.JobId}`),
        end: { status: 'CANCELLED', ran: false },
    },
    'CANCELLED while it is suspended': {
        script: sh('sleep 60'), end: { status: 'CANCELLED' },
        runs: async (grid, job) => {
            await sleep(2000);
            await scontrol(grid, 'suspend', job.JobId);
            await sleep(5000); // more than it ran
            await cancel(grid, job);
        },
    },
    'suspended and resumed': {
        script: held(6), end: { exitCode: 6 },
        runs: async (grid, job) => {
            await sleep(1000);
            await scontrol(grid, 'suspend', job.JobId);
            await sleep(5000);
            await scontrol(grid, 'resume', job.JobId);
            letGo(grid, job);
        },
    },
    'TIMEOUT': { script: sh('sleep 60'), runs: (grid, job) => update(grid, job, 'EndTime=now'), end: { status: 'OUT_OF_CREDITS', reason: /is over/ } },
    'DEADLINE': {
        script: sh('true'), end: { exitCode: 1, ran: false, reason: /deadline/ },
        waits: async (grid, job) => {
            await scontrol(grid, 'hold', job.JobId);
            await update(grid, job, 'Deadline=now+5');
            await scontrol(grid, 'release', job.JobId);
        },
    },
    'NODE_FAIL': { node: 'n3', script: sh('sleep 60'), runs: (grid) => scontrol(grid, 'update', 'NodeName=n3', 'State=down', 'Reason=test'), end: { exitCode: 1, reason: /node failed/ } },
    'PREEMPTED, where others are requeued': { node: 'n4', script: sh('sleep 60'), runs: (grid) => preempt(grid, 'n4'), end: { exitCode: 1, reason: /preempted/ } },
    'PREEMPTED and requeued': {
        node: 'n5', script: AGAIN, waits: (grid, job) => update(grid, job, 'Requeue=1'), end: { exitCode: 4, restarts: 1 },
        runs: async (grid, job, id) => { await preempt(grid, 'n5'); await runAgain(grid, id); },
    },
    'NODE_FAIL and requeued': {
        node: 'n6', script: AGAIN, waits: (grid, job) => update(grid, job, 'Requeue=1'), end: { exitCode: 4, restarts: 1 },
        runs: async (grid, job, id) => {
            await scontrol(grid, 'update', 'NodeName=n6', 'State=down', 'Reason=test');
            await runAgain(grid, id, 'ReqNodeList=n2');
        },
    },
    'scontrol requeuehold': {
        script: AGAIN, waits: (grid, job) => update(grid, job, 'Requeue=1'), end: { exitCode: 4, restarts: 1 },
        runs: async (grid, job, id) => {
            await scontrol(grid, 'requeuehold', job.JobId);
            await runAgain(grid, id);
            await scontrol(grid, 'release', job.JobId);
        },
    },
    'scontrol requeue is refused': {
        script: held(8), end: { exitCode: 8 },
        runs: async (grid, job) => {
            await assert.rejects(scontrol(grid, 'requeue', job.JobId), /disabled/);
            letGo(grid, job);
        },
    },
    'its script requeues itself': {
        script: sh('[ "$SLURM_RESTART_COUNT" = 1 ] && exit 4', 'sleep 2', 'export SLURM_CONF=@CONF@', 'scontrol update JobId=$SLURM_JOB_ID Requeue=1', 'scontrol requeue $SLURM_JOB_ID', 'sleep 60'),
        end: { exitCode: 4, restarts: 1, spent: 2 }, runs: (grid, job, id) => runAgain(grid, id),
    },
    'resized': { nodes: 'n[1-2]', ntasks: 9, script: held(9), runs: (grid, job) => update(grid, job, 'NumNodes=1').then(() => letGo(grid, job)), end: { exitCode: 9 } },
    'its prolog fails': { node: 'n7', script: sh('true'), end: { status: 'CANCELLED' } },
    'its prolog fails, and it is requeued': {
        node: 'n8', quick: true, script: sh('exit 4'), waits: (grid, job) => update(grid, job, 'Requeue=1'), end: { exitCode: 4, restarts: 1 },
        runs: async (grid, job, id) => {
            await runAgain(grid, id, 'ReqNodeList=n2');
            await scontrol(grid, 'release', job.JobId);
        },
    },
    'others of its name: an array and a heterogeneous job': {
        script: sh('export SLURM_CONF=@CONF@', 'again="sbatch --job-name=$SLURM_JOB_NAME --output=/dev/null --mem=10"',
            '$again --comment="supervisor x" --array=0-1 --wrap "exit 0"',
            'printf "#!/bin/sh\\nexit 0\\n" | $again --comment="supervisor x" : --comment="supervisor x" --mem=10', 'sleep 6', 'exit 5'),
        end: { exitCode: 5, slurmJobs: 5, foreign: 4 },
    },
    // What this machine's Slurm alone can be brought to: a library and a SPANK plugin of its release.
    'BOOT_FAIL': { here: true, script: sh('sleep 60'), runs: (grid, job) => api(grid, 'slurm_requeue', job, LAUNCH.boot).catch(() => {}), end: { exitCode: 1, reason: /boot/ } },
    'OUT_OF_MEMORY': { here: true, script: sh('sleep 60'), runs: (grid, job) => api(grid, 'slurm_complete_job', job, LAUNCH.oom), end: { exitCode: 137, reason: /memory/ } },
    'COMPLETED, and its script was never run': {
        here: true, node: 'n9', script: sh('true'), waits: (grid, job) => writeFileSync(grid.path('spank', job.JobId), ''),
        end: { exitCode: 1, ran: 'either', reason: /could not start the script/ },
    },
};

const byQuery = {
    'COMPLETED': { script: sh('true'), end: { status: 'FINISHED' } },
    'FAILED': { script: sh('exit 7'), end: { exitCode: 7 } },
    'FAILED by a signal': { script: sh('kill -15 $$'), end: { exitCode: 143 } },
    'CANCELLED while it runs': { script: sh('sleep 60'), runs: cancel, end: { status: 'CANCELLED' } },
    'CANCELLED while it waits': { script: sh('true'), waits: cancel, end: { status: 'CANCELLED', ran: false } },
    'CANCELLED while it is suspended': byPlugin['CANCELLED while it is suspended'],
    'PREEMPTED': { node: 'n4', script: sh('sleep 60'), runs: (grid) => preempt(grid, 'n4'), end: { exitCode: 1, reason: /preempted/ } },
    'requeued by its script': byPlugin['its script requeues itself'],
    'RequeueExit': null,
};

// RequeueExit is set by then, and before Slurm 24.05 --no-requeue does not help against it: the
// plugin's record of the first attempt looks final, but for saying that it may not be.
const REQUEUE_EXIT = {
    quick: true, script: sh('[ "$SLURM_RESTART_COUNT" = 1 ] && exit 4', 'exit 77'),
    waits: (grid, job) => update(grid, job, 'Requeue=1'), runs: (grid, job, id) => runAgain(grid, id),
    end: { exitCode: 4, restarts: 1 },
};
byQuery.RequeueExit = { ...REQUEUE_EXIT, waits: undefined };
const unsettled = {
    'RequeueExit': REQUEUE_EXIT,
    'FAILED': { script: sh('exit 5'), end: { exitCode: 5 } },
    'CANCELLED while it runs': { script: sh('sleep 60'), runs: cancel, end: { status: 'CANCELLED' } },
};

// Begins with the first ones and ends with the last, after more than a minute, of which it ran less.
const long = {
    'suspended for a minute': {
        script: held(2), end: { exitCode: 2 },
        runs: async (grid, job) => {
            await scontrol(grid, 'suspend', job.JobId);
            await sleep(61000);
            await scontrol(grid, 'resume', job.JobId);
            letGo(grid, job);
        },
    },
};

const pending = (job) => job.JobState === 'PENDING';

/** Brings a job to its end, in Slurm: it waits already, in a partition that is down. */
async function drive(grid, row) {
    if (!row.runs) return;
    const { id, job, quick } = row;
    if (!quick) await look.wait(id, 'started', (j) => !pending(j));
    await row.runs(grid, job, id);
}

/** Requests all jobs, prepares them while they wait, and lets them go. */
async function begin(grid, rows) {
    await scontrol(grid, 'update', 'PartitionName=main', 'State=DOWN');
    const customers = ['alice', 'carol'];
    await Promise.all(Object.values(rows).map(async (row, i) => {
        const script = row.script.replaceAll('@CONF@', grid.slurm.conf);
        row.size = { ntasks: row.ntasks ?? 1, memPerCpu: 10 };
        row.id = await grid.requestJob({ ...row.size, script, customer: customers[i % 2] });
    }));
    await Promise.all(Object.values(rows).map(async (row) => {
        row.job = await look.wait(row.id, 'waiting', pending);
    }));
    const nodesOf = (row) => row.node ?? row.nodes ?? 'n[1-2]';
    await Promise.all(Object.values(rows).map((row) => update(grid, row.job, row.nodes ? `ReqNodeList=${row.nodes}` : row.node ? `ReqNodeList=${nodesOf(row)}` : `ExcNodeList=n[3-${grid.options.nodes}]`)));
    await Promise.all(Object.values(rows).map((row) => row.waits?.(grid, row.job, rows)));
    await scontrol(grid, 'update', 'PartitionName=main', 'State=UP');
    for (const row of Object.values(rows)) {
        row.driven = drive(grid, row);
        row.driven.catch(() => {}); // the row's test tells
    }
}

/** What the agent logged of a job's end: state, seconds, and who told it. */
const endTold = (grid, id) => grid.agent.log(0).match(new RegExp(`-> ENDED: (\\w+), exit code \\d+, (\\d+) s, says ([^"]*)".*${id}`));

/** Its one end, on chain and in the agent's log. */
async function checkEnd(grid, row, who) {
    const { status = 'FAILED', exitCode = 0, reason = /^$/, slurmJobs, restarts = 0, spent = 0, foreign } = row.end;
    await row.driven;
    const job = await grid.waitStatus(row.id, status, 60000);
    // A query may have seen it for the moment in which it had its node.
    const ran = row.end.ran === 'either' ? BigInt(job.time.start) > 0n : (row.end.ran ?? true);
    assert.equal(Number(job.exitCode), exitCode);
    assert.match(job.lastError, reason);
    await checkOnce(grid, row.id, { ran, slurmJobs });
    assert.equal(minutesBilled(grid, job, row.size), ran ? 1 : 0);
    const [, , seconds, told] = endTold(grid, row.id);
    assert.match(told, who);
    const slurm = (await grid.slurmJobs()).find((j) => j.JobId === row.job.JobId);
    assert.equal(slurm.Restarts, String(restarts));
    const [h, m, s] = slurm.RunTime.split(':').map(Number); // of a job that never had a start: since 1970
    assert.equal(Number(seconds), slurm.StartTime === 'Unknown' ? 0 : h * 3600 + m * 60 + s, `Slurm says ${slurm.RunTime}`);
    if (restarts) {
        const [, again] = grid.agent.log(0).match(new RegExp(`queued the job again: attempt 2; (\\d+) s were spent.*${row.id}`));
        assert.ok(Number(again) >= spent, `${again} s spent`);
    }
    if (foreign) {
        const refused = [...grid.agent.log(0).matchAll(new RegExp(`security: refused an event.*\\((\\d+) more not logged.*${row.id}`, 'g'))];
        assert.ok(refused.length > 0, 'nothing was refused');
    }
}

test('jobs are brought to their ends', async (grid) => {
    look = new Look(grid);
    mkdirSync(grid.path('spank'));
    if (!grid.slurm.root) {
        copyFileSync(join(build, 'tests', 'plugins', '.libs', 'spank_fail.so'), grid.path('plugins', 'spank_fail.so'));
        writeFileSync(grid.path('etc', 'plugstack.conf'), `required ${grid.path('plugins', 'spank_fail.so')} ${grid.path('spank')}\n`);
    }
    await grid.agent.stop();
    await startAgent(grid, ['--slurm.query-interval=15s']); // so that it is the plugin that tells
    await begin(grid, { ...byPlugin, ...long });
});

const possible = (row) => !row.here || !process.env.DEVNET_SLURM_ROOT;
for (const name of Object.keys(byPlugin)) if (!possible(byPlugin[name])) delete byPlugin[name];
for (const [name, row] of Object.entries(byPlugin))
    test(`by the plugin: ${name}`, (grid) => checkEnd(grid, row, row.end.restarts ? /a query/ : /the plugin/));

test('the plugin is silenced, and RequeueExit set', async (grid) => {
    await grid.agent.stop();
    appendFileSync(grid.slurm.conf, 'RequeueExit=77\n');
    await scontrol(grid, 'reconfigure');
    const key = grid.path('agent', 'jwt.key');
    copyFileSync(grid.slurm.jwtKey, key);
    chownSync(key, 0, 0);
    chmodSync(key, 0o600);
    const args = ['--slurm.backend=rest', `--slurm.rest.endpoint=http://127.0.0.1:${grid.ports.slurmrestd}`, `--slurm.rest.jwt-key-file=${key}`, '--grpc.listen-address=127.0.0.1:19'];
    await grid.startAgent({ args: [...AGENT_ARGS, ...args], wait: false });
    await grid.agent.waitLog(/Slurm answers/);
    if (grid.slurm.isNew) Object.assign(byQuery.RequeueExit, { runs: undefined, end: { exitCode: 77 } });
    await begin(grid, byQuery);
});

for (const [name, row] of Object.entries(byQuery)) test(`by query: ${name}`, (grid) => checkEnd(grid, row, /a query/));

test('the plugin is heard again', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, ['--slurm.query-interval=60s']);
    await begin(grid, unsettled);
});

for (const [name, row] of Object.entries(unsettled))
    test(`by the plugin, and Slurm is asked: ${name}`, async (grid) => {
        await checkEnd(grid, row, /a query/);
        assert.match(grid.agent.log(), new RegExp(`tells of an end; Slurm is asked.*${row.id}`));
    });

for (const [name, row] of Object.entries(long)) test(name, (grid) => checkEnd(grid, row, /a query/));

test('what the plugin could not tell before changes nothing', async (grid) => {
    await look.stop();
    for (const { id, end } of Object.values(byQuery)) {
        await checkOnce(grid, id, { ran: end.ran });
        assert.equal([...grid.agent.log(0).matchAll(new RegExp(`-> ENDED: .*${id}`, 'g'))].length, 1);
    }
});

writeFileSync(join(dir, 'prolog'), sh(`[ "$SLURMD_NODENAME" != n7 ] && [ "$SLURMD_NODENAME" != n8 ]`));
chmodSync(join(dir, 'prolog'), 0o755);
await runTests({
    nodes: 9, cpus: 16, gpus: 0,
    slurmConf: ['PartitionName=high Nodes=ALL PriorityTier=10', `Prolog=${join(dir, 'prolog')}`, 'PreemptType=preempt/partition_prio', 'PreemptMode=REQUEUE', 'DependencyParameters=kill_invalid_depend'],
});
