// SPDX-License-Identifier: GPL-3.0-or-later
// Rules that need no storage: which transition is allowed, what a minute costs. A linked library,
// so that its errors come from a DELEGATECALL, as they do on the public grid.
pragma solidity ^0.8.20;

import "./Types.sol";

library Tools {
    error SameStatusError();
    error JobHotStatusOnly(JobStatus current);
    error InvalidTransition(JobStatus from, JobStatus to);

    function isJobCold(JobStatus _jobStatus) public pure returns (bool) {
        return _jobStatus >= JobStatus.CANCELLED;
    }

    function isJobHot(JobStatus _jobStatus) public pure returns (bool) {
        return _jobStatus < JobStatus.CANCELLED;
    }

    function isDelegateTopable(JobStatus _jobStatus) public pure returns (bool) {
        return _jobStatus == JobStatus.SCHEDULED || _jobStatus == JobStatus.RUNNING;
    }

    function isJobDefinitionValid(JobDefinition memory _jobDefinition) public pure returns (bool) {
        return
            _jobDefinition.ntasks > 0 &&
            _jobDefinition.cpusPerTask > 0 &&
            _jobDefinition.memPerCpu > 0;
    }

    function checkNewJobStatus(
        JobStatus _currentJobStatus,
        JobStatus _nextJobStatus
    ) public pure {
        if (_currentJobStatus == _nextJobStatus) revert SameStatusError();
        if (isJobCold(_currentJobStatus)) revert JobHotStatusOnly(_currentJobStatus);
        if ((successors(_currentJobStatus) >> uint8(_nextJobStatus)) & 1 == 0)
            revert InvalidTransition(_currentJobStatus, _nextJobStatus);
    }

    // Whole minutes that an amount pays for. No prices: division by zero, Panic(0x12).
    function convertCreditToDuration(
        JobDefinition memory jobDefinition,
        ProviderPrices memory providerPrices,
        uint256 amountLocked
    ) public pure returns (uint64) {
        return uint64(amountLocked / pricePerMinute(jobDefinition, providerPrices));
    }

    function convertDurationToCredit(
        JobDefinition memory jobDefinition,
        ProviderPrices memory providerPrices,
        uint64 durationMinute
    ) public pure returns (uint256) {
        return uint256(durationMinute) * pricePerMinute(jobDefinition, providerPrices);
    }

    // Minutes left of what was paid for. When that time is over: underflow, Panic(0x11).
    function getRemainingTime(
        Job memory job,
        ProviderPrices memory providerPrices
    ) public view returns (uint64) {
        uint64 paid = convertCreditToDuration(job.definition, providerPrices, job.cost.maxCost);
        if (job.status != JobStatus.RUNNING) return paid;
        return paid - uint64((block.timestamp - job.time.start) / 60);
    }

    function pricePerMinute(
        JobDefinition memory job,
        ProviderPrices memory prices
    ) private pure returns (uint256) {
        uint256 task = uint256(job.cpusPerTask) *
            prices.cpuPricePerMin +
            uint256(job.cpusPerTask) *
            job.memPerCpu *
            prices.memPricePerMin;
        return job.ntasks * task + job.gpus * prices.gpuPricePerMin;
    }

    // The statuses that may follow, one bit each.
    function successors(JobStatus status) private pure returns (uint16) {
        if (status == JobStatus.PENDING)
            return
                bit(JobStatus.META_SCHEDULED) | bit(JobStatus.CANCELLED) | bit(JobStatus.PANICKED);
        if (status == JobStatus.META_SCHEDULED)
            return
                bit(JobStatus.PENDING) |
                bit(JobStatus.SCHEDULED) |
                bit(JobStatus.CANCELLED) |
                bit(JobStatus.PANICKED);
        if (status == JobStatus.SCHEDULED)
            return
                bit(JobStatus.PENDING) |
                bit(JobStatus.RUNNING) |
                bit(JobStatus.CANCELLED) |
                bit(JobStatus.FAILED) |
                bit(JobStatus.PANICKED);
        return
            bit(JobStatus.CANCELLED) |
            bit(JobStatus.FINISHED) |
            bit(JobStatus.FAILED) |
            bit(JobStatus.OUT_OF_CREDITS) |
            bit(JobStatus.PANICKED);
    }

    function bit(JobStatus status) private pure returns (uint16) {
        return uint16(1) << uint8(status);
    }
}
