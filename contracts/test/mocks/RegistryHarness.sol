// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EnclaveRegistry} from "../../src/EnclaveRegistry.sol";
import {IMeasurementPolicy} from "../../src/interfaces/IMeasurementPolicy.sol";
import {IQuoteRouter} from "../../src/interfaces/IQuoteRouter.sol";

/// For genuine quotes, which were made for other purposes and bind something else. It takes exactly those that the registry
/// refuses for what they bind: the same digest is computed and compared, for the same gas, and all else is the registry's.
contract RegistryHarness is EnclaveRegistry {
    error BindsAfterAll();

    constructor(IQuoteRouter router_, IMeasurementPolicy policy_, address owner_, address guardian_)
        EnclaveRegistry(router_, policy_, owner_, guardian_)
    {}

    function _checkBinding(bytes32 found, bytes32 tag, bytes32 expected) internal pure override {
        if (tag == REPORT_TAG) revert BindsAfterAll();
        if (found == expected) revert BindsAfterAll();
    }
}
