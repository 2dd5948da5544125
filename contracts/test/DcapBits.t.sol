// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm, TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {Quote} from "../src/dcap/Quote.sol";
import {vm} from "./Cheats.sol";
import {Evidence, Take} from "./mocks/Evidence.sol";
import {MockCollateral} from "./mocks/MockCollateral.sol";
import {Pem} from "./mocks/Pem.sol";

/// No byte has a second value: neither one that is signed nor one that is not.
contract DcapBitsTest {
    /// The order of the curve.
    uint256 private constant N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551;

    /// forge-config: default.isolate = false
    function test_a_simulated_quote_with_a_changed_bit_is_refused() external {
        _all(0);
    }

    /// forge-config: default.isolate = false
    function test_an_sgx_quote_with_a_changed_bit_is_refused() external {
        _all(1);
    }

    /// forge-config: default.isolate = false
    function test_a_tdx_quote_with_a_changed_bit_is_refused() external {
        _all(2);
    }

    /// forge-config: default.isolate = false
    function test_a_simulated_quote_of_another_length_is_refused() external {
        _lengths(0);
    }

    /// forge-config: default.isolate = false
    function test_an_sgx_quote_of_another_length_is_refused() external {
        _lengths(1);
    }

    /// forge-config: default.isolate = false
    function test_a_tdx_quote_of_another_length_is_refused() external {
        _lengths(2);
    }

    /// forge-config: default.isolate = false
    function test_the_twin_of_a_signature_changes_nothing_that_is_kept_or_said() external {
        (DcapVerifier verifier, Evidence memory evidence,) = _evidence(0);
        bytes memory twin = _twin(_twin(evidence.quote, 432), 944);
        bytes memory said = abi.encode(verifier.verify(evidence.quote, evidence.pck));
        require(keccak256(abi.encode(verifier.verify(twin, evidence.pck))) == keccak256(said), "said");
        (TcbStatus status, uint40 until) =
            verifier.kept(Pem.slice(evidence.quote, 496, 560), abi.decode(said, (Verdict)).enclaveId, "");
        require(status == TcbStatus.UpToDate && until == block.timestamp + 1 days, "kept by the key");
    }

    /// A call of its own, so that what it remembers is given back.
    function accepts(DcapVerifier verifier, bytes calldata quote, bytes calldata pck) external returns (bool) {
        try verifier.verify(quote, pck) returns (Verdict memory) {
            return true;
        } catch {
            return false;
        }
    }

    /// Every byte of the quote and of the certificate, another bit in each.
    function flips(DcapVerifier verifier, Evidence calldata evidence, uint256 from, uint256 to) external {
        (bytes memory quote, bytes memory pck) = (evidence.quote, evidence.pck);
        for (uint256 i = from; i < to; ++i) {
            bytes memory data = i < quote.length ? quote : pck;
            uint256 index = i < quote.length ? i : i - quote.length;
            bytes1 bit = bytes1(uint8(1 << ((i * 5 + i / 8) % 8)));
            data[index] ^= bit;
            require(!_accepted(verifier, quote, pck), string.concat("accepted: ", vm.toString(i)));
            data[index] ^= bit;
        }
    }

    function _lengths(uint256 kind) private {
        (DcapVerifier verifier, Evidence memory evidence, bool exists) = _evidence(kind);
        if (!exists) return vm.skip(true, "no vectors");
        (bytes memory quote, bytes memory pck) = (evidence.quote, evidence.pck);
        uint256 expected = kind == 2 ? 1240 : 1040;
        for (uint256 more = 1; more < 70; ++more) {
            bytes memory shorter = Pem.slice(quote, 0, quote.length - more);
            bytes memory longer = bytes.concat(quote, new bytes(more));
            vm.expectRevert(abi.encodeWithSelector(Quote.QuoteLength.selector, expected - more, expected));
            verifier.verify(shorter, pck);
            vm.expectRevert(abi.encodeWithSelector(Quote.QuoteLength.selector, expected + more, expected));
            verifier.verify(longer, pck);
            require(!_accepted(verifier, quote, Pem.slice(pck, 0, pck.length - more)), "shorter certificate");
            require(!_accepted(verifier, quote, bytes.concat(pck, new bytes(more))), "longer certificate");
        }
        require(!_accepted(verifier, "", pck) && !_accepted(verifier, quote, ""), "nothing");
    }

    function _all(uint256 kind) private {
        (DcapVerifier verifier, Evidence memory evidence, bool exists) = _evidence(kind);
        if (!exists) return vm.skip(true, "no vectors");
        require(_accepted(verifier, evidence.quote, evidence.pck), "as it is");
        uint256 total = evidence.quote.length + evidence.pck.length;
        for (uint256 from = 0; from < total; from += 100) {
            this.flips(verifier, evidence, from, from + 100 < total ? from + 100 : total);
        }
        require(_accepted(verifier, evidence.quote, evidence.pck), "as it was");
    }

    function _accepted(DcapVerifier verifier, bytes memory quote, bytes memory pck) private returns (bool) {
        return this.accepts(verifier, quote, pck);
    }

    function _evidence(uint256 kind) private returns (DcapVerifier, Evidence memory evidence, bool) {
        MockCollateral collateral = new MockCollateral(kind == 0 ? Realm.Simulated : Realm.Production);
        string memory root = "../../shared/vectors/";
        uint256 time = 1786432758;
        if (kind == 0) {
            string memory json = vm.readFile("test/fixtures/simulated.json");
            evidence = Take.apart(vm.parseJsonBytes(json, ".chips[0].full"));
            time = vm.parseJsonUint(json, ".now");
        } else {
            string memory id = kind == 1 ? "sgx/sgx-606a-svr2-2026" : "tdx/tdx4-b0c0-dstack-2026";
            if (!vm.exists(string.concat(root, id))) return (DcapVerifier(address(0)), evidence, false);
            evidence = Take.apart(vm.readFileBinary(string.concat(root, id, "/quote.bin")));
        }
        vm.warp(time);
        (bytes32 issuer, bytes20 keyId) = Take.issuer(evidence.der);
        (uint256 x, uint256 y) = Take.key(evidence.ca);
        collateral.trust(issuer, keyId, x, y);
        Tee tee = kind == 2 ? Tee.Tdx : Tee.Sgx;
        uint40 until = uint40(time + 1 days);
        collateral.set(tee, TcbStatus.UpToDate, TcbStatus.UpToDate, until, until);
        return (new DcapVerifier(collateral), evidence, true);
    }

    function _twin(bytes memory quote, uint256 place) private pure returns (bytes memory) {
        bytes memory s = abi.encode(N - uint256(Pem.word(quote, place + 32)));
        return bytes.concat(Pem.slice(quote, 0, place + 32), s, Pem.slice(quote, place + 64, quote.length));
    }
}
