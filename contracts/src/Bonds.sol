// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {GlacierToken} from "./GlacierToken.sol";
import {Realm} from "./Types.sol";
import {IBondSlasher} from "./interfaces/IBondSlasher.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";

/// @title What stands behind a chip, and is lost when the chip signs two different statements of one sequence.
/// @notice A factory reset gives some machines a new Enclave ID, so barring a chip alone would cost a cheat little: a bond
/// makes it cost something. Anybody may bond tokens for a chip and is the only one who gets them back.
///
/// A position is exact, and a chip is slashed wholly or not at all, so a slash needs no list of depositors: it marks the
/// chip, and each position of a marked chip is worth nothing. A slashed chip never takes a bond again, as a barred
/// chip never earns again.
abstract contract Bonds is IBondSlasher {
    using SafeERC20 for GlacierToken;

    /// One slot a chip.
    struct Pool {
        uint120 active;
        uint120 unbonding;
        bool slashed;
    }

    /// One slot for each depositor of a chip.
    struct Position {
        uint104 active;
        uint104 unbonding;
        /// From when `unbonding` can be withdrawn, seconds since 1970.
        uint40 releaseAt;
    }

    /// @notice One part in so many of a slashed bond goes to whoever proved the fork; the rest is burned. A cheat who sees
    /// that it was caught can report itself first, so this part is a discount on cheating: a quarter leaves at least
    /// three quarters of every bond at stake, and still pays a watchman many times the gas of its report.
    uint256 public constant REPORTER_DIVISOR = 4;

    /// @notice How long after a fork it may take a watchman to see and prove it. A production deployment cannot give bonds
    /// back sooner.
    uint256 public constant EQUIVOCATION_WINDOW = 7 days;

    GlacierToken public immutable token;
    IEnclaveRegistry public immutable registry;
    /// @notice The only one who may slash.
    address public immutable ledger;
    /// @notice Seconds from `unbond` to `withdraw`, in which the bond can still be slashed.
    uint32 public immutable unbondingPeriod;
    Realm public immutable realm;

    mapping(bytes32 enclaveId => Pool) private _pools;
    mapping(bytes32 enclaveId => mapping(address depositor => Position)) private _positions;

    event Bonded(bytes32 indexed enclaveId, address indexed depositor, uint256 amount, Realm realm);
    event UnbondingStarted(
        bytes32 indexed enclaveId, address indexed depositor, uint256 amount, uint256 releaseAt, Realm realm
    );
    event BondWithdrawn(bytes32 indexed enclaveId, address indexed depositor, uint256 amount, Realm realm);
    event Slashed(bytes32 indexed enclaveId, address indexed reporter, uint256 reward, uint256 burned, Realm realm);

    error BondZero();
    /// The registry does not know the chip.
    error BondUnknownChip(bytes32 enclaveId);
    error BondChipBarred(bytes32 enclaveId);
    error BondChipSlashed(bytes32 enclaveId);
    error BondTooSmall(uint256 asked, uint256 active);
    error BondNothingToWithdraw(bytes32 enclaveId, address depositor);
    error BondStillLocked(uint256 releaseAt, uint256 time);
    error BondNotLedger(address caller, address ledger);
    error BondNoLedger();
    error BondPeriodTooShort(uint256 period, uint256 least);

    constructor(IEnclaveRegistry registry_, address ledger_, GlacierToken token_, uint32 unbondingPeriod_) {
        registry = registry_;
        ledger = ledger_;
        token = token_;
        unbondingPeriod = unbondingPeriod_;
        realm = registry_.realm();
        if (ledger_ == address(0)) revert BondNoLedger();
        if (realm == Realm.Production && unbondingPeriod_ < EQUIVOCATION_WINDOW) {
            revert BondPeriodTooShort(unbondingPeriod_, EQUIVOCATION_WINDOW);
        }
    }

    /// @notice Bonds `amount` of the caller's tokens, which must have been approved, for a chip. The caller alone can get
    /// them back, and loses them if the chip is slashed. Reverts for a chip that is unknown, barred or slashed.
    function bond(bytes32 enclaveId, uint104 amount) external {
        if (amount == 0) revert BondZero();
        Pool storage pool = _pools[enclaveId];
        if (pool.slashed) revert BondChipSlashed(enclaveId);
        IEnclaveRegistry.Chip memory chip = registry.chip(enclaveId);
        if (chip.owner == address(0)) revert BondUnknownChip(enclaveId);
        if (chip.barred) revert BondChipBarred(enclaveId);

        pool.active += amount;
        _positions[enclaveId][msg.sender].active += amount;
        emit Bonded(enclaveId, msg.sender, amount, realm);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Starts to release `amount` of the caller's bond. It no longer counts for the chip but can be slashed until it
    /// is withdrawn. Starting again before a withdrawal restarts the period for all that is still unbonding.
    function unbond(bytes32 enclaveId, uint104 amount) external {
        if (amount == 0) revert BondZero();
        Pool storage pool = _pools[enclaveId];
        if (pool.slashed) revert BondChipSlashed(enclaveId);
        Position storage position = _positions[enclaveId][msg.sender];
        if (amount > position.active) revert BondTooSmall(amount, position.active);

        uint40 releaseAt = uint40(block.timestamp) + unbondingPeriod;
        position.active -= amount;
        position.unbonding += amount;
        position.releaseAt = releaseAt;
        pool.active -= amount;
        pool.unbonding += amount;
        emit UnbondingStarted(enclaveId, msg.sender, amount, releaseAt, realm);
    }

    /// @notice Pays the caller all that it has unbonding for a chip, once the period is over. No pause stops this.
    function withdraw(bytes32 enclaveId) external {
        Pool storage pool = _pools[enclaveId];
        if (pool.slashed) revert BondChipSlashed(enclaveId);
        Position storage position = _positions[enclaveId][msg.sender];
        uint104 amount = position.unbonding;
        if (amount == 0) revert BondNothingToWithdraw(enclaveId, msg.sender);
        if (block.timestamp < position.releaseAt) revert BondStillLocked(position.releaseAt, block.timestamp);

        position.unbonding = 0;
        position.releaseAt = 0;
        pool.unbonding -= amount;
        emit BondWithdrawn(enclaveId, msg.sender, amount, realm);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IBondSlasher
    /// @notice Takes all that stands behind the chip, unbonding or not. Does nothing for a chip that was slashed before, so
    /// that a second proof against one chip can still be recorded by the ledger.
    function slash(bytes32 enclaveId, address reporter) external {
        if (msg.sender != ledger) revert BondNotLedger(msg.sender, ledger);
        Pool storage pool = _pools[enclaveId];
        if (pool.slashed) return;

        uint256 amount = uint256(pool.active) + pool.unbonding;
        uint256 reward = reporter == address(0) ? 0 : amount / REPORTER_DIVISOR;
        uint256 burned = amount - reward;
        pool.active = 0;
        pool.unbonding = 0;
        pool.slashed = true;
        emit Slashed(enclaveId, reporter, reward, burned, realm);
        if (burned != 0) {
            _beforeBurn(burned);
            token.burn(burned);
        }
        if (reward != 0) token.safeTransfer(reporter, reward);
    }

    /// @notice What stands behind a chip: `active` counts for it, `active` and `unbonding` can be slashed.
    function poolOf(bytes32 enclaveId) external view returns (Pool memory) {
        return _pools[enclaveId];
    }

    /// @notice What `depositor` has bonded for a chip; all zero if the chip was slashed.
    function positionOf(bytes32 enclaveId, address depositor) external view returns (Position memory) {
        if (_pools[enclaveId].slashed) return Position(0, 0, 0);
        return _positions[enclaveId][depositor];
    }

    /// The supply is about to fall by `amount`.
    function _beforeBurn(uint256 amount) internal virtual;
}
