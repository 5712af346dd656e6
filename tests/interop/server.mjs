// SPDX-License-Identifier: GPL-3.0-or-later
// grpc-js as a client of the agent's gRPC server. TAP.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { check, grpc, load, makeCertificates, program, runAll, start, test } from './common.mjs';

const { supervisor } = load('proto/supervisor.proto');
const health = load('proto/health.proto').grpc.health.v1;
const JOB = `0x${'00112233445566778899aabbccddeeff'.repeat(2)}`;
const UNKNOWN = `0xdead${'0'.repeat(60)}`;
const status = grpc.status;

const certs = makeCertificates();
const server = start('serverd');
const port = Number((await server.line()).split(' ')[1]);
const plain = grpc.credentials.createInsecure();
const to = (p, host = '127.0.0.1') => `${host}:${p}`;
const jobs = new supervisor.v1alpha1.JobAPI(to(port), plain);
const ssh = new supervisor.v1alpha1.SshAPI(to(port), plain);
const healthy = new health.Health(to(port), plain);

// [status code, details, answer]
function call(client, method, request, options = {}) {
  return new Promise((done) => {
    const deadline = Date.now() + 20000;
    client[method](request, { deadline, ...options }, (err, answer) =>
      done(err ? [err.code, err.details, null] : [0, '', answer]));
  });
}

const code = async (...args) => (await call(...args))[0];

// The messages of a stream, one by one; then {end: status code}.
function watch(client, service) {
  const got = [];
  const waiters = [];
  const put = (x) => (waiters.length ? waiters.shift()(x) : got.push(x));
  const stream = client.watch({ service });
  stream.on('data', (m) => put(m.status));
  stream.on('error', (e) => put({ end: e.code }));
  return {
    next: () => (got.length ? Promise.resolve(got.shift()) : new Promise((r) => waiters.push(r))),
    cancel: () => stream.cancel(),
  };
}

test('SetJobStatus', async () => {
  const request = { name: JOB, id: '18446744073709551615', duration: '61', status: 7,
    exit_code: '-9223372036854775808' };
  check(await call(jobs, 'setJobStatus', request), [0, '', {}]);
  check(await server.line(), `event ${JOB} 18446744073709551615 7 61 -9223372036854775808`);
});

test('SetJobStatus with a record of ours', async () => {
  const record = { state: 3, wait_status: 256, cluster: 'c', user_id: 7, end_time: '1700000000' };
  check(await code(jobs, 'setJobStatus', { name: JOB, status: 8, record }), 0);
  check(await server.line(), `event ${JOB} 0 8 0 0`);
});

test('SendJobStart, SendJobResult, SendJobFail', async () => {
  check(await call(jobs, 'sendJobStart', { job_name: JOB, job_id: 5 }), [0, '', {}]);
  check(await server.line(), `event ${JOB} 5 4 0 0`);
  check(await call(jobs, 'sendJobResult', { job_name: JOB, job_id: 5, job_duration: 9 }), [0, '', {}]);
  check(await server.line(), `event ${JOB} 5 7 9 0`);
  check(await call(jobs, 'sendJobFail', { job_name: JOB, job_id: 5 }), [0, '', {}]);
  check(await server.line(), `event ${JOB} 5 8 0 0`);
});

test('names', async () => {
  check(await code(jobs, 'sendJobFail', { job_name: JOB.slice(2).toUpperCase() }), 0);
  check(await server.line(), `event ${JOB} 0 8 0 0`);
  for (const name of ['', 'x', JOB.slice(0, -1), `${JOB}0`, `${JOB.slice(0, -1)}g`]) {
    const [c, details] = await call(jobs, 'setJobStatus', { name, status: 4 });
    check(c, status.INVALID_ARGUMENT);
    check(details.includes('64 hexadecimal digits'), true, details);
  }
  check(await code(jobs, 'setJobStatus', { name: JOB }), status.INVALID_ARGUMENT);
});

test('unknown job', async () => {
  const got = await call(jobs, 'setJobStatus', { name: UNKNOWN, status: 4 });
  check(got, [status.NOT_FOUND, 'no such job', null]);
  await server.line();
});

test('FetchAuthorizedKeys', async () => {
  const got = await call(ssh, 'fetchAuthorizedKeys', {});
  check(got, [0, '', { authorized_keys: 'ssh-ed25519 AAAA agent\n' }]);
});

test('unknown method', async () => {
  const bytes = (b) => b;
  const got = await new Promise((done) => {
    jobs.makeUnaryRequest('/supervisor.v1alpha1.JobAPI/Nothing', bytes, bytes, Buffer.alloc(0),
      (err) => done(err?.code));
  });
  check(got, status.UNIMPLEMENTED);
});

test('malformed and oversized messages', async () => {
  const bytes = (b) => b;
  const raw = (data) => new Promise((done) => {
    jobs.makeUnaryRequest('/supervisor.v1alpha1.JobAPI/SetJobStatus', bytes, bytes, data,
      (err) => done(err?.code ?? 0));
  });
  check(await raw(Buffer.from([0xff])), status.INVALID_ARGUMENT);
  check(await raw(Buffer.from([0x0a, 0x7f, 0x30])), status.INVALID_ARGUMENT);
  check(await raw(Buffer.alloc(65537)), status.RESOURCE_EXHAUSTED);
  check(await raw(Buffer.alloc(3000000)), status.RESOURCE_EXHAUSTED);
  check(await code(jobs, 'sendJobStart', { job_name: JOB }), 0);
  await server.line();
});

test('a compressed message is refused', async () => {
  const c = new supervisor.v1alpha1.JobAPI(to(port), plain, { 'grpc.default_compression_algorithm': 2 });
  check(await code(c, 'sendJobStart', { job_name: JOB }), status.UNIMPLEMENTED);
  c.close();
  check(await code(jobs, 'sendJobStart', { job_name: JOB }), 0);
  await server.line();
});

// [exit status, first line of what is printed]
const askHealth = (address, ...options) => new Promise((done) => {
  execFile(program('../../deepsquare-agent'), ['health', '--config=/dev/null',
    `--grpc.listen-address=${address}`, ...options], { env: {} },
  (e, out, err) => done([e ? e.code : 0, `${out}${err}`.split('\n')[0]]));
});

test('Health/Check', async () => {
  check((await call(healthy, 'check', { service: '' }))[2], { status: 2 });
  check(await askHealth(to(port)), [1, 'not serving']);
  server.say('serving');
  const w = watch(healthy, '');
  while (await w.next() !== 1);
  w.cancel();
  for (const service of ['', 'supervisor.v1alpha1.JobAPI'])
    check((await call(healthy, 'check', { service }))[2], { status: 1 });
  check(await code(healthy, 'check', { service: 'none' }), status.NOT_FOUND);
  for (const host of ['', '0.0.0.0', '127.0.0.1'])
    check(await askHealth(to(port, host)), [0, 'serving'], host);
  check((await askHealth(':0'))[0], 2);
  check((await askHealth(to(port), '--tls'))[0], 2, 'TLS where there is none');
});

test('Health/Watch', async () => {
  const [all, job, none] = ['', 'supervisor.v1alpha1.JobAPI', 'none'].map((s) => watch(healthy, s));
  check(await all.next(), 1);
  check(await job.next(), 1);
  check(await none.next(), 3);
  server.say('not-serving');
  check(await all.next(), 2);
  check(await job.next(), 2);
  job.cancel();
  check(await job.next(), { end: status.CANCELLED });
  server.say('serving');
  check(await all.next(), 1);
  all.cancel();
  none.cancel();
});

test('1000 calls at once', async () => {
  const calls = Array.from({ length: 1000 }, (_, i) =>
    code(jobs, 'setJobStatus', { name: i % 4 ? JOB : UNKNOWN, id: i, status: 4 }));
  const codes = await Promise.all(calls);
  check(codes.filter((c) => c === 0).length, 750);
  check(codes.filter((c) => c === status.NOT_FOUND).length, 250);
  for (let i = 0; i < 1000; i++) await server.line();
});

test('clients that go away', async () => {
  for (let i = 0; i < 20; i++) {
    const c = new supervisor.v1alpha1.JobAPI(to(port), plain, { 'grpc.use_local_subchannel_pool': 1 });
    const calls = Array.from({ length: 20 }, () => c.setJobStatus({ name: JOB, status: 4 }, () => {}));
    await new Promise((r) => { setTimeout(r, i); });
    if (i % 2) calls.forEach((x) => x.cancel());
    c.close();
  }
  for (const data of ['', 'GET / HTTP/1.0\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x16\x03\x01'])
    await new Promise((done) => {
      const s = net.connect(port, '127.0.0.1', () => { s.end(data, () => s.destroy()); });
      s.on('close', done);
    });
  check(await code(jobs, 'sendJobStart', { job_name: UNKNOWN, job_id: 77 }), status.NOT_FOUND);
});

test('TLS', async () => {
  const tls = start('serverd', '127.0.0.1:0', certs.cert, certs.key);
  const p = Number((await tls.line()).split(' ')[1]);
  const creds = (ca) => grpc.credentials.createSsl(readFileSync(ca));
  for (const host of ['localhost', '127.0.0.1']) {
    const c = new supervisor.v1alpha1.JobAPI(to(p, host), creds(certs.ca));
    check(await code(c, 'sendJobStart', { job_name: JOB }), 0);
    c.close();
  }
  const bad = new supervisor.v1alpha1.JobAPI(to(p), creds(certs.other));
  check(await code(bad, 'sendJobStart', { job_name: JOB }), status.UNAVAILABLE);
  bad.close();
  const open = new supervisor.v1alpha1.JobAPI(to(p), plain);
  check(await code(open, 'sendJobStart', { job_name: JOB }), status.UNAVAILABLE);
  open.close();
  const h = new health.Health(to(p), creds(certs.ca));
  const w = watch(h, '');
  check(await w.next(), 2);
  check(await askHealth(to(p, ''), '--tls'), [1, 'not serving']);
  check((await askHealth(to(p, '')))[0], 2, 'no TLS where there is some');
  check(await tls.stop(), 0);
  check(await w.next(), { end: status.UNAVAILABLE });
  h.close();
});

test('stop', async () => {
  const w = watch(healthy, '');
  check(await w.next(), 1);
  check(await server.stop(), 0);
  check(await w.next(), 2);
  check(await w.next(), { end: status.UNAVAILABLE });
});

const failed = await runAll();
await server.stop();
certs.remove();
process.exit(failed ? 1 : 0);
