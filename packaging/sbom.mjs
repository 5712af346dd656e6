// SPDX-License-Identifier: GPL-3.0-or-later
// Prints the bill of materials of an installed tree as an SPDX 2.3 document: each file, and each
// library that a program of it is linked with. The same tree of the same commit, on the same machine,
// gives the same document.
//   sbom.mjs TREE VERSION [SLURM_SOURCE]     SLURM_SOURCE: what the plugins were built with
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [tree, version, slurmSource] = process.argv.slice(2);
const OURS = 'GPL-3.0-or-later';

// Nothing is bundled: all of these are other packages'. A library that is not listed is an error.
const LIBRARIES = [
    [/^(libc|ld-linux.*|libm|libpthread|libdl)\.so\./, 'glibc', null, 'LGPL-2.1-or-later'],
    [/^lib(grpc|gpr)\.so\./, 'grpc', 'grpc', 'Apache-2.0'],
    [/^libcurl\.so\./, 'curl', 'libcurl', 'curl'],
    [/^libjson-c\.so\./, 'json-c', 'json-c', 'MIT'],
    [/^libprotobuf-c\.so\./, 'protobuf-c', 'libprotobuf-c', 'BSD-2-Clause'],
    [/^libsecp256k1\.so\./, 'secp256k1', 'libsecp256k1', 'MIT'],
    [/^lib(crypto|ssl)\.so\./, 'openssl', 'libcrypto', 'Apache-2.0'],
    [/^libsqlite3\.so\./, 'sqlite', 'sqlite3', 'blessing'],
    [/^libssh\.so\./, 'libssh', 'libssh', 'LGPL-2.1-or-later'],
    [/^libsystemd\.so\./, 'systemd', 'libsystemd', 'LGPL-2.1-or-later'],
];

const run = (program, ...args) =>
    execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();

/** What a program prints, or nothing if it fails or is not there. */
function ask(program, ...args) {
    try {
        return run(program, ...args);
    } catch {
        return '';
    }
}

const id = (...parts) => `SPDXRef-${parts.join('-').replace(/[^A-Za-z0-9.-]/g, '-')}`;
const hash = (algorithm, data) => createHash(algorithm).update(data).digest('hex');

/** The package of this system that a library is of: its purl and version. */
function systemPackage(library) {
    const deb = ask('dpkg-query', '-S', `*/${library}`).split(':')[0];
    if (deb) {
        const [versionInfo, arch] = run('dpkg-query', '-W', '-f', '${Version} ${Architecture}', deb).split(' ');
        return { versionInfo, purl: `pkg:deb/debian/${deb}@${encodeURIComponent(versionInfo)}?arch=${arch}` };
    }
    const [name, versionInfo, arch] = ask('rpm', '-q', '--whatprovides', '--queryformat',
        '%{NAME} %{VERSION}-%{RELEASE} %{ARCH}\n', `${library}()(64bit)`).split('\n')[0].split(' ');
    if (arch) return { versionInfo, purl: `pkg:rpm/${name}@${encodeURIComponent(versionInfo)}?arch=${arch}` };
    return null;
}

function otherPackage(name, found, licence) {
    return {
        SPDXID: id('Package', name),
        name,
        versionInfo: found.versionInfo,
        downloadLocation: 'NOASSERTION',
        filesAnalyzed: false,
        licenseConcluded: licence,
        licenseDeclared: licence,
        copyrightText: 'NOASSERTION',
        ...(found.purl && { externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER',
            referenceType: 'purl', referenceLocator: found.purl }] }),
    };
}

const described = new Map();

function describeLibrary(library) {
    if (!described.has(library)) described.set(library, lookUpLibrary(library));
    return described.get(library);
}

function lookUpLibrary(library) {
    const known = LIBRARIES.find(([pattern]) => pattern.test(library));
    if (!known) throw new Error(`${library}: not in the list of packaging/sbom.mjs`);
    const [, name, pkgConfig, licence] = known;
    const found = systemPackage(library) ??
        { versionInfo: pkgConfig && ask('pkg-config', '--modversion', pkgConfig) };
    if (!found.versionInfo) throw new Error(`${library}: of no package of this system, nor of pkg-config's`);
    return otherPackage(name, found, licence);
}

function describeFile(path) {
    const data = readFileSync(join(tree, path));
    const elf = data.subarray(0, 4).toString('latin1') === '\x7fELF';
    return {
        file: {
            SPDXID: id('File', path),
            fileName: `./${path}`,
            fileTypes: [elf ? 'BINARY' : 'TEXT'],
            checksums: ['SHA1', 'SHA256'].map((algorithm) =>
                ({ algorithm, checksumValue: hash(algorithm.toLowerCase(), data) })),
            licenseConcluded: OURS,
            licenseInfoInFiles: [OURS],
            copyrightText: 'NOASSERTION',
        },
        libraries: elf ? [...run('objdump', '-p', join(tree, path)).matchAll(/NEEDED +(\S+)/g)].map((m) => m[1]) : [],
    };
}

const paths = run('find', tree, '-type', 'f', '-printf', '%P\\n').split('\n').filter(Boolean).sort();
if (paths.length === 0) throw new Error(`${tree}: no files`);

const packages = new Map();
const files = [];
const relationships = [];
const relate = (from, relationshipType, to) =>
    relationships.push({ spdxElementId: from, relationshipType, relatedSpdxElement: to });

const self = id('Package', 'deepsquare-agent');
relate('SPDXRef-DOCUMENT', 'DESCRIBES', self);
for (const path of paths) {
    const { file, libraries } = describeFile(path);
    files.push(file);
    relate(self, 'CONTAINS', file.SPDXID);
    const linked = new Map(libraries.map(describeLibrary).map((p) => [p.SPDXID, p]));
    for (const [key, library] of linked) {
        packages.set(key, library);
        relate(file.SPDXID, 'DYNAMIC_LINK', key);
    }
}
if (slurmSource && paths.some((path) => path.endsWith('/jobcomp_deepsquare.so'))) {
    const versionInfo = /^ *Version:\s*(\S+)/m.exec(readFileSync(join(slurmSource, 'META'), 'utf8'))[1];
    const slurm = otherPackage('slurm', { versionInfo }, 'GPL-2.0-or-later');
    packages.set(slurm.SPDXID, slurm);
    relate(slurm.SPDXID, 'BUILD_DEPENDENCY_OF', self);
}

const sha1s = files.map((file) => file.checksums[0].checksumValue).sort();
const commit = existsSync(join(here, 'commit')) ? readFileSync(join(here, 'commit'), 'utf8').trim()
    : run('git', '-C', here, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*');
const created = new Date(1000 * Number(run(join(here, 'epoch')))).toISOString().replace('.000Z', 'Z');
const ours = {
    SPDXID: self,
    name: 'deepsquare-agent',
    versionInfo: version,
    supplier: 'NOASSERTION',
    downloadLocation: 'NOASSERTION',
    sourceInfo: `commit ${commit}`,
    primaryPackagePurpose: 'APPLICATION',
    filesAnalyzed: true,
    packageVerificationCode: { packageVerificationCodeValue: hash('sha1', sha1s.join('')) },
    hasFiles: files.map((file) => file.SPDXID),
    licenseConcluded: OURS,
    licenseDeclared: OURS,
    licenseInfoFromFiles: [OURS],
    copyrightText: 'NOASSERTION',
};

console.log(JSON.stringify({
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `deepsquare-agent-${version}`,
    // Another tree of the same commit is another document.
    documentNamespace: `https://deepsquare.io/spdx/deepsquare-agent-${version}/${commit}/${
        ours.packageVerificationCode.packageVerificationCodeValue}`,
    creationInfo: { created, creators: [`Tool: deepsquare-agent-sbom-${version}`] },
    packages: [ours, ...[...packages.values()].sort((a, b) => (a.SPDXID < b.SPDXID ? -1 : 1))],
    files,
    relationships,
}, null, 2));
