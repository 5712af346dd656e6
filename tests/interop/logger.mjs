// SPDX-License-Identifier: GPL-3.0-or-later
// grpc-js as the grid's logger, written to by the agent's client. TAP.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { check, grpc, load, makeCertificates, program, runAll, test } from './common.mjs';

const { LoggerAPI } = load('tests/interop/grid-logger.proto').logger.v1alpha1;
const status = grpc.status;
const JOB = `0x${'11'.repeat(32)}`;
const USER = `0x${'22'.repeat(20)}`;

const certs = makeCertificates();
const servers = [];
let requests = [];
let ends = 0;

// Reads to the end and answers.
function collect(call, done) {
  call.on('data', (request) => requests.push(request));
  call.on('end', () => { ends++; done(null, {}); });
}

async function serve(write, creds = grpc.ServerCredentials.createInsecure()) {
  const s = new grpc.Server();
  if (write) s.addService(LoggerAPI.service, { Write: write });
  servers.push(s);
  return new Promise((yes, no) => {
    s.bindAsync('127.0.0.1:0', creds, (e, port) => (e ? no(e) : yes(`localhost:${port}`)));
  });
}

// What the client says, and what the server has got by then.
async function log(url, text, timeout_ms, ...tls) {
  [requests, ends] = [[], 0];
  return new Promise((yes, no) => {
    execFile(program('log'), [url, text, timeout_ms, ...tls], (e, out) => (e ? no(e) : yes(out)));
  });
}

const starts = async (promise, text, what) => check((await promise).slice(0, text.length), text, what);
const texts = () => requests.map((request) => request.data.toString());

test('lines', async () => {
  const url = await serve(collect);
  const before = BigInt(Date.now()) * 1000000n;
  check(await log(url, 'sbatch: error: grüezi\n\n  two\n', 10000), 'ok\n');
  const after = BigInt(Date.now()) * 1000000n;
  check(texts(), ['sbatch: error: grüezi', '  two']);
  check(ends, 1, 'ends');
  let last = before - 1n;
  for (const request of requests) {
    check([request.log_name, request.user], [JOB, USER]);
    const time = BigInt(request.timestamp);
    check(time > last && time <= after + 1n, true, `time ${time}`);
    last = time;
  }
});

test('the longest text', async () => {
  const url = await serve(collect);
  check(await log(url, `${'x'.repeat(1100)}\n`.repeat(70), 10000), 'ok\n');
  check(texts(), [...Array(63).fill('x'.repeat(1024)), '...']);
});

test('a status before the first message is read', async () => {
  const url = await serve((call, done) => done({ code: status.UNAUTHENTICATED, details: 'not you' }));
  const expected = `error logger ${url}: gRPC status 16: not you\n`;
  check(await log(url, 'x\n'.repeat(64), 20000), expected);
});

test('a status after the first message', async () => {
  const url = await serve((call, done) => {
    call.once('data', () => done({ code: status.RESOURCE_EXHAUSTED, details: 'full' }));
  });
  check(await log(url, 'x\n'.repeat(64), 20000), `error logger ${url}: gRPC status 8: full\n`);
});

test('OK after the first message', async () => {
  const url = await serve((call, done) => {
    call.once('data', () => done(null, {}));
  });
  check(await log(url, 'x\n'.repeat(64), 20000), 'ok\n');
});

test('no such service', async () => {
  const url = await serve(null);
  await starts(log(url, 'x', 20000), `error logger ${url}: gRPC status 12: `);
});

test('no answer', async () => {
  const url = await serve((call) => call.on('data', () => {}));
  const began = Date.now();
  await starts(log(url, 'x', 500), `error logger ${url}: gRPC status 4: `);
  check(Date.now() - began < 5000, true, 'in time');
});

test('a server that goes away', async () => {
  const url = await serve((call) => {
    call.on('error', () => {});
    call.once('data', () => servers.at(-1).forceShutdown());
  });
  const began = Date.now();
  await starts(log(url, 'x', 20000), `error logger ${url}: gRPC status 1`);
  check(Date.now() - began < 10000, true, 'in time');
});

test('TLS', async () => {
  const pair = { private_key: readFileSync(certs.key), cert_chain: readFileSync(certs.cert) };
  const url = await serve(collect, grpc.ServerCredentials.createSsl(null, [pair]));
  for (const tls of [[certs.ca], ['insecure'], [certs.ca, 'localhost']]) {
    check(await log(url, 'x', 10000, ...tls), 'ok\n', tls.join());
    check(texts(), ['x'], tls.join());
  }
  for (const tls of [[certs.other], [certs.ca, 'else.example'], ['plain']]) {
    await starts(log(url, 'x', 10000, ...tls), `error logger ${url}: gRPC status 14: `, tls.join());
    check(texts(), [], tls.join());
  }
});

const failed = await runAll();
servers.forEach((s) => s.forceShutdown());
certs.remove();
process.exit(failed ? 1 : 0);
