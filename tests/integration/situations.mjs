// SPDX-License-Identifier: GPL-3.0-or-later
// What brings the agent to a fault point: before(grid, flow), while no agent runs; args(grid), of its
// start; after(grid, flow), when it has been started; cleanup(grid), after its death. Points that are
// passed in the life of any job need nothing but a job.
import { writeFileSync } from 'node:fs';
import { killAgent, sleep, startAgent, waitFor } from './lib.mjs';
import { KIND_NAMES } from './flow.mjs';

export const PATIENCE_MS = 30000;

const withJob = (kind) => ({ before: (grid, flow) => flow.add(kind) });

const isReady = (grid) => grid.agent.waitLog(/the node answers/, PATIENCE_MS);

/** All that is in the queue is a job that its customer has cancelled: there is nothing to claim. */
const staleQueue = {
    async before(grid, flow) {
        await startAgent(grid);
        await flow.claimed();
        await killAgent(grid);
        const id = await grid.requestJob();
        await grid.cancelJob(id);
    },
};

const nodeGoes = {
    async after(grid) {
        await isReady(grid);
        await grid.anvil.stop();
    },
    cleanup: (grid) => grid.anvil.start(),
};

/**
 * The last two blocks are replaced by three others, until the agent has seen both. There must be no
 * customer's transaction in them.
 */
const blocksGo = {
    async after(grid) {
        const { chain } = grid;
        await isReady(grid);
        for (let tries = 1; tries <= 5 && grid.agent.alive; tries++) {
            const before = await chain.rpc('evm_snapshot');
            for (let i = 0; i < 2; i++) await chain.rpc('evm_mine');
            await sleep(600 * tries);
            await chain.rpc('evm_revert', [before]);
            for (let i = 0; i < 3; i++) await chain.advanceTime(1);
            await Promise.race([grid.agent.ended, sleep(2000 * tries)]);
        }
    },
};

const toldToStop = {
    async after(grid) {
        await isReady(grid);
        await grid.agent.kill('SIGTERM');
    },
};

const withoutBlocks = {
    async before(grid, flow) {
        await flow.add('good');
        await grid.chain.rpc('evm_setAutomine', [false]);
    },
    async cleanup({ chain }) {
        await chain.rpc('evm_setAutomine', [true]);
        await chain.rpc('evm_mine');
    },
};

/** The agent's next transaction, in the mempool. */
const waitingIn = ({ chain }, { address } = chain.wallets.provider) =>
    waitFor('no transaction waits', async () => {
        const nonce = Number(await chain.rpc('eth_getTransactionCount', [address, 'latest']));
        const { pending } = await chain.rpc('txpool_content');
        return pending[address]?.[nonce] ?? pending[address.toLowerCase()]?.[nonce];
    }, PATIENCE_MS);

/** Blocks come that its transaction offers too little for. */
const feesRise = {
    ...withoutBlocks,
    async after(grid) {
        await waitingIn(grid);
        for (let i = 0; i < 20 && grid.agent.alive; i++) {
            await grid.chain.rpc('anvil_setNextBlockBaseFeePerGas', ['0x2540be400']); // 10 gwei
            await grid.chain.rpc('evm_mine');
            await sleep(300);
        }
    },
    async cleanup(grid) {
        await grid.chain.rpc('anvil_setNextBlockBaseFeePerGas', ['0x3b9aca00']); // 1 gwei
        await withoutBlocks.cleanup(grid);
    },
};

/** Somebody with our key takes the nonce of a transaction that waits in the mempool. */
const nonceIsTaken = {
    ...withoutBlocks,
    async after(grid, flow) {
        const { chain } = grid;
        const wallet = chain.wallets.provider;
        const { hash, nonce } = await waitingIn(grid);
        await chain.rpc('anvil_dropTransaction', [hash]);
        const signed = await wallet.signTransaction({
            type: 2, chainId: await chain.chainId(), nonce: Number(nonce), to: wallet.address, value: 0n, gasLimit: 21000n,
            maxFeePerGas: 100_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n,
        });
        flow.foreign.add(await chain.rpc('eth_sendRawTransaction', [signed]));
        await withoutBlocks.cleanup(grid);
    },
};

/** sbatch takes its time: slurmctld gets the job when the agent that sent it is dead, and is looked for. */
const lateSbatch = {
    ...withJob('good'),
    args(grid) {
        const path = grid.path('etc', 'late-sbatch');
        writeFileSync(path, '#!/bin/sh\nsleep 1\nexec /usr/bin/sbatch "$@"\n', { mode: 0o755 });
        return [`--slurm.batch=${path}`];
    },
};

/** With each agent that dies on it the plugin's forwarder waits longer: one lives until it is well again. */
const eventsFlow = {
    async before(grid, flow) {
        await startAgent(grid);
        const { id } = await flow.add('good');
        await grid.waitSlurm(id, 'COMPLETED');
        await waitFor('the forwarder waits', () => {
            const [last] = grid.slurmctld.log().match(/the agent takes (no events|events again)/g)?.slice(-1) ?? [];
            return last !== 'the agent takes no events';
        }, 2 * PATIENCE_MS, 100);
        await killAgent(grid);
        await flow.add('good');
    },
};

const SITUATIONS = [
    [/^store\./, {}], // its first starts
    [/^(turn\.chain_|chain\.)reorg\./, blocksGo],
    [/^(event|turn\.plugin_event)\./, eventsFlow],
    [/^customer\.tell\./, withJob('refused')],
    [/^slurm\.cancel\./, withJob('cancelled')],
    [/^slurm\.extend\./, withJob('extended')],
    [/^slurm\.submit\.sent/, lateSbatch],
    [/^turn\.tx_rejected\./, staleQueue],
    [/^turn\.tx_stuck\./, feesRise],
    [/^turn\.tx_void\./, nonceIsTaken],
    [/^turn\.chain_down\./, nodeGoes],
    [/^systemd\.stopping\./, toldToStop],
];

/** i: of the point, so that all kinds of jobs come by turns. */
export const situationOf = (point, i) =>
    SITUATIONS.find(([pattern]) => pattern.test(point))?.[1] ?? withJob(KIND_NAMES[i % KIND_NAMES.length]);

/** The order: a new store first, then what wants no jobs to be there yet, then what wants a patient forwarder. */
export const rankOf = (point) => {
    const first = SITUATIONS.slice(0, 3).findIndex(([pattern]) => pattern.test(point));
    return first < 0 ? 3 : first;
};

/** Passed in the life of any job, or of any agent. */
export const isCommon = (point) => !/^store\.migrate|reorg|tx_stuck|tx_void|chain_down|stopping/.test(point);
