// SPDX-License-Identifier: GPL-3.0-or-later
// Compiles contracts/*.sol with the solc of the lock file.
//   node build-contracts.mjs [CACHE_DIR]     prints the path of the result
//   node build-contracts.mjs --path [CACHE_DIR]    the same without compiling
// The result is contracts-<hash>.json in CACHE_DIR (or $DEVNET_CACHE, or build/devnet of the
// clone), named after the content of the sources, of this file and of the lock file, so that it is
// made once:  { NAME: { abi, bytecode, links: { LIBRARY: [byte offsets] } } }
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

function readSources() {
    const dir = join(here, 'contracts');
    const names = readdirSync(dir)
        .filter((name) => name.endsWith('.sol'))
        .sort();
    return Object.fromEntries(
        names.map((name) => [name, { content: readFileSync(join(dir, name), 'utf8') }]),
    );
}

function hashOf(sources) {
    const hash = createHash('sha256');
    hash.update(readFileSync(fileURLToPath(import.meta.url)));
    hash.update(readFileSync(join(here, 'package-lock.json')));
    hash.update(JSON.stringify(sources));
    return hash.digest('hex').slice(0, 16);
}

function linksOf(references) {
    const links = {};
    for (const file of Object.values(references))
        for (const [library, places] of Object.entries(file))
            links[library] = places.map((place) => place.start);
    return links;
}

// A library's functions are not for us to call, and their types are names, not ABI types: only its
// errors are kept, with the enums as the uint8 that they are.
function outsideView(abi) {
    const named = (input) => /^[A-Z]/.test(input.type);
    if (!abi.some((entry) => entry.inputs?.some(named))) return abi;
    return abi
        .filter((entry) => entry.type === 'error')
        .map((entry) => ({
            ...entry,
            inputs: entry.inputs.map((input) =>
                named(input) ? { ...input, type: 'uint8' } : input,
            ),
        }));
}

function compile(sources) {
    const solc = createRequire(import.meta.url)('solc');
    const input = {
        language: 'Solidity',
        sources,
        settings: {
            evmVersion: 'paris',
            viaIR: true, // copies arrays of structs from memory to storage
            optimizer: { enabled: true, runs: 200 },
            outputSelection: { '*': { '*': ['abi', 'evm.bytecode'] } },
        },
    };
    const output = JSON.parse(solc.compile(JSON.stringify(input)));
    const problems = (output.errors ?? []).map((error) => error.formattedMessage);
    if (problems.length > 0) throw new Error(problems.join('\n'));
    const contracts = {};
    for (const file of Object.values(output.contracts))
        for (const [name, { abi, evm }] of Object.entries(file))
            contracts[name] = {
                abi: outsideView(abi),
                bytecode: evm.bytecode.object,
                links: linksOf(evm.bytecode.linkReferences),
            };
    return contracts;
}

function resultPath(cacheDir, sources) {
    const dir = cacheDir ?? process.env.DEVNET_CACHE ?? join(here, '..', '..', 'build', 'devnet');
    return join(resolve(dir), `contracts-${hashOf(sources)}.json`);
}

/** Returns the path of the compiled contracts, compiling them if they are not there yet. */
export function buildContracts(cacheDir) {
    const sources = readSources();
    const path = resultPath(cacheDir, sources);
    try {
        readFileSync(path);
        return path;
    } catch {
        // not there: compile
    }
    mkdirSync(dirname(path), { recursive: true });
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify(compile(sources)));
    renameSync(temporary, path); // never a half-written file under the final name
    return path;
}

/** Returns the compiled contracts. */
export function loadContracts(cacheDir) {
    return JSON.parse(readFileSync(buildContracts(cacheDir), 'utf8'));
}

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
    if (process.argv[2] === '--path') console.log(resultPath(process.argv[3], readSources()));
    else console.log(buildContracts(process.argv[2]));
}
