// SPDX-License-Identifier: GPL-3.0-or-later
// The commands of README.md, so that what an administrator reads is what is tested. In a section,
// a block ```sh is commands, a line each; a block ``` that begins with "# /path" is lines of that
// file. Text between them is for people. All else that a reader would put in, he puts in place of
//   https://testnet.deepsquare.run/rpc    the chain's endpoint
//   0x...                                 the MetaScheduler's address
//   customer.example.com:443              the customer API
// (login.example.com is the name of the host.)
import { readFileSync } from 'node:fs';

const README = new URL('../../README.md', import.meta.url);

/** The steps of a section, in their order: { commands: [line...] } or { file, lines: text }. All values must be asked for. */
export function readSteps(title, values) {
    const text = readFileSync(README, 'utf8');
    const section = text.split(/^(?=##+ )/m).find((part) => part.split('\n')[0].replace(/^#+ /, '') === title);
    if (!section) throw new Error(`README.md has no section ${title}`);
    const unasked = Object.keys(values).filter((placeholder) => !section.includes(placeholder));
    if (unasked.length > 0) throw new Error(`README.md: nothing in ${title} asks for ${unasked}`);
    const steps = [...section.matchAll(/^( *)```(.*)\n([^]*?)^ *```$/gm)].map(([, indent, language, body]) => {
        const lines = body.replaceAll(new RegExp(`^${indent}`, 'gm'), '');
        if (language === 'sh') return { commands: lines.trimEnd().split('\n') };
        const file = /^# (\/\S+)\n/.exec(lines)?.[1];
        if (!file) throw new Error(`README.md: a block of ${title} is neither commands nor of a file:\n${lines}`);
        return { file, lines: fillIn(lines, values) };
    });
    if (steps.length === 0) throw new Error(`README.md: ${title} has no steps`);
    return steps;
}

function fillIn(text, values) {
    for (const [placeholder, value] of Object.entries(values)) text = text.replaceAll(placeholder, value);
    return text;
}
