// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Realm} from "./Types.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";
import {IMeasurementPolicy} from "./interfaces/IMeasurementPolicy.sol";
import {IWorkLedger, WorkProof} from "./interfaces/IWorkLedger.sol";
import {Signatures} from "./lib/Signatures.sol";

/// Money for jobs, held until a Work Proof for the job's manifest releases it, or until it is over.
///
/// Anybody may fund a job for the payer that its manifest names. What is not released goes back to whoever paid it in, not to that
/// payer. Each depositor has a deposit of their own per manifest, so that nobody can occupy somebody else's. Everything
/// is credited here and withdrawn by whom it belongs to; neither credit after settlement, nor refund, nor withdrawal
/// can be paused by anyone.
contract JobEscrow {
    using SafeERC20 for IERC20;

    error NoManifest();
    error NoPayer();
    error NoRuns();
    error NoPrice();
    /// Seconds since 1970.
    error ExpiryPassed(uint40 expiry);
    /// A deposit of the same depositor for the same manifest has other terms.
    error OtherTerms(bytes32 id);
    error NoDeposit(bytes32 id);
    error NotExpired(uint40 expiry);
    error Expired(uint40 expiry);
    /// The token took a fee or gave a bonus: deposits would not be covered.
    error AmountDiffers(uint256 received, uint256 expected);
    error PayerDiffers(address found, address expected);
    error PriceDiffers(uint64 found, uint64 expected);
    /// The deposit is for another chip.
    error ChipDiffers(bytes32 found, bytes23 expectedPrefix);
    error MeasurementDiffers(bytes32 found, bytes32 expected);
    error NotItsKey(bytes32 enclaveId, address key);
    error ChipBarred(bytes32 enclaveId);
    error NotEarning(address key);
    error NotSettled(address key, uint64 sequence);
    error NotSigner(address found, address expected);
    /// A proof of this key with this sequence number was paid.
    error AlreadyPaid(address key, uint64 sequence);
    error NothingToWithdraw(address account);

    event Deposited(
        bytes32 indexed id,
        bytes32 indexed manifest,
        address indexed depositor,
        address payer,
        uint64 price,
        uint32 runs,
        uint40 expiry,
        bytes23 chipPrefix,
        Realm realm
    );
    event Released(
        bytes32 indexed id, bytes32 indexed enclaveId, address indexed owner, bytes32 digest, uint64 price, Realm realm
    );
    event Refunded(bytes32 indexed id, address indexed depositor, uint256 amount, Realm realm);
    event Withdrawn(address indexed account, address indexed to, uint256 amount, Realm realm);

    /// Two storage slots.
    struct Deposit {
        address payer;
        /// Of one run, in the token's smallest unit.
        uint64 price;
        /// That are not released.
        uint32 runs;
        /// Exclusive, seconds since 1970.
        uint40 expiry;
        /// First 23 bytes of the Enclave ID that may earn it; zero for any.
        bytes23 chipPrefix;
    }

    IERC20 public immutable token;
    IWorkLedger public immutable ledger;
    IEnclaveRegistry private immutable REGISTRY;
    IMeasurementPolicy private immutable POLICY;
    Realm private immutable REALM;

    mapping(bytes32 id => Deposit) private _deposits;
    /// Credited and not withdrawn.
    mapping(address account => uint256) public balanceOf;
    /// Bit `sequence & 255` of word `sequence >> 8`: the proof was paid.
    mapping(address key => mapping(uint256 word => uint256)) private _paid;

    constructor(IWorkLedger ledger_, IERC20 token_) {
        ledger = ledger_;
        token = token_;
        REGISTRY = ledger_.registry();
        POLICY = REGISTRY.policy();
        REALM = ledger_.realm();
    }

    /// Pays in `runs` times `price` for the job with this manifest hash. `payer` and `price` must be those of the manifest's
    /// settlement, or no proof releases it. `enclaveId` is the chip that may earn it, zero for any; `expiry` is when what is
    /// left goes back (seconds since 1970). A further deposit of the same depositor on the same terms adds runs.
    function deposit(bytes32 manifest, address payer, uint64 price, uint32 runs, uint40 expiry, bytes32 enclaveId)
        public
        returns (bytes32 id)
    {
        if (manifest == 0) revert NoManifest();
        if (payer == address(0)) revert NoPayer();
        if (price == 0) revert NoPrice();
        if (runs == 0) revert NoRuns();
        if (expiry <= block.timestamp) revert ExpiryPassed(expiry);
        id = idOf(manifest, msg.sender);
        Deposit memory held = _deposits[id];
        Deposit memory terms = Deposit(payer, price, runs, expiry, bytes23(enclaveId));
        if (held.runs != 0) {
            bool same = held.payer == payer && held.price == price && held.expiry == expiry
                && held.chipPrefix == bytes23(enclaveId);
            if (!same) revert OtherTerms(id);
            terms.runs += held.runs;
        }
        _deposits[id] = terms;
        emit Deposited(id, manifest, msg.sender, payer, price, runs, expiry, bytes23(enclaveId), REALM);
        uint256 amount = uint256(price) * runs;
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert AmountDiffers(received, amount);
    }

    /// `deposit` with the allowance in the same transaction (ERC-2612). A permit that somebody else has sent already is no
    /// obstacle.
    function depositWithPermit(
        bytes32 manifest,
        address payer,
        uint64 price,
        uint32 runs,
        uint40 expiry,
        bytes32 enclaveId,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (bytes32 id) {
        uint256 amount = uint256(price) * runs;
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        return deposit(manifest, payer, price, runs, expiry, enclaveId);
    }

    /// Credits the price of one run to the chip's owner, for a proof whose key earns now (EIP-2098 signature). Anybody. Refused
    /// while settlement is paused: `releaseSettled` is not.
    function release(WorkProof calldata proof, address depositor, bytes32 r, bytes32 vs) external {
        bytes23 prefix = REGISTRY.chipOfEarner(proof.enclaveKey);
        if (prefix == 0) revert NotEarning(proof.enclaveKey);
        bytes32 digest = ledger.hashOf(proof);
        address signer = Signatures.signer(digest, r, vs);
        if (signer != proof.enclaveKey) revert NotSigner(signer, proof.enclaveKey);
        _release(proof, depositor, digest);
    }

    /// Credits the price of one run to the chip's owner, for a proof in a settled log: it was earned when it was settled, whatever
    /// became of its key since, unless the chip is barred. `path` is the RFC 6962 audit path to the settled root. Anybody.
    function releaseSettled(WorkProof calldata proof, address depositor, bytes32[] calldata path) external {
        bytes32 digest = ledger.hashOf(proof);
        if (!ledger.isSettled(proof.enclaveKey, digest, proof.sequence, path)) {
            revert NotSettled(proof.enclaveKey, proof.sequence);
        }
        _release(proof, depositor, digest);
    }

    /// Credits what is left of an expired deposit to whoever paid it in. Anybody.
    function refund(bytes32 manifest, address depositor) external {
        bytes32 id = idOf(manifest, depositor);
        Deposit memory held = _deposits[id];
        if (held.runs == 0) revert NoDeposit(id);
        if (block.timestamp < held.expiry) revert NotExpired(held.expiry);
        uint256 amount = uint256(held.price) * held.runs;
        delete _deposits[id];
        balanceOf[depositor] += amount;
        emit Refunded(id, depositor, amount, REALM);
    }

    /// Pays out all that is credited to the caller.
    function withdraw(address to) external returns (uint256 amount) {
        amount = balanceOf[msg.sender];
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        balanceOf[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amount, REALM);
        token.safeTransfer(to, amount);
    }

    /// For people. Begins with "SIMULATED " where it is.
    function name() external view returns (string memory) {
        return REALM == Realm.Simulated ? "SIMULATED Glacier Job Escrow" : "Glacier Job Escrow";
    }

    /// The deployment's root: the vendor's, or a simulated one.
    function realm() external view returns (Realm) {
        return REALM;
    }

    /// The number of a depositor's deposit for a manifest.
    function idOf(bytes32 manifest, address depositor) public pure returns (bytes32) {
        return keccak256(abi.encode(manifest, depositor));
    }

    /// What is left of a deposit; all zero if nothing is.
    function depositOf(bytes32 id) external view returns (Deposit memory) {
        return _deposits[id];
    }

    /// Whether a proof of this key with this sequence number was paid.
    function isPaid(address key, uint64 sequence) external view returns (bool) {
        return _paid[key][sequence >> 8] >> (sequence & 255) & 1 == 1;
    }

    function _release(WorkProof calldata proof, address depositor, bytes32 digest) private {
        bytes32 id = idOf(proof.manifest, depositor);
        Deposit memory held = _deposits[id];
        if (held.runs == 0) revert NoDeposit(id);
        if (block.timestamp >= held.expiry) revert Expired(held.expiry);
        if (proof.payer != held.payer) revert PayerDiffers(proof.payer, held.payer);
        if (proof.price != held.price) revert PriceDiffers(proof.price, held.price);
        if (held.chipPrefix != 0 && held.chipPrefix != bytes23(proof.enclaveId)) {
            revert ChipDiffers(proof.enclaveId, held.chipPrefix);
        }
        address owner = _checkKey(proof);

        uint256 word = _paid[proof.enclaveKey][proof.sequence >> 8];
        uint256 bit = 1 << (proof.sequence & 255);
        if (word & bit != 0) revert AlreadyPaid(proof.enclaveKey, proof.sequence);
        _paid[proof.enclaveKey][proof.sequence >> 8] = word | bit;

        if (held.runs == 1) delete _deposits[id];
        else _deposits[id].runs = held.runs - 1;
        balanceOf[owner] += held.price;
        emit Released(id, proof.enclaveId, owner, digest, held.price, REALM);
    }

    /// The key is this chip's, the measurement is the one that it was registered with, and the chip is not barred.
    function _checkKey(WorkProof calldata proof) private view returns (address owner) {
        IEnclaveRegistry.Key memory key = REGISTRY.keyOf(proof.enclaveKey);
        if (key.code == 0 || key.chipPrefix != bytes23(proof.enclaveId)) {
            revert NotItsKey(proof.enclaveId, proof.enclaveKey);
        }
        IEnclaveRegistry.Chip memory chip = REGISTRY.chip(proof.enclaveId);
        if (chip.owner == address(0)) revert NotItsKey(proof.enclaveId, proof.enclaveKey);
        if (chip.barred) revert ChipBarred(proof.enclaveId);
        bytes32 measurement = POLICY.measurementOf(key.code);
        if (measurement != proof.measurement) revert MeasurementDiffers(proof.measurement, measurement);
        return chip.owner;
    }
}
