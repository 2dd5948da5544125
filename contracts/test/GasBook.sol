// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "./Cheats.sol";

/// The gas of each kind of transaction, against the file that is committed: equal, or the test fails and says where. With
/// `GLACIER_GAS=write` in the environment the file is written instead (in one thread, `-j 1`); a new kind is added there by hand
/// with any number.
abstract contract GasBook {
    event Measured(string what, uint256 gas);
    event Differs(string what, uint256 measured, uint256 committed);

    string internal constant GAS_FILE = "gas.json";

    bool private stale;

    /// What the last call used: the whole transaction, its base and its calldata.
    function note(string memory what) internal {
        put(what, vm.lastCallGas().gasTotalUsed);
    }

    function put(string memory what, uint256 gas) internal {
        emit Measured(what, gas);
        uint256 known = committed(what);
        if (known == gas) return;
        if (keccak256(bytes(vm.envOr("GLACIER_GAS", string("")))) == keccak256("write")) {
            return vm.writeJson(vm.toString(gas), GAS_FILE, string.concat(".", what));
        }
        emit Differs(what, gas, known);
        stale = true;
    }

    function committed(string memory what) internal view returns (uint256) {
        return vm.parseJsonUint(vm.readFile(GAS_FILE), string.concat(".", what));
    }

    /// At the end of a test.
    function close() internal view {
        require(!stale, "gas.json is stale: GLACIER_GAS=write forge test -j 1 --match-path 'test/StackGas*'");
    }
}
