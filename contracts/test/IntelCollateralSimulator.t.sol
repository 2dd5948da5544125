// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Tee} from "../src/Types.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {SimulatedCollateral} from "../src/intel/SimulatedCollateral.sol";
import {vm} from "./Cheats.sol";

/// What the node's simulator issues is taken as it is: certificates and lists of another maker than those of the other tests.
contract IntelCollateralSimulatorTest {
    string private constant FIXTURE = "test/fixtures/simulated.json";
    string private json;
    Collateral private collateral;
    bytes32 private signer;

    function test_what_the_simulator_issues_is_taken() public {
        if (!vm.exists(FIXTURE)) {
            vm.skip(true, "skipped: no fixture of the simulator");
            return;
        }
        json = vm.readFile(FIXTURE);
        vm.warp(vm.parseJsonUint(json, ".now"));
        collateral = new SimulatedCollateral(field(".root.der"));
        collateral.submitCrl(field(".collateral.rootCrl"));
        collateral.submitAuthority(field(".platformCa"));
        signer = collateral.submitAuthority(field(".tcbSigning"));
        take(".collateral");
        vm.warp(vm.parseJsonUint(json, ".now") + 86400);
        collateral.submitCrl(field(".later.rootCrl"));
        take(".later");
        (uint16 evaluation,,) = collateral.qeIdentityState(Tee.Sgx);
        assert(evaluation == 2);
    }

    function take(string memory set) private {
        collateral.submitCrl(field(string.concat(set, ".pckCrl")));
        collateral.submitTcbInfo(
            text(string.concat(set, ".tcbInfo")), field(string.concat(set, ".tcbInfoSignature")), signer
        );
        collateral.submitQeIdentity(
            text(string.concat(set, ".qeIdentity")), field(string.concat(set, ".qeIdentitySignature")), signer
        );
    }

    function field(string memory key) private view returns (bytes memory) {
        return vm.parseJsonBytes(json, key);
    }

    function text(string memory key) private view returns (bytes memory) {
        return bytes(vm.parseJsonString(json, key));
    }
}
