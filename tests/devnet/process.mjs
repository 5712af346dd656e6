// SPDX-License-Identifier: GPL-3.0-or-later
// Programs that run beside us: their output goes to a file, and they die with us.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Time-outs are written for an idle machine; to wait longer costs only where something fails anyway. */
const SLOW = 3;

/** Polls until fn() gives something true (a throw counts as "not yet"); returns it. */
export async function waitFor(what, fn, timeoutMs = 10000, pollMs = 25) {
    const end = Date.now() + SLOW * timeoutMs;
    let last = '';
    for (;;) {
        try {
            const value = await fn();
            if (value) return value;
        } catch (error) {
            last = `: ${error.message}`;
            if (error.final) throw error;
        }
        if (Date.now() >= end) throw new Error(`${what}: not within ${SLOW * timeoutMs} ms${last}`);
        await sleep(pollMs);
    }
}

const listenOn = (port) =>
    new Promise((done, fail) => {
        const server = createServer();
        server.once('error', fail);
        server.listen(port, '127.0.0.1', () => done(server));
    });

/**
 * Finds n different free TCP ports on loopback, below those that the kernel gives to outgoing
 * connections: one of these may hold such a port when its owner is started again.
 */
export async function freePorts(n) {
    const servers = [];
    while (servers.length < n) {
        const port = 20000 + Math.floor(Math.random() * 12000);
        const server = await listenOn(port).catch(() => null);
        if (server) servers.push(server);
    }
    const ports = servers.map((server) => server.address().port);
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    return ports;
}

const running = new Set();
process.on('exit', () => running.forEach((program) => program.signalGroup('SIGKILL')));

export class Program {
    /**
     * Starts a program in a process group of its own. logPath gets its output, appended;
     * env replaces our environment but for PATH.
     */
    constructor(name, argv, { logPath, env = {}, cwd = '/', umask } = {}) {
        this.name = name;
        this.logPath = logPath;
        const log = openSync(logPath, 'a', 0o600);
        this.logStart = statSync(logPath).size; // what is older is of an earlier run
        const oldMask = umask === undefined ? undefined : process.umask(umask);
        this.child = spawn(argv[0], argv.slice(1), {
            cwd,
            detached: true,
            env: { PATH: process.env.PATH, ...env },
            stdio: ['ignore', log, log],
        });
        if (oldMask !== undefined) process.umask(oldMask);
        closeSync(log);
        this.status = null; // { code, signal } once it ended
        this.ended = new Promise((done) => {
            const end = (code, signal) => {
                this.status = { code, signal };
                running.delete(this);
                done(this.status);
            };
            this.child.once('exit', end);
            this.child.once('error', (error) => {
                this.spawnError = error;
                end(null, null);
            });
        });
        running.add(this);
    }

    get pid() {
        return this.child.pid;
    }

    get alive() {
        return this.status === null;
    }

    signalGroup(signal) {
        try {
            process.kill(-this.pid, signal);
        } catch {
            // gone already
        }
    }

    /** Sends a signal to the program itself and, unless it is a lethal one, returns at once. */
    async kill(signal = 'SIGKILL') {
        if (!this.alive) return this.status;
        try {
            process.kill(this.pid, signal);
        } catch {
            // it ended in this moment
        }
        return signal === 'SIGKILL' ? this.ended : undefined;
    }

    /** SIGTERM, then SIGKILL for the whole group after graceMs; returns the exit status. */
    async stop(graceMs = 5000) {
        if (this.alive) {
            await this.kill('SIGTERM');
            await Promise.race([this.ended, sleep(SLOW * graceMs)]);
        }
        this.signalGroup('SIGKILL');
        return this.ended;
    }

    /** SIGSTOP: still there, but answers nothing; resume() ends that. */
    pause() {
        return this.kill('SIGSTOP');
    }

    resume() {
        return this.kill('SIGCONT');
    }

    /** The output since this start of the program, or since the byte `from` of the file. */
    log(from = this.logStart) {
        return readFileSync(this.logPath).subarray(from).toString();
    }

    logSize() {
        return statSync(this.logPath).size;
    }

    /** Waits for a line of output that matches; returns the match. */
    async waitLog(pattern, timeoutMs = 10000, from = this.logStart) {
        try {
            return await waitFor(
                `${this.name}: no output ${pattern}`,
                () => {
                    const match = this.log(from).match(pattern);
                    if (!match && !this.alive)
                        throw Object.assign(new Error(this.describeEnd()), { final: true });
                    return match;
                },
                timeoutMs,
            );
        } catch (error) {
            throw new Error(`${error.message}\n${this.tail()}`);
        }
    }

    describeEnd() {
        if (this.spawnError) return `${this.name} did not start: ${this.spawnError.message}`;
        return `${this.name} ended: code ${this.status?.code}, signal ${this.status?.signal}`;
    }

    tail(lines = 15) {
        return this.log()
            .trimEnd()
            .split('\n')
            .slice(-lines)
            .map((line) => `  ${this.name}: ${line}`)
            .join('\n');
    }
}

/** Runs a program to its end; returns { code, stdout, stderr }; throws on timeout. */
export function run(argv, { env, input, timeoutMs = 10000, uid, gid, cwd } = {}) {
    return new Promise((done, fail) => {
        const child = spawn(argv[0], argv.slice(1), {
            env: { PATH: process.env.PATH, ...env },
            stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
            uid,
            gid,
            cwd,
        });
        const output = { stdout: '', stderr: '' };
        const timer = setTimeout(() => {
            child.kill('SIGKILL');
            fail(new Error(`${argv.join(' ')}: not done within ${SLOW * timeoutMs} ms`));
        }, SLOW * timeoutMs);
        child.stdout.on('data', (data) => (output.stdout += data));
        child.stderr.on('data', (data) => (output.stderr += data));
        child.once('error', (error) => {
            clearTimeout(timer);
            fail(error);
        });
        child.once('close', (code, signal) => {
            clearTimeout(timer);
            done({ code, signal, ...output });
        });
        if (input !== undefined) child.stdin.end(input);
    });
}

/** run(), and an error unless it exits with 0; returns stdout. */
export async function runOk(argv, options) {
    const result = await run(argv, options);
    if (result.code !== 0)
        throw new Error(`${argv.join(' ')}: exit ${result.code}: ${result.stderr.trim()}`);
    return result.stdout;
}
