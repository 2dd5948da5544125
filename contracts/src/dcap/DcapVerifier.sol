// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PckFacts, Platform, Realm, Standing, TcbStatus, Tee, Verdict} from "../Types.sol";
import {IIntelCollateral} from "../interfaces/IIntelCollateral.sol";
import {IQuoteVerifier} from "../interfaces/IQuoteVerifier.sol";
import {Der} from "../intel/Der.sol";
import {Level} from "../intel/Level.sol";
import {P256} from "../intel/P256.sol";
import {PckCertificate} from "./PckCertificate.sol";
import {Quote} from "./Quote.sol";

/// Verifies SGX quotes of version 3 and TDX quotes of version 4, from the vendor's root to the verdict. Immutable: it has no
/// owner, and nothing but collateral changes what it answers.
///
/// Who signs what: the root signs the CA of the chips (proven once in the collateral), that CA signs the chip's PCK
/// certificate, the PCK key signs the report of Intel's quoting enclave, that report vouches for the attestation key, and the
/// attestation key signs the quote. Three P-256 verifications.
///
/// No byte outside of what is signed has a second accepted value: neither form has lengths, types or encodings of its own, and
/// the CA or the attestation key has to have signed what they say. A signature (r, s) does have the twin (r, n - s):
/// Intel's are not normalised, so neither can be refused, and nothing here is keyed by one.
contract DcapVerifier is IQuoteVerifier {
    /// What is at 0x100 accepts what is no signature.
    error PrecompileLies();
    /// Not signed by its attestation key.
    error QuoteSignature();
    /// The quoting enclave vouches for another attestation key, or its report data has bytes after the hash.
    error AttestationKeyNotVouched();
    /// The report of the quoting enclave is not signed by the chip.
    error QeReportSignature();
    /// The host can read the quoting enclave's memory.
    error QeDebug();
    /// The PCK certificate is not signed by the CA that it names.
    error PckSignature();
    /// The PCK certificate holds from `notBefore` to `notAfter`, both inclusive.
    error PckNotValid(uint40 notBefore, uint40 notAfter);
    /// The vendor withdrew the level of the platform or of its quoting enclave.
    error LevelRevoked();
    /// This attestation key was never proven for this Enclave ID and, for TDX, this module.
    error KeyNotKept(bytes32 enclaveId);
    /// The material that the attestation key was judged by holds no longer.
    error KeptKeyExpired(uint40 validUntil);
    /// No Enclave ID under this deployment's root has this platform.
    error ForeignPlatform(Platform platform);

    /// An attestation key can be used without its proof, until `validUntil` (exclusive, seconds since 1970).
    event AttestationKeyKept(bytes32 indexed enclaveId, TcbStatus status, uint40 validUntil, Realm realm);

    /// Where the vendor's material is.
    IIntelCollateral public immutable collateral;
    Realm private immutable REALM;

    /// Bits of a kept entry above its 40 bits of `validUntil`.
    uint256 private constant STATUS_SHIFT = 40;
    /// By keccak256(attestation key ‖ Enclave ID, and for TDX what the report says of its module): the status, and how long it
    /// holds. All that was judged and can differ between two quotes of one key is in the name, so one slot is enough.
    mapping(bytes32 name => uint256 entry) private _kept;

    /// Reverts with `P256Unavailable` on a chain that has no P-256 precompile at 0x100, and with `PrecompileLies` where
    /// what is there accepts what is no signature.
    constructor(IIntelCollateral collateral_) {
        P256.demand();
        // r and s in range and the key a point of the curve (its generator), but r is not the x of 2G.
        if (P256.verifies(
                bytes32(uint256(1)),
                1,
                1,
                0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296,
                0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5
            )) revert PrecompileLies();
        collateral = collateral_;
        REALM = collateral_.realm();
    }

    /// For people. Begins with "SIMULATED " where it is.
    function name() external view returns (string memory) {
        return REALM == Realm.Simulated ? "SIMULATED Glacier DCAP Verifier" : "Glacier DCAP Verifier";
    }

    /// @inheritdoc IQuoteVerifier
    function realm() external view returns (Realm) {
        return REALM;
    }

    /// @inheritdoc IQuoteVerifier
    /// @dev Anybody may call: what is kept follows from the vendor's signatures alone.
    function verify(bytes calldata quote, bytes calldata pck) external returns (Verdict memory verdict) {
        Tee tee = Quote.read(quote, Quote.SIGNATURE_DATA);
        (bytes calldata signed, uint256 data) = Quote.split(quote, tee);
        PckCertificate.Pck memory chip = PckCertificate.read(pck, REALM == Realm.Simulated);
        Standing memory standing = collateral.standing(tee, chip.facts, Quote.module(signed, tee));
        if (!P256.verifies(chip.digest, chip.r, chip.s, standing.caX, standing.caY)) revert PckSignature();
        if (block.timestamp < chip.notBefore || block.timestamp > chip.notAfter) {
            revert PckNotValid(chip.notBefore, chip.notAfter);
        }
        (TcbStatus qeStatus, uint40 validUntil) = _quotingEnclave(tee, data, chip.x, chip.y);
        (uint256 x, uint256 y) = _quoteSignature(signed, data, data + 64);

        if (standing.status == TcbStatus.Revoked || qeStatus == TcbStatus.Revoked) revert LevelRevoked();
        verdict.status = Level.folded(standing.status, qeStatus);
        verdict.enclaveId = _enclaveId(_platform(tee), chip.ppid);
        if (standing.validUntil < validUntil) validUntil = standing.validUntil;
        // The certificate holds in its last second.
        if (chip.notAfter < validUntil) validUntil = chip.notAfter + 1;
        verdict.validUntil = validUntil;
        _say(verdict, signed, tee);

        _keep(_keptName(x, y, verdict.enclaveId, signed, tee), verdict);
    }

    /// @inheritdoc IQuoteVerifier
    /// @dev A chip that was revoked since is not seen here: whoever relies on kept keys has to bar it by `revoked`.
    function verifyKept(bytes calldata quote, bytes calldata signature, bytes calldata key, bytes32 enclaveId)
        external
        view
        returns (Verdict memory verdict)
    {
        Tee tee = Quote.read(quote, 0);
        if (signature.length != 64) revert Quote.QuoteLength(signature.length, 64);
        if (key.length != 64) revert Quote.QuoteLength(key.length, 64);
        (uint256 own,) = Der.open(signature);
        (uint256 point,) = Der.open(key);
        (uint256 x, uint256 y) = _quoteSignature(quote, own, point);
        uint256 entry = _kept[_keptName(x, y, enclaveId, quote, tee)];
        if (entry == 0) revert KeyNotKept(enclaveId);
        uint40 validUntil = uint40(entry);
        if (block.timestamp >= validUntil) revert KeptKeyExpired(validUntil);
        verdict.status = TcbStatus(entry >> STATUS_SHIFT);
        verdict.enclaveId = enclaveId;
        verdict.validUntil = validUntil;
        _say(verdict, quote, tee);
    }

    /// @inheritdoc IQuoteVerifier
    /// @dev The certificate's dates are not judged: a chip stays revoked.
    function revoked(Platform platform, bytes calldata pck) external view returns (bytes32 enclaveId, bool isRevoked) {
        bool isSimulated = platform == Platform.Simulated;
        if (platform == Platform.None || isSimulated != (REALM == Realm.Simulated)) revert ForeignPlatform(platform);
        PckCertificate.Pck memory chip = PckCertificate.read(pck, REALM == Realm.Simulated);
        PckFacts memory facts = chip.facts;
        (uint256 x, uint256 y) = collateral.authority(facts.issuer, facts.issuerKeyId);
        if (!P256.verifies(chip.digest, chip.r, chip.s, x, y)) revert PckSignature();
        isRevoked = collateral.isRevoked(facts.issuer, facts.issuerKeyId, facts.serial);
        enclaveId = _enclaveId(platform, chip.ppid);
    }

    /// What the kept entry of an attestation key says; both zero if there is none. For TDX, `module` is TEE_TCB_SVN ‖ MRSIGNERSEAM ‖
    /// SEAM attributes; for SGX it is empty.
    function kept(bytes calldata key, bytes32 enclaveId, bytes calldata module)
        external
        view
        returns (TcbStatus status, uint40 validUntil)
    {
        uint256 entry = _kept[keccak256(bytes.concat(key, enclaveId, module))];
        return (TcbStatus(entry >> STATUS_SHIFT), uint40(entry));
    }

    /// Keeps what holds longer, and of what holds as long the better: a chip can have several PCK certificates, of former
    /// levels too, and who repeats a proof under one of them must not take anything from its key.
    function _keep(bytes32 name_, Verdict memory verdict) private {
        uint256 entry = uint256(verdict.status) << STATUS_SHIFT | verdict.validUntil;
        uint256 former = _kept[name_];
        if (verdict.validUntil < uint40(former)) return;
        if (verdict.validUntil == uint40(former) && entry >= former) return;
        _kept[name_] = entry;
        emit AttestationKeyKept(verdict.enclaveId, verdict.status, verdict.validUntil, REALM);
    }

    /// Report of the quoting enclave: signed by the chip, vouching for the attestation key, known to the vendor. `data` is the
    /// place of the quote's signature data.
    function _quotingEnclave(Tee tee, uint256 data, uint256 x, uint256 y) private view returns (TcbStatus, uint40) {
        unchecked {
            uint256 place = data + 128;
            bytes calldata report = Der.slice(place, data + 512);
            if (!P256.verifies(sha256(report), Der.load(data + 512), Der.load(data + 544), x, y)) {
                revert QeReportSignature();
            }
            bytes32 vouched = sha256(bytes.concat(Der.slice(data + 64, place), Der.slice(data + 576, data + 608)));
            if (Der.load(place + 320) != uint256(vouched) || Der.load(place + 352) != 0) {
                revert AttestationKeyNotVouched();
            }
            if (Quote.isDebug(place)) revert QeDebug();
            return collateral.quotingEnclave(tee, report);
        }
    }

    /// The attestation key at the place `key`, by which `signed` is signed; r ‖ s is at the place `signature`.
    function _quoteSignature(bytes calldata signed, uint256 signature, uint256 key)
        private
        view
        returns (uint256 x, uint256 y)
    {
        unchecked {
            (x, y) = (Der.load(key), Der.load(key + 32));
            if (!P256.verifies(sha256(signed), Der.load(signature), Der.load(signature + 32), x, y)) {
                revert QuoteSignature();
            }
        }
    }

    /// What the signed part says of the code.
    function _say(Verdict memory verdict, bytes calldata signed, Tee tee) private view {
        verdict.platform = _platform(tee);
        verdict.measurement = Quote.measurement(signed, tee);
        (verdict.reportData, verdict.reportTag) = Quote.reportData(signed);
    }

    function _keptName(uint256 x, uint256 y, bytes32 enclaveId, bytes calldata signed, Tee tee)
        private
        pure
        returns (bytes32)
    {
        if (tee == Tee.Sgx) return keccak256(abi.encode(x, y, enclaveId));
        (bytes calldata svn, bytes calldata rest) = Quote.moduleBytes(signed);
        return keccak256(bytes.concat(abi.encode(x, y, enclaveId), svn, rest));
    }

    function _platform(Tee tee) private view returns (Platform) {
        if (REALM == Realm.Simulated) return Platform.Simulated;
        return tee == Tee.Sgx ? Platform.Sgx : Platform.Tdx;
    }

    function _enclaveId(Platform platform, bytes16 ppid) private pure returns (bytes32) {
        bytes memory word =
            platform == Platform.Sgx ? bytes("sgx") : platform == Platform.Tdx ? bytes("tdx") : bytes("simulated");
        return sha256(bytes.concat("glacier/enclave-id/v1\x00", word, "\x00", ppid));
    }
}
