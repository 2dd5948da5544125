// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Platform, Realm} from "./Types.sol";
import {IBondSlasher} from "./interfaces/IBondSlasher.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";
import {Checkpoint, IWorkLedger, WorkProof} from "./interfaces/IWorkLedger.sol";
import {LogTree} from "./lib/LogTree.sol";
import {Signatures} from "./lib/Signatures.sol";

/// Settles Work Proofs: the log of each enclave key, up to the newest head that was shown here.
///
/// All signatures are EIP-2098 (`r`, and `s` with the parity in its highest bit): one form a signature, and a third less
/// calldata. Not checked here, because a watchman checks it from the events and the published log: that a new head extends the
/// old one, and that its units are the sum over its proofs. A key that breaks this has signed two histories, and
/// `proveTwoHistories` bars its chip.
contract WorkLedger is IWorkLedger, EIP712 {
    /// What a job does: the words that are signed are `inference`, `deployment` and `app`.
    enum Work {
        Inference,
        Deployment,
        App
    }

    /// Why a head is not settled.
    enum Refusal {
        None,
        /// Settlement is paused.
        Paused,
        /// The key is unknown, over, ended, its code revoked, or its chip barred.
        NotEarning,
        /// The size does not exceed the settled one.
        NotLater,
        /// Not this key's signature for this head of this chip.
        Signature
    }

    error Refused(address key, uint64 size, Refusal why);
    error NothingSettled(uint256 heads);
    error BatchLength(uint256 length);
    /// A platform or a kind of work that has no number here; a head settles it.
    error UnknownWord(uint8 number);
    error WrongFrontier(bytes32 found, bytes24 expected);
    /// The statements do not contradict each other.
    error NoContradiction();
    error NotSigner(address found, address expected);
    error NotItsKey(bytes32 enclaveId, address key);
    error WrongPath();
    error NotOwner(address caller);
    error SlasherSet(address slasher);
    /// Too little gas is left for the bond to be taken, and nothing was done.
    error GasForSlash(uint256 left, uint256 needed);

    /// A head was settled: the key's proofs from the formerly settled size (inclusive) to this size (exclusive) count. `head` is
    /// what is stored: the root's first 24 bytes, and the size. `units` is the sum over the whole log: what the key earned by
    /// it is the rise over the last head's and the proofs' settled since. Whose key it is, the registry's
    /// `Registered` says once and for all.
    event Settled(address indexed key, bytes32 head, uint64 units, Realm realm);
    /// One proof was settled, the leaf number `sequence` of the key's log. `units` are its own; the next head's include them.
    event ProofSettled(address indexed key, uint64 sequence, uint64 units, bytes32 digest, Realm realm);
    /// A head in a batch was passed over.
    event Skipped(address indexed key, uint64 size, Refusal why, Realm realm);
    /// A key has signed two statements that contradict each other.
    event Equivocated(
        bytes32 indexed enclaveId,
        address indexed key,
        address indexed reporter,
        bytes32 one,
        bytes32 other,
        Realm realm
    );
    /// The bond could not be taken; the chip is barred all the same. The same evidence, sent again, tries again.
    event SlashFailed(bytes32 indexed enclaveId, address indexed reporter, Realm realm);
    event SlasherNamed(address indexed slasher, Realm realm);

    /// What is settled of a key's log: the first 24 bytes of the root, and the size.
    struct Head {
        uint256 packed;
    }

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

    /// Bytes of one head in a batch: key 20, last bytes of the Enclave ID 9, size 8, units 8, root 32, r 32, vs 32.
    uint256 public constant HEAD_BYTES = 141;
    /// Bytes of a packed proof without its frontier.
    uint256 public constant PROOF_BYTES = 323;
    /// What must be left when a bond is to be taken: more than twice what that takes at its dearest, so that a culprit who
    /// reports itself cannot have it run out of gas in the slasher and be barred alone.
    uint256 public constant SLASH_GAS = 400_000;

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
    mapping(address key => Head) private _heads;

    constructor(IEnclaveRegistry registry_) EIP712("Glacier", "1") {
        REGISTRY = registry_;
        REALM = registry_.realm();
    }

    /// Settles one head: what its log has beyond the settled size counts from now. `whose` is the key's 20 bytes and the last
    /// nine of the Enclave ID, whose others the registry knows; `counts` is size << 64 | units. Reverts with the reason if
    /// the head is refused.
    function submitCheckpoint(bytes32 whose, uint256 counts, bytes32 root, bytes32 r, bytes32 vs) external {
        Refusal why = _settle(whose, counts, root, r, vs);
        if (why != Refusal.None) revert Refused(address(bytes20(whose)), uint64(counts >> 64), why);
    }

    /// Settles many heads, packed, `HEAD_BYTES` each. A head that is refused is passed over with `Skipped` and stops none of
    /// the others; reverts if nothing at all was settled.
    function submitCheckpoints(bytes calldata heads) external returns (uint256 count) {
        if (heads.length % HEAD_BYTES != 0) revert BatchLength(heads.length);
        for (uint256 at; at < heads.length; at += HEAD_BYTES) {
            bytes32 whose = _word(heads, at);
            uint256 counts = uint256(_word(heads, at + 29)) >> 128;
            Refusal why = _settle(whose, counts, _word(heads, at + 45), _word(heads, at + 77), _word(heads, at + 109));
            if (why == Refusal.None) ++count;
            else emit Skipped(address(bytes20(whose)), uint64(counts >> 64), why, REALM);
        }
        if (count == 0) revert NothingSettled(heads.length / HEAD_BYTES);
    }

    /// Settles the one proof that follows the settled log. Packed: key 20, last nine bytes of the Enclave ID, platform 1, work 1
    /// (their numbers in `Platform` and `Work`), units 8, price 8, payer 20, then 32 each: measurement, manifest, model, input,
    /// output, previous, r, vs, and the frontier: the roots of the perfect subtrees of the settled log, the largest first (none for
    /// an empty log). The sequence number is the settled size.
    function submitProof(bytes calldata packed) external {
        if (packed.length < PROOF_BYTES || (packed.length - PROOF_BYTES) & 31 != 0) revert BatchLength(packed.length);
        address key = address(bytes20(_word(packed, 0)));
        bytes23 prefix = _chipOfEarner(key);
        Head storage stored = _heads[key];
        uint256 head = stored.packed;
        uint64 size = uint64(head);
        if (prefix == 0) revert Refused(key, size, _reason());
        bytes32 small = _word(packed, 20);
        bytes32 digest = _digest(packed, small, key, prefix, size);
        (bytes32 root, bytes32 grown) = LogTree.append(_frontier(packed), size, LogTree.leaf(digest));
        if (size != 0 && bytes24(root) != bytes24(bytes32(head))) revert WrongFrontier(root, bytes24(bytes32(head)));
        _signed(digest, key, _word(packed, 259), _word(packed, 291));
        // Checked: a head may claim any size, and one more must not begin again at zero.
        stored.packed = uint256(bytes32(bytes24(grown))) | uint256(size + 1);
        emit ProofSettled(key, size, uint64(uint256(small) >> 104), digest, REALM);
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
        uint256 packed = _heads[key].packed;
        return (uint64(packed), bytes24(bytes32(packed)));
    }

    /// @inheritdoc IWorkLedger
    function isSettled(address key, bytes32 digest, uint64 sequence, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        uint256 packed = _heads[key].packed;
        (bool ok, bytes32 root) = LogTree.rootFrom(LogTree.leaf(digest), sequence, uint64(packed), path);
        return ok && bytes24(root) == bytes24(bytes32(packed));
    }

    function _settle(bytes32 whose, uint256 counts, bytes32 root, bytes32 r, bytes32 vs) private returns (Refusal) {
        address key = address(bytes20(whose));
        bytes23 prefix = _chipOfEarner(key);
        if (prefix == 0) return _reason();
        uint256 size = counts >> 64 & type(uint64).max;
        Head storage stored = _heads[key];
        if (size <= uint64(stored.packed)) return Refusal.NotLater;
        bytes32 hash;
        bytes32 typeHash = CHECKPOINT;
        // As `abi.encode` would lay it out, without allocation: 200 gas of a head's 17,000.
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, typeHash)
            mstore(add(at, 0x20), or(prefix, and(shr(24, whose), 0xffffffffffffffffff)))
            mstore(add(at, 0x40), key)
            mstore(add(at, 0x60), size)
            mstore(add(at, 0x80), root)
            mstore(add(at, 0xa0), and(counts, 0xffffffffffffffff))
            hash := keccak256(at, 0xc0)
        }
        if (Signatures.signer(_hashTypedDataV4(hash), r, vs) != key) return Refusal.Signature;
        uint256 head = uint256(bytes32(bytes24(root))) | size;
        stored.packed = head;
        emit Settled(key, bytes32(head), uint64(counts), REALM);
        return Refusal.None;
    }

    /// `REGISTRY.chipOfEarner(key)`. In scratch memory: what the compiler makes of it costs 200 gas more.
    function _chipOfEarner(address key) private view returns (bytes23 prefix) {
        address target = address(REGISTRY);
        bytes32 selector = IEnclaveRegistry.chipOfEarner.selector;
        assembly ("memory-safe") {
            mstore(0, selector)
            mstore(4, key)
            // No answer is no chip.
            if staticcall(gas(), target, 0, 0x24, 0, 0x20) {
                if eq(returndatasize(), 0x20) { prefix := mload(0) }
            }
        }
    }

    /// Digest of a packed proof: its members in the order of the type, as `abi.encode` would lay them out. An encoding from a
    /// struct copies all of it twice, for 1,000 gas.
    function _digest(bytes calldata packed, bytes32 small, address key, bytes23 prefix, uint64 size)
        private
        view
        returns (bytes32)
    {
        bytes32 typeHash = WORK_PROOF;
        bytes32 platform = _platform(uint8(uint256(small) >> 176));
        bytes32 work = _work(uint8(uint256(small) >> 168));
        bytes32 hash;
        assembly ("memory-safe") {
            let at := mload(0x40)
            let from := packed.offset
            mstore(at, typeHash)
            mstore(add(at, 0x20), or(prefix, shr(184, and(small, shl(184, 0xffffffffffffffffff)))))
            mstore(add(at, 0x40), key)
            mstore(add(at, 0x60), calldataload(add(from, 67)))
            mstore(add(at, 0x80), platform)
            mstore(add(at, 0xa0), work)
            // Manifest, model, input, output.
            calldatacopy(add(at, 0xc0), add(from, 99), 128)
            mstore(add(at, 0x140), and(shr(104, small), 0xffffffffffffffff))
            mstore(add(at, 0x160), size)
            mstore(add(at, 0x180), calldataload(add(from, 227)))
            mstore(add(at, 0x1a0), shr(96, calldataload(add(from, 47))))
            mstore(add(at, 0x1c0), and(shr(40, small), 0xffffffffffffffff))
            hash := keccak256(at, 0x1e0)
        }
        return _hashTypedDataV4(hash);
    }

    function _frontier(bytes calldata packed) private pure returns (bytes32[] calldata peaks) {
        // The length was checked; a copy to memory would cost as much as hashing it.
        assembly ("memory-safe") {
            peaks.offset := add(packed.offset, PROOF_BYTES)
            peaks.length := shr(5, sub(packed.length, PROOF_BYTES))
        }
    }

    /// 32 bytes of calldata. Whoever calls it has checked the length; the check of a slice would cost ten times as much.
    function _word(bytes calldata data, uint256 at) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(data.offset, at))
        }
    }

    function _platform(uint8 number) private pure returns (bytes32) {
        if (number == uint8(Platform.Sgx)) return keccak256("sgx");
        if (number == uint8(Platform.Tdx)) return keccak256("tdx");
        if (number == uint8(Platform.Simulated)) return keccak256("simulated");
        revert UnknownWord(number);
    }

    function _work(uint8 number) private pure returns (bytes32) {
        if (number == uint8(Work.Inference)) return keccak256("inference");
        if (number == uint8(Work.Deployment)) return keccak256("deployment");
        if (number == uint8(Work.App)) return keccak256("app");
        revert UnknownWord(number);
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
        IBondSlasher slasher_ = slasher;
        if (address(slasher_) == address(0)) return;
        uint256 left = gasleft();
        if (left < SLASH_GAS) revert GasForSlash(left, SLASH_GAS);
        try slasher_.slash(enclaveId, msg.sender) {}
        catch {
            emit SlashFailed(enclaveId, msg.sender, REALM);
        }
    }

    /// Why a key does not earn: this is the way out, where gas does not matter.
    function _reason() private view returns (Refusal) {
        return REGISTRY.paused() ? Refusal.Paused : Refusal.NotEarning;
    }

    function _signedDigest(SignedHead calldata signed, address key) private view returns (bytes32 digest) {
        digest = _digest(signed.head);
        _signed(digest, key, signed.r, signed.vs);
    }

    function _signedDigest(SignedProof calldata signed, address key) private view returns (bytes32 digest) {
        bytes32 separator =
            keccak256(abi.encode(DOMAIN, keccak256("Glacier"), keccak256("1"), signed.chainId, signed.ledger));
        digest = _digest(signed.proof, separator);
        _signed(digest, key, signed.r, signed.vs);
    }

    function _digest(WorkProof calldata proof, bytes32 separator) private pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator, keccak256(abi.encode(WORK_PROOF, proof)));
    }

    function _digest(Checkpoint calldata head) private view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CHECKPOINT, head)));
    }

    function _signed(bytes32 digest, address key, bytes32 r, bytes32 vs) private view {
        address signer = Signatures.signer(digest, r, vs);
        if (signer != key) revert NotSigner(signer, key);
    }

    function _checkPath(Checkpoint calldata head, bytes32 leaf, uint64 index, bytes32[] calldata path) private pure {
        (bool ok, bytes32 root) = LogTree.rootFrom(leaf, index, head.size, path);
        if (!ok || root != head.root) revert WrongPath();
    }
}
