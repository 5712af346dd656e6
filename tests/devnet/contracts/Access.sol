// SPDX-License-Identifier: GPL-3.0-or-later
// Who may call what: roles and owners, with the interface and the error texts that wallets know.
pragma solidity ^0.8.20;

abstract contract AccessControl {
    bytes32 public constant DEFAULT_ADMIN_ROLE = 0x00;

    event RoleGranted(bytes32 indexed role, address indexed account, address indexed sender);
    event RoleRevoked(bytes32 indexed role, address indexed account, address indexed sender);
    event RoleAdminChanged(
        bytes32 indexed role,
        bytes32 indexed previousAdminRole,
        bytes32 indexed newAdminRole
    );

    mapping(bytes32 => mapping(address => bool)) private members;
    mapping(bytes32 => bytes32) private admins;

    modifier onlyRole(bytes32 role) {
        checkRole(role, msg.sender);
        _;
    }

    function hasRole(bytes32 role, address account) public view returns (bool) {
        return members[role][account];
    }

    // Zero (never written) is DEFAULT_ADMIN_ROLE: it administers every role.
    function getRoleAdmin(bytes32 role) public view returns (bytes32) {
        return admins[role];
    }

    function grantRole(bytes32 role, address account) public onlyRole(getRoleAdmin(role)) {
        setRole(role, account);
    }

    function revokeRole(bytes32 role, address account) public onlyRole(getRoleAdmin(role)) {
        unsetRole(role, account);
    }

    function renounceRole(bytes32 role, address account) public {
        require(account == msg.sender, "AccessControl: can only renounce roles for self");
        unsetRole(role, account);
    }

    // ERC-165: this function itself, and the access control interface.
    function supportsInterface(bytes4 interfaceId) public view virtual returns (bool) {
        return interfaceId == 0x01ffc9a7 || interfaceId == 0x7965db0b;
    }

    function setRole(bytes32 role, address account) internal {
        if (members[role][account]) return;
        members[role][account] = true;
        emit RoleGranted(role, account, msg.sender);
    }

    function unsetRole(bytes32 role, address account) internal {
        if (!members[role][account]) return;
        members[role][account] = false;
        emit RoleRevoked(role, account, msg.sender);
    }

    function checkRole(bytes32 role, address account) internal view {
        if (members[role][account]) return;
        revert(
            string.concat(
                "AccessControl: account ",
                toHex(uint256(uint160(account)), 20),
                " is missing role ",
                toHex(uint256(role), 32)
            )
        );
    }

    function toHex(uint256 value, uint256 size) private pure returns (string memory) {
        bytes memory text = new bytes(2 + 2 * size);
        text[0] = "0";
        text[1] = "x";
        for (uint256 i = text.length; i > 2; i--) {
            text[i - 1] = bytes16("0123456789abcdef")[value & 15];
            value >>= 4;
        }
        return string(text);
    }
}

abstract contract Ownable {
    address public owner;

    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    modifier onlyOwner() {
        require(owner == msg.sender, "Ownable: caller is not the owner");
        _;
    }

    constructor() {
        setOwner(msg.sender);
    }

    function renounceOwnership() public onlyOwner {
        setOwner(address(0));
    }

    function transferOwnership(address newOwner) public onlyOwner {
        require(newOwner != address(0), "Ownable: new owner is the zero address");
        setOwner(newOwner);
    }

    function setOwner(address newOwner) private {
        emit OwnershipTransferred(owner, newOwner);
        owner = newOwner;
    }
}
