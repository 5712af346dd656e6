// SPDX-License-Identifier: GPL-3.0-or-later
// A private grid on loopback, made of real parts. Run the program that uses it under
// tests/devnet/enter, which gives it namespaces and a directory of its own ($DEVNET_DIR).
//
//   const grid = new Grid({ ...options });      see DEFAULTS below
//   await grid.start();  ...  await grid.stop();
//
// Pieces: anvil, customerApi, munged, mariadb, slurmdbd, slurmctld, slurmd, slurmrestd, sshd, agent.
// Each has
//   await grid.slurmctld.start() .stop() .kill(signal = 'SIGKILL') .restart() .pause() .resume()
//   .alive .pid .log() .logSize() .waitLog(/pattern/, timeoutMs, fromByte) .tail() .ended
//   (customerApi is a part of this process and has start, stop, kill, alive, and what
//   customer-api.mjs says: fail(n), hang(n), release(), lines, calls, store. anvil keeps the chain
//   over stop() and start(), not over kill(): to have it hang, pause() it. With nodes > 1 the
//   further slurmd are grid.slurmds[1], ...)
//
// The chain, chain.mjs: grid.chain.read/send/revertOf/events/job/status/balance, wallets by name:
//   admin, operator, provider, alice, bob, carol (customers with a Unix user), stranger (a customer
//   without one). Amounts are BigInt with 18 decimals; CREDIT is one credit.
//   const id = await grid.requestJob({ customer: 'alice', script: '#!/bin/sh\n...', ntasks,
//       cpusPerTask, memPerCpu, gpus, minutes or amount, schedule, hash })
//                                   asks; unless schedule is false, the operator assigns it
//   await grid.job(id)              JobRepository.get: { status (a name), exitCode, cost, ... }
//   await grid.waitStatus(id, 'FINISHED' or [...], timeoutMs)
//                                   the job; fails early on another final status
//   await grid.events({ name, jobId, fromBlock }), await grid.balances() -> { alice, ... }
//   grid.cancelJob(id, who), grid.topUpJob(id, amount, who)
//
// Slurm: await grid.slurmJobs() -> [{ JobId, JobName, JobState, UserId, ExitCode, Comment, ... }],
//   await grid.slurmJobOf(id) (by its name, the last one; undefined if none),
//   await grid.waitSlurm(id, 'RUNNING', timeoutMs), await grid.outputOf(id) (what it printed),
//   await grid.slurm.command(['scancel', '5'], { as }), grid.slurm.token('root') (for slurmrestd),
//   await grid.slurm.accountedJobs() -> [{ JobID, JobName, State, ExitCode, ElapsedRaw, User }] (of slurmdbd),
//   grid.userOf('alice') -> { name, uid, gid, home }
//
// The agent: grid.agentArgs(), grid.agentEnv(), and grid.restArgs(port) for slurmrestd as well;
//   await grid.startAgent({ args, env, wait, wrapper })
//   starts it (wrapper: words before the program, such as valgrind's) and waits until it listens;
//   then it is the piece grid.agent: await grid.agent.kill('SIGKILL').
//
// Grid.attach(dir) gives another process (under enter --join) the same view without the pieces.
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadContracts } from './build-contracts.mjs';
import { CREDIT, Chain, PRICES, STATUS, startNode } from './chain.mjs';
import { CustomerApi, ScriptStore } from './customer-api.mjs';
import { Program, freePorts, runOk, sleep, waitFor } from './process.mjs';
import { mountRoot } from './root.mjs';
import { SlurmCluster } from './slurm.mjs';
import { createUsers } from './users.mjs';

export { CREDIT, PRICES, STATUS, sleep, waitFor };

const DEFAULTS = {
    dir: process.env.DEVNET_DIR, // where everything goes
    agent: process.env.DEEPSQUARE_AGENT, // path of the agent's program
    pluginDir: process.env.DEEPSQUARE_PLUGIN_DIR, // with jobcomp_deepsquare.so; none: no plugin
    forwarder: process.env.DEEPSQUARE_FORWARDER, // path of deepsquare-forwarder
    prep: false, // the prep plugin too
    spank: false, // the SPANK plugin too
    node: 'anvil', // or ganache: then the piece "anvil" is that
    blockTime: 0, // seconds; 0: a block for each transaction
    chainId: 31337,
    api: 'both', // generations of the customer API: both, sbatch, customer
    tls: true, // of the customer API
    customerCredits: 10000n, // that each customer has
    // Register and approve the provider, as the agent would register it: so no agent has to.
    // false: the agent registers, and grid.chain.approveProvider() is the operator's part.
    join: true,
    slurm: true, // false: chain and customer API only
    slurmrestd: true,
    slurmdbd: false, // accounting: a MariaDB and slurmdbd, some seconds more to start
    nodes: 1,
    cpus: 64, // of a node, pretended
    gpus: 4, // of a node, pretended
    slurmConf: [], // more lines of slurm.conf
    slurmRoot: '', // a root directory to run Slurm and sshd in, such as debian-root's
};

const CUSTOMERS = ['alice', 'bob', 'carol'];
const ADMIN = 'gridadmin';
const REST_USER = 'gridrest';
const DATABASE_USER = 'griddb';
const TLS_NAME = 'customer.devnet';
const COLD = STATUS.slice(STATUS.indexOf('CANCELLED'));

/** A part that can be started again; between times it delegates to its last Program. */
class Piece {
    constructor(name, startProgram) {
        this.name = name;
        this.startProgram = startProgram;
        this.program = null;
    }

    get alive() {
        return this.program?.alive ?? false;
    }

    get pid() {
        return this.program?.pid;
    }

    get ended() {
        return this.program?.ended;
    }

    async start(...args) {
        if (this.alive) throw new Error(`${this.name} runs already`);
        this.program = await this.startProgram(...args);
        return this;
    }

    async stop(graceMs) {
        return this.program?.stop(graceMs);
    }

    async restart() {
        await this.stop();
        return this.start();
    }

    async kill(signal) {
        return this.program?.kill(signal);
    }

    pause() {
        return this.program.pause();
    }

    resume() {
        return this.program.resume();
    }

    log(from) {
        return this.program?.log(from) ?? '';
    }

    logSize() {
        return this.program?.logSize() ?? 0;
    }

    waitLog(...args) {
        return this.program.waitLog(...args);
    }

    tail(lines) {
        return this.program?.tail(lines) ?? '';
    }
}

export class Grid {
    constructor(options = {}) {
        const given = Object.entries(options).filter(([, value]) => value !== undefined);
        this.options = { ...DEFAULTS, ...Object.fromEntries(given) };
        for (const name of Object.keys(options))
            if (!(name in DEFAULTS)) throw new Error(`Grid: no option ${name}`);
        this.dir = this.options.dir;
        if (!this.dir) throw new Error('Grid: no directory; run under tests/devnet/enter');
        this.logDir = join(this.dir, 'log');
        this.definePieces();
    }

    definePieces() {
        const { node, blockTime, chainId } = this.options;
        const slurm = (start) => () => this.slurm[start]();
        this.anvil = new Piece('anvil', () =>
            startNode({
                kind: node,
                port: this.ports.anvil,
                dir: this.path('chain'),
                blockTime,
                chainId,
            }),
        );
        this.munged = new Piece('munged', slurm('startMunged'));
        this.mariadb = new Piece('mariadb', slurm('startMariadb'));
        this.slurmdbd = new Piece('slurmdbd', slurm('startSlurmdbd'));
        this.slurmctld = new Piece('slurmctld', slurm('startSlurmctld'));
        this.slurmds = [];
        for (let i = 1; i <= this.options.nodes; i++)
            this.slurmds.push(new Piece(`slurmd-n${i}`, () => this.slurm.startSlurmd(`n${i}`)));
        [this.slurmd] = this.slurmds;
        this.slurmrestd = new Piece('slurmrestd', slurm('startSlurmrestd'));
        this.sshd = new Piece('sshd', slurm('startSshd'));
        this.agent = new Piece('agent', (options) => this.runAgent(options));
    }

    path(...parts) {
        return join(this.dir, ...parts);
    }

    /** Ganache takes its time over each question: all that is asked again and again is asked less often. */
    get pace() {
        return this.options.node === 'ganache' ? 5 : 1;
    }

    // Start and stop.

    /** Starts all but the agent. onStep(text) is told what has been done. */
    async start({ onStep = () => {} } = {}) {
        for (const name of ['chain', 'customer', 'agent', 'log'])
            mkdirSync(this.path(name), { recursive: true });
        chmodSync(this.dir, 0o711);
        await this.choosePorts();
        await Promise.all([this.startChainSide(onStep), this.startSlurmSide(onStep)]);
        this.writeState();
        return this;
    }

    async choosePorts() {
        const names = ['anvil', 'customerApi', 'slurmctld', 'slurmrestd', 'sshd', 'agent'];
        if (this.options.slurmdbd) names.push('slurmdbd');
        const free = await freePorts(names.length);
        this.ports = Object.fromEntries(names.map((name, i) => [name, free[i]]));
        // The nodes' ports are a range; below freePorts(), and in a namespace that is ours alone.
        this.ports.slurmd = 12000;
    }

    async startChainSide(onStep) {
        await this.anvil.start();
        this.chain = new Chain(this.rpcUrl, loadContracts());
        this.chain.pollMs *= this.pace;
        if (this.options.node === 'ganache') this.chain.gasLimit = 10_000_000n;
        await this.chain.deploy();
        await this.chain.fundCustomers(this.options.customerCredits);
        if (this.options.join) await this.chain.joinProvider({ hardware: this.hardware() });
        onStep(`chain ${this.options.chainId}: MetaScheduler ${this.chain.address.MetaScheduler}`);
        this.writeProviderKey();
        const tls = this.options.tls ? await this.makeCertificates() : null;
        this.customerApi = new CustomerApi({
            dir: this.path('customer'),
            port: this.ports.customerApi,
            readJob: (id) => this.chain.job(id),
            generations: this.options.api,
            tls,
        });
        this.store = this.customerApi.store;
        await this.customerApi.start();
        onStep(`customer API at ${this.customerApi.endpoint}`);
    }

    hardware() {
        const { nodes, cpus, gpus } = this.options;
        const each = (value) => Array(nodes).fill(BigInt(value));
        return {
            nodes: BigInt(nodes),
            gpusPerNode: each(gpus),
            cpusPerNode: each(cpus),
            memPerNode: each(20000),
        };
    }

    async startSlurmSide(onStep) {
        if (!this.options.slurm) return;
        const { nodes, cpus, gpus, slurmConf, slurmRoot, pluginDir, forwarder, prep, spank } = this.options;
        const chain = new Chain(this.rpcUrl, {}); // for the addresses: it is not called
        const customers = CUSTOMERS.map((who) => chain.wallets[who].address.toLowerCase());
        const services = this.options.slurmdbd ? [REST_USER, DATABASE_USER] : [REST_USER];
        this.users = await createUsers(this.dir, [ADMIN, ...services, ...customers]);
        this.slurm = new SlurmCluster({
            dir: this.dir,
            ports: this.ports,
            users: this.users,
            admin: ADMIN,
            restUser: REST_USER,
            plugins: pluginDir ? { dir: pluginDir, forwarder, agentPort: this.ports.agent, prep, spank } : null,
            nodes,
            cpus,
            gpus,
            extraConf: slurmConf,
            accounting: this.options.slurmdbd ? { databaseUser: DATABASE_USER, customers } : null,
            root: slurmRoot && (await mountRoot(this.dir, slurmRoot)),
        });
        await this.slurm.prepare();
        await this.munged.start();
        if (this.options.slurmdbd) {
            await this.mariadb.start();
            await this.slurmdbd.start();
            await this.slurm.addAccounts();
            onStep('accounting: MariaDB and slurmdbd');
        }
        await this.slurmctld.start();
        await Promise.all([
            ...this.slurmds.map((slurmd) => slurmd.start()),
            this.options.slurmrestd && this.slurmrestd.start(),
            this.sshd.start(),
        ]);
        onStep(`Slurm: slurmctld, ${nodes} slurmd, slurmrestd, and sshd as login node`);
    }

    /** Stops everything in an order in which nobody waits for another. */
    async stop() {
        await this.agent.stop();
        await Promise.all(
            [this.sshd, this.slurmrestd, ...this.slurmds].map((piece) => piece.stop()),
        );
        await this.slurmctld.stop();
        await this.slurmdbd.stop();
        await this.mariadb.stop();
        await this.munged.stop();
        await this.customerApi?.stop();
        await this.anvil.stop();
        this.chain?.close();
    }

    get rpcUrl() {
        return `http://127.0.0.1:${this.ports.anvil}`;
    }

    writeProviderKey() {
        const key = this.chain.wallets.provider.privateKey;
        writeFileSync(this.path('agent', 'eth.key'), `${key.slice(2)}\n`, { mode: 0o600 });
    }

    /** A CA of our own, and a certificate by it for the customer API. */
    async makeCertificates() {
        const dir = this.path('tls');
        mkdirSync(dir, { recursive: true });
        const file = (name) => join(dir, name);
        const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
        await runOk([
            ...['openssl', 'req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=devnet CA'],
            ...['-keyout', file('ca.key'), '-out', file('ca.pem')],
        ]);
        await runOk([
            ...['openssl', 'req', ...newKey, '-subj', `/CN=${TLS_NAME}`],
            ...['-keyout', file('api.key'), '-out', file('api.csr')],
        ]);
        writeFileSync(file('api.ext'), `subjectAltName=DNS:${TLS_NAME},IP:127.0.0.1\n`);
        await runOk([
            ...['openssl', 'x509', '-req', '-days', '2', '-in', file('api.csr')],
            ...['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial'],
            ...['-extfile', file('api.ext'), '-out', file('api.pem')],
        ]);
        const read = (name) => readFileSync(file(name), 'utf8');
        return { key: read('api.key'), cert: read('api.pem') };
    }

    // For other processes.

    writeState() {
        const { options, ports } = this;
        const users = this.users ? [...this.users.values()] : [];
        const state = {
            options: { ...options, customerCredits: undefined },
            ports,
            address: this.chain.address,
            users,
        };
        writeFileSync(this.path('grid.json'), JSON.stringify(state, undefined, 1));
    }

    /** The grid that another process runs in dir: chain, scripts and Slurm, not the pieces. */
    static attach(dir) {
        const { options, ports, address, users } = JSON.parse(readFileSync(join(dir, 'grid.json')));
        const grid = new Grid({ ...options, dir });
        grid.ports = ports;
        grid.chain = new Chain(grid.rpcUrl, loadContracts());
        grid.chain.address = address;
        grid.store = new ScriptStore(join(dir, 'customer', 'scripts'));
        grid.users = new Map(users.map((user) => [user.name, user]));
        if (options.slurm)
            grid.slurm = new SlurmCluster({
                dir,
                ports,
                users: grid.users,
                admin: ADMIN,
                restUser: REST_USER,
                nodes: options.nodes,
                root: options.slurmRoot && join(dir, 'root', 'tree'),
            });
        return grid;
    }

    // Jobs.

    /** Credits for a minute of such a job, at the provider's prices. */
    price({ ntasks = 1, cpusPerTask = 1, memPerCpu = 100, gpus = 0 } = {}) {
        const [tasks, cpus, memory] = [ntasks, cpusPerTask, memPerCpu].map(BigInt);
        const task = cpus * PRICES.cpuPricePerMin + cpus * memory * PRICES.memPricePerMin;
        return tasks * task + BigInt(gpus) * PRICES.gpuPricePerMin;
    }

    /**
     * The customer stores the script and requests the job; unless schedule is false the operator
     * assigns it to the provider. Pays for `minutes` (the contract's minimum or more), or `amount`.
     * hash: another one than the script's. Returns the job's id.
     */
    async requestJob({
        customer = 'alice',
        script = '#!/bin/sh\necho hello\n',
        ntasks = 1,
        cpusPerTask = 1,
        memPerCpu = 100,
        gpus = 0,
        minutes,
        amount,
        hash,
        schedule = true,
        delegate = false,
        definition = {},
    } = {}) {
        const size = { ntasks, cpusPerTask, memPerCpu, gpus };
        const least = 100n * CREDIT;
        if (amount === undefined) {
            const paid = BigInt(minutes ?? 0) * this.price(size);
            amount = paid > least ? paid : least;
        }
        const batchLocationHash = hash ?? this.store.put(script);
        const full = { ...size, batchLocationHash, ...definition };
        const id = await this.chain.requestNewJob(customer, full, { amount, delegate });
        if (schedule) await this.chain.metaSchedule(id);
        return id;
    }

    cancelJob(id, who = 'alice') {
        return this.chain.send(who, 'MetaScheduler', 'cancelJob', [id]);
    }

    topUpJob(id, amount, who = 'alice') {
        return this.chain.send(who, 'MetaScheduler', 'topUpJob', [id, amount]);
    }

    job(id) {
        return this.chain.job(id);
    }

    events(filter) {
        return this.chain.events(filter);
    }

    async balances() {
        const names = [...CUSTOMERS, 'stranger', 'provider'];
        const amounts = await Promise.all(names.map((who) => this.chain.balance(who)));
        return Object.fromEntries(names.map((name, i) => [name, amounts[i]]));
    }

    /** Waits until the job has (one of) the status; returns the job. */
    async waitStatus(id, wanted, timeoutMs = 30000) {
        const list = [wanted].flat();
        return waitFor(
            `job ${BigInt(id)} is not ${list.join(' or ')}`,
            async () => {
                const job = await this.job(id);
                if (list.includes(job.status)) return job;
                const error = new Error(
                    `it is ${job.status}${job.lastError && ` (${job.lastError})`}`,
                );
                error.final = COLD.includes(job.status);
                throw error;
            },
            timeoutMs,
            50 * this.pace,
        );
    }

    // Slurm.

    slurmJobs() {
        return this.slurm.jobs();
    }

    /** The last Slurm job that bears the id as its name. */
    async slurmJobOf(id) {
        return (await this.slurmJobs()).filter((job) => job.JobName === id).pop();
    }

    /** Waits until the Slurm job of that name is in (one of) the states; returns it. */
    async waitSlurm(id, wanted, timeoutMs = 20000) {
        const list = [wanted].flat();
        return waitFor(
            `Slurm job ${id} is not ${list.join(' or ')}`,
            async () => {
                const job = await this.slurmJobOf(id);
                if (list.includes(job?.JobState)) return job;
                throw new Error(job ? `it is ${job.JobState}` : 'there is none');
            },
            timeoutMs,
            100,
        );
    }

    /** The Unix user of a customer: undefined for one without. */
    userOf(who) {
        return this.users.get(this.chain.addressOf(who).toLowerCase());
    }

    async outputOf(id) {
        const job = await this.slurmJobOf(id);
        return readFileSync(job.StdOut, 'utf8');
    }

    // The agent.

    /** The agent's flags. Secrets go by file; every file is the grid's own. */
    agentArgs() {
        const args = {
            '--grpc.listen-address': `127.0.0.1:${this.ports.agent}`,
            '--public-address': `127.0.0.1:${this.ports.agent}`,
            '--metascheduler.endpoint': this.agentRpcUrl ?? this.rpcUrl, // a proxy's, if a test sets one
            '--metascheduler.smart-contract': this.chain.address.MetaScheduler,
            '--metascheduler.poll-interval': `${200 * this.pace}ms`,
            '--metascheduler.cpu-price-per-min': String(PRICES.cpuPricePerMin),
            '--metascheduler.gpu-price-per-min': String(PRICES.gpuPricePerMin),
            '--metascheduler.mem-price-per-min': String(PRICES.memPricePerMin),
            '--eth.private-key-file': this.path('agent', 'eth.key'),
            '--customer.endpoint': `127.0.0.1:${this.ports.customerApi}`,
            '--customer.tls': String(this.options.tls),
            '--customer.logger.tls': String(this.options.tls), // the same server is the logger
            '--slurm.query-interval': '1s',
            '--state-dir': this.path('agent', 'state'),
        };
        if (this.options.tls) {
            args['--customer.tls.ca'] = this.path('tls', 'ca.pem');
            args['--customer.tls.server-host-override'] = TLS_NAME;
            args['--customer.logger.tls.ca'] = this.path('tls', 'ca.pem');
            args['--customer.logger.tls.server-host-override'] = TLS_NAME;
        }
        if (this.options.slurm) {
            args['--slurm.ssh.address'] = `127.0.0.1:${this.ports.sshd}`;
            args['--slurm.ssh.admin-user'] = ADMIN;
            args['--slurm.ssh.private-key-file'] = this.path('ssh', 'agent.base64');
            args['--slurm.ssh.known-hosts'] = this.path('ssh', 'known_hosts');
        }
        return Object.entries(args).map(([flag, value]) => `${flag}=${value}`);
    }

    /** For slurmrestd. The agent takes secrets that are its own or root's: its key is a copy. */
    restArgs(port = this.ports.slurmrestd) {
        const key = this.path('agent', 'jwt.key');
        copyFileSync(this.slurm.jwtKey, key);
        chownSync(key, 0, 0);
        chmodSync(key, 0o600);
        return [`--slurm.rest.endpoint=http://127.0.0.1:${port}`, `--slurm.rest.jwt-key-file=${key}`];
    }

    /** Nothing of the machine's environment: a configuration there must not be found. */
    agentEnv() {
        return { HOME: this.path('agent'), LANG: 'C.UTF-8' };
    }

    /** Starts the agent; more args and env go last and win. wait: false returns at once. */
    startAgent(options) {
        return this.agent.start(options);
    }

    async runAgent({ args = [], env = {}, wait = true, wrapper = [] } = {}) {
        const program = this.options.agent;
        if (!program || !existsSync(program)) throw new Error(`no agent at ${program}`);
        mkdirSync(this.path('agent', 'state'), { recursive: true, mode: 0o700 });
        const argv = [...wrapper, program, ...this.agentArgs(), ...args];
        const agent = new Program('agent', argv, {
            logPath: join(this.logDir, 'agent.log'),
            env: { ...this.agentEnv(), ...env },
            cwd: this.path('agent'),
        });
        if (wait) await this.waitAgent(agent);
        return agent;
    }

    async waitAgent(agent, timeoutMs = 15000) {
        try {
            await waitFor(
                'the agent does not listen',
                async () => {
                    if (!agent.alive)
                        throw Object.assign(new Error(agent.describeEnd()), { final: true });
                    const listeners = await runOk(['ss', '-Hltn', `sport = :${this.ports.agent}`]);
                    return listeners.trim() !== '';
                },
                timeoutMs,
                50,
            );
        } catch (error) {
            throw new Error(`${error.message}\n${agent.tail()}`);
        }
    }
}
