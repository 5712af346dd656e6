// SPDX-License-Identifier: GPL-3.0-or-later
// A TCP proxy on loopback that fails on demand, between the agent and slurmrestd.
import net from 'node:net';

/**
 * proxy.before(method, path) is awaited before a request is handed on. proxy.cut(method, path) decides
 * about its answer; true: it is awaited and thrown away, and the connection is closed, or kept open if
 * proxy.hangs.
 */
export class Proxy {
    constructor(targetPort) {
        Object.assign(this, { targetPort, before: async () => {}, cut: () => false, hangs: false, cuts: 0, requests: [] });
        this.server = net.createServer((client) => this.serve(client));
    }

    listen() {
        return new Promise((resolve) => {
            this.server.listen(0, '127.0.0.1', () => resolve((this.port = this.server.address().port)));
        });
    }

    close() {
        this.server.close();
    }

    serve(client) {
        const target = net.connect(this.targetPort, '127.0.0.1');
        const end = () => {
            client.destroy();
            target.destroy();
        };
        let cutting = false;
        client.on('data', async (data) => {
            const text = data.toString('latin1');
            const head = /^(GET|POST|DELETE) (\S+) HTTP/.exec(text);
            if (head) {
                this.requests.push(`${head[1]} ${head[2]}`);
                client.pause();
                await this.before(head[1], head[2]);
                client.resume();
                cutting = this.cut(head[1], head[2]);
            }
            target.write(data);
        });
        target.on('data', (data) => {
            if (!cutting) return void client.write(data);
            this.cuts++;
            if (!this.hangs) end();
        });
        for (const socket of [client, target]) {
            socket.on('error', end);
            socket.on('close', end);
        }
    }
}
