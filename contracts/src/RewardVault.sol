// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Bonds} from "./Bonds.sol";
import {EmissionSchedule} from "./EmissionSchedule.sol";
import {GlacierToken} from "./GlacierToken.sol";
import {Realm} from "./Types.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";

/// @title Pays new tokens for settled work, epoch by epoch.
/// @notice Epoch n (from 1) lasts from `genesis + (n-1) * epochLength` to `genesis + n * epochLength`. Who earned what in it is
/// a function of public events alone: of what the schedule adds for the epoch each chip gets the part that its keys' units
/// have in all units, rounded down, for its owner at the end of the epoch. Units are what the ledger's `Settled` and
/// `ProofSettled` events in blocks of that time add. What rounding or an epoch without work leaves is never emitted. The
/// sums over all epochs so far are the leaves `keccak256(keccak256(abi.encode(account, cumulative)))` of a Merkle tree with
/// sorted pairs. A proposer puts its root here; anybody can compute the same root and compare.
///
/// The chain does not recompute the root. What a false root could do: pay tokens of the schedule that nobody has claimed yet
/// to the wrong people. What it never can do: emit more than the schedule allows up to its epoch, take back what was
/// claimed, touch a bond, or take effect before the challenge window has passed. In that window any one watchman can veto it,
/// and everybody can still claim what the root before it gives them. So payment is trusted to the proposer or one
/// honest watchman out of all, within the window, and to whoever names them (the admin, which should be a timelock slower than
/// the window). A watchman that vetoes everything delays payment until the admin removes it, and takes nothing.
///
/// Anybody could be let to propose behind a bond that a veto burns. But a chain that cannot recompute the root
/// cannot tell a false root from a false veto either: watchmen could burn honest bonds at will, and a stranger could hold up
/// each epoch for the price of one bond. So proposing is a role; what would open it is a root that the chain can check.
contract RewardVault is Bonds, AccessControl, Pausable {
    /// What is fixed at deployment.
    struct Terms {
        /// Start of epoch 1, seconds since 1970.
        uint40 genesis;
        /// Seconds.
        uint32 epochLength;
        /// Seconds from a proposal to its effect. At least a day in production.
        uint32 challengeWindow;
        /// Seconds. At least `EQUIVOCATION_WINDOW` in production.
        uint32 unbondingPeriod;
        /// Tokens (of 10^-18) of each epoch of the first era.
        uint88 initialEmission;
        /// Epochs of an era.
        uint32 halvingEpochs;
        /// Of the token. At least twice `initialEmission * halvingEpochs`.
        uint88 cap;
    }

    /// One slot: a proposal changes this and one root. Amounts are less what was burned, so that they compare with the
    /// supply and a claim need not read what was burned.
    struct Head {
        /// Of the root in force.
        uint88 total;
        /// Of the proposal.
        uint88 proposed;
        /// When the proposal takes effect; 0 if there is none.
        uint40 maturesAt;
        /// The next proposal is for a later epoch.
        uint32 epoch;
        /// Where the root in force is, 1 or 2; the proposal's is in the other. Never 0, so that no proposal pays for a new slot.
        uint8 side;
    }

    bytes32 public constant PROPOSER_ROLE = keccak256("PROPOSER_ROLE");
    /// @notice Any one of them can veto a proposal.
    bytes32 public constant WATCHMAN_ROLE = keccak256("WATCHMAN_ROLE");
    /// @notice Can pause. Only the admin ends a pause.
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");
    /// @notice A production deployment has no shorter challenge window.
    uint256 public constant LEAST_WINDOW = 1 days;

    uint40 public immutable genesis;
    uint32 public immutable epochLength;
    uint32 public immutable challengeWindow;
    uint88 public immutable initialEmission;
    uint32 public immutable halvingEpochs;

    /// @notice Slashed tokens that were burned. Shares its slot with the pause.
    uint88 public burned;
    Head private _head;
    bytes32[3] private _roots;

    /// @notice What an account has claimed so far.
    mapping(address account => uint256 cumulative) public claimed;

    event RootProposed(uint32 indexed epoch, bytes32 indexed root, uint256 total, uint256 maturesAt, Realm realm);
    event RootVetoed(uint32 indexed epoch, bytes32 indexed root, address indexed watchman, Realm realm);
    event ProposalsPaused(address indexed guardian, Realm realm);
    event ProposalsResumed(address indexed admin, Realm realm);
    /// `cumulative` is all that the account has claimed; what it was paid now is in the token's `Transfer`.
    event Claimed(address indexed account, uint256 cumulative, Realm realm);

    error VaultZeroTerm();
    error VaultWindowTooShort(uint256 window, uint256 least);
    error VaultScheduleAboveCap(uint256 limit, uint256 cap);
    error VaultZeroRoot();
    /// The last proposal can still be vetoed.
    error VaultRootPending(uint256 maturesAt, uint256 time);
    error VaultEpochNotLater(uint256 epoch, uint256 last);
    error VaultEpochNotOver(uint256 epoch, uint256 end);
    error VaultTotalFell(uint256 total, uint256 last);
    error VaultAboveSchedule(uint256 total, uint256 allowed);
    error VaultNothingToVeto(uint32 epoch);
    error VaultNotInRoot(address account, uint256 cumulative, bytes32 root);
    error VaultNothingToClaim(address account, uint256 cumulative, uint256 claimed);
    /// The leaves of the root sum up to more than its total. `ceiling` is the total less what was burned.
    error VaultAboveTotal(uint256 supply, uint256 ceiling);

    /// @param registry_ Gives the realm.
    /// @param ledger_ May slash.
    /// @param admin Names proposers, watchmen and guardians.
    constructor(IEnclaveRegistry registry_, address ledger_, Terms memory terms, address admin)
        Bonds(registry_, ledger_, new GlacierToken(registry_.realm(), terms.cap), terms.unbondingPeriod)
    {
        if (terms.epochLength == 0 || terms.halvingEpochs == 0 || admin == address(0)) revert VaultZeroTerm();
        if (realm == Realm.Production && terms.challengeWindow < LEAST_WINDOW) {
            revert VaultWindowTooShort(terms.challengeWindow, LEAST_WINDOW);
        }
        uint256 limit = EmissionSchedule.limit(terms.initialEmission, terms.halvingEpochs);
        if (limit > terms.cap) revert VaultScheduleAboveCap(limit, terms.cap);
        genesis = terms.genesis;
        epochLength = terms.epochLength;
        challengeWindow = terms.challengeWindow;
        initialEmission = terms.initialEmission;
        halvingEpochs = terms.halvingEpochs;
        _head.side = 1;
        // No tree has this root; it only makes both slots ones that are in use.
        _roots[1] = _roots[2] = bytes32(uint256(1));
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
    }

    /// @notice "Glacier RewardVault", with "SIMULATED " in front where that is true.
    function name() external view returns (string memory) {
        return realm == Realm.Production ? "Glacier RewardVault" : "SIMULATED Glacier RewardVault";
    }

    /// @notice Proposes the cumulative root of all epochs up to `epoch`. It takes effect after the challenge window.
    /// @param total Sum of the leaves' amounts, in units of 10^-18.
    /// Reverts while the last proposal can still be vetoed; for an epoch that is not over or not later than the last; for a total
    /// below the last or above the schedule; while paused; and for callers without the role.
    function propose(uint32 epoch, bytes32 root, uint88 total) external onlyRole(PROPOSER_ROLE) whenNotPaused {
        Head memory head = _settledHead();
        if (head.maturesAt != 0) revert VaultRootPending(head.maturesAt, block.timestamp);
        if (root == 0) revert VaultZeroRoot();
        if (epoch <= head.epoch) revert VaultEpochNotLater(epoch, head.epoch);
        if (block.timestamp < epochEnd(epoch)) revert VaultEpochNotOver(epoch, epochEnd(epoch));
        uint256 last = uint256(head.total) + burned;
        if (total < last) revert VaultTotalFell(total, last);
        if (total > allowedBy(epoch)) revert VaultAboveSchedule(total, allowedBy(epoch));

        head.proposed = total - burned;
        head.maturesAt = uint40(block.timestamp) + challengeWindow;
        head.epoch = epoch;
        _roots[3 - head.side] = root;
        _head = head;
        emit RootProposed(epoch, root, total, head.maturesAt, realm);
    }

    /// @notice Removes the proposal for `epoch`, which can then be proposed anew. Reverts if there is none, if its window is
    /// over, and for callers without the role. No pause stops this.
    function veto(uint32 epoch) external onlyRole(WATCHMAN_ROLE) {
        Head memory head = _settledHead();
        if (head.maturesAt == 0 || head.epoch != epoch) revert VaultNothingToVeto(epoch);

        head.proposed = 0;
        head.maturesAt = 0;
        // A proposal's epoch is later than the one before it, so this is not earlier than that.
        head.epoch = epoch - 1;
        _head = head;
        emit RootVetoed(epoch, _roots[3 - head.side], msg.sender, realm);
    }

    /// @notice Pays `account` what the root in force gives it beyond what it has claimed. Anybody may call. No pause stops this.
    /// Reverts if `proof` does not lead from the leaf to the root, if nothing is left to claim, or if the root's leaves sum up
    /// to more than its total.
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external {
        (uint256 side, uint256 ceiling) = _inForce();
        bytes32 root = _roots[side];
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
        if (!MerkleProof.verifyCalldata(proof, root, leaf)) revert VaultNotInRoot(account, cumulative, root);
        uint256 before = claimed[account];
        if (cumulative <= before) revert VaultNothingToClaim(account, cumulative, before);

        claimed[account] = cumulative;
        emit Claimed(account, cumulative, realm);
        uint256 supply = token.mint(account, cumulative - before);
        if (supply > ceiling) revert VaultAboveTotal(supply, ceiling);
    }

    /// @notice Stops proposals. Claims, vetoes, bonds and withdrawals go on.
    function pause() external onlyRole(GUARDIAN_ROLE) {
        _pause();
        emit ProposalsPaused(msg.sender, realm);
    }

    /// @notice Lets proposals go on.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
        emit ProposalsResumed(msg.sender, realm);
    }

    /// @notice The root that claims are checked against, and its total.
    function current() external view returns (bytes32 root, uint256 total) {
        (uint256 side, uint256 ceiling) = _inForce();
        return (_roots[side], ceiling + burned);
    }

    /// @notice The proposal that can still be vetoed; all zero if there is none.
    function pending() external view returns (uint32 epoch, bytes32 root, uint256 total, uint256 maturesAt) {
        Head memory head = _settledHead();
        if (head.maturesAt == 0) return (0, 0, 0, 0);
        return (head.epoch, _roots[3 - head.side], uint256(head.proposed) + burned, head.maturesAt);
    }

    /// @notice All that was ever claimed.
    function claimedInTotal() external view returns (uint256) {
        return token.totalSupply() + burned;
    }

    /// @notice The epoch of this moment; 0 before genesis.
    function epochNow() external view returns (uint256) {
        return block.timestamp < genesis ? 0 : (block.timestamp - genesis) / epochLength + 1;
    }

    /// @notice When an epoch is over, seconds since 1970.
    function epochEnd(uint32 epoch) public view returns (uint256) {
        return genesis + uint256(epoch) * epochLength;
    }

    /// @notice What the schedule allows for epochs 1 to `epoch` together.
    function allowedBy(uint32 epoch) public view returns (uint256) {
        return EmissionSchedule.emittedBy(initialEmission, halvingEpochs, epoch);
    }

    /// A burn lowers the supply, so it lowers what the supply is compared with by as much.
    function _beforeBurn(uint256 amount) internal override {
        Head memory head = _settledHead();
        // The supply is never above the total, and a proposal's total never below the total, so neither falls below 0.
        head.total -= uint88(amount);
        if (head.maturesAt != 0) head.proposed -= uint88(amount);
        burned += uint88(amount);
        _head = head;
    }

    /// Where the root in force is, and its total less what was burned.
    function _inForce() private view returns (uint256 side, uint256 ceiling) {
        Head storage head = _head;
        uint256 maturesAt = head.maturesAt;
        if (maturesAt == 0 || block.timestamp < maturesAt) return (head.side, head.total);
        return (3 - head.side, head.proposed);
    }

    /// The head as it is at this moment: a proposal whose window is over is the root in force.
    function _settledHead() private view returns (Head memory head) {
        head = _head;
        if (head.maturesAt == 0 || block.timestamp < head.maturesAt) return head;
        head.total = head.proposed;
        head.proposed = 0;
        head.maturesAt = 0;
        head.side = 3 - head.side;
    }
}
