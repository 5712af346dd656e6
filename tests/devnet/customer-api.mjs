// SPDX-License-Identifier: GPL-3.0-or-later
// The customers' side of the grid: keeps the scripts of the jobs and hands them to the provider
// that the chain names, in both generations of the API, and takes what providers log for customers.
// It trusts nothing that it is told: signature, nonce and the job on chain must all agree.
//
//   const api = new CustomerApi({ dir, port, readJob, generations, tls })
//       readJob(id)   JobRepository.get: { customerAddr, providerAddr }; throws if unknown
//       generations   'both', 'sbatch' (sbatchapi.v1alpha1) or 'customer' (customer.v1alpha1)
//       tls           { key, cert } as PEM text, or null for plain text
//   await api.start(); await api.stop(); await api.kill()
//   hash = api.store.put(script)        scripts are files in dir, so another process may put, too
//   api.fail(2)                         the next two calls of any method end with UNAVAILABLE
//   api.fail(1, { code: 'INTERNAL', method: 'GetSBatch' })
//   api.hang(1)                         the next call gets no answer until release()
//   api.lines                           [{ logName, user, text, timestamp }] of LoggerAPI.Write
//   api.calls                           { GetSBatch: 3, ... }
//
// As a program:  node customer-api.mjs --dir D --port P --rpc URL --jobs ADDRESS [--api both]
//                [--tls-key F --tls-cert F]
// stdin takes "fail N [CODE [METHOD]]", "hang N", "release".
import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { getAddress, hexlify, verifyMessage } from 'ethers';

const require = createRequire(import.meta.url);
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const here = dirname(fileURLToPath(import.meta.url));

const NONCE_LIFE_MS = 10 * 60 * 1000;

function loadServices() {
    const files = ['sbatchapi', 'customer', 'logger'].map((name) =>
        join(here, 'proto', `${name}.proto`),
    );
    const options = { keepCase: true, longs: String, defaults: true };
    const root = grpc.loadPackageDefinition(protoLoader.loadSync(files, options));
    return {
        AuthAPI: root.sbatchapi.v1alpha1.AuthAPI.service,
        SBatchAPI: root.sbatchapi.v1alpha1.SBatchAPI.service,
        JobAPI: root.customer.v1alpha1.JobAPI.service,
        LoggerAPI: root.logger.v1alpha1.LoggerAPI.service,
    };
}

function refuse(code, message) {
    throw Object.assign(new Error(message), { code: grpc.status[code] });
}

/** Scripts by the SHA-256 of their content, one file each. */
export class ScriptStore {
    constructor(dir) {
        this.dir = dir;
        mkdirSync(dir, { recursive: true });
    }

    put(script) {
        const hash = createHash('sha256').update(script).digest('hex');
        const path = join(this.dir, hash);
        writeFileSync(`${path}.${process.pid}`, script);
        renameSync(`${path}.${process.pid}`, path);
        return hash;
    }

    get(hash) {
        if (!/^[0-9a-f]{64}$/.test(hash)) return undefined;
        try {
            return readFileSync(join(this.dir, hash), 'utf8');
        } catch {
            return undefined;
        }
    }
}

export class CustomerApi {
    constructor({ dir, port, readJob, generations = 'both', tls = null }) {
        mkdirSync(dir, { recursive: true });
        Object.assign(this, { dir, port, readJob, generations, tls });
        this.store = new ScriptStore(join(dir, 'scripts'));
        this.services = loadServices();
        this.nonces = new Map(); // nonce -> when it was given
        this.lines = [];
        this.calls = {};
        this.faults = []; // { code, method }: the next calls; code 'HANG' gives no answer
        this.hanging = [];
        this.server = null;
        this.now = Date.now; // a test may put its own clock here
    }

    get alive() {
        return this.server !== null;
    }

    get endpoint() {
        return `127.0.0.1:${this.port}`;
    }

    // Faults.

    fail(times, { code = 'UNAVAILABLE', method } = {}) {
        for (let i = 0; i < times; i++) this.faults.push({ code, method });
    }

    hang(times, { method } = {}) {
        this.fail(times, { code: 'HANG', method });
    }

    /** Forgets the faults still to come, and ends the calls that hang with UNAVAILABLE. */
    release() {
        this.faults = [];
        for (const end of this.hanging.splice(0)) end();
    }

    /** Counts the call, and lets the fault that is due come to pass. */
    async enter(method) {
        this.calls[method] = (this.calls[method] ?? 0) + 1;
        const due = this.faults.findIndex((fault) => [undefined, method].includes(fault.method));
        if (due < 0) return;
        const [{ code }] = this.faults.splice(due, 1);
        if (code === 'HANG') await new Promise((end) => this.hanging.push(end));
        refuse(code === 'HANG' ? 'UNAVAILABLE' : code, 'fault on order');
    }

    // The server.

    async start() {
        const unary = (method, answer) => async (call, done) => {
            try {
                await this.enter(method);
                done(null, await answer(call.request));
            } catch (error) {
                done({ code: error.code ?? grpc.status.INTERNAL, details: error.message });
            }
        };
        const server = new grpc.Server();
        if (this.generations !== 'customer') {
            server.addService(this.services.AuthAPI, {
                Challenge: unary('Challenge', () => this.challenge()),
            });
            server.addService(this.services.SBatchAPI, {
                GetSBatch: unary('GetSBatch', (request) => this.getSBatch(request)),
            });
            server.addService(this.services.LoggerAPI, {
                Write: (call, done) => this.write(call, done),
            });
        }
        if (this.generations !== 'sbatch')
            server.addService(this.services.JobAPI, {
                FetchJobBatch: unary('FetchJobBatch', (request) => this.fetchJobBatch(request)),
            });
        const credentials = this.tls
            ? grpc.ServerCredentials.createSsl(null, [
                  {
                      private_key: Buffer.from(this.tls.key),
                      cert_chain: Buffer.from(this.tls.cert),
                  },
              ])
            : grpc.ServerCredentials.createInsecure();
        await new Promise((done, fail) =>
            server.bindAsync(this.endpoint, credentials, (error) => (error ? fail(error) : done())),
        );
        this.server = server;
    }

    /** Ends the calls in flight and stops listening. */
    async stop() {
        const { server } = this;
        this.server = null;
        this.release();
        server?.forceShutdown();
    }

    kill() {
        return this.stop();
    }

    // sbatchapi.v1alpha1

    challenge() {
        const nonce = randomBytes(16).toString('base64');
        this.nonces.set(nonce, this.now());
        return { challenge: Buffer.from(JSON.stringify({ message: 'login', nonce })) };
    }

    async getSBatch(request) {
        const provider = addressOf(request.provider_address, 'provider_address');
        const customer = addressOf(request.customer_address, 'customer_address');
        if (signerOf(request.challenge, request.signed_challenge) !== provider)
            refuse('UNAUTHENTICATED', 'authentication error: addresses are not equal');
        this.checkNonce(request.challenge);
        if (!/^0x[0-9a-f]{64}$/.test(request.job_id))
            refuse('INVALID_ARGUMENT', 'job_id is not 0x and 64 lower-case digits');
        let job;
        try {
            job = await this.readJob(request.job_id);
        } catch (error) {
            refuse('INTERNAL', `JobRepository.get: ${error.message}`);
        }
        if (getAddress(job.customerAddr) !== customer || getAddress(job.providerAddr) !== provider)
            refuse(
                'UNAUTHENTICATED',
                'authentication error: not the customer and provider of the job',
            );
        const sbatch = this.store.get(request.batch_location_hash);
        if (sbatch === undefined) refuse('NOT_FOUND', 'no such batch');
        return { sbatch, grid_logger_url: this.endpoint };
    }

    checkNonce(challenge) {
        let nonce;
        try {
            ({ nonce } = JSON.parse(challenge.toString()));
        } catch {
            refuse('UNAUTHENTICATED', 'authentication error: no challenge of ours');
        }
        const given = this.nonces.get(nonce);
        if (given === undefined || this.now() - given > NONCE_LIFE_MS)
            refuse('UNAUTHENTICATED', 'authentication error: unknown nonce');
    }

    // customer.v1alpha1

    fetchJobBatch(request) {
        const body = this.store.get(request.job_location_hash);
        if (body === undefined) refuse('NOT_FOUND', 'no such batch');
        return { body };
    }

    // logger.v1alpha1

    async write(call, done) {
        const end = (error) =>
            error ? done({ code: error.code ?? 13, details: error.message }) : done(null, {});
        call.on('data', (request) => {
            const line = {
                logName: request.log_name,
                user: request.user,
                text: request.data.toString(),
                timestamp: BigInt(request.timestamp),
            };
            this.lines.push(line);
            const record = { ...line, timestamp: String(line.timestamp) };
            appendFileSync(join(this.dir, 'logger.jsonl'), `${JSON.stringify(record)}\n`);
        });
        const closed = new Promise((close) => call.on('end', close));
        call.on('error', () => {});
        try {
            await this.enter('Write');
            await closed;
            end();
        } catch (error) {
            end(error);
        }
    }
}

function addressOf(bytes, name) {
    if (bytes.length !== 20) refuse('INVALID_ARGUMENT', `${name} is not 20 bytes`);
    return getAddress(hexlify(bytes));
}

/** Who signed: EIP-191 over the challenge's bytes; r, s and v of 0, 1, 27 or 28. */
function signerOf(challenge, signature) {
    const v = signature[64];
    if (signature.length !== 65 || ![0, 1, 27, 28].includes(v))
        refuse('UNAUTHENTICATED', 'authentication error: not a signature');
    const recoverable = Buffer.from(signature);
    recoverable[64] = v < 27 ? v + 27 : v;
    try {
        return verifyMessage(challenge, hexlify(recoverable));
    } catch {
        return refuse('UNAUTHENTICATED', 'authentication error: not a signature');
    }
}

async function main() {
    const { values } = parseArgs({
        options: Object.fromEntries(
            ['dir', 'port', 'rpc', 'jobs', 'api', 'tls-key', 'tls-cert'].map((name) => [
                name,
                { type: 'string' },
            ]),
        ),
    });
    const { Chain } = await import('./chain.mjs');
    const { loadContracts } = await import('./build-contracts.mjs');
    const chain = new Chain(values.rpc, loadContracts());
    chain.address.JobRepository = values.jobs;
    const read = (path) => readFileSync(path, 'utf8');
    const api = new CustomerApi({
        dir: values.dir,
        port: Number(values.port),
        readJob: (id) => chain.job(id),
        generations: values.api ?? 'both',
        tls: values['tls-key']
            ? { key: read(values['tls-key']), cert: read(values['tls-cert']) }
            : null,
    });
    await api.start();
    console.log(`Listening on ${api.endpoint}`);
    createInterface({ input: process.stdin }).on('line', (line) => {
        const [word, times, code, method] = line.trim().split(/\s+/);
        if (word === 'fail') api.fail(Number(times), { code, method });
        else if (word === 'hang') api.hang(Number(times));
        else if (word === 'release') api.release();
        else console.log(`unknown: ${line}`);
    });
}

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href)
    await main();
