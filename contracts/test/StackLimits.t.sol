// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "./Cheats.sol";
import {GasBook} from "./GasBook.sol";

/// What the network promised to stay within, against what is committed as measured. What is missed is named here: one more
/// that is missed fails the test, and so does one that is named and no longer missed.
contract StackLimitsTest is GasBook {
    event Missed(string what, uint256 gas, uint256 limit);

    uint256 private missed;

    function test_gas_stays_within_its_limits_but_for_what_is_named() external {
        limit("register_sgx_first", 200_000);
        limit("register_tdx_first", 200_000);
        limit("renew_sgx", 150_000);
        limit("renew_tdx", 150_000);
        limit("checkpoint_again", 42_000);
        limit("epoch_root", 45_000);
        limit("claim_again", 60_000);
        limit("tcb_info_sgx_first", 1_000_000);
        limit("tcb_info_sgx_update", 1_000_000);
        limit("tcb_info_tdx_first", 1_000_000);
        limit("tcb_info_tdx_update", 1_000_000);
        limit("checkpoint_batch_100", 100 * 20_000);
        require(missed == 0, "a limit is missed");
        // A single proof that its own head settles is `checkpoint_again`; without a head it costs more than was promised.
        limit("work_proof_again", 45_000);
        limit("renew_kept_sgx", 60_000);
        limit("renew_kept_tdx", 60_000);
        require(missed == 3, "met after all: move it up");
    }

    /// At 10,000 proofs a checkpoint, less than 5 gas each, alone or in a batch.
    function test_a_proof_costs_less_than_five_gas_at_ten_thousand() external view {
        require(committed("checkpoint_again") < 5 * 10_000 && committed("checkpoint_batch_100") < 5 * 1_000_000);
    }

    function limit(string memory what, uint256 most) private {
        uint256 gas = committed(what);
        if (gas <= most) return;
        emit Missed(what, gas, most);
        ++missed;
    }
}
