// SPDX-License-Identifier: GPL-3.0-or-later
// grpc-js as a customer API of either generation, asked by the agent's client. TAP.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { check, grpc, load, makeCertificates, program, runAll, test } from './common.mjs';

const { sbatchapi } = load('tests/interop/grid-sbatchapi.proto');
const { customer } = load('tests/interop/grid-customer.proto');
const status = grpc.status;
const SCRIPT = '#!/bin/sh\necho "grüezi"\n';
const CHALLENGE = Buffer.from('{"message":"login","nonce":"AAAAAAAAAAAAAAAAAAAAAA=="}');

const certs = makeCertificates();
const servers = [];
const fake = { script: SCRIPT, code: 0, failures: 0, seen: [] };

function answer(done, value) {
  if (fake.failures-- > 0) done({ code: status.UNAVAILABLE, details: 'not yet' });
  else if (fake.code) done({ code: fake.code, details: 'said the server' });
  else done(null, value);
}

async function serve(parts, creds = grpc.ServerCredentials.createInsecure(), options = {}) {
  const s = new grpc.Server(options);
  if (parts.includes('auth'))
    s.addService(sbatchapi.v1alpha1.AuthAPI.service, {
      Challenge: (call, done) => done(null, { challenge: CHALLENGE }),
    });
  if (parts.includes('sbatch'))
    s.addService(sbatchapi.v1alpha1.SBatchAPI.service, {
      GetSBatch: (call, done) => {
        fake.seen.push(call.request);
        answer(done, { sbatch: fake.script, grid_logger_url: 'logger.example:443' });
      },
    });
  if (parts.includes('customer'))
    s.addService(customer.v1alpha1.JobAPI.service, {
      FetchJobBatch: (call, done) => {
        fake.seen.push(call.request);
        answer(done, { body: fake.script });
      },
    });
  servers.push(s);
  return new Promise((yes, no) => {
    s.bindAsync('127.0.0.1:0', creds, (e, port) => (e ? no(e) : yes(`localhost:${port}`)));
  });
}

function fetch(endpoint, api, timeout_ms, ...tls) {
  return new Promise((yes, no) => {
    execFile(program('fetch'), [endpoint, api, timeout_ms, ...tls], (e, out) => (e ? no(e) : yes(out)));
  });
}

const newer = await serve(['auth', 'sbatch']);
const older = await serve(['customer']);
const fetches = [[newer, 'sbatch'], [newer, 'auto'], [older, 'customer'], [older, 'auto']];

test('a script of either generation', async () => {
  for (const [endpoint, api] of fetches) {
    const url = endpoint === newer ? 'logger.example:443' : '';
    check(await fetch(endpoint, api, 10000), `ok ${url}\n${SCRIPT}`, api);
  }
  const [request, , old] = fake.seen;
  check(request.batch_location_hash, 'hash-1');
  check(request.challenge.equals(CHALLENGE), true, 'challenge');
  check(request.signed_challenge.equals(Buffer.concat([Buffer.alloc(64, 0x51), Buffer.from([1])])),
    true, 'signature');
  check(request.provider_address.equals(Buffer.alloc(20, 0xaa)), true, 'provider');
  check(request.customer_address.equals(Buffer.alloc(20, 0xbb)), true, 'customer');
  check(request.job_id.length, 66);
  check(old, { job_location_hash: 'hash-1' });
});

const cases = [
  ['empty', { script: '' }, 'permanent the job\'s script is empty\n'],
  ['NUL', { script: 'a\0b' }, 'permanent the job\'s script holds a NUL byte\n'],
  ['too large', { script: 'a'.repeat(100001) },
    'permanent the job\'s script is larger than this provider\'s limit of 100000 bytes\n'],
  ['much too large', { script: 'a'.repeat(1000000) },
    'permanent the job\'s script is larger than this provider\'s limit of 100000 bytes\n'],
  ['NOT_FOUND', { code: status.NOT_FOUND },
    'permanent the job\'s script was not found: said the server\n'],
];
for (const [name, change, expected] of cases)
  test(name, async () => {
    Object.assign(fake, { script: SCRIPT, code: 0 }, change);
    for (const [endpoint, api] of fetches) check(await fetch(endpoint, api, 10000), expected, api);
    Object.assign(fake, { script: SCRIPT, code: 0 });
  });

test('UNAUTHENTICATED is transient', async () => {
  fake.code = status.UNAUTHENTICATED;
  for (const [endpoint, api] of fetches)
    check((await fetch(endpoint, api, 10000)).startsWith('transient '), true, api);
  fake.code = 0;
});

test('UNAVAILABLE, then good', async () => {
  for (const [endpoint, api] of fetches) {
    fake.failures = 2;
    check((await fetch(endpoint, api, 20000)).startsWith('ok '), true, api);
  }
});

test('wrong generation', async () => {
  check((await fetch(older, 'sbatch', 5000)).startsWith('transient '), true);
  check((await fetch(newer, 'customer', 5000)).startsWith('transient '), true);
});

test('TLS', async () => {
  const pair = { private_key: readFileSync(certs.key), cert_chain: readFileSync(certs.cert) };
  const endpoint = await serve(['auth', 'sbatch'], grpc.ServerCredentials.createSsl(null, [pair]));
  check((await fetch(endpoint, 'auto', 10000, certs.ca)).startsWith('ok '), true, 'CA');
  check((await fetch(endpoint, 'auto', 10000, 'insecure')).startsWith('ok '), true, 'insecure');
  check((await fetch(endpoint, 'auto', 10000, certs.ca, 'localhost')).startsWith('ok '), true, 'name');
  for (const tls of [[certs.other], [certs.ca, 'else.example'], ['plain']])
    check((await fetch(endpoint, 'auto', 1000, ...tls)).startsWith('transient '), true, tls.join());
});

test('a server that would like to compress', async () => {
  fake.script = 'a'.repeat(50000);
  const endpoint = await serve(['auth', 'sbatch'], undefined,
    { 'grpc.default_compression_algorithm': 2 });
  check((await fetch(endpoint, 'auto', 5000)).slice(0, 3), 'ok ');
  fake.script = SCRIPT;
});

const failed = await runAll();
servers.forEach((s) => s.forceShutdown());
certs.remove();
process.exit(failed ? 1 : 0);
