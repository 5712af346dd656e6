// SPDX-License-Identifier: GPL-3.0-or-later
// A JSON-RPC proxy on loopback between the agent and the node, which fails and lies on demand.
//
//   const proxy = await new RpcProxy(nodeUrl).listen();    proxy.url is the agent's endpoint
//   proxy.on('eth_sendRawTransaction', async (params, next) => { ... return result; })
//                         answers instead of the node: next() asks it; throw RpcError for an error
//   proxy.http = (requests) => undefined | { status, headers, body, cut, forward }
//                         decides about a whole HTTP request; forward: the node gets it all the same
//   proxy.delayMs         before each answer
//   proxy.reorder         answers of a batch come last first
//   proxy.heal()          no more faults
//   proxy.calls           [{ method, params }] of all requests; proxy.count(method)
//   proxy.sent            the signed transactions (of ethers) in the order in which they came
//
// Ready-made faults: cut(), garbage(), status(429, { 'retry-after': '1' }), chainId(n),
// staleHead(blocks), refuse(message, code), land(message, code), swallow().
import { Agent, createServer, request } from 'node:http';
import { Transaction, toQuantity } from '../devnet/chain.mjs';

export class RpcError extends Error {
    constructor(message, code = -32000, data = undefined) {
        super(message);
        Object.assign(this, { code, data });
    }
}

export class RpcProxy {
    constructor(nodeUrl) {
        this.node = new URL(nodeUrl);
        this.agent = new Agent({ keepAlive: true });
        this.server = createServer((message, response) => this.serve(message, response));
        this.calls = [];
        this.sent = [];
        this.heal();
    }

    async listen() {
        await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
        this.url = `http://127.0.0.1:${this.server.address().port}`;
        return this;
    }

    close() {
        this.server.closeAllConnections();
        this.server.close();
        this.agent.destroy();
    }

    // Faults.

    heal() {
        Object.assign(this, { hooks: new Map(), http: () => undefined, delayMs: 0, reorder: false });
    }

    on(method, answer) {
        this.hooks.set(method, answer);
    }

    cut() {
        this.http = () => ({ cut: true });
    }

    garbage(body = '<html>Bad gateway</html>') {
        this.http = () => ({ status: 200, body });
    }

    status(status, headers = {}) {
        this.http = () => ({ status, headers, body: 'no' });
    }

    chainId(id) {
        this.on('eth_chainId', () => toQuantity(id));
    }

    /** The node lags by so many blocks, in all that it says about "latest". */
    async staleHead(blocks) {
        const head = toQuantity(Number(await this.ask('eth_blockNumber', [])) - blocks);
        const older = (method) =>
            this.on(method, (params) => this.ask(method, params.map((p) => (p === 'latest' ? head : p))));
        this.on('eth_blockNumber', () => head);
        ['eth_getBlockByNumber', 'eth_getTransactionCount', 'eth_getBalance', 'eth_call', 'eth_estimateGas'].forEach(older);
    }

    /** Transactions are refused with these words. */
    refuse(message, code) {
        this.on('eth_sendRawTransaction', () => {
            throw new RpcError(message, code);
        });
    }

    /** The node takes the transaction, and an error is what comes back. */
    land(message, code) {
        this.on('eth_sendRawTransaction', async (params, next) => {
            await next();
            throw new RpcError(message, code);
        });
    }

    /** Says yes and forwards nothing. */
    swallow() {
        this.on('eth_sendRawTransaction', ([raw]) => Transaction.from(raw).hash);
    }

    // Looking on.

    count(method) {
        return this.calls.filter((call) => call.method === method).length;
    }

    // Serving.

    async serve(message, response) {
        const parts = [];
        for await (const part of message) parts.push(part);
        const body = JSON.parse(Buffer.concat(parts).toString());
        const requests = [body].flat();
        for (const { method, params } of requests) this.note(method, params);
        const fault = this.http(requests);
        try {
            if (fault && !fault.forward) return this.fail(message, response, fault);
            const answers = await this.answerAll(requests);
            if (this.delayMs) await new Promise((done) => setTimeout(done, this.delayMs));
            if (fault) return this.fail(message, response, fault);
            if (this.reorder) answers.reverse();
            response.setHeader('content-type', 'application/json');
            response.end(JSON.stringify(Array.isArray(body) ? answers : answers[0]));
        } catch {
            message.socket.destroy(); // the node is down
        }
    }

    fail(message, response, { status, headers = {}, body = '', cut }) {
        if (cut) return message.socket.destroy();
        response.writeHead(status, headers);
        response.end(body);
    }

    note(method, params) {
        this.calls.push({ method, params });
        if (method === 'eth_sendRawTransaction') this.sent.push(Transaction.from(params[0]));
    }

    /** What no hook is about goes to the node as it came; else one after the other. */
    async answerAll(requests) {
        if (!requests.some(({ method }) => this.hooks.has(method))) return [await this.post(requests)].flat();
        const answers = [];
        for (const one of requests) answers.push(await this.answer(one));
        return answers;
    }

    async answer({ id, method, params }) {
        const hook = this.hooks.get(method);
        const next = () => this.ask(method, params);
        try {
            return { jsonrpc: '2.0', id, result: await (hook ? hook(params, next) : next()) };
        } catch (error) {
            if (!(error instanceof RpcError)) throw error;
            const { message, code, data } = error;
            return { jsonrpc: '2.0', id, error: { code, message, data } };
        }
    }

    async ask(method, params) {
        const [{ result, error }] = [await this.post([{ jsonrpc: '2.0', id: 1, method, params }])].flat();
        if (error) throw new RpcError(error.message, error.code, error.data);
        return result;
    }

    post(requests) {
        const body = JSON.stringify(requests);
        return new Promise((done, fail) => {
            const post = request(
                this.node,
                { agent: this.agent, method: 'POST', headers: { 'content-type': 'application/json' } },
                (answer) => {
                    const parts = [];
                    answer.on('data', (part) => parts.push(part));
                    answer.on('error', fail);
                    answer.on('end', () => {
                        try {
                            done(JSON.parse(Buffer.concat(parts).toString()));
                        } catch (error) {
                            fail(error);
                        }
                    });
                },
            );
            post.on('error', fail);
            post.end(body);
        });
    }
}
