// SPDX-License-Identifier: GPL-3.0-or-later
// The token that jobs are paid with: a plain ERC-20 with 18 decimals, minted by its owner.
pragma solidity ^0.8.20;

import "./Access.sol";
import "./Interfaces.sol";

contract Credit is Ownable, IERC20 {
    string public constant name = "Credit";
    string public constant symbol = "CRED";
    uint8 public constant decimals = 18;

    uint256 public totalSupply;
    mapping(address => uint256) private balances;
    mapping(address => mapping(address => uint256)) private allowances;

    constructor(uint256 _amountWei) {
        create(msg.sender, _amountWei);
    }

    function mint(address account, uint256 _amountWei) public onlyOwner {
        create(account, _amountWei);
    }

    function balanceOf(address account) public view returns (uint256) {
        return balances[account];
    }

    function allowance(address owner, address spender) public view returns (uint256) {
        return allowances[owner][spender];
    }

    function approve(address spender, uint256 amount) public returns (bool) {
        setAllowance(msg.sender, spender, amount);
        return true;
    }

    function increaseAllowance(address spender, uint256 addedValue) public returns (bool) {
        setAllowance(msg.sender, spender, allowances[msg.sender][spender] + addedValue);
        return true;
    }

    function decreaseAllowance(address spender, uint256 subtractedValue) public returns (bool) {
        uint256 current = allowances[msg.sender][spender];
        require(current >= subtractedValue, "ERC20: decreased allowance below zero");
        setAllowance(msg.sender, spender, current - subtractedValue);
        return true;
    }

    function transfer(address to, uint256 amount) public returns (bool) {
        move(msg.sender, to, amount);
        return true;
    }

    // The largest allowance is endless and is not written down, so it gives no Approval event.
    function transferFrom(address from, address to, uint256 amount) public returns (bool) {
        uint256 current = allowances[from][msg.sender];
        if (current != type(uint256).max) {
            require(current >= amount, "ERC20: insufficient allowance");
            setAllowance(from, msg.sender, current - amount);
        }
        move(from, to, amount);
        return true;
    }

    function setAllowance(address holder, address spender, uint256 amount) private {
        require(holder != address(0), "ERC20: approve from the zero address");
        require(spender != address(0), "ERC20: approve to the zero address");
        allowances[holder][spender] = amount;
        emit Approval(holder, spender, amount);
    }

    function move(address from, address to, uint256 amount) private {
        require(from != address(0), "ERC20: transfer from the zero address");
        require(to != address(0), "ERC20: transfer to the zero address");
        require(balances[from] >= amount, "ERC20: transfer amount exceeds balance");
        balances[from] -= amount;
        balances[to] += amount;
        emit Transfer(from, to, amount);
    }

    function create(address account, uint256 amount) private {
        require(account != address(0), "ERC20: mint to the zero address");
        totalSupply += amount;
        balances[account] += amount;
        emit Transfer(address(0), account, amount);
    }
}
