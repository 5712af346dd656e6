// SPDX-License-Identifier: GPL-3.0-or-later
// A Debian machine with systemd as its PID 1, in namespaces of its own (boot) but on this network:
// a tree of tests/devnet/debian-root, with an overlay for what is written.
//
//   const machine = new Machine(dir, tree);
//   await machine.mount(); await machine.boot(); await machine.powerOff();
//   await machine.run(['systemctl', 'status', 'agent'])   -> { code, stdout, stderr }
//   await machine.sh('a line of shell')                   its output; throws if it fails
//   machine.write('/etc/hosts', text), .append(), .read(), .exists(), machine.path('/etc/hosts')
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Program, run, runOk, waitFor } from '../../tests/devnet/process.mjs';

const BOOT = join(dirname(fileURLToPath(import.meta.url)), 'boot');
const ENVIRONMENT = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=dumb', 'LC_ALL=C', 'HOME=/root'];

export class Machine {
    constructor(dir, tree) {
        Object.assign(this, { dir, tree, root: join(dir, 'root'), pidFile: join(dir, 'pid1') });
    }

    path(name) {
        return join(this.root, name);
    }

    read(name) {
        return readFileSync(this.path(name), 'utf8');
    }

    exists(name) {
        return existsSync(this.path(name));
    }

    write(name, text, mode = 0o644) {
        mkdirSync(dirname(this.path(name)), { recursive: true });
        writeFileSync(this.path(name), text, { mode });
    }

    append(name, text) {
        mkdirSync(dirname(this.path(name)), { recursive: true });
        appendFileSync(this.path(name), text);
    }

    /** Throws an error with .skip, as boot() does, if it cannot be had here. */
    async mount() {
        const [upper, work] = ['upper', 'work'].map((name) => join(this.dir, name));
        for (const path of [upper, work, this.root]) mkdirSync(path, { recursive: true });
        const layers = `lowerdir=${this.tree},upperdir=${upper},workdir=${work}`;
        await runOk(['mount', '-t', 'overlay', '-o', layers, 'machine', this.root]).catch((error) => {
            throw Object.assign(error, { skip: true });
        });
    }

    async boot() {
        rmSync(this.pidFile, { force: true });
        const logPath = join(this.dir, 'console.log');
        this.program = new Program('machine', [BOOT, this.root, this.pidFile], { logPath });
        const isUp = async () => {
            if (!this.program.alive)
                throw Object.assign(new Error(this.program.tail()), {
                    final: true,
                    skip: this.program.status.code === 77,
                });
            this.pid = existsSync(this.pidFile) && readFileSync(this.pidFile, 'utf8').trim();
            if (!this.pid) return false;
            const { stdout } = await this.run(['systemctl', 'is-system-running']);
            return /^(running|degraded)$/m.test(stdout);
        };
        await waitFor('the machine is not up', isUp, 60000, 100);
    }

    async powerOff() {
        await this.program?.stop(20000);
    }

    /** Runs a program on it, as root, with no environment but a path. */
    run(argv, { timeoutMs = 120000 } = {}) {
        const enter = ['nsenter', `--target=${this.pid}`, '--mount', '--uts', '--ipc', '--pid', '--cgroup'];
        enter.push('--root', '--wd', 'env', '-i', ...ENVIRONMENT);
        return run([...enter, ...argv], { timeoutMs });
    }

    /** A line of shell; returns what it printed, and throws if it fails. */
    async sh(line) {
        const { code, stdout, stderr } = await this.run(['bash', '-c', `set -e; ${line}`]);
        if (code !== 0) throw new Error(`${line}: exit ${code}: ${stdout}${stderr}`);
        return stdout;
    }
}
