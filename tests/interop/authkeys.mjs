// SPDX-License-Identifier: GPL-3.0-or-later
// deepsquare-authorized-keys against agents that are well, gone, silent and hostile (grpc-js). TAP.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { check, grpc, load, makeCertificates, program, runAll, test } from './common.mjs';

const { SshAPI } = load('proto/supervisor.proto').supervisor.v1alpha1;
const DEADLINE_MS = 3000;

const string = (data) => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(data.length);
  return Buffer.concat([head, Buffer.from(data)]);
};
const base64 = (type, bytes = Buffer.alloc(32, 7)) =>
  Buffer.concat([string(type), string(bytes)]).toString('base64');
const line = (type, bytes) => `${type} ${base64(type, bytes)}`;
const KEY = `${line('ssh-ed25519')} agent\n`;

const certs = makeCertificates();
let answer = KEY; // text, or a status to fail with

const servers = [];
async function serve(creds = grpc.ServerCredentials.createInsecure()) {
  const s = new grpc.Server();
  s.addService(SshAPI.service, { FetchAuthorizedKeys: (call, done) =>
    (typeof answer === 'string' ? done(null, { authorized_keys: answer }) : done({ ...answer })) });
  servers.push(s);
  return new Promise((yes, no) => {
    s.bindAsync('127.0.0.1:0', creds, (e, port) => (e ? no(e) : yes(`localhost:${port}`)));
  });
}

// Runs the program as sshd does: an empty environment, nothing on stdin.
const run = (args, env = {}) => new Promise((done) => {
  const began = Date.now();
  execFile(program('../../deepsquare-authorized-keys'), args, { env }, (e, out, err) =>
    done({ code: e ? e.code ?? e.signal : 0, out, err, ms: Date.now() - began }));
});

// One line says why, nothing is printed, and it does not take long.
function checkFails(got, why, code = 1) {
  check([got.code, got.out], [code, ''], got.err);
  check(/^deepsquare-authorized-keys\[\d+\]: [^\n]*\n$/.test(got.err) && got.err.includes(why), true,
    `"${why}" in ${got.err}`);
}

const plain = await serve();
const tls = await serve(grpc.ServerCredentials.createSsl(null,
  [{ private_key: readFileSync(certs.key), cert_chain: readFileSync(certs.cert) }]));
const here = ['--supervisor.tls=false', '--supervisor.endpoint', plain];
const named = '--supervisor.tls.server-host-override=localhost';

test('prints what the agent answers, for any user but root', async () => {
  answer = KEY;
  for (const args of [[], ['alice'], ['nobody']])
    check((await run([...here, ...args])).out, KEY, args);
  const root = await run([...here, 'root']);
  check([root.code, root.out, root.err], [0, '', '']);
});

test('flags in each spelling; flag before environment', async () => {
  answer = KEY;
  const env = { SUPERVISOR_ENDPOINT: plain, SUPERVISOR_TLS_ENABLE: '0', SUPERVISOR_CA: '' };
  check((await run(['alice'], env)).out, KEY, 'environment');
  check((await run([`-supervisor.endpoint=${plain}`], { ...env, SUPERVISOR_ENDPOINT: 'x' })).out, KEY);
  const full = { SUPERVISOR_ENDPOINT: tls, SUPERVISOR_CA: certs.ca,
    SUPERVISOR_SERVER_HOST_OVERRIDE: 'localhost' };
  check((await run([], full)).out, KEY, 'TLS by environment');
  checkFails(await run(['--supervisor.tls', '--supervisor.tls.insecure=false'],
    { ...full, SUPERVISOR_TLS_ENABLE: 'false', SUPERVISOR_CA: certs.other }), 'no key from');
  check((await run(['--supervisor.tls.insecure', `--supervisor.endpoint=${tls}`])).out, KEY);
});

test('what is wrong on the command line is told', async () => {
  for (const [args, why] of [
    [[], '--supervisor.endpoint is needed'], [['--supervisor.endpoint'], 'needs a value'],
    [[...here, 'alice', 'bob'], 'unexpected argument: bob'], [[...here, '--supervisor.x'], 'unknown'],
    [[...here, '--supervisor.tls=maybe'], 'not a boolean'], [['--supervisor.endpoint=a b:1'], 'host:port'],
  ]) checkFails(await run(args), why, 2);
});

test('a certificate that is not the agent\'s', async () => {
  answer = KEY;
  const ca = (file) => [`--supervisor.tls.ca=${file}`, '--supervisor.endpoint', tls];
  check((await run([...ca(certs.ca), named])).out, KEY);
  check((await run([...ca(certs.ca), '--supervisor.tls.server-host-override='])).out, KEY, 'own name');
  checkFails(await run([...ca(certs.other), named]), 'no key from');
  checkFails(await run(ca(certs.ca)), 'no key from'); // the default: supervisor.example.com
  checkFails(await run([named, '--supervisor.endpoint', tls]), 'no key from'); // the system's roots
  checkFails(await run([...ca('/nonexistent'), named]), '/nonexistent');
});

test('answers that sshd could read otherwise than we do', async () => {
  const good = line('ssh-ed25519');
  for (const [text, why] of [
    ['', 'no key'], ['\n', 'line 1'], [`${KEY}\n`, 'line 2'], [`${KEY}${KEY}# x\n`, 'line 3'],
    [`command="id" ${good}\n`, 'line 1'], [`environment="A=B" ${good}\n`, 'line 1'],
    [`cert-authority ${good}\n`, 'base64'], [`restrict,${good}\n`, 'type of a key'],
    [`${good}\r\n`, 'printable'], [`${good} a\x1b[2J\n`, 'printable'], [`${good}\tx\n`, 'type|printable'],
    [`${good} caf\u00e9\n`, 'printable'], [`${good}\u2028${good}\n`, 'printable'],
    [` ${good}\n`, 'type of a key'], [`ssh-ed25519  ${base64('ssh-ed25519')}\n`, 'another type'],
    [`ssh-rsa ${base64('ssh-ed25519')}\n`, 'another type'], ['ssh-ed25519 \n', 'another type'],
    ['ssh-ed25519 AAAA agent\n', 'another type'], [`${good}x\n`, 'base64'],
    [`ssh-ed25519 ${base64('ssh-ed25519')}=\n`, 'base64'], ['hello\n', 'type of a key'],
    [`${line('ssh-rsa', Buffer.alloc(8000))}\n`, 'too long'], [KEY.repeat(1000), 'message larger'],
  ]) {
    answer = text;
    const got = await run(here);
    checkFails(got, why.split('|').find((x) => got.err.includes(x)) ?? why);
  }
});

test('several keys, long ones, and one without a newline at the end', async () => {
  for (const text of [KEY + KEY, `${line('ssh-rsa', Buffer.alloc(2048, 1))}\n`,
    `${line('sk-ssh-ed25519@openssh.com')} a b  c\n`]) {
    answer = text;
    check((await run(here)).out, text);
  }
  answer = KEY.trimEnd();
  check((await run(here)).out, KEY);
});

test('a refusal is told', async () => {
  answer = { code: grpc.status.NOT_FOUND, details: 'the agent uses no SSH key' };
  checkFails(await run(here), 'the agent uses no SSH key');
});

test('an agent that is gone, or silent, or never there', async () => {
  const silent = net.createServer(() => {}).listen(0, '127.0.0.1');
  await new Promise((r) => { silent.once('listening', r); });
  const at = (port) => [`--supervisor.tls=false`, `--supervisor.endpoint=127.0.0.1:${port}`, 'alice'];
  const gone = await run(at(1));
  checkFails(gone, 'refused');
  check(gone.ms < DEADLINE_MS, true, `${gone.ms} ms until the refusal`);
  const [hole, tlsHole] = await Promise.all([run(at(silent.address().port)),
    run(at(silent.address().port).slice(1))]);
  silent.close();
  for (const got of [hole, tlsHole]) {
    checkFails(got, 'no key from');
    check(got.ms >= DEADLINE_MS - 500 && got.ms < DEADLINE_MS + 2500, true, `${got.ms} ms`);
  }
});

const failed = await runAll();
servers.forEach((s) => s.forceShutdown());
certs.remove();
process.exit(failed ? 1 : 0);
