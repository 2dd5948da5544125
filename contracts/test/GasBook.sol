// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "./Cheats.sol";

/// The gas of each kind of transaction, against the file that is committed: equal, or the test fails and says where. With
/// `GLACIER_GAS=write` in the environment the file is written instead.
abstract contract GasBook {
    event Measured(string what, uint256 gas);
    event Differs(string what, uint256 measured, uint256 committed);

    string internal constant GAS_FILE = "gas.json";

    mapping(string what => uint256) private gasOf;

    /// In the order of the file.
    function operations() internal pure returns (string[34] memory) {
        return [
            "adopt_code",
            "adopt_verifier",
            "anchor_root",
            "authority",
            "checkpoint_again",
            "checkpoint_batch_100",
            "checkpoint_batch_100_first",
            "checkpoint_first",
            "claim_again",
            "claim_first",
            "crl",
            "crl_57_new",
            "crl_first",
            "deploy_all",
            "epoch_root",
            "equivocation",
            "escrow_deposit",
            "escrow_release",
            "qe_identity",
            "register_sgx_again",
            "register_sgx_first",
            "register_tdx_again",
            "register_tdx_first",
            "renew_kept_sgx",
            "renew_kept_tdx",
            "renew_sgx",
            "renew_tdx",
            "tcb_info_sgx_first",
            "tcb_info_sgx_update",
            "tcb_info_tdx_first",
            "tcb_info_tdx_update",
            "work_proof_10_peaks",
            "work_proof_again",
            "work_proof_first"
        ];
    }

    /// What the last call used: the whole transaction, its base and its calldata.
    function note(string memory what) internal {
        put(what, vm.lastCallGas().gasTotalUsed);
    }

    function put(string memory what, uint256 gas) internal {
        gasOf[what] = gas;
        emit Measured(what, gas);
    }

    function compare() internal {
        string[34] memory all = operations();
        string memory text = "{";
        for (uint256 i; i < all.length; ++i) {
            require(gasOf[all[i]] != 0, string.concat("not measured: ", all[i]));
            text = string.concat(text, i == 0 ? "\n" : ",\n", '  "', all[i], '": ', vm.toString(gasOf[all[i]]));
        }
        text = string.concat(text, "\n}\n");
        if (keccak256(bytes(vm.envOr("GLACIER_GAS", string("")))) == keccak256("write")) {
            vm.writeFile(GAS_FILE, text);
            return;
        }
        string memory committed = vm.readFile(GAS_FILE);
        if (keccak256(bytes(committed)) == keccak256(bytes(text))) return;
        for (uint256 i; i < all.length; ++i) {
            uint256 known = committedGas(committed, all[i]);
            if (known != gasOf[all[i]]) emit Differs(all[i], gasOf[all[i]], known);
        }
        revert("gas.json is stale: GLACIER_GAS=write forge test --match-path test/StackGas.t.sol");
    }

    /// Zero for what the file does not have.
    function committedGas(string memory file, string memory what) internal view returns (uint256) {
        string memory member = string.concat(".", what);
        return vm.keyExistsJson(file, member) ? vm.parseJsonUint(file, member) : 0;
    }
}
