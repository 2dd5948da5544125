// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Realm} from "./Types.sol";
import {IBondSlasher} from "./interfaces/IBondSlasher.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";
import {Checkpoint, IWorkLedger, WorkProof} from "./interfaces/IWorkLedger.sol";
import {LogTree} from "./lib/LogTree.sol";

/// Settles Work Proofs: the log of each enclave key, up to the newest head that was shown here.
///
/// All signatures are EIP-2098 (`r`, and `s` with the parity in its highest bit): one form a signature, and a third less
/// calldata. Not checked here, because a watchman checks it from the events and the published log: that a new head extends the
/// old one, and that its units are the sum over its proofs. A key that breaks this has signed two histories, and
/// `proveTwoHistories` bars its chip.
contract WorkLedger is IWorkLedger, EIP712 {
    /// Why a head or a proof is not settled.
    enum Refusal {
        None,
        /// Settlement is paused.
        Paused,
        /// The key is unknown, over, ended, its code revoked, or its chip barred.
        NotEarning,
        /// The key is another chip's.
        OtherChip,
        /// The size does not exceed the settled one.
        NotLater,
        /// Not this key's signature.
        Signature
    }

    error Refused(address key, uint64 size, Refusal why);
    error NothingSettled(uint256 heads);
    error BatchLength(uint256 length);
    /// The proof is not the next leaf of the settled log.
    error NotNext(uint64 sequence, uint64 size);
    error WrongFrontier(bytes32 found, bytes24 expected);
    /// The statements do not contradict each other.
    error NoContradiction();
    error NotSigner(address found, address expected);
    error NotItsKey(bytes32 enclaveId, address key);
    error WrongPath();
    error NotOwner(address caller);
    error SlasherSet(address slasher);

    /// A head was settled: proofs `from` (inclusive) to `size` (exclusive) count. `units` is the sum over the whole log.
    event Settled(
        address indexed key,
        bytes32 indexed enclaveId,
        uint64 from,
        uint64 size,
        uint64 units,
        bytes32 root,
        Realm realm
    );
    /// One proof was settled, the leaf number `sequence`. `units` are its own; the next head's include them.
    event ProofSettled(
        address indexed key,
        bytes32 indexed enclaveId,
        uint64 sequence,
        uint64 units,
        bytes32 digest,
        Realm realm
    );
    /// A head in a batch was passed over.
    event Skipped(address indexed key, uint64 size, Refusal why, Realm realm);
    /// A key has signed two statements that contradict each other.
    event Equivocated(
        bytes32 indexed enclaveId, address indexed key, address indexed reporter, bytes32 one, bytes32 other, Realm realm
    );
    /// The bond could not be taken; the chip is barred all the same.
    event SlashFailed(bytes32 indexed enclaveId, address indexed reporter, Realm realm);
    event SlasherNamed(address indexed slasher, Realm realm);

    /// A head and its signature.
    struct SignedHead {
        Checkpoint head;
        bytes32 r;
        bytes32 vs;
    }

    /// A Work Proof, where it counts, and its signature. A key has one sequence for all ledgers, so that proofs for
    /// another chain or ledger are evidence here.
    struct SignedProof {
        WorkProof proof;
        uint256 chainId;
        address ledger;
        bytes32 r;
        bytes32 vs;
    }

    /// Bytes of one head in a batch: key 20, last nine bytes of the Enclave ID, size 8, units 8, root 32, r 32, vs 32.
    uint256 public constant HEAD_BYTES = 141;

    bytes32 private constant WORK_PROOF = keccak256(
        "WorkProof(bytes32 enclaveId,address enclaveKey,bytes32 measurement,string platform,string work,"
        "bytes32 manifest,bytes32 model,bytes32 input,bytes32 output,uint64 units,uint64 sequence,bytes32 previous,"
        "address payer,uint64 price)"
    );
    bytes32 private constant CHECKPOINT =
        keccak256("Checkpoint(bytes32 enclaveId,address enclaveKey,uint64 size,bytes32 root,uint64 units)");
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    IEnclaveRegistry private immutable REGISTRY;
    Realm private immutable REALM;
    /// Takes the bond of whoever contradicts itself; zero while none is named.
    IBondSlasher public slasher;
    /// Packed: the first 24 bytes of the root, and the size.
    mapping(address key => uint256) private _heads;

    constructor(IEnclaveRegistry registry_) EIP712("Glacier", "1") {
        REGISTRY = registry_;
        REALM = registry_.realm();
    }

    /// Settles one head: (settled size, its size] counts from now. Reverts with the reason if it is refused.
    function settle(Checkpoint calldata head, bytes32 r, bytes32 vs) external {
        (bool earns, bytes23 prefix) = REGISTRY.mayEarn(head.enclaveKey);
        Refusal why = prefix != bytes23(head.enclaveId) ? Refusal.OtherChip : _settle(head, earns, r, vs);
        if (why != Refusal.None) revert Refused(head.enclaveKey, head.size, _reason(why));
    }

    /// Settles many heads, `HEAD_BYTES` each, packed. A head that is refused is passed over with `Skipped` and stops none of
    /// the others; reverts if nothing at all was settled. The first 23 bytes of the Enclave ID come from the registry.
    function settleMany(bytes calldata heads) external returns (uint256 count) {
        if (heads.length % HEAD_BYTES != 0) revert BatchLength(heads.length);
        Checkpoint memory head;
        for (uint256 at; at < heads.length; at += HEAD_BYTES) {
            head.enclaveKey = address(bytes20(heads[at:at + 20]));
            head.size = uint64(bytes8(heads[at + 29:at + 37]));
            head.units = uint64(bytes8(heads[at + 37:at + 45]));
            head.root = bytes32(heads[at + 45:at + 77]);
            (bool earns, bytes23 prefix) = REGISTRY.mayEarn(head.enclaveKey);
            head.enclaveId = bytes32(prefix) | bytes32(bytes9(heads[at + 20:at + 29])) >> 184;
            Refusal why = _settle(head, earns, bytes32(heads[at + 77:at + 109]), bytes32(heads[at + 109:at + 141]));
            if (why == Refusal.None) ++count;
            else emit Skipped(head.enclaveKey, head.size, _reason(why), REALM);
        }
        if (count == 0) revert NothingSettled(heads.length / HEAD_BYTES);
    }

    /// Settles the one proof that follows the settled log. `frontier` are the roots of the perfect subtrees of the settled
    /// log, the largest first (none for an empty log).
    function settleProof(WorkProof calldata proof, bytes32 r, bytes32 vs, bytes32[] calldata frontier) external {
        address key = proof.enclaveKey;
        uint256 packed = _heads[key];
        uint64 size = uint64(packed);
        if (proof.sequence != size) revert NotNext(proof.sequence, size);
        bytes32 digest = _digest(proof, _domainSeparatorV4());
        (bytes32 root, bytes32 grown) = LogTree.append(frontier, size, LogTree.leaf(digest));
        if (size != 0 && bytes24(root) != bytes24(bytes32(packed))) revert WrongFrontier(root, bytes24(bytes32(packed)));
        (bool earns, bytes23 prefix) = REGISTRY.mayEarn(key);
        if (!earns) revert Refused(key, size, _reason(Refusal.NotEarning));
        if (prefix != bytes23(proof.enclaveId)) revert Refused(key, size, Refusal.OtherChip);
        _signed(digest, key, r, vs);
        _heads[key] = uint256(bytes32(bytes24(grown))) | size + 1;
        emit ProofSettled(key, proof.enclaveId, size, proof.units, digest, REALM);
    }

    /// Two Work Proofs of one key with one sequence number. `keys` are other keys of the chip, the current one above
    /// all, which are to end with it.
    function proveTwoProofs(SignedProof calldata one, SignedProof calldata other, address[] calldata keys) external {
        address key = one.proof.enclaveKey;
        bytes32 first = _signedDigest(one, key);
        bytes32 second = _signedDigest(other, key);
        if (one.proof.sequence != other.proof.sequence || first == second) revert NoContradiction();
        _equivocated(one.proof.enclaveId, key, first, second, keys);
    }

    /// Two heads of one key with one size: another root, other units, or another chip.
    function proveTwoHeads(SignedHead calldata one, SignedHead calldata other, address[] calldata keys) external {
        address key = one.head.enclaveKey;
        bytes32 first = _signedDigest(one, key);
        bytes32 second = _signedDigest(other, key);
        if (one.head.size != other.head.size || first == second) revert NoContradiction();
        _equivocated(one.head.enclaveId, key, first, second, keys);
    }

    /// A head and a Work Proof of one key, where the head's log has another leaf at the proof's sequence: `leaf` is that
    /// leaf's hash, `path` its RFC 6962 audit path.
    function proveOtherLeaf(
        SignedHead calldata head,
        SignedProof calldata proof,
        bytes32 leaf,
        bytes32[] calldata path,
        address[] calldata keys
    ) external {
        address key = head.head.enclaveKey;
        bytes32 first = _signedDigest(head, key);
        bytes32 second = _signedDigest(proof, key);
        _checkPath(head.head, leaf, proof.proof.sequence, path);
        if (leaf == LogTree.leaf(second)) revert NoContradiction();
        _equivocated(head.head.enclaveId, key, first, second, keys);
    }

    /// Two heads of one key whose logs have different leaves at `index`, whoever holds the proofs themselves.
    function proveTwoHistories(
        SignedHead calldata one,
        SignedHead calldata other,
        uint64 index,
        bytes32[2] calldata leaves,
        bytes32[] calldata path,
        bytes32[] calldata otherPath,
        address[] calldata keys
    ) external {
        address key = one.head.enclaveKey;
        bytes32 first = _signedDigest(one, key);
        bytes32 second = _signedDigest(other, key);
        _checkPath(one.head, leaves[0], index, path);
        _checkPath(other.head, leaves[1], index, otherPath);
        if (leaves[0] == leaves[1]) revert NoContradiction();
        _equivocated(one.head.enclaveId, key, first, second, keys);
    }

    /// Names who takes bonds. Once; only the registry's owner.
    function setSlasher(IBondSlasher slasher_) external {
        if (msg.sender != Ownable(address(REGISTRY)).owner()) revert NotOwner(msg.sender);
        if (address(slasher) != address(0)) revert SlasherSet(address(slasher));
        slasher = slasher_;
        emit SlasherNamed(address(slasher_), REALM);
    }

    /// For people. Begins with "SIMULATED " where it is.
    function name() external view returns (string memory) {
        return REALM == Realm.Simulated ? "SIMULATED Glacier Work Ledger" : "Glacier Work Ledger";
    }

    /// @inheritdoc IWorkLedger
    function realm() external view returns (Realm) {
        return REALM;
    }

    /// @inheritdoc IWorkLedger
    function registry() external view returns (IEnclaveRegistry) {
        return REGISTRY;
    }

    /// @inheritdoc IWorkLedger
    function hashOf(WorkProof calldata proof) external view returns (bytes32) {
        return _digest(proof, _domainSeparatorV4());
    }

    /// EIP-712 digest of a head in this ledger's domain.
    function hashOf(Checkpoint calldata head) external view returns (bytes32) {
        return _digest(head);
    }

    /// @inheritdoc IWorkLedger
    function settled(address key) external view returns (uint64 size, bytes24 root) {
        uint256 packed = _heads[key];
        return (uint64(packed), bytes24(bytes32(packed)));
    }

    /// @inheritdoc IWorkLedger
    function isSettled(address key, bytes32 digest, uint64 sequence, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        uint256 packed = _heads[key];
        (bool ok, bytes32 root) = LogTree.rootFrom(LogTree.leaf(digest), sequence, uint64(packed), path);
        return ok && bytes24(root) == bytes24(bytes32(packed));
    }

    function _settle(Checkpoint memory head, bool earns, bytes32 r, bytes32 vs) private returns (Refusal) {
        if (!earns) return Refusal.NotEarning;
        uint256 packed = _heads[head.enclaveKey];
        if (head.size <= uint64(packed)) return Refusal.NotLater;
        (address signer,,) = ECDSA.tryRecover(_digest(head), r, vs);
        if (signer != head.enclaveKey || signer == address(0)) return Refusal.Signature;
        _heads[head.enclaveKey] = uint256(bytes32(bytes24(head.root))) | head.size;
        emit Settled(head.enclaveKey, head.enclaveId, uint64(packed), head.size, head.units, head.root, REALM);
        return Refusal.None;
    }

    function _equivocated(bytes32 enclaveId, address key, bytes32 one, bytes32 other, address[] calldata keys) private {
        if (!REGISTRY.belongs(enclaveId, key)) revert NotItsKey(enclaveId, key);
        emit Equivocated(enclaveId, key, msg.sender, one, other, REALM);
        address[] memory ended = new address[](keys.length + 1);
        ended[0] = key;
        for (uint256 i; i < keys.length; ++i) {
            ended[i + 1] = keys[i];
        }
        REGISTRY.bar(enclaveId, ended);
        if (address(slasher) == address(0)) return;
        try slasher.slash(enclaveId, msg.sender) {}
        catch {
            emit SlashFailed(enclaveId, msg.sender, REALM);
        }
    }

    /// A pause is named as the reason where it is: this is the way out, where gas does not matter.
    function _reason(Refusal why) private view returns (Refusal) {
        return REGISTRY.paused() ? Refusal.Paused : why;
    }

    function _signedDigest(SignedHead calldata signed, address key) private view returns (bytes32 digest) {
        digest = _digest(signed.head);
        _signed(digest, key, signed.r, signed.vs);
    }

    function _signedDigest(SignedProof calldata signed, address key) private view returns (bytes32 digest) {
        bytes32 separator = keccak256(
            abi.encode(DOMAIN, keccak256("Glacier"), keccak256("1"), signed.chainId, signed.ledger)
        );
        digest = _digest(signed.proof, separator);
        _signed(digest, key, signed.r, signed.vs);
    }

    function _digest(WorkProof calldata proof, bytes32 separator) private pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator, keccak256(abi.encode(WORK_PROOF, proof)));
    }

    function _digest(Checkpoint memory head) private view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CHECKPOINT, head)));
    }

    function _signed(bytes32 digest, address key, bytes32 r, bytes32 vs) private pure {
        address signer = ECDSA.recover(digest, r, vs);
        if (signer != key) revert NotSigner(signer, key);
    }

    function _checkPath(Checkpoint calldata head, bytes32 leaf, uint64 index, bytes32[] calldata path) private pure {
        (bool ok, bytes32 root) = LogTree.rootFrom(leaf, index, head.size, path);
        if (!ok || root != head.root) revert WrongPath();
    }
}
