// SPDX-License-Identifier: GPL-3.0-or-later
// Who may run jobs, on what hardware and at what price. A provider registers and waits for the
// operator's approval; what was approved before stays valid until then. (The public grid's
// contract also keeps a linked list of the providers for web pages; nobody here reads it.)
pragma solidity ^0.8.20;

import "./Access.sol";
import "./Interfaces.sol";

contract ProviderManager is AccessControl, IProviderManager {
    bytes32 public constant METASCHEDULER_ROLE = keccak256("METASCHEDULER_ROLE");
    bytes32 public constant METASCHEDULER_CONTRACT_ROLE = keccak256("METASCHEDULER_CONTRACT_ROLE");

    error AlreadyDone();
    error ArrayLengthMismatch();
    error Banned();
    error InvalidNodesCount();
    error InvalidTotalCpus();
    error InvalidTotalMem();
    error NoProvider();
    error WaitingApprovalOnly();

    mapping(address => Provider) public providers;
    mapping(address => Provider) public waitingApprovalProviders;
    mapping(address => uint64) public jobCountByProvider;

    modifier registered(address _providerAddr) {
        if (!isKnown(_providerAddr)) revert NoProvider();
        _;
    }

    constructor() {
        setRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }

    function register(
        ProviderHardware memory _hardware,
        ProviderPrices memory _prices,
        Label[] memory _labels
    ) public {
        if (isBanned(msg.sender)) revert Banned();
        checkHardware(_hardware);
        store(
            waitingApprovalProviders[msg.sender],
            Provider(msg.sender, _hardware, _prices, _labels, false)
        );
        emit ProviderWaitingForApproval(msg.sender);
    }

    function approve(address _providerAddr) public onlyRole(METASCHEDULER_ROLE) {
        if (!isWaitingForApproval(_providerAddr)) revert WaitingApprovalOnly();
        store(providers[_providerAddr], waitingApprovalProviders[_providerAddr]);
        delete waitingApprovalProviders[_providerAddr];
        emit ProviderApproved(_providerAddr);
    }

    function remove(
        address _providerAddr
    ) public onlyRole(METASCHEDULER_ROLE) registered(_providerAddr) {
        delete providers[_providerAddr];
        emit ProviderRemoved(_providerAddr);
    }

    function ban(
        address _providerAddr
    ) public onlyRole(METASCHEDULER_ROLE) registered(_providerAddr) {
        setBan(_providerAddr, true);
    }

    function unban(
        address _providerAddr
    ) public onlyRole(METASCHEDULER_ROLE) registered(_providerAddr) {
        setBan(_providerAddr, false);
    }

    function incJobCount(
        address _providerAddr
    ) public onlyRole(METASCHEDULER_CONTRACT_ROLE) registered(_providerAddr) {
        jobCountByProvider[_providerAddr]++;
    }

    function isBanned(address _providerAddr) public view returns (bool) {
        return providers[_providerAddr].isBanned;
    }

    function isWaitingForApproval(address _providerAddr) public view returns (bool) {
        return waitingApprovalProviders[_providerAddr].addr != address(0);
    }

    function isValidForScheduling(address _providerAddr) public view returns (bool) {
        return isKnown(_providerAddr) && !isBanned(_providerAddr);
    }

    function getProvider(
        address _providerAddr
    ) public view registered(_providerAddr) returns (Provider memory) {
        return providers[_providerAddr];
    }

    function getWaitingForApprovalProvider(
        address _providerAddr
    ) public view returns (Provider memory) {
        if (!isWaitingForApproval(_providerAddr)) revert NoProvider();
        return waitingApprovalProviders[_providerAddr];
    }

    function getProviderHardware(
        address _providerAddr
    ) public view registered(_providerAddr) returns (ProviderHardware memory) {
        return providers[_providerAddr].providerHardware;
    }

    function getProviderPrices(
        address _providerAddr
    ) public view registered(_providerAddr) returns (ProviderPrices memory) {
        return providers[_providerAddr].providerPrices;
    }

    function getLabels(
        address _providerAddr
    ) public view registered(_providerAddr) returns (Label[] memory) {
        return providers[_providerAddr].labels;
    }

    function getJobCount(address _providerAddr) public view returns (uint64) {
        return jobCountByProvider[_providerAddr];
    }

    function isKnown(address provider) private view returns (bool) {
        return providers[provider].addr != address(0);
    }

    function checkHardware(ProviderHardware memory hardware) private pure {
        if (hardware.nodes == 0) revert InvalidNodesCount();
        if (
            hardware.gpusPerNode.length != hardware.nodes ||
            hardware.cpusPerNode.length != hardware.nodes ||
            hardware.memPerNode.length != hardware.nodes
        ) revert ArrayLengthMismatch();
        if (sum(hardware.cpusPerNode) == 0) revert InvalidTotalCpus();
        if (sum(hardware.memPerNode) == 0) revert InvalidTotalMem();
    }

    function sum(uint64[] memory values) private pure returns (uint256 total) {
        for (uint256 i = 0; i < values.length; i++) total += values[i];
    }

    function setBan(address provider, bool banned) private {
        if (providers[provider].isBanned == banned) revert AlreadyDone();
        providers[provider].isBanned = banned;
        emit ProviderBanChanged(provider, banned);
    }

    function store(Provider storage to, Provider memory from) private {
        to.addr = from.addr;
        to.providerHardware = from.providerHardware;
        to.providerPrices = from.providerPrices;
        to.isBanned = from.isBanned;
        delete to.labels;
        for (uint256 i = 0; i < from.labels.length; i++) to.labels.push(from.labels[i]);
    }
}
