// SPDX-License-Identifier: GPL-3.0-or-later
// Compares compiled contracts with abi/facts.json, what is known of the public grid's: selectors,
// topics, names and order of parameters, structs, errors.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Interface, id as keccakOf } from 'ethers';
import { same } from './tap.mjs';

const here = dirname(fileURLToPath(import.meta.url));
export const facts = JSON.parse(readFileSync(join(here, 'abi', 'facts.json'), 'utf8'));

// What a compiled ABI says, in the words of facts.json.

function parameter(input) {
    const type = input.type.startsWith('tuple')
        ? `(${input.components.map(parameter).join(', ')})${input.type.slice(5)}`
        : input.type;
    return `${type}${input.indexed ? ' indexed' : ''} ${input.name}`.trim();
}

// Members are compared by signature, so that a failure shows only what differs.
function sameSet(got, expected, name) {
    const table = (list) => new Map(list.map((entry) => [entry.signature, JSON.stringify(entry)]));
    const [mine, theirs] = [table(got), table(expected)];
    const differ = (a, b) =>
        [...a].filter(([key, text]) => b.get(key) !== text).map(([, text]) => text);
    same(differ(mine, theirs), differ(theirs, mine), name);
}

function describe(abi) {
    const iface = new Interface(abi);
    const pick = (type) => abi.filter((entry) => entry.type === type);
    const constructor = pick('constructor')[0];
    return {
        constructor: (constructor?.inputs ?? []).map(parameter),
        functions: pick('function').map((entry) => {
            const signature = canonical(entry);
            return {
                signature,
                selector: iface.getFunction(signature).selector,
                stateMutability: entry.stateMutability,
                inputs: entry.inputs.map(parameter),
                outputs: entry.outputs.map(parameter),
            };
        }),
        events: pick('event').map((entry) => ({
            signature: canonical(entry),
            topic0: iface.getEvent(canonical(entry)).topicHash,
            inputs: entry.inputs.map(parameter),
        })),
        errors: pick('error').map((entry) => ({
            signature: canonical(entry),
            selector: iface.getError(canonical(entry)).selector,
            inputs: entry.inputs.map(parameter),
        })),
    };
}

function canonical(entry) {
    const type = (input) =>
        input.type.startsWith('tuple')
            ? `(${input.components.map(type).join(',')})${input.type.slice(5)}`
            : input.type;
    return `${entry.name}(${entry.inputs.map(type).join(',')})`;
}

export function checkAbi(contracts) {
    for (const [name, fact] of Object.entries(facts.contracts)) {
        if (name === 'Tools') continue; // a library: only its errors are seen from outside
        const got = describe(contracts[name].abi);
        same(got.constructor, fact.constructor, `${name}: constructor`);
        for (const kind of ['functions', 'events', 'errors'])
            sameSet(got[kind], fact[kind], `${name}: ${fact[kind].length} ${kind}`);
    }
    const tools = describe(contracts.Tools.abi);
    sameSet(tools.errors, facts.contracts.Tools.errors, 'Tools: its errors');
    same(
        keccakOf('checkNewJobStatus(JobStatus,JobStatus)').slice(0, 10),
        '0x97d2874f',
        'Tools: selectors of a library use the names of types',
    );
    checkStructs(contracts);
}

function checkStructs(contracts) {
    const layouts = {};
    const collect = (input) => {
        if (!input.components) return;
        const name = input.internalType.replace(/^struct (\w+).*$/, '$1');
        layouts[name] = input.components.map((member) => {
            collect(member);
            return {
                name: member.name,
                canonical: canonical({ name: '', inputs: [member] }).slice(1, -1),
            };
        });
    };
    for (const { abi } of Object.values(contracts))
        for (const entry of abi)
            [...(entry.inputs ?? []), ...(entry.outputs ?? [])].forEach(collect);
    for (const [name, members] of Object.entries(facts.structs))
        same(layouts[name], members, `struct ${name}`);
}
