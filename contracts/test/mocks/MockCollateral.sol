// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Realm, Standing, TcbStatus, Tee} from "../../src/Types.sol";
import {IIntelCollateral} from "../../src/interfaces/IIntelCollateral.sol";

/// Collateral whose answers a test chooses. It remembers nothing of what it is asked, but can insist on it.
contract MockCollateral is IIntelCollateral {
    error UnknownAuthority(bytes32 issuer, bytes20 issuerKeyId);
    error OtherFacts();
    error OtherTee(Tee tee);

    Realm public immutable realm;
    Tee public tee;
    TcbStatus public platform;
    TcbStatus public qe;
    uint40 public validUntil;
    uint40 public qeValidUntil;
    bytes32 public facts;
    mapping(bytes32 => uint256[2]) private _keys;
    mapping(bytes32 => bool) private _revoked;

    constructor(Realm realm_) {
        realm = realm_;
    }

    function set(Tee tee_, TcbStatus platform_, TcbStatus qe_, uint40 validUntil_, uint40 qeValidUntil_) external {
        (tee, platform, qe, validUntil, qeValidUntil) = (tee_, platform_, qe_, validUntil_, qeValidUntil_);
    }

    function trust(bytes32 issuer, bytes20 issuerKeyId, uint256 x, uint256 y) external {
        _keys[keccak256(abi.encode(issuer, issuerKeyId))] = [x, y];
    }

    function revoke(bytes32 issuer, bytes20 issuerKeyId, uint160 serial) external {
        _revoked[keccak256(abi.encode(issuer, issuerKeyId, serial))] = true;
    }

    /// From now on `standing` wants to be asked for this alone: FMSPC, PCEID, components, PCE SVN, and of TDX the module.
    function demand(bytes6 fmspc, bytes2 pceId, bytes16 components, uint16 pceSvn, ModuleFacts calldata module)
        external
    {
        facts = keccak256(abi.encode(fmspc, pceId, components, pceSvn, module));
    }

    function standing(Tee tee_, PckFacts calldata pck, ModuleFacts calldata module)
        external
        view
        returns (Standing memory)
    {
        if (tee_ != tee) revert OtherTee(tee_);
        bytes32 found = keccak256(abi.encode(pck.fmspc, pck.pceId, pck.components, pck.pceSvn, module));
        if (facts != 0 && facts != found) revert OtherFacts();
        (uint256 x, uint256 y) = authority(pck.issuer, pck.issuerKeyId);
        return Standing(x, y, platform, validUntil);
    }

    function quotingEnclave(Tee tee_, bytes calldata report) external view returns (TcbStatus, uint40) {
        if (tee_ != tee) revert OtherTee(tee_);
        require(report.length == 384, "report");
        return (qe, qeValidUntil);
    }

    function isRevoked(bytes32 issuer, bytes20 issuerKeyId, uint160 serial) external view returns (bool) {
        return _revoked[keccak256(abi.encode(issuer, issuerKeyId, serial))];
    }

    function authority(bytes32 issuer, bytes20 issuerKeyId) public view returns (uint256 x, uint256 y) {
        uint256[2] storage key = _keys[keccak256(abi.encode(issuer, issuerKeyId))];
        (x, y) = (key[0], key[1]);
        if (x == 0) revert UnknownAuthority(issuer, issuerKeyId);
    }
}
