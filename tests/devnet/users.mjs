// SPDX-License-Identifier: GPL-3.0-or-later
// Unix users that exist only in this mount namespace: copies of /etc/passwd, group and shadow with
// our users in them are mounted over the machine's.
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runOk } from './process.mjs';

const FIRST_ID = 20001; // above the users of a fresh machine, below Slurm's 64030

/**
 * names -> Map of name -> { name, uid, gid, home }. Homes are made in dir/home. May be called once
 * in a mount namespace, and refuses to be called in the machine's own.
 */
export async function createUsers(dir, names) {
    if (!process.env.DEVNET_DIR)
        throw new Error(
            'users are made only in namespaces of our own: run under tests/devnet/enter',
        );
    const etc = join(dir, 'etc');
    mkdirSync(etc, { recursive: true });
    mkdirSync(join(dir, 'home'), { recursive: true });
    const users = new Map();
    const files = {};
    for (const name of ['passwd', 'group', 'shadow'])
        files[name] = readFileSync(`/etc/${name}`, 'utf8').replace(/\n*$/, '\n');
    for (const name of names) {
        const id = FIRST_ID + users.size;
        const home = join(dir, 'home', name);
        files.passwd += `${name}:x:${id}:${id}:devnet:${home}:/bin/bash\n`;
        files.group += `${name}:x:${id}:\n`;
        // '*' and not '!': an account that is locked cannot log in with a key either.
        files.shadow += `${name}:*:19000:0:99999:7:::\n`;
        mkdirSync(home, { mode: 0o700 });
        chownSync(home, id, id);
        users.set(name, { name, uid: id, gid: id, home });
    }
    for (const [name, text] of Object.entries(files)) {
        const path = join(etc, name);
        writeFileSync(path, text);
        chmodSync(path, name === 'shadow' ? 0o600 : 0o644);
        await runOk(['mount', '--bind', path, `/etc/${name}`]);
    }
    return users;
}
