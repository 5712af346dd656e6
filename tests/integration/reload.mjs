// SPDX-License-Identifier: GPL-3.0-or-later
// The configuration is read again while the agent works, and what systemd is told meanwhile.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { Notified, assert, checkOnce, runTests, sleep, startAgent, test, waitFor } from './lib.mjs';
import { runOk } from '../devnet/process.mjs';

const configure = (grid, ...lines) => writeFileSync(grid.path('agent', 'agent.conf'), ['register.auto = false', ...lines, ''].join('\n'));

/** Has the agent read its configuration again; what it says of it. */
async function reload(grid, words = /the configuration was read again/) {
    const from = grid.agent.logSize();
    await grid.agent.kill('SIGHUP');
    await grid.agent.waitLog(words, 10000, from);
    return grid.agent.log(from);
}

async function start(grid, env) {
    await grid.agent.stop();
    await startAgent(grid, [`--config=${grid.path('agent', 'agent.conf')}`], { env });
}

let notified;

test('systemd is told that it is ready, and then that its loop goes round', async (grid) => {
    notified = new Notified(grid);
    configure(grid, 'claim.max-jobs = 1');
    await start(grid, { NOTIFY_SOCKET: notified.path, WATCHDOG_USEC: '600000' });
    const count = (line) => notified.lines().filter((l) => l === line).length;
    await waitFor('not ready', () => count('READY=1') === 1, 10000);
    const before = count('WATCHDOG=1');
    await sleep(2000);
    const beats = count('WATCHDOG=1') - before;
    assert.ok(beats >= 4 && beats <= 11, `${beats} in 2 s, one in 200 ms was asked for`);
}, { agent: false });

test('what may change changes, for jobs that wait as well', async (grid) => {
    const first = await grid.requestJob({ script: '#!/bin/sh\nsleep 4\n' });
    await grid.waitStatus(first, 'RUNNING', 20000);
    const second = await grid.requestJob();
    await sleep(1000); // five polls of the chain
    assert.equal((await grid.job(second)).status, 'META_SCHEDULED');
    configure(grid, 'claim.max-jobs = 5', 'metascheduler.label = os=reloaded', 'slurm.partition = other', 'metascheduler.endpoint.ws = ws://127.0.0.1:1/hunter2');
    const said = await reload(grid);
    assert.match(said, /claim\.max-jobs is \\"5\\" now, it was \\"1\\"/);
    assert.match(said, /metascheduler\.label is \\"os=reloaded\\" now, it was \\"\\"/);
    assert.match(said, /slurm\.partition differs, which the agent must be restarted for/);
    assert.match(said, /metascheduler\.endpoint\.ws differs/);
    assert.doesNotMatch(grid.agent.log(), /hunter2/);
    await grid.waitStatus(second, 'FINISHED', 20000);
    await grid.waitStatus(first, 'FINISHED', 20000);
    await grid.agent.waitLog(/registration: differs from what it should be: label: .*reloaded/, 10000);
    for (const id of [first, second]) await checkOnce(grid, id);
    const told = notified.lines();
    const at = told.indexOf('RELOADING=1');
    assert.match(told[at + 1], /^MONOTONIC_USEC=\d+$/);
    assert.ok(told.indexOf('READY=1', at) > at, 'it is never ready again');
}, { agent: false });

test('a bad file is refused whole, by the place in it, and the agent goes on', async (grid) => {
    configure(grid, 'claim.max-jobs = 7', 'claim.batch = lots');
    const said = await reload(grid, /is bad, none of it is taken over: .*agent\.conf:3: claim\.batch: bad value/);
    assert.doesNotMatch(said, /is \\"7\\" now|read again/);
    configure(grid, 'claim.max-jobs = 7');
    assert.match(await reload(grid), /claim\.max-jobs is \\"7\\" now, it was \\"5\\"/);
    assert.doesNotMatch(await reload(grid), /max-jobs|configuration: /); // what was put back counts as it was
}, { agent: false });

test('a fee that is capped too low is a line of the file, not a restart', async (grid) => {
    configure(grid, 'eth.max-fee-per-gas = 1');
    await reload(grid);
    const from = grid.agent.logSize();
    const id = await grid.requestJob();
    await grid.agent.waitLog(/more than --eth\.max-fee-per-gas allows/, 15000, from);
    configure(grid);
    assert.match(await reload(grid), /eth\.max-fee-per-gas is \\"1000gwei\\" now, it was \\"1\\"/);
    await grid.waitStatus(id, 'FINISHED', 20000);
}, { agent: false });

/** The serial number of the certificate that a new connection to the agent's gRPC server sees. */
const serial = (grid) =>
    new Promise((done, fail) => {
        const socket = connect({ host: '127.0.0.1', port: grid.ports.agent, ALPNProtocols: ['h2'], rejectUnauthorized: false }, () => {
            done(socket.getPeerCertificate().serialNumber);
            socket.destroy();
        });
        socket.on('error', fail);
    });

test('a renewed certificate is shown after a reload, a bad one is refused with all else', async (grid) => {
    const [cert, key] = [grid.path('agent', 'tls.pem'), grid.path('agent', 'tls.key')];
    const renew = (number) =>
        runOk(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=agent', '-set_serial', String(number), '-keyout', key, '-out', cert]);
    await renew(0x51);
    const tls = ['tls = true', `tls.cert-file = ${cert}`, `tls.key-file = ${key}`];
    configure(grid, ...tls);
    await start(grid);
    assert.equal(await serial(grid), '51');
    await renew(0x52);
    assert.equal(await serial(grid), '51', 'before it is told to');
    assert.match(await reload(grid), /the gRPC server has another certificate now/);
    assert.equal(await serial(grid), '52');

    writeFileSync(cert, readFileSync(cert, 'utf8').slice(0, 100)); // half of it
    configure(grid, ...tls, 'claim.max-jobs = 9');
    const said = await reload(grid, /none of it is taken over: .*tls\.pem/);
    assert.doesNotMatch(said, /max-jobs/);
    assert.equal(await serial(grid), '52');
    const other = grid.path('agent', 'moved.pem');
    await renew(0x53);
    copyFileSync(cert, other);
    configure(grid, ...tls.slice(0, 1), `tls.cert-file = ${other}`, ...tls.slice(2), 'claim.max-jobs = 9');
    assert.match(await reload(grid), /tls\.cert-file is .*moved\.pem/);
    assert.equal(await serial(grid), '53');
}, { agent: false });

await runTests();
