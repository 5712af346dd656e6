// SPDX-License-Identifier: GPL-3.0-or-later
// The grid's market: customers lock credits for jobs, the operator gives a job to a provider, the
// provider claims it and reports what became of it, and is paid at the end.
pragma solidity ^0.8.20;

import "./Access.sol";
import "./Constants.sol";
import "./Interfaces.sol";
import "./Tools.sol";

contract MetaScheduler is AccessControl {
    bytes32 public constant METASCHEDULER_ROLE = keccak256("METASCHEDULER_ROLE");

    event NewJobRequestEvent(bytes32 _jobId, address _customerAddr);
    event ClaimJobEvent(
        address customerAddr,
        address providerAddr,
        bytes32 jobId,
        uint64 maxDurationMinute,
        JobDefinition jobDefinition
    );
    event ClaimNextCancellingJobEvent(address customerAddr, address providerAddr, bytes32 jobId);
    event ClaimNextTopUpJobEvent(bytes32 _jobId, address _providerAddr, uint64 maxDurationMinute);
    event JobRefusedEvent(bytes32 _jobId, address _providerAddr, address _customerAddr);
    event BilledTooMuchEvent(bytes32 _jobId, address _providerAddr, uint256 _billingAmount);

    error NewJobRequestDisabled();
    error InsufficientFunds(uint256 available, uint256 required);
    error InvalidJobDefinition();
    error ProviderNotJoined();
    error CustomerOnly(address current, address expected);
    error JobProviderOnly(address current, address expected);
    error CustomerMetaSchedulerProviderOnly();
    error NoSpendingAuthority();
    error RemainingTimeAboveLimit(uint256 remaining, uint256 limit);
    error JobHotStatusOnly(JobStatus current);
    error RunningColdStatusOnly(JobStatus current);
    error RunningScheduledStatusOnly(JobStatus current);
    error MetaScheduledScheduledStatusOnly(JobStatus current);

    IERC20 public credit;
    Constants public constants;
    IProviderManager public providerManager;
    IProviderJobQueues public providerJobQueues;
    IJobRepository public jobs;
    bool public enableRequestNewJob = true;

    modifier onlyJoined() {
        if (!providerManager.isValidForScheduling(msg.sender)) revert ProviderNotJoined();
        _;
    }

    constructor(
        IERC20 _credit,
        Constants _constants,
        IProviderManager _providerManager,
        IProviderJobQueues _providerJobQueues,
        IJobRepository _jobs
    ) {
        credit = _credit;
        constants = _constants;
        providerManager = _providerManager;
        providerJobQueues = _providerJobQueues;
        jobs = _jobs;
        setRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }

    // Customers.

    function requestNewJob(
        JobDefinition memory _definition,
        uint256 _lockedCredits,
        bytes32 _jobName,
        bool _delegateSpendingAuthority
    ) public returns (bytes32) {
        if (!enableRequestNewJob) revert NewJobRequestDisabled();
        if (_lockedCredits < constants.minimumAmount())
            revert InsufficientFunds(_lockedCredits, constants.minimumAmount());
        if (!Tools.isJobDefinitionValid(_definition)) revert InvalidJobDefinition();

        Job memory job;
        job.customerAddr = msg.sender;
        job.definition = _definition;
        job.cost.maxCost = _lockedCredits;
        job.cost.delegateSpendingAuthority = _delegateSpendingAuthority;
        job.time.submit = block.timestamp;
        job.time.blockNumberStateChange = block.number;
        job.jobName = _jobName;
        bytes32 jobId = jobs.create(job);
        credit.transferFrom(msg.sender, address(this), _lockedCredits);
        emit NewJobRequestEvent(jobId, msg.sender);
        return jobId;
    }

    // A running job is only marked: its provider is told through the queue, each time it is asked.
    function cancelJob(bytes32 _jobId) public {
        Job memory job = jobs.get(_jobId);
        if (msg.sender != job.customerAddr) revert CustomerOnly(msg.sender, job.customerAddr);
        if (Tools.isJobCold(job.status)) revert JobHotStatusOnly(job.status);
        if (job.status != JobStatus.RUNNING) {
            refund(job, JobStatus.CANCELLED);
            return;
        }
        job.time.cancelRequestTimestamp = block.timestamp;
        jobs.setTime(_jobId, job.time);
        jobs.setHasCancelRequest(_jobId, true);
        providerJobQueues.pushCancellingJob(job.providerAddr, _jobId);
    }

    function topUpJob(bytes32 _jobId, uint256 _amount) public {
        Job memory job = jobs.get(_jobId);
        if (!Tools.isDelegateTopable(job.status)) revert RunningScheduledStatusOnly(job.status);
        topUp(job, msg.sender, _amount);
    }

    function topUpJobDelegate(bytes32 _jobId) public {
        Job memory job = jobs.get(_jobId);
        if (
            msg.sender != job.customerAddr &&
            msg.sender != job.providerAddr &&
            !hasRole(METASCHEDULER_ROLE, msg.sender)
        ) revert CustomerMetaSchedulerProviderOnly();
        if (!job.cost.delegateSpendingAuthority) revert NoSpendingAuthority();
        if (!Tools.isDelegateTopable(job.status)) revert RunningScheduledStatusOnly(job.status);
        ProviderPrices memory prices = providerManager.getProviderPrices(job.providerAddr);
        uint64 slice = constants.topUpSliceDurationMin();
        uint64 remaining = Tools.getRemainingTime(job, prices);
        if (remaining > slice) revert RemainingTimeAboveLimit(remaining, slice);
        topUp(job, job.customerAddr, Tools.convertDurationToCredit(job.definition, prices, slice));
    }

    function setDelegateSpendingAuthority(
        bytes32 _jobId,
        bool _delegateSpendingAuthority
    ) public {
        Job memory job = jobs.get(_jobId);
        if (msg.sender != job.customerAddr) revert CustomerOnly(msg.sender, job.customerAddr);
        if (Tools.isJobCold(job.status)) revert JobHotStatusOnly(job.status);
        job.cost.delegateSpendingAuthority = _delegateSpendingAuthority;
        jobs.setCost(_jobId, job.cost);
    }

    // The operator.

    function metaSchedule(
        bytes32 _jobId,
        address _providerAddr
    ) public onlyRole(METASCHEDULER_ROLE) {
        if (!providerManager.isValidForScheduling(_providerAddr)) revert ProviderNotJoined();
        Job memory job = jobs.get(_jobId);
        Tools.checkNewJobStatus(job.status, JobStatus.META_SCHEDULED);
        jobs.setProviderAddr(_jobId, _providerAddr);
        jobs.setJobStatus(_jobId, JobStatus.META_SCHEDULED);
        providerJobQueues.pushClaimableJob(_providerAddr, _jobId);
    }

    // Takes a job back from its provider. The name promises a check of the time; there is none.
    function timeoutJob(bytes32 _jobId) public onlyRole(METASCHEDULER_ROLE) {
        Job memory job = jobs.get(_jobId);
        Tools.checkNewJobStatus(job.status, JobStatus.PENDING);
        giveBack(job);
    }

    // Always a full refund, also of a running job; its provider is not told.
    function panicJob(
        bytes32 _jobId,
        string memory _lastError
    ) public onlyRole(METASCHEDULER_ROLE) {
        Job memory job = jobs.get(_jobId);
        if (Tools.isJobCold(job.status)) revert JobHotStatusOnly(job.status);
        jobs.setLastError(_jobId, _lastError);
        refund(job, JobStatus.PANICKED);
    }

    // Providers.

    function claimNextJob() public onlyJoined {
        bytes32 jobId = providerJobQueues.popNextClaimableJob(msg.sender);
        Job memory job = jobs.get(jobId);
        uint64 maxDurationMinute = Tools.convertCreditToDuration(
            job.definition,
            providerManager.getProviderPrices(msg.sender),
            job.cost.maxCost
        );
        emit ClaimJobEvent(
            job.customerAddr,
            msg.sender,
            jobId,
            maxDurationMinute,
            job.definition
        );
        jobs.setJobStatus(jobId, JobStatus.SCHEDULED);
    }

    function claimNextCancellingJob() public onlyJoined {
        bytes32 jobId = providerJobQueues.popNextCancellingJob(msg.sender);
        emit ClaimNextCancellingJobEvent(jobs.get(jobId).customerAddr, msg.sender, jobId);
    }

    // Tells the minutes of all top-ups that were not told yet; the next entry then tells 0.
    function claimNextTopUpJob() public onlyJoined {
        bytes32 jobId = providerJobQueues.popNextTopUpJob(msg.sender);
        Job memory job = jobs.get(jobId);
        uint64 minutesMore = Tools.convertCreditToDuration(
            job.definition,
            providerManager.getProviderPrices(msg.sender),
            job.cost.pendingTopUp
        );
        job.cost.pendingTopUp = 0;
        jobs.setCost(jobId, job.cost);
        emit ClaimNextTopUpJobEvent(jobId, msg.sender, minutesMore);
    }

    function refuseJob(bytes32 _jobId) public {
        Job memory job = jobs.get(_jobId);
        if (msg.sender != job.providerAddr) revert JobProviderOnly(msg.sender, job.providerAddr);
        if (job.status != JobStatus.META_SCHEDULED && job.status != JobStatus.SCHEDULED)
            revert MetaScheduledScheduledStatusOnly(job.status);
        giveBack(job);
    }

    function providerSetJobStatus(
        bytes32 _jobId,
        JobStatus _nextJobStatus,
        uint64 _jobDurationMinute,
        string memory _lastError,
        int64 _exitCode
    ) public onlyJoined {
        Job memory job = jobs.get(_jobId);
        if (msg.sender != job.providerAddr) revert JobProviderOnly(msg.sender, job.providerAddr);
        if (_nextJobStatus < JobStatus.RUNNING) revert RunningColdStatusOnly(_nextJobStatus);
        Tools.checkNewJobStatus(job.status, _nextJobStatus);

        if (bytes(_lastError).length > 0) jobs.setLastError(_jobId, _lastError);
        jobs.setExitCode(_jobId, _exitCode);
        if (_nextJobStatus == JobStatus.RUNNING) {
            job.time.start = block.timestamp;
            jobs.setTime(_jobId, job.time);
            providerManager.incJobCount(msg.sender);
            jobs.setJobStatus(_jobId, JobStatus.RUNNING);
        } else if (job.status == JobStatus.RUNNING) {
            bill(job, _nextJobStatus, _jobDurationMinute);
        } else {
            refund(job, _nextJobStatus);
        }
    }

    // The administrator.

    function setEnableRequestNewJob(bool _enable) public onlyRole(DEFAULT_ADMIN_ROLE) {
        enableRequestNewJob = _enable;
    }

    function withdrawAdmin(uint256 _amount) public onlyRole(DEFAULT_ADMIN_ROLE) {
        credit.transfer(msg.sender, _amount);
    }

    // Steps that several of the above share.

    function topUp(Job memory job, address payer, uint256 amount) private {
        job.cost.maxCost += amount;
        job.cost.pendingTopUp += amount;
        jobs.setCost(job.jobId, job.cost);
        credit.transferFrom(payer, address(this), amount);
        providerJobQueues.pushTopUpJob(job.providerAddr, job.jobId);
    }

    function giveBack(Job memory job) private {
        emit JobRefusedEvent(job.jobId, job.providerAddr, job.customerAddr);
        jobs.setProviderAddr(job.jobId, address(0));
        jobs.setJobStatus(job.jobId, JobStatus.PENDING);
    }

    function refund(Job memory job, JobStatus status) private {
        credit.transfer(job.customerAddr, job.cost.maxCost);
        close(job, status, 0);
    }

    function bill(Job memory job, JobStatus status, uint64 reported) private {
        uint256 elapsed = (block.timestamp - job.time.start) / 60;
        uint64 billed = reported == 0 ? 1 : reported;
        if (billed > elapsed + constants.billDurationDeltaMinute()) {
            emit BilledTooMuchEvent(job.jobId, job.providerAddr, billed);
            billed = uint64(elapsed);
        }
        uint256 cost = Tools.convertDurationToCredit(
            job.definition,
            providerManager.getProviderPrices(job.providerAddr),
            billed
        );
        if (cost > job.cost.maxCost) cost = job.cost.maxCost;
        credit.transfer(job.providerAddr, cost - (cost * constants.deepsquareCut()) / 100);
        credit.transfer(job.customerAddr, job.cost.maxCost - cost);
        close(job, status, cost);
    }

    function close(Job memory job, JobStatus status, uint256 cost) private {
        job.cost.finalCost = cost;
        jobs.setCost(job.jobId, job.cost);
        job.time.end = block.timestamp;
        if (status == JobStatus.PANICKED) job.time.panicTimestamp = block.timestamp;
        jobs.setTime(job.jobId, job.time);
        jobs.setJobStatus(job.jobId, status);
    }
}
