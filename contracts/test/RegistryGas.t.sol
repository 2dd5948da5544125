// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Verdict} from "../src/Types.sol";
import {vm} from "./Cheats.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

/// What the registry adds to the verification of a quote: the whole transaction, less its base and calldata and less
/// what the verifier used. The call of the verifier's cold account is counted in.
contract RegistryGasTest is RegistryFixture {
    /// The mock reads one slot that was written before, and decodes.
    uint256 private constant VERIFY = 3_700;
    uint256 private constant VERIFY_KEPT = 1_300;

    function test_a_first_registration_adds_at_most_63000() external {
        _spend();
        bytes memory quote = _quote(_verdict(CHIP, key, OWNER, 0));
        registry.register(quote, "", key, OWNER, address(0));
        uint256 spent = vm.lastCallGas().gasTotalUsed;
        _atMost(
            "first registration, registry's part",
            spent - VERIFY - _base(abi.encodeCall(registry.register, (quote, "", key, OWNER, address(0)))),
            63_000
        );
    }

    function test_a_further_registration_adds_at_most_53000() external {
        _register(CHIP, key, address(0));
        bytes memory quote = _quote(_verdict(CHIP, otherKey, OWNER, 1));
        registry.register(quote, "", otherKey, OWNER, key);
        uint256 spent = vm.lastCallGas().gasTotalUsed;
        _atMost(
            "further registration, registry's part",
            spent - VERIFY - _base(abi.encodeCall(registry.register, (quote, "", otherKey, OWNER, key))),
            53_000
        );
    }

    function test_a_kept_renewal_adds_at_most_22000() external {
        _register(CHIP, key, address(0));
        Verdict memory verdict = _verdict(CHIP, key, OWNER, uint32(VALID_UNTIL));
        verdict.validUntil += 10;
        bytes memory quote = _quote(verdict);
        registry.renewKept(quote, "", "", CHIP, key);
        uint256 spent = vm.lastCallGas().gasTotalUsed;
        _atMost(
            "kept renewal, registry's part",
            spent - VERIFY_KEPT - _base(abi.encodeCall(registry.renewKept, (quote, "", "", CHIP, key))),
            22_000
        );
    }

    /// Somebody registered today, so that the answers of router and policy are kept, and the mock's slot is written.
    function _spend() private {
        _register(OTHER_CHIP, vm.addr(77), address(0));
    }

    /// 21,000 and what the calldata costs.
    function _base(bytes memory data) private pure returns (uint256 gas) {
        gas = 21_000;
        for (uint256 i; i < data.length; ++i) {
            gas += data[i] == 0 ? 4 : 16;
        }
    }

    function _atMost(string memory what, uint256 gas, uint256 limit) private {
        emit Measured(what, gas);
        require(gas <= limit, string.concat(what, ": ", vm.toString(gas)));
    }
}
