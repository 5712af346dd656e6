// SPDX-License-Identifier: GPL-3.0-or-later
// The chain of the private grid: a node, and the grid's contracts on it.
//
//   startNode({ kind, port, dir, blockTime, chainId }) -> Program   (state is kept in dir over a stop)
//       kind: anvil, or ganache, another implementation in all its parts
//   const chain = new Chain(url, compiledContracts)
//   await chain.deploy()        deploys and wires all contracts: chain.address.MetaScheduler
//   chain.wallets                       admin, operator, provider, alice, bob, carol, stranger
//   await chain.read('JobRepository', 'get', [id])
//   await chain.send('alice', 'MetaScheduler', 'cancelJob', [id])    -> { receipt, events }
//   await chain.revertOf('alice', 'MetaScheduler', 'cancelJob', [id])  -> 'CustomerOnly(0x..,0x..)'
//   await chain.events({ name, jobId, fromBlock })                    -> [{ name, args, ... }]
//
// Failures of a call are ChainError: name and args of the contract's error.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { AbiCoder, Interface, Transaction, Wallet, ZeroHash, id as keccakOf, toBeHex, toQuantity } from 'ethers';
import { Program, sleep } from './process.mjs';

export { Transaction, toQuantity }; // for tests elsewhere, which do not find ethers

export const STATUS = [
    'PENDING',
    'META_SCHEDULED',
    'SCHEDULED',
    'RUNNING',
    'CANCELLED',
    'FINISHED',
    'FAILED',
    'OUT_OF_CREDITS',
    'PANICKED',
];
export const CREDIT = 10n ** 18n;

/** Prices that the demo's provider registers: a CPU 1 credit, a GPU 8, a GB about 0.1 a minute. */
export const PRICES = {
    gpuPricePerMin: 8n * CREDIT,
    cpuPricePerMin: CREDIT,
    memPricePerMin: CREDIT / 10000n,
};

const ACTORS = ['admin', 'operator', 'provider', 'alice', 'bob', 'carol', 'stranger'];
const CUSTOMERS = ['alice', 'bob', 'carol', 'stranger'];

const packageDir = (name) => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));

function anvilPath() {
    const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch];
    const dir = packageDir(`@foundry-rs/anvil-linux-${arch}`);
    const { bin } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
    return join(dir, typeof bin === 'string' ? bin : bin.anvil);
}

function anvilArgs({ port, dir, blockTime, chainId }) {
    const argv = [anvilPath(), '--host', '127.0.0.1', '--port', String(port), '--accounts', '1'];
    argv.push('--chain-id', String(chainId), '--order', 'fifo', '--gas-limit', '60000000');
    argv.push('--state', join(dir, 'anvil-state.json'), '--color', 'never');
    // An instant chain mines each transaction; with a block time, blocks come on their own.
    if (blockTime > 0) argv.push('--block-time', String(blockTime));
    return argv;
}

function ganacheArgs({ port, dir, blockTime, chainId }) {
    const argv = [process.execPath, join(packageDir('ganache'), 'dist', 'node', 'cli.js')];
    argv.push('--server.host=127.0.0.1', `--server.port=${port}`, '--wallet.totalAccounts=1');
    argv.push(`--chain.chainId=${chainId}`, `--chain.networkId=${chainId}`);
    argv.push('--miner.blockGasLimit=60000000', `--miner.blockTime=${blockTime}`);
    argv.push(`--database.dbPath=${join(dir, 'ganache')}`);
    return argv;
}

const NODES = {
    anvil: { args: anvilArgs, listens: /Listening on / },
    ganache: { args: ganacheArgs, listens: /RPC Listening on / },
};

/** Starts a node on 127.0.0.1:port and waits until it listens. */
export async function startNode({ kind = 'anvil', port, dir, blockTime = 0, chainId = 31337 }) {
    const node = new Program(kind, NODES[kind].args({ port, dir, blockTime, chainId }), {
        logPath: join(dir, `${kind}.log`),
        env: { HOME: dir, FOUNDRY_DISABLE_NIGHTLY_WARNING: '1' },
    });
    await node.waitLog(NODES[kind].listens, 30000);
    return node;
}

export class ChainError extends Error {
    constructor(message, { name, args, data } = {}) {
        super(message);
        this.errorName = name; // of the contract's error, or undefined
        this.args = args;
        this.data = data;
    }
}

const plain = (value) =>
    Array.isArray(value) ? `(${[...value].map(plain).join(',')})` : String(value);

export class Chain {
    constructor(url, contracts) {
        this.url = new URL(url);
        this.contracts = contracts;
        this.agent = new Agent({ keepAlive: true, maxSockets: 16 });
        this.address = {};
        this.interfaces = {};
        for (const [name, { abi }] of Object.entries(contracts))
            this.interfaces[name] = new Interface(abi);
        // Fixed keys, so that addresses (and the users named after them) are always the same.
        this.wallets = {};
        for (const actor of ACTORS) this.wallets[actor] = new Wallet(keccakOf(`devnet ${actor}`));
        this.queues = new Map(); // of an address: its last send, which the next one waits for
        this.requestId = 0;
        this.pollMs = 15;
        this.gasLimit = undefined; // of each transaction, in place of an estimate
    }

    addressOf(who) {
        return this.wallets[who]?.address ?? who;
    }

    // JSON-RPC.

    rpc(method, params = [], timeoutMs = 60000) {
        const body = JSON.stringify({ jsonrpc: '2.0', id: ++this.requestId, method, params });
        return new Promise((done, fail) => {
            const post = request(
                this.url,
                {
                    agent: this.agent,
                    method: 'POST',
                    timeout: timeoutMs,
                    headers: {
                        'content-type': 'application/json',
                        'content-length': Buffer.byteLength(body),
                    },
                },
                (answer) => {
                    const parts = [];
                    answer.on('data', (part) => parts.push(part));
                    answer.on('error', fail);
                    answer.on('end', () => {
                        try {
                            const { result, error } = JSON.parse(Buffer.concat(parts).toString());
                            if (error) fail(this.decodeError(method, error));
                            else done(result);
                        } catch (error) {
                            fail(error);
                        }
                    });
                },
            );
            post.on('timeout', () => post.destroy(new Error(`${method}: no answer`)));
            post.on('error', fail);
            post.end(body);
        });
    }

    decodeError(method, { message, data }) {
        if (typeof data !== 'string') return new ChainError(`${method}: ${message}`);
        if (data === '0x') return new ChainError('empty revert', { name: '', args: [], data });
        for (const iface of Object.values(this.interfaces)) {
            const found = iface.parseError(data);
            if (!found) continue;
            const text = `${found.name}${plain(found.args.length ? found.args : [])}`;
            return new ChainError(text, { name: found.name, args: [...found.args], data });
        }
        return new ChainError(`${method}: ${message} (${data})`, { data });
    }

    // Calls and transactions.

    iface(contract) {
        const found = this.interfaces[contract];
        if (!found) throw new Error(`no contract ${contract}`);
        return found;
    }

    /** eth_call; one result is given bare, several as an array with names. */
    async read(contract, method, args = [], { from, block = 'latest' } = {}) {
        const iface = this.iface(contract);
        const call = {
            to: this.address[contract],
            data: iface.encodeFunctionData(method, args),
        };
        if (from) call.from = this.addressOf(from);
        const answer = iface.decodeFunctionResult(
            method,
            await this.rpc('eth_call', [call, block]),
        );
        return answer.length === 1 ? answer[0] : answer;
    }

    /** What a transaction would fail with: 'Name(arg,..)', '' if it would succeed. */
    async revertOf(who, contract, method, args = []) {
        const data = this.iface(contract).encodeFunctionData(method, args);
        return this.revertOfData(who, this.address[contract], data);
    }

    async revertOfData(who, to, data) {
        try {
            await this.rpc('eth_call', [{ from: this.addressOf(who), to, data }, 'latest']);
            return '';
        } catch (error) {
            if (error.errorName === undefined) throw error;
            return error.message;
        }
    }

    /** Sends a transaction and waits for it: { receipt, events }. A revert throws instead. */
    send(who, contract, method, args = [], options = {}) {
        const data = this.iface(contract).encodeFunctionData(method, args);
        return this.sendData(who, this.address[contract], data, options);
    }

    /** Transactions of one sender go out in the order of the calls, each waiting for no receipt. */
    async sendData(who, to, data, { gasLimit, value = 0n } = {}) {
        const wallet = this.wallets[who];
        const before = this.queues.get(wallet.address) ?? Promise.resolve();
        const sent = before
            .catch(() => {})
            .then(async () => {
                const call = { from: wallet.address, to, data, value: toQuantity(value) };
                const gas =
                    gasLimit ??
                    this.gasLimit ??
                    (BigInt(await this.rpc('eth_estimateGas', [call])) * 3n) / 2n;
                const count = await this.rpc('eth_getTransactionCount', [
                    wallet.address,
                    'pending',
                ]);
                const signed = await wallet.signTransaction({
                    type: 2,
                    chainId: await this.chainId(),
                    nonce: Number(count),
                    to,
                    data,
                    value,
                    gasLimit: gas,
                    maxFeePerGas: 100_000_000_000n,
                    maxPriorityFeePerGas: 1_000_000_000n,
                });
                return this.rpc('eth_sendRawTransaction', [signed]);
            });
        this.queues.set(wallet.address, sent);
        const receipt = await this.receipt(await sent);
        if (receipt.status !== '0x1')
            throw new ChainError(`transaction ${receipt.transactionHash} failed`);
        return { receipt, events: this.decodeLogs(receipt.logs) };
    }

    async receipt(hash, timeoutMs = 60000) {
        const end = Date.now() + timeoutMs;
        for (;;) {
            const receipt = await this.rpc('eth_getTransactionReceipt', [hash]);
            if (receipt) return receipt;
            if (Date.now() > end) throw new Error(`transaction ${hash}: no receipt`);
            await sleep(this.pollMs);
        }
    }

    async chainId() {
        this.chainIdSeen ??= BigInt(await this.rpc('eth_chainId'));
        return this.chainIdSeen;
    }

    async blockNumber() {
        return Number(await this.rpc('eth_blockNumber'));
    }

    /** Lets the chain's clock go on by some seconds (it never runs back), and mines a block. */
    async advanceTime(seconds) {
        await this.rpc('evm_increaseTime', [seconds]);
        await this.rpc('evm_mine');
    }

    // Events.

    decodeLogs(logs) {
        const byAddress = new Map();
        for (const [name, address] of Object.entries(this.address))
            byAddress.set(address.toLowerCase(), name);
        const found = [];
        for (const log of logs) {
            const contract = byAddress.get(log.address.toLowerCase());
            const parsed = contract && this.interfaces[contract].parseLog(log);
            if (!parsed) continue;
            found.push({
                contract,
                name: parsed.name,
                args: parsed.args,
                block: Number(log.blockNumber),
                hash: log.transactionHash,
                index: Number(log.logIndex),
            });
        }
        return found;
    }

    /** Events of all contracts in order; name and jobId (of any argument's value) are filters. */
    async events({ name, jobId, fromBlock = 0, toBlock = 'latest' } = {}) {
        const logs = await this.rpc('eth_getLogs', [
            {
                address: Object.values(this.address),
                fromBlock: toQuantity(fromBlock),
                toBlock: typeof toBlock === 'number' ? toQuantity(toBlock) : toBlock,
            },
        ]);
        return this.decodeLogs(logs).filter(
            (event) =>
                (name === undefined || event.name === name) &&
                (jobId === undefined || [...event.args].includes(jobId)),
        );
    }

    // Deployment.

    async fund(who, ether = 1000n) {
        const args = [this.addressOf(who), toQuantity(ether * 10n ** 18n)];
        await this.rpc('anvil_setBalance', args).catch(() =>
            this.rpc('evm_setAccountBalance', args), // as ganache calls it
        );
    }

    async deployOne(name, types = [], args = []) {
        const { bytecode, links } = this.contracts[name];
        let code = bytecode;
        for (const [library, places] of Object.entries(links)) {
            const address = this.address[library].slice(2).toLowerCase();
            for (const start of places)
                code = code.slice(0, 2 * start) + address + code.slice(2 * start + 40);
        }
        const tail = AbiCoder.defaultAbiCoder().encode(types, args).slice(2);
        const { receipt } = await this.sendData('admin', null, `0x${code}${tail}`);
        this.address[name] = receipt.contractAddress;
        return receipt;
    }

    /** Deploys all contracts and gives each the roles that it needs. */
    async deploy() {
        for (const actor of ACTORS) await this.fund(actor);
        await this.deployOne('Credit', ['uint256'], [1_000_000n * CREDIT]);
        await this.deployOne('Constants');
        await this.deployOne('Tools');
        await this.deployOne('ProviderManager');
        await this.deployOne('JobRepository');
        const { Credit, Constants, ProviderManager, JobRepository } = this.address;
        await this.deployOne('ProviderJobQueues', ['address'], [JobRepository]);
        const parts = [Credit, Constants, ProviderManager, this.address.ProviderJobQueues];
        await this.deployOne('MetaScheduler', Array(5).fill('address'), [...parts, JobRepository]);

        const operator = this.addressOf('operator');
        const contract = this.address.MetaScheduler;
        const role = keccakOf('METASCHEDULER_ROLE');
        const grant = (on, name, to) => this.send('admin', on, 'grantRole', [name, to]);
        await grant('JobRepository', role, contract);
        await grant('ProviderManager', keccakOf('METASCHEDULER_CONTRACT_ROLE'), contract);
        await grant('ProviderManager', role, operator);
        await grant('MetaScheduler', role, operator);
        await this.send('admin', 'ProviderJobQueues', 'transferOwnership', [contract]);
        return this.address;
    }

    /** Gives every customer credits and lets MetaScheduler take them. */
    async fundCustomers(credits = 10000n) {
        for (const who of CUSTOMERS) {
            const amount = credits * CREDIT;
            await this.send('admin', 'Credit', 'mint', [this.addressOf(who), amount]);
            await this.send(who, 'Credit', 'approve', [this.address.MetaScheduler, amount]);
        }
    }

    /** Registers the provider with one node (or the hardware given) and approves it. */
    async joinProvider({
        who = 'provider',
        hardware = { nodes: 1n, gpusPerNode: [0n], cpusPerNode: [64n], memPerNode: [20000n] },
        prices = PRICES,
        labels = [],
    } = {}) {
        await this.send(who, 'ProviderManager', 'register', [hardware, prices, labels]);
        await this.approveProvider(who);
    }

    approveProvider(who = 'provider') {
        return this.send('operator', 'ProviderManager', 'approve', [this.addressOf(who)]);
    }

    // Jobs.

    /** requestNewJob; returns the job's id (bytes32, hex). */
    async requestNewJob(
        who,
        definition = {},
        { amount = 100n * CREDIT, name = '', delegate } = {},
    ) {
        const full = {
            gpus: 0n,
            memPerCpu: 100n,
            cpusPerTask: 1n,
            ntasks: 1n,
            batchLocationHash: '',
            storageType: 0,
            uses: [],
            affinity: [],
            ...definition,
        };
        const jobName = name
            ? toBeHex(BigInt(`0x${Buffer.from(name).toString('hex')}`), 32)
            : ZeroHash;
        const args = [full, amount, jobName, delegate ?? false];
        const { events } = await this.send(who, 'MetaScheduler', 'requestNewJob', args);
        return events.find((event) => event.name === 'NewJobRequestEvent').args._jobId;
    }

    metaSchedule(jobId, provider = 'provider') {
        const args = [jobId, this.addressOf(provider)];
        return this.send('operator', 'MetaScheduler', 'metaSchedule', args);
    }

    /** JobRepository.get as a plain object; status is the name. */
    async job(jobId) {
        const job = await this.read('JobRepository', 'get', [jobId]);
        return { ...job.toObject(true), status: STATUS[Number(job.status)] };
    }

    async status(jobId) {
        return (await this.job(jobId)).status;
    }

    balance(who) {
        return this.read('Credit', 'balanceOf', [this.addressOf(who)]);
    }

    close() {
        this.agent.destroy();
    }
}
