// SPDX-License-Identifier: GPL-3.0-or-later
// A Slurm cluster of one machine: munged, slurmctld, slurmd, slurmrestd, the sshd of its login node,
// and slurmdbd with its database if asked for, with all files in one directory. Each start*() returns a running Program.
import { createHmac, randomBytes } from 'node:crypto';
import {
    chmodSync,
    chownSync,
    copyFileSync,
    existsSync,
    mkdirSync,
    readFileSync,
    readdirSync,
    writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { Program, run, runOk, waitFor } from './process.mjs';

// What slurmrestd is to serve where there is no slurmdbd: all but slurmdbd's part.
const REST_OLD = ['-s', 'v0.0.36,v0.0.37,v0.0.38'];
const REST_NEW = ['-s', 'slurmctld'];

// What newer releases do by default, and no longer have a name for.
const DEFAULTS_NAMED = [
    'TaskPlugin=task/none',
    'JobAcctGatherType=jobacct_gather/none',
    'AccountingStorageType=accounting_storage/none',
    'SwitchType=switch/none',
    'JobCompType=jobcomp/none',
];

// Slurm's own defaults wait up to a minute for what a test wants to see at once.
const FAST = 'sched_min_interval=0,sched_interval=1,batch_sched_delay=0,bf_interval=1';

function systemPlugins(root) {
    for (const arch of readdirSync(join(root, '/usr/lib'))) {
        const dir = `/usr/lib/${arch}/slurm-wlm`;
        if (existsSync(join(root, dir))) return dir;
    }
    throw new Error('no Slurm plugins in /usr/lib/*/slurm-wlm: run tests/devnet/install');
}

export class SlurmCluster {
    /**
     * dir: where everything goes. ports: { slurmctld, slurmd, slurmrestd, sshd }. users: a Map with
     * the admin (SlurmUser), the user of slurmrestd and the customers. plugins: { dir, forwarder,
     * agentPort, prep, spank } or null; dir holds jobcomp_deepsquare.so, and the other two, which are
     * used if asked for; writeConf() again after a change. nodes: slurmd programs to start.
     * accounting: { databaseUser, customers } or null for none (ports.slurmdbd then is not needed).
     * root: a root directory to run it all in (root.mjs mounts one); none: this machine's.
     */
    constructor({ admin, restUser, plugins, accounting, ...rest }) {
        const { dir, ports, users, nodes, cpus, gpus, extraConf, root } = rest;
        Object.assign(this, { dir, ports, users, nodes, cpus, gpus, extraConf, root });
        this.accounting = accounting;
        this.admin = users.get(admin);
        this.restUser = users.get(restUser);
        this.plugins = plugins;
        this.conf = join(dir, 'etc', 'slurm.conf');
        this.env = { SLURM_CONF: this.conf };
        this.logDir = join(dir, 'log');
        this.jwtKey = join(dir, 'jwt_hs256.key');
    }

    path(...parts) {
        return join(this.dir, ...parts);
    }

    /** The command as it is run in the root, by root or by a user. */
    inRoot(argv, { uid, gid, home = '/' } = {}) {
        if (!this.root) return argv;
        const who = uid === undefined ? [] : [`--userspec=${uid}:${gid}`, '--groups='];
        return ['chroot', ...who, this.root, 'env', '-C', home, ...argv];
    }

    /** Runs a Slurm command as root. */
    run(argv) {
        return run(this.inRoot(argv), { env: this.env });
    }

    /** Writes keys and configuration. */
    async prepare() {
        const { stdout } = await this.run(['/usr/sbin/slurmctld', '-V']); // "slurm-wlm 22.05.8"
        this.isNew = Number(/ (\d+)\./.exec(stdout)?.[1]) >= 24;
        for (const name of [
            'etc',
            'state',
            'spool',
            'log',
            'run',
            'munge',
            'ssh',
            'dev',
            'plugins',
        ])
            mkdirSync(this.path(name), { recursive: true });
        chmodSync(this.path('munge'), 0o711);
        for (const name of ['state', 'run'])
            chownSync(this.path(name), this.admin.uid, this.admin.gid);
        const secret = (path, size, owner) => {
            writeFileSync(path, randomBytes(size), { mode: owner ? 0o600 : 0o400 });
            if (owner) chownSync(path, owner.uid, owner.gid);
        };
        secret(this.path('munge', 'munge.key'), 1024);
        secret(this.jwtKey, 32, this.admin);
        await this.makeGpus();
        this.copyPlugins();
        this.writeConf();
        if (this.accounting) await this.prepareDatabase();
        await this.prepareSsh();
    }

    async makeGpus() {
        for (let i = 0; i < this.gpus; i++)
            await runOk(['mknod', this.path('dev', `gpu${i}`), 'c', '1', '3']);
        const last = this.gpus - 1;
        const list = last > 0 ? `gpu[0-${last}]` : 'gpu0';
        const line = this.gpus > 0 ? `Name=gpu File=${this.path('dev', list)}\n` : '';
        writeFileSync(this.path('etc', 'gres.conf'), line);
    }

    // The plugins are copied: Slurm's user could not read them in somebody's home.
    copyPlugins() {
        if (!this.plugins) return;
        const target = this.path('plugins');
        for (const name of readdirSync(this.plugins.dir)) {
            if (!name.endsWith('.so')) continue;
            copyFileSync(join(this.plugins.dir, name), join(target, name));
        }
        if (!existsSync(join(target, 'jobcomp_deepsquare.so')))
            throw new Error(`no jobcomp_deepsquare.so in ${this.plugins.dir}`);
        this.forwarder = join(target, basename(this.plugins.forwarder));
        copyFileSync(this.plugins.forwarder, this.forwarder);
        chmodSync(this.forwarder, 0o755);
    }

    writeConf() {
        const { slurmctld, slurmd } = this.ports;
        const p = (...parts) => this.path(...parts);
        const own = this.plugins ? `${p('plugins')}:` : '';
        const jobcomp = this.plugins
            ? [
                  'JobCompType=jobcomp/deepsquare',
                  `JobCompLoc=127.0.0.1:${this.plugins.agentPort}`,
                  `JobCompParams=forwarder=${this.forwarder}`,
                  ...(this.plugins.prep ? ['PrEpPlugins=prep/script,prep/deepsquare'] : []),
              ]
            : [];
        const accounting = this.accounting
            ? [
                  'AccountingStorageType=accounting_storage/slurmdbd',
                  'AccountingStorageHost=127.0.0.1',
                  `AccountingStoragePort=${this.ports.slurmdbd}`,
                  `AccountingStoragePass=${p('munge', 'munge.socket')}`, // not of AuthInfo
              ]
            : [];
        const names = this.nodes > 1 ? `n[1-${this.nodes}]` : 'n1';
        const range = this.nodes > 1 ? `[${slurmd}-${slurmd + this.nodes - 1}]` : slurmd;
        const gres = this.gpus > 0 ? ` Gres=gpu:${this.gpus}` : '';
        const key = (line) => line.split('=')[0];
        const set = (line) => [...accounting, ...jobcomp, ...this.extraConf].some((own) => key(own) === key(line));
        const lines = [
            'ClusterName=devnet',
            'SlurmctldHost=localhost(127.0.0.1)',
            `SlurmctldPort=${slurmctld}`,
            `SlurmUser=${this.admin.name}`,
            'SlurmdUser=root',
            'AuthType=auth/munge',
            `AuthInfo=socket=${p('munge', 'munge.socket')}`,
            'AuthAltTypes=auth/jwt',
            `AuthAltParameters=jwt_key=${this.jwtKey}`,
            'CredType=cred/munge',
            'ProctrackType=proctrack/linuxproc',
            ...accounting,
            'SelectType=select/cons_tres',
            'SelectTypeParameters=CR_Core_Memory',
            'SchedulerType=sched/backfill',
            `SchedulerParameters=${FAST}`,
            'MpiDefault=none',
            'ReturnToService=2',
            `StateSaveLocation=${p('state')}`,
            `SlurmdSpoolDir=${p('spool', '%n')}`,
            `SlurmctldPidFile=${p('run', 'slurmctld.pid')}`,
            `SlurmdPidFile=${p('run', 'slurmd-%n.pid')}`,
            'SlurmctldDebug=info',
            'SlurmdDebug=info',
            'SlurmdParameters=config_overrides',
            `PluginDir=${own}${systemPlugins(this.root ?? '/')}`,
            `PlugStackConfig=${p('etc', 'plugstack.conf')}`,
            'MailProg=/bin/true',
            'KillWait=2',
            'InactiveLimit=0',
            'MinJobAge=3600',
            'MaxJobCount=200000',
            ...(this.gpus > 0 ? ['GresTypes=gpu'] : []),
            ...(this.isNew ? [] : DEFAULTS_NAMED.filter((line) => !set(line))),
            ...jobcomp,
            ...this.extraConf,
            `NodeName=${names} NodeHostname=localhost NodeAddr=127.0.0.1 Port=${range} ` +
                `CPUs=${this.cpus} RealMemory=20000${gres} State=UNKNOWN`,
            'PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP',
        ];
        writeFileSync(this.conf, `${lines.join('\n')}\n`);
        const spank = this.plugins?.spank
            ? `optional spank_deepsquare.so endpoint=127.0.0.1:${this.plugins.agentPort} forwarder=${this.forwarder}\n`
            : '';
        writeFileSync(p('etc', 'plugstack.conf'), spank);
        // No cgroups: the plugin for v1 touches none unless asked, that for v2 makes some of its
        // own in the machine's tree, which the namespaces do not hide.
        const cgroup = this.isNew ? 'disabled' : 'cgroup/v1';
        writeFileSync(p('etc', 'cgroup.conf'), `CgroupPlugin=${cgroup}\n`);
    }

    // The database is reached by its socket alone, whose peers it knows by their Unix users. It is this
    // machine's, in whatever root Slurm runs.
    async prepareDatabase() {
        const owner = this.users.get(this.accounting.databaseUser);
        for (const path of [this.path('db'), this.path('db', 'tmp')]) {
            mkdirSync(path);
            chownSync(path, owner.uid, owner.gid);
        }
        await runOk([
            ...['mariadb-install-db', '--no-defaults', '--skip-test-db', this.databaseTmp],
            ...[`--datadir=${this.path('db', 'data')}`, `--user=${owner.name}`],
            `--auth-root-socket-user=${owner.name}`,
        ]);
        const { name } = this.admin;
        const sql = [
            'CREATE DATABASE IF NOT EXISTS slurm;',
            `CREATE USER IF NOT EXISTS ${name}@localhost IDENTIFIED VIA unix_socket;`,
            `GRANT ALL ON slurm.* TO ${name}@localhost;`,
        ];
        writeFileSync(this.path('etc', 'database.sql'), `${sql.join('\n')}\n`);
        const lines = [
            'AuthType=auth/munge',
            `AuthInfo=socket=${this.path('munge', 'munge.socket')}`,
            'AuthAltTypes=auth/jwt', // for slurmrestd
            `AuthAltParameters=jwt_key=${this.jwtKey}`,
            'DbdAddr=127.0.0.1',
            'DbdHost=localhost',
            `DbdPort=${this.ports.slurmdbd}`,
            `SlurmUser=${name}`,
            'DebugLevel=info',
            `PidFile=${this.path('run', 'slurmdbd.pid')}`,
            `PluginDir=${systemPlugins(this.root ?? '/')}`,
            'StorageType=accounting_storage/mysql',
            'StorageHost=localhost',
            `StorageUser=${name}`,
            'StorageLoc=slurm',
        ];
        const conf = this.path('etc', 'slurmdbd.conf');
        writeFileSync(conf, `${lines.join('\n')}\n`, { mode: 0o600 });
        chownSync(conf, this.admin.uid, this.admin.gid);
    }

    async prepareSsh() {
        const make = (name) =>
            runOk([
                'ssh-keygen',
                '-q',
                '-t',
                'ed25519',
                '-N',
                '',
                '-C',
                name,
                '-f',
                this.path('ssh', name),
            ]);
        await make('host');
        await make('agent');
        const key = readFileSync(this.path('ssh', 'agent.pub'), 'utf8');
        for (const user of this.users.values()) {
            const dir = join(user.home, '.ssh');
            const keys = join(dir, 'authorized_keys');
            mkdirSync(dir, { mode: 0o700 });
            writeFileSync(keys, key, { mode: 0o600 });
            for (const path of [dir, keys]) chownSync(path, user.uid, user.gid);
        }
        const lines = [
            `Port ${this.ports.sshd}`,
            'ListenAddress 127.0.0.1',
            `HostKey ${this.path('ssh', 'host')}`,
            `PidFile ${this.path('run', 'sshd.pid')}`,
            'UsePAM no',
            'PasswordAuthentication no',
            'MaxStartups 200',
            'MaxSessions 64',
            `SetEnv SLURM_CONF=${this.conf}`,
        ];
        writeFileSync(this.path('etc', 'sshd_config'), `${lines.join('\n')}\n`);
        const host = readFileSync(this.path('ssh', 'host.pub'), 'utf8').split(' ').slice(0, 2);
        writeFileSync(
            this.path('ssh', 'known_hosts'),
            `[127.0.0.1]:${this.ports.sshd} ${host.join(' ')}\n`,
        );
        // The agent wants the key as one line of base64.
        const text = readFileSync(this.path('ssh', 'agent'));
        const line = `${text.toString('base64')}\n`;
        writeFileSync(this.path('ssh', 'agent.base64'), line, { mode: 0o600 });
    }

    program(name, argv, { env = {}, umask } = {}) {
        const logPath = join(this.logDir, `${name}.log`);
        return new Program(name, this.inRoot(argv), { logPath, env: { ...this.env, ...env }, umask });
    }

    async startMunged() {
        const file = (name) => this.path('munge', name);
        const argv = ['/usr/sbin/munged', '-F', '--force', '--num-threads=4'];
        argv.push(`--key-file=${file('munge.key')}`, `--socket=${file('munge.socket')}`);
        argv.push(`--pid-file=${file('munged.pid')}`, `--seed-file=${file('munge.seed')}`);
        argv.push(`--log-file=${join(this.logDir, 'munged.log')}`);
        const munged = this.program('munged', argv, { umask: 0o022 });
        const socket = file('munge.socket');
        await waitFor(
            'munged',
            () => munged.alive && this.run(['munge', '-n', '-S', socket]).then(good),
        );
        return munged;
    }

    async startMariadb() {
        const argv = ['/usr/sbin/mariadbd', '--no-defaults', '--skip-networking'];
        argv.push(`--user=${this.accounting.databaseUser}`, '--skip-name-resolve');
        argv.push(`--datadir=${this.path('db', 'data')}`, `--socket=${this.databaseSocket}`);
        argv.push(`--pid-file=${this.path('db', 'mariadb.pid')}`);
        argv.push(`--init-file=${this.path('etc', 'database.sql')}`, this.databaseTmp);
        const logPath = join(this.logDir, 'mariadb.log');
        const mariadb = new Program('mariadb', argv, { logPath });
        await this.waitUp(mariadb, () => mariadb.log().includes('ready for connections'));
        return mariadb;
    }

    get databaseSocket() {
        return this.path('db', 'mariadb.socket');
    }

    // It names files in /tmp by its process id, which other grids have, too.
    get databaseTmp() {
        return `--tmpdir=${this.path('db', 'tmp')}`;
    }

    // Like slurmctld it goes by argv[0]; as root it would become SlurmUser only where it forks.
    async startSlurmdbd() {
        const { uid, gid } = this.admin;
        const argv = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
        argv.push('/usr/sbin/slurmdbd', '-D');
        const env = { MYSQL_UNIX_PORT: this.databaseSocket };
        const slurmdbd = this.program('slurmdbd', argv, { env });
        await this.waitUp(slurmdbd, () => listens(this.ports.slurmdbd));
        return slurmdbd;
    }

    /** The cluster, and the customers with an account of it; before slurmctld is started. */
    async addAccounts() {
        const add = (...words) =>
            runOk(this.inRoot(['sacctmgr', '--immediate', 'add', ...words]), { env: this.env });
        await add('cluster', 'devnet');
        await add('account', 'grid', 'cluster=devnet');
        await add('user', this.accounting.customers.join(','), 'account=grid');
        await add('user', this.admin.name, 'account=grid', 'AdminLevel=Admin');
    }

    // The name in argv[0] must be slurmctld: Slurm asks it which daemon it is.
    async startSlurmctld() {
        const argv = ['/usr/sbin/slurmctld', '-D', '-f', this.conf];
        const slurmctld = this.program('slurmctld', argv, { umask: 0o022 });
        await this.waitUp(slurmctld, async () =>
            good(await this.run(['scontrol', 'ping'])),
        );
        return slurmctld;
    }

    async startSlurmd(node = 'n1') {
        mkdirSync(this.path('spool', node), { recursive: true });
        const argv = ['/usr/sbin/slurmd', '-D', '-N', node, '-f', this.conf];
        const slurmd = this.program(`slurmd-${node}`, argv, { umask: 0o022 });
        await this.waitUp(slurmd, async () => {
            const { stdout } = await this.run(['sinfo', '-h', '-n', node, '-o', '%T']);
            return /^(idle|mixed|allocated)\s*$/m.test(stdout);
        });
        return slurmd;
    }

    // slurmrestd refuses to run as root or SlurmUser, and wants SLURM_JWT set to use tokens at all.
    async startSlurmrestd() {
        const { uid, gid } = this.restUser;
        const argv = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
        argv.push('/usr/sbin/slurmrestd', '-a', 'rest_auth/jwt');
        if (!this.accounting) argv.push(...(this.isNew ? REST_NEW : REST_OLD));
        argv.push(`127.0.0.1:${this.ports.slurmrestd}`);
        const slurmrestd = this.program('slurmrestd', argv, { env: { SLURM_JWT: 'daemon' } });
        await this.waitUp(slurmrestd, () => listens(this.ports.slurmrestd));
        return slurmrestd;
    }

    async startSshd() {
        const argv = ['/usr/sbin/sshd', '-D', '-e', '-f', this.path('etc', 'sshd_config')];
        const sshd = this.program('sshd', argv);
        await this.waitUp(sshd, () => listens(this.ports.sshd));
        return sshd;
    }

    /** Waits until the program does what it is for, or has died. */
    async waitUp(program, isUp) {
        try {
            await waitFor(
                `${program.name} is not up`,
                async () => {
                    if (!program.alive)
                        throw Object.assign(new Error(program.describeEnd()), { final: true });
                    return isUp();
                },
                20000,
                50,
            );
        } catch (error) {
            throw new Error(`${error.message}\n${program.tail()}`);
        }
    }

    /** A token for slurmrestd, as `scontrol token` makes it. */
    token(user, lifeSeconds = 3600) {
        const now = Math.floor(Date.now() / 1000);
        const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const claims = { exp: now + lifeSeconds, iat: now, sun: user };
        const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
        const key = readFileSync(this.jwtKey);
        return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
    }

    /** Runs a Slurm command as a user of the grid (default: the admin); returns stdout. */
    command(argv, { as = this.admin.name, input } = {}) {
        const user = this.users.get(as);
        const { home } = user;
        const env = { ...this.env, HOME: home, USER: as };
        if (this.root) return runOk(this.inRoot(argv, user), { env, input });
        return runOk(argv, { env, uid: user.uid, gid: user.gid, cwd: home, input });
    }

    /** All jobs that slurmctld knows, finished ones too: objects with scontrol's names. */
    async jobs() {
        const argv = this.inRoot(['scontrol', '-o', 'show', 'jobs']);
        const text = await runOk(argv, { env: this.env });
        return text
            .split('\n')
            .filter((line) => line.startsWith('JobId='))
            .map(parseJob);
    }

    /** All jobs that slurmdbd knows, also those that have left slurmctld's memory. */
    async accountedJobs() {
        const names = ['JobID', 'State', 'ExitCode', 'ElapsedRaw', 'User', 'JobName'];
        const argv = ['sacct', '--allusers', '--allocations', '--duplicates', '--parsable2'];
        argv.push('--noheader', '--starttime=now-1days', `--format=${names.join()}`);
        const text = await runOk(this.inRoot(argv), { env: this.env });
        return text
            .split('\n')
            .filter(Boolean)
            .map((line) => {
                const fields = line.split('|');
                return Object.fromEntries(names.map((name, i) => [name, fields[i]]));
            });
    }
}

const good = ({ code }) => code === 0;

function listens(port) {
    const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
    return readFileSync('/proc/net/tcp', 'utf8')
        .split('\n')
        .some((line) => line.includes(hex) && / 0A /.test(line));
}

// "Key=value Key=value ...": a value may hold spaces (Comment, Command), a key never does.
function parseJob(line) {
    const job = {};
    for (const [, key, value] of line.matchAll(
        /([A-Za-z][\w:/]*)=(.*?)(?= [A-Za-z][\w:/]*=|\s*$)/g,
    ))
        job[key] ??= value;
    return job;
}
