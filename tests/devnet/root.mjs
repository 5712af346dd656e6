// SPDX-License-Identifier: GPL-3.0-or-later
// Another Debian's tree to run Slurm in, as it is: what is written there goes to an overlay in the
// grid's directory. Processes, network, users, /run, /tmp and the grid's directory are those of
// outside, at the same paths.
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { runOk } from './process.mjs';

const SHARED_DIRS = ['/proc', '/dev', '/run', '/tmp'];
const SHARED_FILES = ['passwd', 'group', 'shadow', 'hosts'].map((name) => `/etc/${name}`);

/** Mounts it in this mount namespace, over users that exist already; returns the new root. */
export async function mountRoot(dir, lower) {
    if (!existsSync(join(lower, 'usr/sbin/slurmctld')))
        throw new Error(`${lower}: no root with a slurmctld`);
    const [upper, work, tree] = ['upper', 'work', 'tree'].map((name) => join(dir, 'root', name));
    for (const path of [upper, work, tree]) mkdirSync(path, { recursive: true });
    const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    await runOk(['mount', '-t', 'overlay', '-o', layers, 'devnet', tree]);
    for (const path of SHARED_DIRS) await runOk(['mount', '--rbind', path, join(tree, path)]);
    for (const path of SHARED_FILES) {
        closeSync(openSync(join(tree, path), 'a')); // to have something to mount on
        await runOk(['mount', '--bind', path, join(tree, path)]);
    }
    mkdirSync(join(tree, dir), { recursive: true });
    await runOk(['mount', '--bind', dir, join(tree, dir)]);
    return tree;
}
