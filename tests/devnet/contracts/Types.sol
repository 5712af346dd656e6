// SPDX-License-Identifier: GPL-3.0-or-later
// The grid's data types. The order of members is the order on the wire.
pragma solidity ^0.8.20;

// Hot: PENDING..RUNNING. Cold (final): CANCELLED and above.
enum JobStatus {
    PENDING,
    META_SCHEDULED,
    SCHEDULED,
    RUNNING,
    CANCELLED,
    FINISHED,
    FAILED,
    OUT_OF_CREDITS,
    PANICKED
}

// Only the number of values is known (0..4 are accepted); the names are ours.
enum StorageType {
    KIND_0,
    KIND_1,
    KIND_2,
    KIND_3,
    KIND_4
}

struct Label {
    string key;
    string value;
}

struct Affinity {
    Label label;
    bytes2 op;
}

struct JobDefinition {
    uint64 gpus; // of the whole job, not of a task
    uint64 memPerCpu; // MB
    uint64 cpusPerTask;
    uint64 ntasks;
    string batchLocationHash;
    StorageType storageType;
    Label[] uses;
    Affinity[] affinity;
}

// Credits, 18 decimals.
struct JobCost {
    uint256 maxCost;
    uint256 finalCost;
    uint256 pendingTopUp;
    bool delegateSpendingAuthority;
}

// Seconds since the epoch, but for blockNumberStateChange.
struct JobTime {
    uint256 submit;
    uint256 start;
    uint256 end;
    uint256 cancelRequestTimestamp;
    uint256 blockNumberStateChange;
    uint256 panicTimestamp;
}

struct Job {
    bytes32 jobId;
    JobStatus status;
    address customerAddr;
    address providerAddr;
    JobDefinition definition;
    JobCost cost;
    JobTime time;
    bytes32 jobName;
    bool hasCancelRequest;
    string lastError;
    int64 exitCode;
}

struct ProviderHardware {
    uint64 nodes;
    uint64[] gpusPerNode;
    uint64[] cpusPerNode;
    uint64[] memPerNode; // MB
}

// Credits for a GPU, a CPU, a MB and minute.
struct ProviderPrices {
    uint256 gpuPricePerMin;
    uint256 cpuPricePerMin;
    uint256 memPricePerMin;
}

struct Provider {
    address addr;
    ProviderHardware providerHardware;
    ProviderPrices providerPrices;
    Label[] labels;
    bool isBanned;
}
