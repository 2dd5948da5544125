// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {JobEscrow} from "../src/JobEscrow.sol";
import {MeasurementPolicy} from "../src/MeasurementPolicy.sol";
import {Platform, TcbStatus, Verdict} from "../src/Types.sol";
import {WorkLedger} from "../src/WorkLedger.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {vm} from "./Cheats.sol";
import {LedgerFixture} from "./LedgerFixture.sol";
import {within} from "./Within.sol";
import {TokenMock} from "./mocks/TokenMock.sol";

/// Does what everybody may do, in any order, and keeps its own account of what must follow. What the contracts refuse is
/// tried as well.
contract Everybody {
    uint256 public constant KEYS = 24;
    bytes32 private constant CODE = keccak256("code");

    EnclaveRegistry private immutable REGISTRY;
    WorkLedger private immutable LEDGER;
    JobEscrow private immutable ESCROW;
    TokenMock private immutable TOKEN;
    MeasurementPolicy private immutable POLICY;

    address[KEYS] public keys;
    bytes32[2] public chips = [keccak256("chip one"), keccak256("chip two")];
    mapping(address key => uint64) public lastSize;
    mapping(address key => mapping(uint64 => uint256)) private _paidTimes;
    /// By position in `keys`, plus one: those that came in, and the newest of each chip.
    uint256[] private _registered;
    mapping(bytes32 chip => uint256) private _current;
    uint256 public deposited;
    uint256 public withdrawn;
    uint256 public settledCount;
    uint256 public releasedCount;
    bool public broken;

    constructor(
        EnclaveRegistry registry,
        WorkLedger ledger,
        JobEscrow escrow,
        TokenMock token,
        MeasurementPolicy policy
    ) {
        (REGISTRY, LEDGER, ESCROW, TOKEN, POLICY) = (registry, ledger, escrow, token, policy);
        for (uint256 i; i < KEYS; ++i) {
            keys[i] = vm.addr(i + 1);
        }
        token.approve(address(escrow), type(uint256).max);
    }

    function register(uint256 chipAt, uint256 keyAt, uint256 formerAt, uint40 life) external {
        bytes32 chip = chips[chipAt % 2];
        address key = keys[keyAt % KEYS];
        // Mostly the right one, so that something happens.
        address former = formerAt % 4 != 0 && _current[chip] != 0 ? keys[_current[chip] - 1] : keys[formerAt % KEYS];
        uint32 number = REGISTRY.chip(chip).registrations;
        Verdict memory verdict = Verdict({
            platform: Platform.Tdx,
            status: TcbStatus.UpToDate,
            validUntil: uint40(block.timestamp + within(life, 1 hours, 40 days)),
            enclaveId: chip,
            measurement: CODE,
            reportData: REGISTRY.registrationDigest(key, address(this), number),
            reportTag: "glacier/registration/v1"
        });
        try REGISTRY.register(
            abi.encodePacked(hex"0400", abi.encode(verdict)), "", key, address(this), number == 0 ? address(0) : former
        ) {
            _current[chip] = keyAt % KEYS + 1;
            _registered.push(keyAt % KEYS + 1);
        } catch {}
    }

    function settle(uint256 keyAt, uint64 size, uint256 chipAt) external {
        uint256 secret = _known(keyAt);
        address key = keys[secret - 1];
        Checkpoint memory head = Checkpoint(
            _chipOf(key, chipAt),
            key,
            lastSize[key] + 2 - uint64(within(size, 0, lastSize[key] == 0 ? 2 : 3)),
            bytes32(uint256(size)),
            size
        );
        (bytes32 r, bytes32 vs) = _sign(secret, LEDGER.hashOf(head));
        bool may = _mayEarn(key);
        bytes32 whose = bytes32(abi.encodePacked(key, bytes9(head.enclaveId << 184)));
        try LEDGER.submitCheckpoint(whose, uint256(head.size) << 64 | head.units, head.root, r, vs) {
            broken = broken || !may || head.size <= lastSize[key];
            lastSize[key] = head.size;
            ++settledCount;
        } catch {}
    }

    function fund(uint256 job, uint32 runs) external {
        runs = uint32(within(runs, 1, 5));
        TOKEN.mint(address(this), uint256(runs) * 100);
        uint40 expiry = uint40((block.timestamp / 10 days + 1) * 10 days);
        try ESCROW.deposit(bytes32(within(job, 1, 3)), address(this), 100, runs, expiry, 0) {
            deposited += uint256(runs) * 100;
        } catch {}
    }

    function release(uint256 job, uint256 keyAt, uint64 sequence, uint256 chipAt) external {
        uint256 secret = _known(keyAt);
        address key = keys[secret - 1];
        WorkProof memory proof;
        (proof.enclaveId, proof.enclaveKey, proof.measurement) = (_chipOf(key, chipAt), key, CODE);
        (proof.manifest, proof.payer, proof.price) = (bytes32(within(job, 1, 3)), address(this), 100);
        proof.sequence = uint64(within(sequence, 0, 3));
        (bytes32 r, bytes32 vs) = _sign(secret, LEDGER.hashOf(proof));
        bool may = _mayEarn(key);
        try ESCROW.release(proof, address(this), r, vs) {
            broken = broken || !may || ++_paidTimes[key][proof.sequence] > 1;
            ++releasedCount;
        } catch {}
    }

    function refund(uint256 job) external {
        try ESCROW.refund(bytes32(within(job, 1, 3)), address(this)) {} catch {}
    }

    function withdraw() external {
        try ESCROW.withdraw(address(0xdead)) returns (uint256 amount) {
            withdrawn += amount;
        } catch {}
    }

    function revoke(uint256 chipAt, uint256 keyAt, uint256 rarely) external {
        if (rarely % 8 != 0) return;
        try REGISTRY.revoke(chips[chipAt % 2], keys[_known(keyAt) - 1]) {} catch {}
    }

    function evict(uint256 chipAt, uint256 rarely) external {
        if (rarely % 60 != 0) return;
        bytes32 chip = chips[chipAt % 2];
        address[] memory all = new address[](KEYS);
        for (uint256 i; i < KEYS; ++i) {
            all[i] = keys[i];
        }
        REGISTRY.evict(4, Platform.Tdx, abi.encode(chip, true), all);
    }

    function pass(uint32 time) external {
        vm.warp(block.timestamp + within(time, 1 hours, 2 days));
    }

    /// Three of four times a key that came in.
    function _known(uint256 at) private view returns (uint256) {
        return at % 4 == 0 || _registered.length == 0 ? at % KEYS + 1 : _registered[at % _registered.length];
    }

    /// Seven of eight times the chip that the key is of.
    function _chipOf(address key, uint256 at) private view returns (bytes32) {
        if (at % 8 == 0) return chips[at / 8 % 2];
        return REGISTRY.belongs(chips[0], key) ? chips[0] : chips[1];
    }

    /// From first principles, not from the registry's own answer.
    function _mayEarn(address key) private view returns (bool) {
        for (uint256 i; i < 2; ++i) {
            if (REGISTRY.belongs(chips[i], key)) {
                return !REGISTRY.chip(chips[i]).barred && REGISTRY.keyOf(key).liveUntil > block.timestamp
                    && POLICY.earns(REGISTRY.keyOf(key).code);
            }
        }
        return false;
    }

    function _sign(uint256 secret, bytes32 digest) private pure returns (bytes32, bytes32) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secret, digest);
        return (r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }
}

contract LedgerInvariants is LedgerFixture {
    Everybody private everybody;
    JobEscrow private escrow;
    TokenMock private token;

    function setUp() public override {
        super.setUp();
        token = new TokenMock();
        escrow = new JobEscrow(ledger, token);
        everybody = new Everybody(registry, ledger, escrow, token, policy);
    }

    function targetContracts() external view returns (address[] memory list) {
        list = _list(address(everybody));
    }

    function test_everybody_gets_somewhere() external {
        everybody.register(0, 1, 6, 20 days);
        everybody.settle(1, 0, 1);
        everybody.fund(2, 3);
        everybody.release(2, 1, 0, 1);
        everybody.withdraw();
        require(everybody.settledCount() == 1 && everybody.releasedCount() == 1 && everybody.withdrawn() == 100);
    }

    function invariant_no_key_that_is_expired_ended_or_barred_earns_and_sizes_rise_and_proofs_pay_once() external view {
        require(!everybody.broken());
        for (uint256 i; i < everybody.KEYS(); ++i) {
            (uint64 size,) = ledger.settled(everybody.keys(i));
            require(size == everybody.lastSize(everybody.keys(i)));
        }
    }

    function invariant_a_chip_has_at_most_one_live_key_and_a_key_one_chip() external view {
        for (uint256 c; c < 2; ++c) {
            bytes32 chip = everybody.chips(c);
            uint256 live;
            for (uint256 i; i < everybody.KEYS(); ++i) {
                if (registry.isLive(chip, everybody.keys(i))) ++live;
            }
            require(live <= 1 && (live == 0 || !registry.chip(chip).barred));
        }
        for (uint256 i; i < everybody.KEYS(); ++i) {
            address one = everybody.keys(i);
            require(!registry.belongs(everybody.chips(0), one) || !registry.belongs(everybody.chips(1), one));
        }
    }

    function invariant_the_escrow_covers_every_open_deposit_and_credit() external view {
        uint256 owed = escrow.balanceOf(address(everybody));
        for (uint256 job = 1; job <= 3; ++job) {
            JobEscrow.Deposit memory open = escrow.depositOf(escrow.idOf(bytes32(job), address(everybody)));
            owed += uint256(open.price) * open.runs;
        }
        require(token.balanceOf(address(escrow)) == owed);
        require(owed + everybody.withdrawn() == everybody.deposited());
    }
}
