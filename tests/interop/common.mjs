// SPDX-License-Identifier: GPL-3.0-or-later
// Packages, TAP, certificates, and programs of ours for the interoperability tests.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const modules = process.env.NODE_MODULES_DIR ?? join(here, '..', 'devnet', 'node_modules');
const require = createRequire(join(resolve(modules), '..', 'index.js'));

export const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

export const top = join(here, '..', '..');
export const program = (name) => join(resolve(process.env.top_builddir ?? top), 'tests/interop', name);

export function load(...path) {
  const options = { keepCase: true, longs: String, enums: Number, defaults: true };
  return grpc.loadPackageDefinition(protoLoader.loadSync(join(top, ...path), options));
}

const tests = [];
export const test = (name, run) => tests.push({ name, run });

export function check(got, expected, what = 'value') {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: got ${a}, expected ${b}`);
}

export async function runAll() {
  let failed = 0;
  console.log(`1..${tests.length}`);
  for (const [i, { name, run }] of tests.entries()) {
    let timer;
    const late = new Promise((_, no) => {
      timer = setTimeout(() => no(new Error('no end after 60 s')), 60000);
    });
    try {
      await Promise.race([run(), late]);
      console.log(`ok ${i + 1} - ${name}`);
    } catch (e) {
      failed++;
      console.log(`not ok ${i + 1} - ${name}\n# ${String(e.message).replaceAll('\n', '\n# ')}`);
    }
    clearTimeout(timer);
  }
  return failed;
}

// A CA and a certificate for localhost and 127.0.0.1; another CA.
export function makeCertificates() {
  const dir = mkdtempSync(join(tmpdir(), 'deepsquare-interop-'));
  const path = (name) => join(dir, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: 'ignore' });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  writeFileSync(path('ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  for (const ca of ['ca', 'other'])
    openssl('req', '-x509', ...ec, '-keyout', path(`${ca}.key`), '-out', path(`${ca}.pem`),
      '-days', '2', '-subj', `/CN=${ca}`);
  openssl('req', ...ec, '-keyout', path('key.pem'), '-out', path('csr'), '-subj', '/CN=server');
  openssl('x509', '-req', '-in', path('csr'), '-CA', path('ca.pem'), '-CAkey', path('ca.key'),
    '-CAcreateserial', '-days', '2', '-extfile', path('ext'), '-out', path('cert.pem'));
  return { ca: path('ca.pem'), other: path('other.pem'), cert: path('cert.pem'),
    key: path('key.pem'), remove: () => rmSync(dir, { recursive: true }) };
}

// A program whose lines can be awaited.
export function start(name, ...args) {
  const child = spawn(program(name), args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = [];
  const waiters = [];
  const exited = new Promise((done) => child.on('exit', (code, signal) => done(signal ?? code)));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const w = waiters.shift();
    if (w) w(line);
    else lines.push(line);
  });
  return {
    line: () => (lines.length ? Promise.resolve(lines.shift()) : new Promise((r) => waiters.push(r))),
    say: (text) => child.stdin.write(`${text}\n`),
    stop: () => { child.stdin.end(); return exited; },
    exited,
  };
}
