// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {JobEscrow} from "../src/JobEscrow.sol";
import {Platform, TcbStatus} from "../src/Types.sol";
import {WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {vm} from "./Cheats.sol";
import {LedgerFixture} from "./LedgerFixture.sol";
import {TokenMock} from "./mocks/TokenMock.sol";

contract EscrowTest is LedgerFixture {
    bytes32 private constant JOB = keccak256("manifest");
    address private constant PAYER = address(0xbead);
    uint64 private constant PRICE = 25_000;
    uint40 private constant EXPIRY = uint40(START + 5 days);
    uint256 private constant FUNDER_SECRET = 0xf00d;

    TokenMock private token;
    JobEscrow private escrow;
    address private funder = vm.addr(FUNDER_SECRET);

    function setUp() public override {
        super.setUp();
        token = new TokenMock();
        escrow = new JobEscrow(ledger, token);
        token.mint(funder, 1_000_000);
        vm.prank(funder);
        token.approve(address(escrow), type(uint256).max);
    }

    function test_a_proof_pays_the_chips_owner_once() external {
        _deposit(3);
        _release(_proof(0));
        require(escrow.balanceOf(OWNER) == PRICE && escrow.isPaid(key, 0) && !escrow.isPaid(key, 1));
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(_proof(0)));
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.AlreadyPaid.selector, key, uint64(0)));
        escrow.release(_proof(0), funder, r, vs);
        _release(_proof(1));
        vm.prank(OWNER);
        require(escrow.withdraw(OWNER) == 2 * PRICE && token.balanceOf(OWNER) == 2 * PRICE);
        vm.prank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.NothingToWithdraw.selector, OWNER));
        escrow.withdraw(OWNER);
    }

    function test_one_proof_is_not_paid_from_two_deposits() external {
        _deposit(3);
        token.mint(STRANGER, 1_000_000);
        vm.startPrank(STRANGER);
        token.approve(address(escrow), type(uint256).max);
        escrow.deposit(JOB, PAYER, PRICE, 1, EXPIRY, 0);
        vm.stopPrank();
        _release(_proof(0));
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(_proof(0)));
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.AlreadyPaid.selector, key, uint64(0)));
        escrow.release(_proof(0), STRANGER, r, vs);
    }

    function test_no_more_runs_are_paid_than_were_deposited() external {
        _deposit(1);
        _release(_proof(0));
        bytes32 id = escrow.idOf(JOB, funder);
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(_proof(1)));
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.NoDeposit.selector, id));
        escrow.release(_proof(1), funder, r, vs);
    }

    function test_a_proof_on_other_terms_releases_nothing() external {
        _deposit(3);
        WorkProof memory proof = _proof(0);
        proof.payer = STRANGER;
        _expectNoRelease(proof, SECRET, abi.encodeWithSelector(JobEscrow.PayerDiffers.selector, STRANGER, PAYER));
        proof = _proof(0);
        proof.price += 1;
        _expectNoRelease(proof, SECRET, abi.encodeWithSelector(JobEscrow.PriceDiffers.selector, PRICE + 1, PRICE));
        proof = _proof(0);
        proof.manifest = keccak256("another manifest");
        bytes32 id = escrow.idOf(proof.manifest, funder);
        _expectNoRelease(proof, SECRET, abi.encodeWithSelector(JobEscrow.NoDeposit.selector, id));
        proof = _proof(0);
        proof.measurement = keccak256("other code");
        _expectNoRelease(
            proof, SECRET, abi.encodeWithSelector(JobEscrow.MeasurementDiffers.selector, proof.measurement, CODE)
        );
        proof = _proof(0);
        proof.enclaveId = OTHER_CHIP;
        _expectNoRelease(proof, SECRET, abi.encodeWithSelector(JobEscrow.NotItsKey.selector, OTHER_CHIP, key));
        proof.enclaveId = CHIP ^ bytes32(uint256(1));
        _expectNoRelease(proof, SECRET, abi.encodeWithSelector(JobEscrow.NotItsKey.selector, proof.enclaveId, key));
    }

    function test_what_the_key_did_not_sign_releases_nothing() external {
        _deposit(3);
        _expectNoRelease(_proof(0), OTHER_SECRET, abi.encodeWithSelector(JobEscrow.NotSigner.selector, otherKey, key));
        WorkProof memory proof = _proof(0);
        proof.enclaveKey = otherKey;
        _expectNoRelease(proof, OTHER_SECRET, abi.encodeWithSelector(JobEscrow.NotEarning.selector, otherKey));
    }

    function test_a_deposit_for_one_chip_pays_no_other() external {
        vm.prank(funder);
        escrow.deposit(JOB, PAYER, PRICE, 1, EXPIRY, OTHER_CHIP);
        _expectNoRelease(
            _proof(0), SECRET, abi.encodeWithSelector(JobEscrow.ChipDiffers.selector, CHIP, bytes23(OTHER_CHIP))
        );
    }

    function test_what_was_settled_is_paid_after_the_key_is_over_and_during_a_pause() external {
        _deposit(3);
        bytes32[] memory none;
        ledger.submitProof(_packed(_proof(0), SECRET, none));
        vm.prank(OWNER);
        registry.revoke(CHIP, key);
        registry.pause();
        escrow.releaseSettled(_proof(0), funder, none);
        require(escrow.balanceOf(OWNER) == PRICE);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.AlreadyPaid.selector, key, uint64(0)));
        escrow.releaseSettled(_proof(0), funder, none);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.NotSettled.selector, key, uint64(1)));
        escrow.releaseSettled(_proof(1), funder, none);
    }

    function test_a_barred_chip_is_paid_nothing() external {
        _deposit(3);
        bytes32[] memory none;
        ledger.submitProof(_packed(_proof(0), SECRET, none));
        registry.evict(4, Platform.Tdx, abi.encode(CHIP, true), _list(key));
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.ChipBarred.selector, CHIP));
        escrow.releaseSettled(_proof(0), funder, none);
        _expectNoRelease(_proof(1), SECRET, abi.encodeWithSelector(JobEscrow.NotEarning.selector, key));
    }

    function test_what_is_left_goes_back_to_the_depositor_after_expiry_even_in_a_pause() external {
        _deposit(3);
        _release(_proof(0));
        vm.warp(EXPIRY - 1);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.NotExpired.selector, EXPIRY));
        escrow.refund(JOB, funder);
        vm.warp(EXPIRY);
        _expectNoRelease(_proof(1), SECRET, abi.encodeWithSelector(JobEscrow.Expired.selector, EXPIRY));
        registry.pause();
        vm.prank(STRANGER);
        escrow.refund(JOB, funder);
        require(escrow.balanceOf(funder) == 2 * PRICE && escrow.balanceOf(PAYER) == 0);
        bytes32 id = escrow.idOf(JOB, funder);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.NoDeposit.selector, id));
        escrow.refund(JOB, funder);
        vm.prank(funder);
        escrow.withdraw(STRANGER);
        require(token.balanceOf(STRANGER) == 2 * PRICE && token.balanceOf(address(escrow)) == PRICE);
    }

    function test_a_second_deposit_adds_runs_on_the_same_terms_only() external {
        _deposit(3);
        _deposit(2);
        bytes32 id = escrow.idOf(JOB, funder);
        require(escrow.depositOf(id).runs == 5);
        vm.startPrank(funder);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.OtherTerms.selector, id));
        escrow.deposit(JOB, PAYER, PRICE + 1, 1, EXPIRY, 0);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.OtherTerms.selector, id));
        escrow.deposit(JOB, PAYER, PRICE, 1, EXPIRY + 1, 0);
        vm.stopPrank();
    }

    function test_nonsense_is_not_deposited() external {
        vm.startPrank(funder);
        vm.expectRevert(JobEscrow.NoManifest.selector);
        escrow.deposit(0, PAYER, PRICE, 1, EXPIRY, 0);
        vm.expectRevert(JobEscrow.NoPayer.selector);
        escrow.deposit(JOB, address(0), PRICE, 1, EXPIRY, 0);
        vm.expectRevert(JobEscrow.NoPrice.selector);
        escrow.deposit(JOB, PAYER, 0, 1, EXPIRY, 0);
        vm.expectRevert(JobEscrow.NoRuns.selector);
        escrow.deposit(JOB, PAYER, PRICE, 0, EXPIRY, 0);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.ExpiryPassed.selector, uint40(START)));
        escrow.deposit(JOB, PAYER, PRICE, 1, uint40(START), 0);
        vm.stopPrank();
    }

    function test_a_token_that_keeps_a_fee_is_refused() external {
        token.setFee(1);
        vm.prank(funder);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.AmountDiffers.selector, uint256(PRICE) - 1, uint256(PRICE)));
        escrow.deposit(JOB, PAYER, PRICE, 1, EXPIRY, 0);
    }

    function test_a_permit_deposits_and_one_that_was_sent_already_is_no_obstacle() external {
        vm.prank(funder);
        token.approve(address(escrow), 0);
        uint256 deadline = START + 1 hours;
        bytes32 typeHash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 permit =
            keccak256(abi.encode(typeHash, funder, address(escrow), uint256(PRICE) * 2, uint256(0), deadline));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(FUNDER_SECRET, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), permit)));
        token.permit(funder, address(escrow), uint256(PRICE) * 2, deadline, v, r, s);
        vm.prank(funder);
        bytes32 id = escrow.depositWithPermit(JOB, PAYER, PRICE, 2, EXPIRY, 0, deadline, v, r, s);
        require(escrow.depositOf(id).runs == 2 && token.balanceOf(address(escrow)) == 2 * PRICE);
    }

    function test_a_release_costs_at_most_82000() external {
        _deposit(3);
        _release(_proof(0));
        emit Measured("escrow release, first", vm.lastCallGas().gasTotalUsed);
        _release(_proof(1));
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit Measured("escrow release, again", gas);
        require(gas <= 82_000, vm.toString(gas));
    }

    function _deposit(uint32 runs) private {
        vm.prank(funder);
        escrow.deposit(JOB, PAYER, PRICE, runs, EXPIRY, 0);
    }

    function _release(WorkProof memory proof) private {
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(proof));
        escrow.release(proof, funder, r, vs);
    }

    function _expectNoRelease(WorkProof memory proof, uint256 secret, bytes memory reason) private {
        (bytes32 r, bytes32 vs) = _sign(secret, ledger.hashOf(proof));
        vm.expectRevert(reason);
        escrow.release(proof, funder, r, vs);
    }
}
