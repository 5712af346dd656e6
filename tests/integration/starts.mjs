// SPDX-License-Identifier: GPL-3.0-or-later
// Starts of jobs told by the SPANK plugin, by prep, and by both: RUNNING is on chain while the job
// runs, and once. The agent's own query is too seldom to tell first.
import { assert, checkOnce, killAgent, longJob, runTests, startAgent, test } from './lib.mjs';
import { run } from '../devnet/process.mjs';

const PLUGINS_ONLY = ['--slurm.query-interval=60s'];

/** From now on these tell: slurmctld reads slurm.conf at its start, a job's prolog plugstack.conf. */
async function use(grid, ways) {
    Object.assign(grid.slurm.plugins, { prep: false, spank: false, ...ways });
    grid.slurm.writeConf();
    await grid.slurmctld.restart();
    await grid.slurmd.restart();
}

/** A job that is RUNNING on chain while it runs, and all in its log once. */
async function runTold(grid) {
    const from = grid.agent.logSize();
    const { id, end } = await longJob(grid);
    await grid.waitStatus(id, 'RUNNING', 20000); // it would never be, if only its end were told
    end();
    await grid.waitStatus(id, 'FINISHED', 20000);
    await checkOnce(grid, id);
    const log = grid.agent.log(from);
    assert.match(log, /SUBMITTED -> RUNNING: started, says the plugin/);
    assert.doesNotMatch(log, /says a query/);
    return { id, log };
}

const tell = (grid, jobId) =>
    run([grid.slurm.forwarder, '--once', '--job-id', String(jobId), '--endpoint', `127.0.0.1:${grid.ports.agent}`], {
        timeoutMs: 90000,
    });
let stranger;

test('SPANK alone', async (grid) => {
    await grid.agent.stop();
    await startAgent(grid, PLUGINS_ONLY);
    stranger = tell(grid, 4711); // nobody's job; looked at below
    const { id } = await runTold(grid);
    const { JobId } = await grid.slurmJobOf(id);
    assert.notEqual(JobId, '4711');
});

test('told once more by a node, in the middle of the job', async (grid) => {
    const { id, end } = await longJob(grid);
    await grid.waitStatus(id, 'RUNNING', 20000);
    assert.equal((await tell(grid, (await grid.slurmJobOf(id)).JobId)).code, 0);
    end();
    await grid.waitStatus(id, 'FINISHED', 20000);
    await checkOnce(grid, id);
});

test('SPANK and prep', async (grid) => {
    await use(grid, { prep: true, spank: true });
    await runTold(grid);
});

test('prep alone', async (grid) => {
    await use(grid, { prep: true });
    await runTold(grid);
});

// It gave up after half a minute. Before the agent goes away: what it tells is what its last try met.
test('the start of a Slurm job that is not ours is refused, and changes nothing', async () => {
    const { code, stderr } = await stranger;
    assert.notEqual(code, 0);
    assert.match(stderr, /start of Slurm job 4711 not reported .*no such job here/);
});

test('the agent is away when a job starts: prep tells when it is back', async (grid) => {
    const partition = (state) => grid.slurm.command(['scontrol', 'update', 'PartitionName=main', `State=${state}`]);
    await partition('DOWN');
    const { id, end } = await longJob(grid);
    await grid.agent.waitLog(new RegExp(`-> SUBMITTED.*${id}`), 20000);
    await killAgent(grid);
    await partition('UP');
    await grid.waitSlurm(id, 'RUNNING');
    await startAgent(grid, PLUGINS_ONLY);
    await grid.waitStatus(id, 'RUNNING', 20000);
    end();
    await grid.waitStatus(id, 'FINISHED', 20000);
    await checkOnce(grid, id);
});

await runTests({ spank: true });
