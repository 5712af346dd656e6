// SPDX-License-Identifier: GPL-3.0-or-later
// TAP for the devnet's own tests.

let count = 0;
let failures = 0;

/** One test point; details are shown if it is not good. */
export function check(good, name, details = '') {
    console.log(`${good ? 'ok' : 'not ok'} ${++count} - ${name}`);
    if (good) return;
    failures++;
    for (const line of String(details).split('\n')) console.log(`# ${line}`);
}

const show = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));

/** One test point: two values are the same, members and all (1 and 1n are not). */
export function same(got, expected, name) {
    const [mine, theirs] = [show(got), show(expected)];
    check(mine === theirs, name, `got      ${mine}\nexpected ${theirs}`);
}

/** Prints the plan; returns the exit status of the program. */
export function finish() {
    console.log(`1..${count}`);
    return failures === 0 && count > 0 ? 0 : 1;
}
