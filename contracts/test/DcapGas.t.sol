// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";
import {Evidence, PckReader, Take} from "./mocks/Evidence.sol";
import {Pem} from "./mocks/Pem.sol";

/// Gas on real quotes under Intel's own collateral. `verify` as a whole transaction (base fee and calldata included); what
/// changes nothing, as the call alone.
contract DcapGasTest is IntelCollateralVectors {
    event log_named_uint(string key, uint256 val);

    PckReader private reader = new PckReader();

    function test_an_sgx_quote_stays_inside_its_gas() external withVectors {
        _measure("sgx/sgx-606a-svr2-2026", "/collateral-2026-07-30-eval21.json", Tee.Sgx, 1786432758);
    }

    function test_a_tdx_quote_stays_inside_its_gas() external withVectors {
        _measure("tdx/tdx4-b0c0-dstack-2026", "/collateral-2026-03-01-eval18.json", Tee.Tdx, 1773198569);
    }

    function _measure(string memory id, string memory material, Tee tee, uint256 time) private {
        Evidence memory evidence = Take.apart(read(string.concat(id, "/quote.bin")));
        (Collateral collateral,) = filled(load(string.concat(id, material), time, tee));
        DcapVerifier verifier = new DcapVerifier(collateral);

        reader.read(evidence.pck, false);
        _limit(string.concat(id, ": reading the certificate, alone"), 11_000);
        Verdict memory verdict = verifier.verify(evidence.quote, evidence.pck);
        _limit(string.concat(id, ": verify, first"), 135_000);
        // Nothing new, so nothing is written. A changed entry costs about 4,700 more.
        verifier.verify(evidence.quote, evidence.pck);
        _limit(string.concat(id, ": verify, again"), 115_000);
        uint256 signed = tee == Tee.Sgx ? 432 : 632;
        verifier.verifyKept(
            Pem.slice(evidence.quote, 0, signed),
            Pem.slice(evidence.quote, signed, signed + 64),
            Pem.slice(evidence.quote, signed + 64, signed + 128),
            verdict.enclaveId
        );
        _limit(string.concat(id, ": verifyKept, alone"), 16_000);
        verifier.revoked(verdict.platform, evidence.pck);
        _limit(string.concat(id, ": revoked, alone"), 33_000);
    }

    function _limit(string memory what, uint256 limit) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        emit log_named_uint(what, used);
        require(used <= limit, what);
    }
}
