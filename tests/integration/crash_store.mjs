// SPDX-License-Identifier: GPL-3.0-or-later
// The store's disk is full, or its fsync fails, while jobs of all kinds flow: the agent says so and
// ends, is started again and again as by systemd, and acknowledges nothing that is not durable. Once
// the disk is well nothing was lost and nothing comes twice (flow.mjs).
import { closeSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert, killAgent, runTests, sleep, startAgent, test } from './lib.mjs';
import { Flow } from './flow.mjs';
import { runOk } from '../devnet/process.mjs';

const DEATHS = 3;

let flow;

const stateDir = (grid) => grid.path('agent', 'state');
const shim = (grid) => grid.path('fsync_fails.so');
const badDisk = (grid) => grid.path('fsync-fails');

const start = (grid) =>
    startAgent(grid, [], {
        env: { LD_PRELOAD: shim(grid), FSYNC_FAILS: badDisk(grid), FSYNC_LOSES: join(stateDir(grid), 'agent.db-wal') },
        wait: false,
    });

/** It ends by itself, for that reason, as systemd expects of a service that failed. */
async function endsFor(grid, why) {
    const end = await Promise.race([grid.agent.ended, sleep(20000)]);
    assert.ok(end, 'it goes on');
    assert.deepEqual(end, { code: 1, signal: null }, grid.agent.tail());
    assert.match(grid.agent.log(), why);
}

const NOT_STORED = 'what happened cannot be stored, so nothing of it was acknowledged; stopping';

const storedEnds = (job) => flow.rows(`SELECT detail FROM events WHERE job = '${job.id}' AND event = 'END'`);

/**
 * spoil() breaks the disk, repair() makes it well; why: what the agent says. isLost: what could not be
 * stored cannot be read either.
 */
async function throughBadDisk(grid, { spoil, repair, why, isLost }) {
    const from = grid.slurmctld.logSize();
    await start(grid);
    const ending = await flow.add('slow');
    let act;
    const when = new Promise((resolve) => (act = resolve));
    for (const kind of ['cancelled', 'extended']) await flow.add(kind, { when });
    for (const { id } of flow.jobs.slice(-3)) await grid.waitStatus(id, 'RUNNING', 40000);
    await sleep(500); // until that is stored: then there is nothing to write before the job's end

    try {
        spoil();
        // The event of the end: the first thing that cannot be stored.
        await endsFor(grid, why);
        assert.ok(grid.agent.log().includes(NOT_STORED));
        // "cannot be stored now, send it again", if the agent lived to say it; nothing was acknowledged.
        await grid.slurmctld.waitLog(/the agent takes no events: /, 10000, from);
        await grid.waitSlurm(ending.id, 'COMPLETED', 1000);
        if (isLost) assert.deepEqual(await storedEnds(ending), []);
        act();
        for (const kind of ['good', 'refused']) await flow.add(kind);
        for (let i = 1; i < DEATHS; i++) {
            await start(grid);
            await endsFor(grid, why);
            await sleep(500);
        }
        if (isLost) assert.equal((await grid.job(ending.id)).status, 'RUNNING', 'an end that is not stored was reported');
    } finally {
        repair();
    }
    await start(grid);
    await flow.settle();
    await flow.check();
    await grid.slurmctld.waitLog(/the agent takes events again/, 40000, from); // that of the end first
    assert.equal((await storedEnds(ending)).length, 1);
    await killAgent(grid);
}

test('the disk is full', async (grid) => {
    await runOk(['mkdir', '-m', '700', stateDir(grid)]);
    await runOk(['mount', '-t', 'tmpfs', '-o', 'size=16m,mode=700', 'devnet', stateDir(grid)]);
    const source = join(dirname(fileURLToPath(import.meta.url)), 'fsync_fails.c');
    await runOk(['cc', '-O2', '-shared', '-fPIC', '-D_GNU_SOURCE', '-o', shim(grid), source]);
    flow = await Flow.begin(grid);

    const path = join(stateDir(grid), 'ballast');
    const ballast = openSync(path, 'a');
    const fill = () => {
        try {
            for (;;) writeSync(ballast, Buffer.alloc(512));
        } catch (error) {
            assert.equal(error.code, 'ENOSPC');
        }
    };
    let filling;
    await throughBadDisk(grid, {
        spoil() {
            fill();
            filling = setInterval(fill, 20); // what the agent sets free is gone at once
        },
        repair() {
            clearInterval(filling);
            closeSync(ballast);
            rmSync(path);
        },
        why: /database or disk is full/,
        isLost: true,
    });
}, { agent: false });

for (const how of ['lose', 'keep'])
    test(`fsync fails, and what was written is ${how === 'lose' ? 'lost' : 'there all the same'}`, (grid) =>
        throughBadDisk(grid, {
            spoil: () => writeFileSync(badDisk(grid), how),
            repair: () => rmSync(badDisk(grid)),
            why: /disk I\/O error/,
            isLost: how === 'lose',
        }), { agent: false });

await runTests({ slurmdbd: true, slurmrestd: false });
