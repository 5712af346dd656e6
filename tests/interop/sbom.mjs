// SPDX-License-Identifier: GPL-3.0-or-later
// make sbom: what SPDX 2.3 demands of a document, and that it says what is installed. TAP.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { check, finish, same } from '../devnet/tap.mjs';

const build = process.env.top_builddir;

function makeDocument() {
    execFileSync('make', ['-s', '-C', build, 'sbom']);
    const [name] = readdirSync(build).filter((file) => /^deepsquare-agent-.*\.spdx\.json$/.test(file));
    return readFileSync(join(build, name), 'utf8');
}

const text = makeDocument();
const doc = JSON.parse(text);
const elements = [doc, ...doc.packages, ...doc.files];
const ids = new Set(elements.map((e) => e.SPDXID));
const related = (type) => doc.relationships.filter((r) => r.relationshipType === type);
const offenders = (list, isGood) => JSON.stringify(list.filter((x) => !isGood(x)), null, 1);
const all = (list, isGood, name) => check(list.length > 0 && list.every(isGood), name, offenders(list, isGood));

// --- the document
same([doc.spdxVersion, doc.dataLicense, doc.SPDXID], ['SPDX-2.3', 'CC0-1.0', 'SPDXRef-DOCUMENT'], 'the head');
check(/^https:\/\/[^#\s]+$/.test(doc.documentNamespace),
    'the namespace is a URI without a fragment', doc.documentNamespace);
check(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(doc.creationInfo.created), 'created is a time', doc.creationInfo.created);
all(doc.creationInfo.creators, (c) => /^(Tool|Person|Organization): \S/.test(c), 'creators');
same(ids.size, elements.length, 'no identifier is given twice');
all([...ids], (i) => /^SPDXRef-[A-Za-z0-9.-]+$/.test(i), 'identifiers are made of letters, digits, . and -');

// --- packages and files
all(doc.packages, (p) => p.name && p.versionInfo && p.downloadLocation && typeof p.filesAnalyzed === 'boolean' &&
    p.copyrightText, 'packages: what is required, and a version');
all(doc.packages.filter((p) => p.externalRefs).flatMap((p) => p.externalRefs),
    (r) => r.referenceCategory === 'PACKAGE-MANAGER' && r.referenceType === 'purl' &&
        /^pkg:(deb|rpm)\/[^@]+@[^?\s]+\?arch=\w+$/.test(r.referenceLocator), 'packages: package URLs');
all(doc.files, (f) => /^\.\/[^/]/.test(f.fileName) && ['SHA1', 'SHA256'].every((a) => f.checksums.some((c) =>
    c.algorithm === a && new RegExp(`^[0-9a-f]{${a === 'SHA1' ? 40 : 64}}$`).test(c.checksumValue))),
'files: a relative name, SHA1 and SHA256');

// npm has the list; without it, those that we know to be in it.
const list = join(execFileSync('npm', ['root', '-g'], { encoding: 'utf8' }).trim(),
    'npm/node_modules/spdx-license-ids/index.json');
const licences = existsSync(list) ? JSON.parse(readFileSync(list))
    : ['GPL-2.0-or-later', 'GPL-3.0-or-later', 'LGPL-2.1-or-later', 'MIT', 'Apache-2.0', 'BSD-2-Clause', 'curl', 'blessing'];
all([...doc.packages.flatMap((p) => [p.licenseConcluded, p.licenseDeclared]),
    ...doc.files.flatMap((f) => [f.licenseConcluded, ...f.licenseInfoInFiles])],
(l) => licences.includes(l), 'licences are of the SPDX list');

// --- relations
all(doc.relationships, (r) => ids.has(r.spdxElementId) && ids.has(r.relatedSpdxElement), 'no relation leads nowhere');
all(doc.relationships, (r) => ['DESCRIBES', 'CONTAINS', 'DYNAMIC_LINK', 'BUILD_DEPENDENCY_OF'].includes(r.relationshipType),
    'relations are of types that SPDX knows');
const ours = doc.packages.find((p) => p.name === 'deepsquare-agent');
same(related('DESCRIBES').map((r) => [r.spdxElementId, r.relatedSpdxElement]), [['SPDXRef-DOCUMENT', ours.SPDXID]],
    'it describes our package');
const fileIds = doc.files.map((f) => f.SPDXID).sort();
same([...ours.hasFiles].sort(), fileIds, 'which has all the files');
same(related('CONTAINS').map((r) => r.relatedSpdxElement).sort(), fileIds, 'and contains them');
const others = doc.packages.filter((p) => p !== ours);
all(others, (p) => doc.relationships.some((r) => [r.spdxElementId, r.relatedSpdxElement].includes(p.SPDXID)),
    'each other package is there for a reason');

// --- what it says
const sha1s = doc.files.map((f) => f.checksums.find((c) => c.algorithm === 'SHA1').checksumValue).sort();
same(ours.packageVerificationCode.packageVerificationCodeValue,
    createHash('sha1').update(sha1s.join('')).digest('hex'), 'the verification code is that of the files');
const agent = doc.files.find((f) => f.fileName.endsWith('/sbin/deepsquare-agent'));
const linked = related('DYNAMIC_LINK').filter((r) => r.spdxElementId === agent.SPDXID)
    .map((r) => doc.packages.find((p) => p.SPDXID === r.relatedSpdxElement).name).sort();
same(linked, ['curl', 'glibc', 'grpc', 'json-c', 'libssh', 'openssl', 'protobuf-c', 'secp256k1', 'sqlite', 'systemd'],
    'the libraries of the agent');
const curl = execFileSync('pkg-config', ['--modversion', 'libcurl'], { encoding: 'utf8' }).trim();
check(doc.packages.find((p) => p.name === 'curl').versionInfo.startsWith(curl), 'with their versions');
check(related('BUILD_DEPENDENCY_OF').length === 1, 'the Slurm of the plugins');
same(makeDocument(), text, 'made again it is the same');

process.exit(finish());
