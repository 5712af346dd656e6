// SPDX-License-Identifier: GPL-3.0-or-later
// Keeps the jobs. Only the MetaScheduler contract (METASCHEDULER_ROLE) writes.
pragma solidity ^0.8.20;

import "./Access.sol";
import "./Interfaces.sol";

contract JobRepository is AccessControl, IJobRepository {
    bytes32 public constant METASCHEDULER_ROLE = keccak256("METASCHEDULER_ROLE");

    error InvalidJob();

    uint256 public jobIdCounter;
    mapping(bytes32 => Job) public jobs;
    mapping(address => bytes32[]) public jobIdByCustomer;

    modifier known(bytes32 _jobId) {
        if (_jobId == 0 || jobs[_jobId].jobId != _jobId) revert InvalidJob();
        _;
    }

    constructor() {
        setRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }

    // The id is ours to give: 1, 2, 3, ...
    function create(Job memory _job) public onlyRole(METASCHEDULER_ROLE) returns (bytes32) {
        _job.jobId = bytes32(++jobIdCounter);
        store(_job);
        jobIdByCustomer[_job.customerAddr].push(_job.jobId);
        emit JobCreated(_job.jobId);
        return _job.jobId;
    }

    function update(Job memory _job) public onlyRole(METASCHEDULER_ROLE) known(_job.jobId) {
        store(_job);
    }

    function get(bytes32 _jobId) public view known(_jobId) returns (Job memory) {
        return jobs[_jobId];
    }

    function getByCustomer(address customerAddr) public view returns (bytes32[] memory) {
        return jobIdByCustomer[customerAddr];
    }

    function setJobStatus(
        bytes32 _jobId,
        JobStatus _newStatus
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        JobStatus from = jobs[_jobId].status;
        jobs[_jobId].status = _newStatus;
        jobs[_jobId].time.blockNumberStateChange = block.number;
        emit JobTransitionEvent(_jobId, from, _newStatus);
    }

    function setCustomerAddr(
        bytes32 _jobId,
        address _customerAddr
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].customerAddr = _customerAddr;
    }

    function setProviderAddr(
        bytes32 _jobId,
        address _providerAddr
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].providerAddr = _providerAddr;
    }

    function setDefinition(
        bytes32 _jobId,
        JobDefinition memory _definition
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        storeDefinition(jobs[_jobId].definition, _definition);
    }

    function setCost(
        bytes32 _jobId,
        JobCost memory _cost
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].cost = _cost;
    }

    function setTime(
        bytes32 _jobId,
        JobTime memory _time
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].time = _time;
    }

    function setJobName(
        bytes32 _jobId,
        bytes32 _jobName
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].jobName = _jobName;
    }

    function setHasCancelRequest(
        bytes32 _jobId,
        bool _hasCancelRequest
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].hasCancelRequest = _hasCancelRequest;
    }

    function setLastError(
        bytes32 _jobId,
        string memory _error
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].lastError = _error;
    }

    function setExitCode(
        bytes32 _jobId,
        int64 _exitCode
    ) public onlyRole(METASCHEDULER_ROLE) known(_jobId) {
        jobs[_jobId].exitCode = _exitCode;
    }

    function store(Job memory _job) private {
        Job storage job = jobs[_job.jobId];
        job.jobId = _job.jobId;
        job.status = _job.status;
        job.customerAddr = _job.customerAddr;
        job.providerAddr = _job.providerAddr;
        storeDefinition(job.definition, _job.definition);
        job.cost = _job.cost;
        job.time = _job.time;
        job.jobName = _job.jobName;
        job.hasCancelRequest = _job.hasCancelRequest;
        job.lastError = _job.lastError;
        job.exitCode = _job.exitCode;
    }

    function storeDefinition(JobDefinition storage to, JobDefinition memory from) private {
        to.gpus = from.gpus;
        to.memPerCpu = from.memPerCpu;
        to.cpusPerTask = from.cpusPerTask;
        to.ntasks = from.ntasks;
        to.batchLocationHash = from.batchLocationHash;
        to.storageType = from.storageType;
        delete to.uses;
        for (uint256 i = 0; i < from.uses.length; i++) to.uses.push(from.uses[i]);
        delete to.affinity;
        for (uint256 i = 0; i < from.affinity.length; i++) to.affinity.push(from.affinity[i]);
    }
}
