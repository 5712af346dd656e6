// SPDX-License-Identifier: GPL-3.0-or-later
// The grid's parameters. cancellationFeeMinute and claimJobTimeout exist, but nothing reads them.
pragma solidity ^0.8.20;

import "./Access.sol";

contract Constants is Ownable {
    uint256 public minimumAmount = 100e18; // credits to lock for a job
    uint256 public deepsquareCut = 20; // per cent
    uint256 public billDurationDeltaMinute = 15; // a report may exceed the elapsed time by this
    uint64 public topUpSliceDurationMin = 30;
    uint256 public cancellationFeeMinute = 5;
    uint64 public claimJobTimeout = 10;

    function setMinimumAmount(uint256 _minimumAmount) public onlyOwner {
        minimumAmount = _minimumAmount;
    }

    function setDeepsquareCut(uint256 _deepsquareCut) public onlyOwner {
        deepsquareCut = _deepsquareCut;
    }

    function setBillDurationDeltaMinute(uint256 _billDurationDeltaMinute) public onlyOwner {
        billDurationDeltaMinute = _billDurationDeltaMinute;
    }

    function setTopUpSliceDurationMin(uint64 _topUpSliceDurationMin) public onlyOwner {
        topUpSliceDurationMin = _topUpSliceDurationMin;
    }

    function setCancellationFeeMinute(uint256 _cancellationFeeMinute) public onlyOwner {
        cancellationFeeMinute = _cancellationFeeMinute;
    }

    function setClaimJobTimeout(uint64 _claimJobTimeout) public onlyOwner {
        claimJobTimeout = _claimJobTimeout;
    }
}
