// SPDX-License-Identifier: GPL-3.0-or-later
// Makes package-lock.json anew from package.json, and then
//   - keeps it free of addresses (downloads by .npmrc, funding here),
//   - lets anvil and cast be installed under any node: they are programs of their own, but name the
//     node of their wrappers as an engine, for which npm would silently leave them out,
//   - completes what npm leaves out if the registry at hand lacks another platform's binaries,
//     without which `npm ci` would call the file out of step.
//   node update-lock.mjs
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const CPUS = { amd64: 'x64', arm64: 'arm64' };

// In an empty directory: with node_modules at hand, npm would write down only what it finds there.
function freshLock() {
    const dir = mkdtempSync(join(tmpdir(), 'devnet-lock-'));
    try {
        for (const name of ['package.json', '.npmrc'])
            copyFileSync(join(here, name), join(dir, name));
        execFileSync('npm', ['install', '--package-lock-only'], { cwd: dir, stdio: 'inherit' });
        return JSON.parse(readFileSync(join(dir, 'package-lock.json'), 'utf8'));
    } finally {
        rmSync(dir, { recursive: true });
    }
}

function completeBinaries(packages, tool) {
    const wrapper = packages[`node_modules/@foundry-rs/${tool}`];
    for (const [name, version] of Object.entries(wrapper.optionalDependencies)) {
        const [os, arch] = name.split('-').slice(-2);
        const { engines, ...entry } = packages[`node_modules/${name}`] ?? {
            version,
            cpu: [CPUS[arch]],
            license: wrapper.license,
            optional: true,
            os: [os],
        };
        packages[`node_modules/${name}`] = entry;
    }
    delete wrapper.engines;
}

const lock = freshLock();
for (const entry of Object.values(lock.packages)) delete entry.funding;
for (const tool of ['anvil', 'cast']) completeBinaries(lock.packages, tool);
const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = Object.fromEntries(sorted);
const text = `${JSON.stringify(lock, undefined, 2)}\n`;
if (text.includes('://')) throw new Error('the lock file names an address');
writeFileSync(join(here, 'package-lock.json'), text);
