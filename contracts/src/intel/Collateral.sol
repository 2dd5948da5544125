// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Realm, Standing, TcbStatus, Tee} from "../Types.sol";
import {IIntelCollateral} from "../interfaces/IIntelCollateral.sol";
import {Blob} from "./Blob.sol";
import {Certificate} from "./Certificate.sol";
import {CollateralStore} from "./CollateralStore.sol";
import {Crl} from "./Crl.sol";
import {Der} from "./Der.sol";
import {Documents} from "./Documents.sol";
import {Json} from "./Json.sol";
import {P256} from "./P256.sol";
import {QeIdentity} from "./QeIdentity.sol";
import {TcbInfo} from "./TcbInfo.sol";

/// @title Collateral under one root, on chain
/// @notice Anybody may submit; only what the root vouches for is taken, nothing older than what is there, and nothing out of
/// date is used. There is no owner, no pause and no way to add a root.
/// @dev Order of a first set-up: root revocation list, authorities, revocation lists of the PCK CAs, documents. Advisory ids are
/// not kept; the events carry the SHA-256 of the text that has them.
abstract contract Collateral is CollateralStore, IIntelCollateral {
    /// The certificate that vouches for all: its key, names and end.
    struct Root {
        uint256 x;
        uint256 y;
        /// keccak256 of the subject's Name, DER with tag and length.
        bytes32 name;
        bytes20 keyId;
        uint160 serial;
        /// Last second of validity.
        uint40 notAfter;
    }

    /// Revocation list of the root. One slot.
    struct RootList {
        uint40 until;
        uint40 listed;
        /// Counts the revocations of document signers. Documents of an older generation are not used.
        uint8 generation;
        bool revoked;
    }

    /// @notice A certificate under the root was accepted.
    event AuthorityAccepted(
        bytes32 indexed id, Role role, bytes32 name, bytes20 keyId, uint160 serial, uint40 until, Realm realm
    );
    /// @notice The certificate of an authority was revoked by the root.
    event AuthorityRevoked(bytes32 indexed id, uint160 serial, Realm realm);
    /// @notice A revocation list became the current one of its issuer.
    event RevocationListAccepted(bytes32 indexed issuer, uint40 thisUpdate, uint40 until, Realm realm);
    /// @notice A certificate is revoked, for good.
    event CertificateRevoked(bytes32 indexed issuer, uint160 indexed serial, Realm realm);
    /// @notice TCB info became the current one of its model. `text` is the SHA-256 of what was signed.
    event TcbInfoAccepted(
        Tee indexed tee, bytes6 indexed fmspc, uint16 evaluation, uint40 issued, uint40 until, bytes32 text, Realm realm
    );
    /// @notice A QE identity became the current one. `text` is the SHA-256 of what was signed.
    event QeIdentityAccepted(
        Tee indexed tee, uint16 evaluation, uint40 issued, uint40 until, bytes32 text, Realm realm
    );

    /// Not signed by the key that it names.
    error CollateralSignature();
    /// Issued by another than the root.
    error CollateralIssuer(bytes32 name, bytes20 keyId);
    /// No authority of this id in this role.
    error CollateralNoAuthority(bytes32 id, Role role);
    /// A certificate that is neither a PCK CA's nor a document signer's, by its name, constraints and key usage.
    error CollateralRole();
    /// Not valid yet.
    error CollateralEarly(uint256 from);
    /// Not valid any more, or never there (0). Exclusive.
    error CollateralOver(uint256 until);
    /// Older than what is there.
    error CollateralOlder(uint256 found, uint256 known);
    /// A certificate on a revocation list.
    error CollateralRevoked(bytes32 issuer, uint160 serial);
    /// Documents were accepted before a signer of documents was revoked.
    error CollateralGeneration();
    /// More PCK CAs than are kept.
    error CollateralTooMany();

    uint256 private constant MAX_PCK_AUTHORITIES = 8;

    Realm public immutable override realm;
    /// @notice Id of the root, under which its revocations are kept.
    bytes32 public immutable rootId;
    uint256 private immutable rootX;
    uint256 private immutable rootY;
    bytes32 private immutable rootName;
    bytes20 private immutable rootKeyId;
    uint160 private immutable rootSerial;
    uint256 private immutable rootUntil;
    Documents private immutable reader;

    RootList private rootList;
    bytes32[] private pckAuthorities;
    /// Which authority has the certificate of this serial.
    mapping(uint160 serial => bytes32 id) private holders;
    mapping(bytes32 issuer => mapping(uint160 serial => bool)) private revocations;

    constructor(Root memory root, Realm realm_) {
        P256.demand();
        realm = realm_;
        rootX = root.x;
        rootY = root.y;
        rootName = root.name;
        rootKeyId = root.keyId;
        rootSerial = root.serial;
        rootUntil = uint256(root.notAfter) + 1;
        rootId = authorityId(root.name, root.keyId);
        reader = new Documents();
    }

    // --- submitting ---------------------------------------------------------------------------------------------------------

    /// @notice Takes the certificate of a PCK CA or of the signer of TCB info and QE identities.
    /// @param certificate DER. Signed by the root, by name and key identifier too; in date; not on the root's revocation list,
    /// which has to be there first. A CA (certSign, cRLSign) whose common name says Platform or Processor, or an end entity
    /// (digitalSignature) whose common name says TCB Signing.
    /// @return id What documents name their signer by.
    function submitAuthority(bytes calldata certificate) external returns (bytes32 id) {
        uint256 rootCurrent = currentRoot();
        Certificate.Fields memory fields = Certificate.issued(certificate, rootX, rootY);
        if (fields.issuer != rootName || fields.issuerKeyId != rootKeyId) {
            revert CollateralIssuer(fields.issuer, fields.issuerKeyId);
        }
        uint256 ends = uint256(fields.notAfter) + 1;
        inDate(fields.notBefore, ends);
        if (revocations[rootId][fields.serial]) revert CollateralRevoked(rootId, fields.serial);
        Role role = roleOf(fields);

        id = authorityId(fields.subject, fields.keyId);
        Authority memory authority_ = authorityAt(id);
        if (authority_.role == Role.None) {
            if (role == Role.PckAuthority) {
                if (pckAuthorities.length == MAX_PCK_AUTHORITIES) revert CollateralTooMany();
                pckAuthorities.push(id);
            }
        } else if (authority_.role != Role.Revoked) {
            // Of two certificates of one key the later counts.
            (,, uint256 known) = certificateOf(authority_.blob);
            if (ends < known) revert CollateralOlder(ends, known);
            if (role != authority_.role) revert CollateralRole();
        }
        if (authority_.until > ends) authority_.until = uint40(ends);
        authority_.blob = Blob.write(abi.encodePacked(fields.x, fields.y, uint40(ends), fields.serial));
        authority_.generation = rootList.generation;
        authority_.role = role;
        store(id, authority_);
        holders[fields.serial] = id;
        emit AuthorityAccepted(
            id, role, fields.subject, fields.keyId, fields.serial, uint40(min(ends, rootCurrent)), realm
        );
    }

    /// @notice Takes a revocation list of the root or of a PCK CA.
    /// @param list DER. In date, not older (thisUpdate) than the one that is there: the CRL number is always 1, and a list may be
    /// shorter than the one before it. What was ever on a list stays revoked here. The same list again is taken, which brings the
    /// end of the root's own list up to date for this CA.
    function submitCrl(bytes calldata list) external {
        (Crl.Fields memory fields, bytes32 issuer, uint256 ends) = openList(list);
        mark(issuer, fields, 0, type(uint256).max);
        if (issuer == rootId) {
            (rootList.listed, rootList.until) = (fields.thisUpdate, uint40(ends));
        } else {
            Authority memory authority_ = authorityAt(issuer);
            (authority_.listed, authority_.until) = (fields.thisUpdate, uint40(ends));
            store(issuer, authority_);
        }
        emit RevocationListAccepted(issuer, fields.thisUpdate, uint40(ends), realm);
    }

    /// @notice Takes some entries of a revocation list ahead of it: for lists whose new entries (22,000 gas each) do not fit one
    /// transaction. The list does not become current by this.
    /// @param skipped Entries to pass over.
    /// @param count Entries to take.
    function submitRevocations(bytes calldata list, uint256 skipped, uint256 count) external {
        (Crl.Fields memory fields, bytes32 issuer,) = openList(list);
        mark(issuer, fields, skipped, count);
    }

    /// @notice Takes TCB info, version 3, for SGX or TDX.
    /// @param text Exactly the bytes that were signed: the inner JSON object, without white space, members in Intel's order.
    /// @param signature r ‖ s.
    /// @param signer Id of the signer, from `submitAuthority`.
    /// Reverts if the evaluation number of what is there for this model is higher, or equal with a later issue date.
    function submitTcbInfo(bytes calldata text, bytes calldata signature, bytes32 signer) external {
        (bytes32 digest, uint256 ends) = openDocument(text, signature, signer);
        (TcbInfo.Header memory header, bytes memory packed) = reader.tcbInfo(text);
        ends = min(ends, uint256(header.nextUpdate) + 1);
        inDate(header.issued, ends);
        keep(modelKey(header.tee, header.fmspc), packed, header.evaluation, header.issued, ends);
        emit TcbInfoAccepted(header.tee, header.fmspc, header.evaluation, header.issued, uint40(ends), digest, realm);
    }

    /// @notice Takes a QE identity, version 2, for SGX (`QE`) or TDX (`TD_QE`).
    /// @param text Exactly the bytes that were signed, as for TCB info.
    /// @param signature r ‖ s.
    /// @param signer Id of the signer.
    /// Reverts if the evaluation number of what is there is higher, or equal with a later issue date.
    function submitQeIdentity(bytes calldata text, bytes calldata signature, bytes32 signer) external {
        (bytes32 digest, uint256 ends) = openDocument(text, signature, signer);
        (QeIdentity.Header memory header, bytes memory packed) = reader.qeIdentity(text);
        ends = min(ends, uint256(header.nextUpdate) + 1);
        inDate(header.issued, ends);
        keep(identityKey(header.tee), packed, header.evaluation, header.issued, ends);
        emit QeIdentityAccepted(header.tee, header.evaluation, header.issued, uint40(ends), digest, realm);
    }

    // --- judging ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IIntelCollateral
    function standing(Tee tee, PckFacts calldata pck, ModuleFacts calldata module)
        external
        view
        override
        returns (Standing memory result)
    {
        // On the slots as they are, for each registration pays for this.
        bytes32 id = authorityId(pck.issuer, pck.issuerKeyId);
        uint256 authority_ = authorityWord(id);
        if (roleIn(authority_) != Role.PckAuthority) revert CollateralNoAuthority(id, roleIn(authority_));
        uint256 until = untilIn(authority_);
        if (until <= block.timestamp) revert CollateralOver(until);
        if (revocations[id][pck.serial]) revert CollateralRevoked(id, pck.serial);
        uint256 document = documentWord(modelKey(tee, pck.fmspc));
        uint256 ends = untilIn(document);
        if (ends <= block.timestamp) revert CollateralOver(ends);
        if (uint8(document) != uint8(authority_ >> 8)) revert CollateralGeneration();

        (result.caX, result.caY,) = certificateOf(blobIn(authority_));
        result.validUntil = uint40(min(until, ends));
        result.status = TcbInfo.judge(Blob.read(blobIn(document)), tee, pck, module);
    }

    /// @inheritdoc IIntelCollateral
    function quotingEnclave(Tee tee, bytes calldata report)
        external
        view
        override
        returns (TcbStatus status, uint40 validUntil)
    {
        uint256 document = documentWord(identityKey(tee));
        validUntil = uint40(untilIn(document));
        if (validUntil <= block.timestamp) revert CollateralOver(validUntil);
        status = QeIdentity.judge(Blob.read(blobIn(document)), report);
    }

    /// @inheritdoc IIntelCollateral
    function isRevoked(bytes32 issuer, bytes20 issuerKeyId, uint160 serial) external view override returns (bool) {
        return revocations[authorityId(issuer, issuerKeyId)][serial];
    }

    /// @inheritdoc IIntelCollateral
    function authority(bytes32 issuer, bytes20 issuerKeyId) external view override returns (uint256 x, uint256 y) {
        bytes32 id = authorityId(issuer, issuerKeyId);
        Authority memory authority_ = authorityAt(id);
        if (authority_.role != Role.PckAuthority) revert CollateralNoAuthority(id, authority_.role);
        (x, y,) = certificateOf(authority_.blob);
    }

    // --- what is there ------------------------------------------------------------------------------------------------------

    /// @notice Name of the deployment; a simulated one says so first.
    function name() external pure virtual returns (string memory);

    /// @notice Id of an authority: keccak256 of (keccak256 of the subject's Name, subject key identifier left-aligned).
    function authorityId(bytes32 subject, bytes20 keyId) public pure returns (bytes32) {
        return keccak256(abi.encode(subject, keyId));
    }

    /// @notice Role of an authority, thisUpdate of its revocation list, and until when both and the root's list hold
    /// (exclusive; 0 without a list, and for signers).
    function authorityState(bytes32 id) external view returns (Role role, uint40 listed, uint40 until) {
        Authority memory authority_ = authorityAt(id);
        return (authority_.role, authority_.listed, authority_.until);
    }

    /// @notice thisUpdate of the root's revocation list, and until when it holds (exclusive); 0 if there is none.
    function rootListState() external view returns (uint40 listed, uint40 until) {
        return (rootList.listed, rootList.until);
    }

    /// @notice What is there for a model: evaluation number, issue date, end (exclusive, that of its signer counted in).
    function tcbInfoState(Tee tee, bytes6 fmspc)
        external
        view
        returns (uint16 evaluation, uint40 issued, uint40 until)
    {
        return state(documentAt(modelKey(tee, fmspc)));
    }

    /// @notice What is there for a quoting enclave.
    function qeIdentityState(Tee tee) external view returns (uint16 evaluation, uint40 issued, uint40 until) {
        return state(documentAt(identityKey(tee)));
    }

    // --- steps --------------------------------------------------------------------------------------------------------------

    /// End of the root and of its revocation list, without which nothing is accepted.
    function currentRoot() private view returns (uint256 until) {
        until = rootList.revoked ? 0 : rootList.until;
        if (until <= block.timestamp) revert CollateralOver(until);
    }

    /// RFC 5280 §6.1.4 (k) to (n), for chains whose depth is fixed, and Intel's names.
    function roleOf(Certificate.Fields memory fields) private pure returns (Role) {
        uint8 usage = fields.usage;
        if (fields.isAuthority) {
            bool issues = usage & Certificate.CERT_SIGN != 0 && usage & Certificate.CRL_SIGN != 0;
            bool named = Certificate.isNamed(fields, "Platform", 8) || Certificate.isNamed(fields, "Processor", 9);
            if (issues && named) return Role.PckAuthority;
        } else {
            bool signs = usage & Certificate.DIGITAL_SIGNATURE != 0
                && usage & (Certificate.CERT_SIGN | Certificate.CRL_SIGN) == 0;
            if (signs && Certificate.isNamed(fields, "TCB Signing", 11)) return Role.DocumentSigner;
        }
        revert CollateralRole();
    }

    /// Checks a list's signature, dates and order. `ends` is when it, its issuer and the root's list cease to hold (exclusive).
    function openList(bytes calldata list)
        private
        view
        returns (Crl.Fields memory fields, bytes32 issuer, uint256 ends)
    {
        fields = Crl.read(list);
        issuer = authorityId(fields.issuer, fields.issuerKeyId);
        ends = uint256(fields.nextUpdate) + 1;
        uint256 known;
        (uint256 x, uint256 y) = (rootX, rootY);
        if (issuer == rootId) {
            if (rootList.revoked) revert CollateralRevoked(rootId, rootSerial);
            known = rootList.listed;
            ends = min(ends, rootUntil);
        } else {
            Authority memory authority_ = authorityAt(issuer);
            if (authority_.role != Role.PckAuthority) revert CollateralNoAuthority(issuer, authority_.role);
            known = authority_.listed;
            uint256 certified;
            (x, y, certified) = certificateOf(authority_.blob);
            ends = min(min(ends, certified), currentRoot());
        }
        if (!P256.verifies(fields.digest, fields.r, fields.s, x, y)) revert CollateralSignature();
        inDate(fields.thisUpdate, ends);
        if (fields.thisUpdate < known) revert CollateralOlder(fields.thisUpdate, known);
    }

    /// Marks `count` entries of a list after the first `skipped`.
    function mark(bytes32 issuer, Crl.Fields memory fields, uint256 skipped, uint256 count) private {
        (uint256 pos, uint256 end) = (fields.entries, fields.entriesEnd);
        for (; skipped != 0 && pos != end; --skipped) {
            pos = Crl.pass(pos, end);
        }
        mapping(uint160 => bool) storage revoked = revocations[issuer];
        for (; count != 0 && pos != end; --count) {
            uint160 serial;
            (serial, pos) = Crl.entry(pos, end);
            if (revoked[serial]) continue;
            revoked[serial] = true;
            emit CertificateRevoked(issuer, serial, realm);
            if (issuer == rootId) revokeAuthority(serial);
        }
    }

    /// The root revoked a certificate: whoever holds it loses the role, and if a signer of documents is among them, what was
    /// accepted until now is not used again. The root itself takes everything with it.
    function revokeAuthority(uint160 serial) private {
        if (serial == rootSerial) {
            rootList.revoked = true;
            for (uint256 i; i < pckAuthorities.length; ++i) {
                revokeAs(pckAuthorities[i], serial);
            }
            return dropDocuments();
        }
        bytes32 id = holders[serial];
        if (id == 0) return;
        Authority memory authority_ = authorityAt(id);
        // Another certificate took its place.
        if (uint160(Json.load(Blob.read(authority_.blob) + 69) >> 96) != serial) return;
        revokeAs(id, serial);
        if (authority_.role == Role.DocumentSigner) dropDocuments();
    }

    function revokeAs(bytes32 id, uint160 serial) private {
        Authority memory authority_ = authorityAt(id);
        authority_.role = Role.Revoked;
        store(id, authority_);
        emit AuthorityRevoked(id, serial, realm);
    }

    /// Documents of all generations up to now are not used again. That costs no look at their signer in each judgement; the
    /// loop is over the PCK CAs that the root vouched for, eight at most.
    function dropDocuments() private {
        uint8 generation = ++rootList.generation;
        for (uint256 i; i < pckAuthorities.length; ++i) {
            Authority memory authority_ = authorityAt(pckAuthorities[i]);
            authority_.generation = generation;
            store(pckAuthorities[i], authority_);
        }
        for (uint256 tee; tee <= uint256(type(Tee).max); ++tee) {
            Document memory document = documentAt(identityKey(Tee(tee)));
            document.until = 0;
            store(identityKey(Tee(tee)), document);
        }
    }

    /// Checks a document's signature before anything of it is read. `ends` is when its signer ceases to hold (exclusive).
    function openDocument(bytes calldata text, bytes calldata signature, bytes32 signer)
        private
        view
        returns (bytes32 digest, uint256 ends)
    {
        Authority memory authority_ = authorityAt(signer);
        if (authority_.role != Role.DocumentSigner) revert CollateralNoAuthority(signer, authority_.role);
        uint256 x;
        uint256 y;
        (x, y, ends) = certificateOf(authority_.blob);
        ends = min(ends, currentRoot());
        if (signature.length != 64) revert CollateralSignature();
        digest = sha256(text);
        (uint256 pos,) = Der.open(signature);
        if (!P256.verifies(digest, Der.load(pos), Der.load(pos + 32), x, y)) revert CollateralSignature();
    }

    /// Replaces a document by one that is not older.
    function keep(bytes32 key, bytes memory packed, uint16 evaluation, uint40 issued, uint256 ends) private {
        Document memory document = documentAt(key);
        if (evaluation < document.evaluation) revert CollateralOlder(evaluation, document.evaluation);
        if (evaluation == document.evaluation && issued < document.issued) {
            revert CollateralOlder(issued, document.issued);
        }
        // Seconds fit 32 bits until 2106, and a later moment is in no accepted document before then.
        if (issued > type(uint32).max) revert CollateralEarly(issued);
        document = Document(Blob.write(packed), uint40(ends), uint32(issued), evaluation, rootList.generation);
        store(key, document);
    }

    /// Reverts before the first and after the last second.
    function inDate(uint256 from, uint256 until) private view {
        if (block.timestamp < from) revert CollateralEarly(from);
        if (block.timestamp >= until) revert CollateralOver(until);
    }

    /// Key and end (exclusive) of an authority's certificate.
    function certificateOf(address blob) private view returns (uint256 x, uint256 y, uint256 ends) {
        uint256 place = Blob.read(blob);
        unchecked {
            return (Json.load(place), Json.load(place + 32), Json.load(place + 64) >> 216);
        }
    }

    function state(Document memory document) private pure returns (uint16, uint40, uint40) {
        return (document.evaluation, document.issued, document.until);
    }

    function min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
