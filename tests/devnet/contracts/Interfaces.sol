// SPDX-License-Identifier: GPL-3.0-or-later
// How the contracts see one another.
pragma solidity ^0.8.20;

import "./Types.sol";

interface IERC20 {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    function totalSupply() external view returns (uint256);

    function balanceOf(address account) external view returns (uint256);

    function transfer(address to, uint256 amount) external returns (bool);

    function allowance(address owner, address spender) external view returns (uint256);

    function approve(address spender, uint256 amount) external returns (bool);

    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

interface IJobRepository {
    event JobCreated(bytes32 _jobId);
    event JobTransitionEvent(bytes32 _jobId, JobStatus _from, JobStatus _to);

    function create(Job memory _job) external returns (bytes32);

    function update(Job memory _job) external;

    function get(bytes32 _jobId) external view returns (Job memory);

    function getByCustomer(address customerAddr) external view returns (bytes32[] memory);

    function setJobStatus(bytes32 _jobId, JobStatus _newStatus) external;

    function setCustomerAddr(bytes32 _jobId, address _customerAddr) external;

    function setProviderAddr(bytes32 _jobId, address _providerAddr) external;

    function setDefinition(bytes32 _jobId, JobDefinition memory _definition) external;

    function setCost(bytes32 _jobId, JobCost memory _cost) external;

    function setTime(bytes32 _jobId, JobTime memory _time) external;

    function setJobName(bytes32 _jobId, bytes32 _jobName) external;

    function setHasCancelRequest(bytes32 _jobId, bool _hasCancelRequest) external;

    function setLastError(bytes32 _jobId, string memory _error) external;

    function setExitCode(bytes32 _jobId, int64 _exitCode) external;
}

interface IProviderManager {
    event ProviderWaitingForApproval(address addr);
    event ProviderApproved(address addr);
    event ProviderRemoved(address addr);
    event ProviderBanChanged(address addr, bool status);

    function register(
        ProviderHardware memory _hardware,
        ProviderPrices memory _prices,
        Label[] memory _labels
    ) external;

    function approve(address _providerAddr) external;

    function remove(address _providerAddr) external;

    function ban(address _providerAddr) external;

    function unban(address _providerAddr) external;

    function incJobCount(address _providerAddr) external;

    function isBanned(address _providerAddr) external view returns (bool);

    function isWaitingForApproval(address _providerAddr) external view returns (bool);

    function isValidForScheduling(address _providerAddr) external view returns (bool);

    function getProvider(address _providerAddr) external view returns (Provider memory);

    function getWaitingForApprovalProvider(
        address _providerAddr
    ) external view returns (Provider memory);

    function getProviderHardware(
        address _providerAddr
    ) external view returns (ProviderHardware memory);

    function getProviderPrices(address _providerAddr) external view returns (ProviderPrices memory);

    function getLabels(address _providerAddr) external view returns (Label[] memory);

    function getJobCount(address _providerAddr) external view returns (uint64);
}

interface IProviderJobQueues {
    function hasNextClaimableJob(address _providerAddr) external view returns (bool);

    function hasCancellingJob(address _providerAddr) external view returns (bool);

    function hasTopUpJob(address _providerAddr) external view returns (bool);

    function getClaimableJobQueueSize(address _providerAddr) external returns (uint256 length);

    function getCancellingJobQueueSize(address _providerAddr) external returns (uint256 length);

    function getTopUpJobQueueSize(address _providerAddr) external returns (uint256 length);

    function pushClaimableJob(address _providerAddr, bytes32 _jobId) external;

    function pushCancellingJob(address _providerAddr, bytes32 _jobId) external;

    function pushTopUpJob(address _providerAddr, bytes32 _jobId) external;

    function popNextClaimableJob(address _providerAddr) external returns (bytes32 jobId);

    function popNextCancellingJob(address _providerAddr) external returns (bytes32 jobId);

    function popNextTopUpJob(address _providerAddr) external returns (bytes32 jobId);
}
