// SPDX-License-Identifier: GPL-3.0-or-later
// Three queues for each provider, first in first out; only the owner (MetaScheduler) writes.
// A job that was cancelled, refused or timed out while it waited stays in the queue of claimable
// jobs and is skipped by the next claim: the size counts it. The other two may hold duplicates.
pragma solidity ^0.8.20;

import "./Access.sol";
import "./Interfaces.sol";

contract ProviderJobQueues is Ownable, IProviderJobQueues {
    struct Queue {
        int128 _begin;
        int128 _end;
        mapping(int128 => bytes32) _data;
    }

    error NoJob();
    error Empty();
    error OutOfBounds();

    IJobRepository public jobs;
    mapping(address => Queue) public providerClaimableJobsQueues;
    mapping(address => Queue) public providerCancellingJobsQueues;
    mapping(address => Queue) public providerTopUpJobsQueues;

    constructor(address _jobs) {
        jobs = IJobRepository(_jobs);
    }

    function hasNextClaimableJob(address _providerAddr) public view returns (bool) {
        Queue storage queue = providerClaimableJobsQueues[_providerAddr];
        for (uint256 i = 0; i < size(queue); i++)
            if (isClaimable(peek(queue, i), _providerAddr)) return true;
        return false;
    }

    function hasCancellingJob(address _providerAddr) public view returns (bool) {
        return size(providerCancellingJobsQueues[_providerAddr]) > 0;
    }

    function hasTopUpJob(address _providerAddr) public view returns (bool) {
        return size(providerTopUpJobsQueues[_providerAddr]) > 0;
    }

    function getClaimableJobQueueSize(address _providerAddr) public view returns (uint256 length) {
        return size(providerClaimableJobsQueues[_providerAddr]);
    }

    function getCancellingJobQueueSize(address _providerAddr) public view returns (uint256 length) {
        return size(providerCancellingJobsQueues[_providerAddr]);
    }

    function getTopUpJobQueueSize(address _providerAddr) public view returns (uint256 length) {
        return size(providerTopUpJobsQueues[_providerAddr]);
    }

    function pushClaimableJob(address _providerAddr, bytes32 _jobId) public onlyOwner {
        push(providerClaimableJobsQueues[_providerAddr], _jobId);
    }

    function pushCancellingJob(address _providerAddr, bytes32 _jobId) public onlyOwner {
        push(providerCancellingJobsQueues[_providerAddr], _jobId);
    }

    function pushTopUpJob(address _providerAddr, bytes32 _jobId) public onlyOwner {
        push(providerTopUpJobsQueues[_providerAddr], _jobId);
    }

    function popNextClaimableJob(address _providerAddr) public onlyOwner returns (bytes32 jobId) {
        Queue storage queue = providerClaimableJobsQueues[_providerAddr];
        while (size(queue) > 0) {
            jobId = pop(queue);
            if (isClaimable(jobId, _providerAddr)) return jobId;
        }
        revert NoJob();
    }

    function popNextCancellingJob(address _providerAddr) public onlyOwner returns (bytes32 jobId) {
        if (!hasCancellingJob(_providerAddr)) revert NoJob();
        return pop(providerCancellingJobsQueues[_providerAddr]);
    }

    function popNextTopUpJob(address _providerAddr) public onlyOwner returns (bytes32 jobId) {
        if (!hasTopUpJob(_providerAddr)) revert NoJob();
        return pop(providerTopUpJobsQueues[_providerAddr]);
    }

    function isClaimable(bytes32 jobId, address provider) private view returns (bool) {
        Job memory job = jobs.get(jobId);
        return job.status == JobStatus.META_SCHEDULED && job.providerAddr == provider;
    }

    function size(Queue storage queue) private view returns (uint256) {
        return uint256(int256(queue._end) - int256(queue._begin));
    }

    function peek(Queue storage queue, uint256 index) private view returns (bytes32) {
        if (index >= size(queue)) revert OutOfBounds();
        return queue._data[queue._begin + int128(int256(index))];
    }

    function push(Queue storage queue, bytes32 value) private {
        queue._data[queue._end++] = value;
    }

    function pop(Queue storage queue) private returns (bytes32 value) {
        if (queue._begin >= queue._end) revert Empty();
        value = queue._data[queue._begin];
        delete queue._data[queue._begin++];
    }
}
