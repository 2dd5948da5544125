// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm, TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {vm} from "./Cheats.sol";
import {Evidence, PckReader, Take} from "./mocks/Evidence.sol";
import {MockCollateral} from "./mocks/MockCollateral.sol";
import {Pem} from "./mocks/Pem.sol";

/// Gas of whole transactions (base fee and calldata included) on real quotes. Collateral is mocked, with two slots
/// of status and two of key, so what the real one costs more comes on top.
contract DcapGasTest {
    event log_named_uint(string key, uint256 val);

    MockCollateral private collateral = new MockCollateral(Realm.Production);
    DcapVerifier private verifier = new DcapVerifier(collateral);
    PckReader private reader = new PckReader();

    function test_an_sgx_quote_stays_inside_its_gas() external {
        _measure("sgx/sgx-606a-svr2-2026", Tee.Sgx, 1786432758, 145_000, 125_000, 33_000);
    }

    function test_a_tdx_quote_stays_inside_its_gas() external {
        _measure("tdx/tdx4-b0c0-dstack-2026", Tee.Tdx, 1773198569, 145_000, 125_000, 33_000);
    }

    function _measure(string memory id, Tee tee, uint256 time, uint256 first, uint256 again, uint256 kept) private {
        string memory file = string.concat("../../shared/vectors/", id, "/quote.bin");
        if (!vm.exists(file)) return vm.skip(true, "no vectors");
        Evidence memory evidence = Take.apart(vm.readFileBinary(file));
        (bytes32 issuer, bytes20 keyId) = Take.issuer(evidence.pck);
        (uint256 x, uint256 y) = Take.key(evidence.ca);
        collateral.trust(issuer, keyId, x, y);
        vm.warp(time);
        collateral.set(tee, TcbStatus.UpToDate, TcbStatus.UpToDate, uint40(time + 30 days), uint40(time + 29 days));

        reader.read(evidence.pck);
        _limit(string.concat(id, ": reading the certificate"), 60_000);
        Verdict memory verdict = verifier.verify(evidence.quote, evidence.pck);
        _limit(string.concat(id, ": verify, first"), first);
        collateral.set(tee, TcbStatus.UpToDate, TcbStatus.UpToDate, uint40(time + 40 days), uint40(time + 41 days));
        verifier.verify(evidence.quote, evidence.pck);
        _limit(string.concat(id, ": verify, again"), again);
        uint256 signed = tee == Tee.Sgx ? 432 : 632;
        verifier.verifyKept(
            Pem.slice(evidence.quote, 0, signed),
            Pem.slice(evidence.quote, signed, signed + 64),
            Pem.slice(evidence.quote, signed + 64, signed + 128),
            verdict.enclaveId
        );
        _limit(string.concat(id, ": verifyKept"), kept);
    }

    function _limit(string memory what, uint256 limit) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        emit log_named_uint(what, used);
        require(used <= limit, what);
    }
}
