// SPDX-License-Identifier: GPL-3.0-or-later
// Packages on a machine that had none: installed as README.md says, used, upgraded and removed. The
// machine runs systemd and a Slurm from Debian's own packages; chain and customers are the grid's.
//   packages.mjs deb|rpm TREE DIR     TREE: of tests/devnet/debian-root; DIR: the packages, and in
//                                     DIR/next those of a higher version
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Grid, PRICES, waitFor } from '../../tests/devnet/grid.mjs';
import { check, finish } from '../../tests/devnet/tap.mjs';
import { Machine } from './machine.mjs';
import { readSteps } from './readme.mjs';

const [kind, tree, packages] = process.argv.slice(2);
const UNIT = 'deepsquare-agent.service';
const CONF = '/etc/deepsquare-agent/agent.conf';
const RPM = 'rpm --dbpath /var/lib/rpm';

// How a reader of README.md does it on his system, and how it is done here. Debian has rpm, but not
// what our packages require, by the names that RPM systems give it.
const KIND = {
    deb: {
        skips: /^dnf /,
        command: (line) => line.replace(/^apt /, 'apt-get -y '),
        upgrade: 'apt-get -y install ./next/*.deb',
        version: "dpkg-query -W -f '${Version}' deepsquare-agent",
        remove: 'apt-get -y remove',
        pluginDir: '',
        leaves: [],
    },
    rpm: {
        skips: /^apt install /,
        command: (line) =>
            line.replace(/^dnf install /, `${RPM} -i --nodeps `).replace(/^apt purge /, `${RPM} -e `),
        upgrade: `${RPM} -U --nodeps ./next/*.rpm`,
        version: `${RPM} -q --queryformat '%{VERSION}-%{RELEASE}' deepsquare-agent`,
        remove: `${RPM} -e`,
        pluginDir: 'PluginDir=/usr/lib64/slurm:/usr/lib/x86_64-linux-gnu/slurm-wlm\n', // not Debian's
        leaves: [
            ...['', '/agent.db', '/lock'].map((name) => `/var/lib/deepsquare-agent${name}`),
            '/usr/share/licenses', // other packages' there
            '/usr/share/zsh/site-functions',
        ],
    },
}[kind];

const HOSTS = `127.0.0.1 localhost
192.0.2.1 login.example.com login
`; // tests/devnet/enter gives the loopback device this address, too

const SLURM_CONF = `ClusterName=packages
SlurmctldHost=login(login.example.com)
SlurmUser=slurm
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_min_interval=0,sched_interval=1,batch_sched_delay=0,bf_interval=1
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
MailProg=/bin/true
NodeName=login NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`;

// Files that come and go by what dpkg, systemd and Slurm do, whoever is installed.
const NOT_OURS =
    /^\/(root|home|var\/(log|cache|spool|backups)|var\/lib\/(apt|dpkg|rpm|slurm|munge|systemd)|etc\/(\.pwd\.lock|(passwd|group|g?shadow|subuid|subgid)-?)$)/;

const tests = [];
const test = (name, fn, only = kind) => only === kind && tests.push({ name, fn });

/** A machine with a cluster on it that works, and customers; none of our packages. */
async function prepare(machine, grid) {
    await machine.mount();
    machine.write('/etc/hostname', 'login\n');
    machine.write('/etc/hosts', HOSTS);
    machine.write('/etc/apt/apt.conf.d/packages', 'APT::Sandbox::User "root";\n');
    machine.write('/root/eth.key', `${grid.chain.wallets.provider.privateKey.slice(2)}\n`, 0o600);
    for (const [from, to] of [['', '/root'], ['next', '/root/next']])
        for (const name of readdirSync(join(packages, from)).filter((file) => file.endsWith(`.${kind}`))) {
            machine.write(join(to, name), '');
            copyFileSync(join(packages, from, name), machine.path(join(to, name)));
        }
    await machine.boot();
    machine.write('/etc/slurm/slurm.conf', KIND.pluginDir + SLURM_CONF);
    machine.write('/etc/slurm/cgroup.conf', 'CgroupPlugin=cgroup/v1\n'); // which touches none of them
    await machine.sh('rm -f /usr/sbin/policy-rc.d; mkdir -p /var/spool/slurmctld /usr/lib64/slurm; chown slurm: /var/spool/slurmctld /var/log/slurm');
    await addUser(machine, grid.chain.addressOf('alice').toLowerCase());
    await machine.sh('systemctl restart munge slurmctld slurmd ssh');
    await waitFor('the node is not idle', async () => /idle/.test(await machine.sh('sinfo -h -o %T')), 30000, 200);
}

/** A Unix user as a directory service would have it: useradd takes no name of 42 letters. */
async function addUser(machine, name) {
    const id = 20001;
    machine.append('/etc/passwd', `${name}:x:${id}:${id}::/home/${name}:/bin/bash\n`);
    machine.append('/etc/group', `${name}:x:${id}:\n`);
    machine.append('/etc/shadow', `${name}:*:19000:0:99999:7:::\n`); // '!' would lock keys out, too
    await machine.sh(`mkdir -m 700 /home/${name} && chown ${id}:${id} /home/${name}`);
}

/** What the private grid needs and no other: its CA, its prices, and to ask the chain often. */
function writeGridSettings(machine, grid) {
    machine.write('/etc/deepsquare-agent/ca.pem', readFileSync(grid.path('tls', 'ca.pem'), 'utf8'));
    const lines = [
        ...['customer.tls', 'customer.logger.tls'].flatMap((name) => [
            `${name}.ca = /etc/deepsquare-agent/ca.pem`,
            `${name}.server-host-override = customer.devnet`,
        ]),
        ...Object.entries({ cpu: 'cpuPricePerMin', gpu: 'gpuPricePerMin', mem: 'memPricePerMin' }).map(
            ([name, price]) => `metascheduler.${name}-price-per-min = ${PRICES[price]}`,
        ),
        'metascheduler.poll-interval = 200ms',
        'slurm.query-interval = 1s',
    ];
    machine.append(CONF, `${lines.join('\n')}\n`);
}


/** Does what a section of README.md says; before(step) is called before each of its steps. */
async function follow(machine, title, values = {}, before = async () => {}) {
    for (const step of readSteps(title, values)) {
        if (step.commands?.some((line) => KIND.skips.test(line))) continue;
        await before(step);
        if (step.file) machine.append(step.file, step.lines);
        for (const line of step.commands ?? []) await machine.sh(`cd /root; ${KIND.command(line)}`);
    }
}

/** Every file of the machine that is not one of those that change anyway. */
async function listFiles(machine) {
    const paths = (await machine.sh('find / -xdev')).trimEnd().split('\n');
    return paths.filter((path) => !NOT_OURS.test(path));
}

const slurmAnswers = (machine) =>
    waitFor('slurmctld does not answer', () => machine.sh('scontrol ping').then(() => true), 30000, 200);
const stateOf = async (machine, what) => (await machine.run(['systemctl', `is-${what}`, UNIT])).stdout.trim();
const mainPid = async (machine) => Number(await machine.sh(`systemctl show -P MainPID ${UNIT}`));

/** What the agent said in the journal since then (the journal's own clock). */
const journal = (machine, since) => machine.sh(`journalctl -q -o cat -u ${UNIT} --since=@${since}`);
const now = async (machine) => (await machine.sh('date +%s.%N')).trim();
const says = (machine, since, words) =>
    waitFor(`the journal does not say ${words}`, async () => words.test(await journal(machine, since)), 20000, 200);

/** That it was run once, as the customer's user, and paid for: a minute. */
async function checkJob(grid, machine, id) {
    const job = await grid.waitStatus(id, 'FINISHED', 60000);
    assert.equal(job.exitCode, 0n);
    assert.equal(job.cost.finalCost, grid.price(), 'one minute is billed');
    const moves = (await grid.events({ name: 'JobTransitionEvent', jobId: id })).map(({ args }) => Number(args._to));
    assert.equal(moves.filter((to) => to >= 4).length, 1, `final transitions: ${moves}`);
    const user = grid.chain.addressOf('alice').toLowerCase();
    const listed = await machine.sh(`scontrol -o show jobs | grep -w JobName=${id}`);
    assert.equal(listed.trimEnd().split('\n').length, 1, 'Slurm jobs of that name');
    assert.match(listed, new RegExp(` UserId=${user}[(].* JobState=COMPLETED `));
}

test('installed, nothing has been started or enabled', async (grid, machine) => {
    grid.filesBefore = await listFiles(machine);
    const first = /install \.\//; // the step that installs
    let installed = false;
    const values = {
        'https://testnet.deepsquare.run/rpc': grid.rpcUrl,
        '0x...': grid.chain.address.MetaScheduler,
        'customer.example.com:443': `127.0.0.1:${grid.ports.customerApi}`,
    };
    await follow(machine, 'Install', values, async (step) => {
        if (installed && !grid.looked) {
            assert.equal(await stateOf(machine, 'active'), 'inactive');
            if (kind === 'deb') assert.equal(await stateOf(machine, 'enabled'), 'disabled');
            assert.match(await machine.sh('stat -c "%a %U" /etc/deepsquare-agent/secrets'), /^700 root$/m);
            grid.looked = true;
        }
        installed ||= step.commands?.some((line) => first.test(line));
        if (step.commands?.includes('systemctl start agent')) writeGridSettings(machine, grid);
    });
    assert.ok(grid.looked, 'no step installs');
});

test('as README.md says: it runs, has registered the cluster, and waits for approval', async (grid, machine) => {
    assert.equal(await stateOf(machine, 'active'), 'active');
    const self = [grid.chain.addressOf('provider')];
    const asks = () => grid.chain.read('ProviderManager', 'isWaitingForApproval', self);
    await waitFor('it does not register', asks, 30000, 200);
    await waitFor('its status does not say so', async () => /approval/.test(await machine.sh('systemctl status agent')), 20000, 200);
    await grid.chain.approveProvider();
});

test('a job is run to FINISHED, and of its end the plugin told', async (grid, machine) => {
    const since = await now(machine);
    const id = await grid.requestJob();
    await checkJob(grid, machine, id);
    assert.match(await journal(machine, since), /-> ENDED: COMPLETED, .* says the plugin/);
});

test('a reload takes a change over; with a bad configuration neither it nor a start succeeds', async (grid, machine) => {
    const good = machine.read(CONF);
    const pid = await mainPid(machine);
    const since = await now(machine);
    machine.write(CONF, `${good}claim.max-jobs = 7\n`);
    await machine.sh('systemctl reload agent');
    await says(machine, since, /claim\.max-jobs is \\"7\\" now/);
    machine.write(CONF, `${good}metascheduler.smart-contract = nonsense\n`);
    assert.equal((await machine.run(['systemctl', 'reload', 'agent'])).code, 1);
    await says(machine, since, /metascheduler\.smart-contract/);
    assert.equal(await mainPid(machine), pid, 'a bad file has ended it');
    const stopped = await now(machine);
    assert.equal((await machine.run(['systemctl', 'restart', 'agent'])).code, 1);
    await says(machine, stopped, /metascheduler\.smart-contract/);
    assert.notEqual(await stateOf(machine, 'active'), 'active');
    machine.write(CONF, good);
    await machine.sh('systemctl restart agent');
    assert.notEqual(await mainPid(machine), pid);
}, 'deb');

test('upgraded while a job runs: the job goes on, and is billed once', async (grid, machine) => {
    const script = '#!/bin/sh\nuntil [ -e "$HOME/go" ]; do sleep 0.2; done\n';
    const id = await grid.requestJob({ script });
    await grid.waitStatus(id, 'RUNNING', 60000);
    const [pid, version] = [await mainPid(machine), await machine.sh(KIND.version)];
    const conf = machine.read(CONF);
    await machine.sh(`cd /root; ${KIND.upgrade}`);
    assert.notEqual(await machine.sh(KIND.version), version);
    assert.equal(await stateOf(machine, 'active'), 'active');
    assert.notEqual(await mainPid(machine), pid, `the new version does not run (process ${pid})`);
    assert.equal(machine.read(CONF), conf, 'the configuration has changed');
    await machine.sh(`touch ~${grid.chain.addressOf('alice').toLowerCase()}/go`);
    await checkJob(grid, machine, id);
});

test('the plugins cannot be removed while Slurm would not start without them', async (grid, machine) => {
    const { code, stdout, stderr } = await machine.run(['sh', '-c', `${KIND.remove} deepsquare-agent-slurm`]);
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /slurm\.conf:JobCompType=jobcomp\/deepsquare/);
    await machine.sh('systemctl restart slurmctld');
    await slurmAnswers(machine);
}, 'deb');

test('removed as README.md says: Slurm works on, and nothing is left', async (grid, machine) => {
    await follow(machine, 'Remove');
    await slurmAnswers(machine);
    assert.equal((await machine.run(['pgrep', '-a', 'deepsquare'])).stdout, '', 'what still runs');
    await machine.sh('srun --time=1 true');
    const left = (await listFiles(machine)).filter((path) => !grid.filesBefore.includes(path));
    assert.deepEqual(left.filter((path) => !KIND.leaves.includes(path)), []);
    const log = machine.read('/var/log/slurm/slurmctld.log');
    assert.doesNotMatch(log, /fatal|Segmentation/);
});

/** What helps to see why a test failed. */
async function lastWords(machine) {
    const look = 'journalctl -q -o cat -n 40; tail -n 10 /var/log/slurm/*.log';
    return (await machine.run(['sh', '-c', look])).stdout;
}

async function main() {
    const grid = new Grid({ slurm: false, join: false });
    let machine;
    try {
        await grid.start();
        machine = new Machine(grid.path('machine'), tree);
        await prepare(machine, grid);
        for (const { name, fn } of tests) {
            const began = Date.now();
            const error = await fn(grid, machine).then(() => null, (thrown) => thrown);
            check(!error, `${kind}: ${name} (${Date.now() - began} ms)`, error && `${error.stack}\n${await lastWords(machine)}`);
            if (error) break;
        }
    } catch (error) {
        if (error.skip) console.log(`1..0 # SKIP ${error.message.replaceAll('\n', ' ')}`);
        else console.log(`Bail out! ${error.message}`);
        if (machine?.pid) console.log((await lastWords(machine)).replace(/^/gm, '# '));
        return error.skip ? 0 : 1;
    } finally {
        await machine?.powerOff();
        await grid.stop();
    }
    return finish();
}

process.exit(await main());
