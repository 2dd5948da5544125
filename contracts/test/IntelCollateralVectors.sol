// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Tee} from "../src/Types.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {IntelCollateral} from "../src/intel/IntelCollateral.sol";
import {vm} from "./Cheats.sol";

/// Intel's own collateral, from the folder of recorded evidence. Without the folder its tests are skipped.
abstract contract IntelCollateralVectors {
    string internal constant VECTORS = "../../shared/vectors/";

    struct Case {
        string file;
        uint256 time;
        Tee tee;
        bytes rootCrl;
        bytes pckCrl;
        bytes tcbInfo;
        bytes tcbInfoSignature;
        bytes qeIdentity;
        bytes qeIdentitySignature;
    }

    modifier withVectors() {
        if (!vm.exists(string.concat(VECTORS, "sgx/manifest.json"))) {
            vm.skip(true, "skipped: no vectors");
            return;
        }
        _;
    }

    function read(string memory file) internal view returns (bytes memory) {
        return vm.readFileBinary(string.concat(VECTORS, file));
    }

    function authorityDer(string memory file) internal view returns (bytes memory) {
        return read(string.concat("sgx/roots/intel-sgx-", file, ".der"));
    }

    function load(string memory file, uint256 time, Tee tee) internal view returns (Case memory c) {
        string memory json = vm.readFile(string.concat(VECTORS, file));
        c.file = file;
        c.time = time;
        c.tee = tee;
        c.rootCrl = unhex(json, ".root_ca_crl");
        c.pckCrl = unhex(json, ".pck_crl");
        c.tcbInfo = bytes(vm.parseJsonString(json, ".tcb_info"));
        c.tcbInfoSignature = unhex(json, ".tcb_info_signature");
        c.qeIdentity = bytes(vm.parseJsonString(json, ".qe_identity"));
        c.qeIdentitySignature = unhex(json, ".qe_identity_signature");
    }

    function unhex(string memory json, string memory key) internal pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", vm.parseJsonString(json, key)));
    }

    /// A deployment at the case's time with everything but the documents.
    function prepared(Case memory c) internal returns (Collateral collateral, bytes32 signer) {
        vm.warp(c.time);
        collateral = new IntelCollateral();
        collateral.submitCrl(c.rootCrl);
        collateral.submitAuthority(authorityDer("pck-platform-ca"));
        collateral.submitAuthority(authorityDer("pck-processor-ca"));
        signer = collateral.submitAuthority(authorityDer(c.time < 1746523500 ? "tcb-signing-2018" : "tcb-signing-2025"));
        collateral.submitCrl(c.pckCrl);
    }

    /// The same with the documents.
    function filled(Case memory c) internal returns (Collateral collateral, bytes32 signer) {
        (collateral, signer) = prepared(c);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
    }

    /// The DER Name of an authority, hashed, and its key identifier.
    function issuerOf(bool platform) internal pure returns (bytes32 name, bytes20 keyId) {
        string memory common = platform ? "Intel SGX PCK Platform CA" : "Intel SGX PCK Processor CA";
        bytes memory relative = abi.encodePacked(hex"0603550403", hex"0c", uint8(bytes(common).length), common);
        bytes memory rest =
            hex"311a3018060355040a0c11496e74656c20436f72706f726174696f6e3114301206035504070c0b53616e746120436c617261310b300906035504080c024341310b3009060355040613025553";
        bytes memory set =
            abi.encodePacked(hex"31", uint8(relative.length + 2), hex"30", uint8(relative.length), relative);
        name = keccak256(abi.encodePacked(hex"30", uint8(set.length + rest.length), set, rest));
        keyId = platform
            ? bytes20(hex"956f5dcdbd1be1e94049c9d4f433ce01570bde54")
            : bytes20(hex"d0e8aada75d7f92e4917983c7b1465d0d5f2594d");
    }
}
