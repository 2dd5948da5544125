// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {MeasurementPolicy} from "../src/MeasurementPolicy.sol";
import {Realm, TcbStatus} from "../src/Types.sol";
import {IIntelCollateral} from "../src/interfaces/IIntelCollateral.sol";
import {Governed} from "../src/lib/Governed.sol";
import {vm} from "./Cheats.sol";
import {within} from "./Within.sol";
import {RegistryFixture} from "./RegistryFixture.sol";
import {CollateralMock} from "./mocks/CollateralMock.sol";

contract PolicyTest is RegistryFixture {
    bytes32 private constant NEW = keccak256("new code");
    uint40 private constant UNTIL = uint40(START + 100 days);

    function test_a_production_policy_gives_at_least_two_days() external {
        IIntelCollateral collateral = IIntelCollateral(address(new CollateralMock(Realm.Production)));
        vm.expectRevert(
            abi.encodeWithSelector(MeasurementPolicy.DelayTooShort.selector, uint40(2 days - 1), uint40(2 days))
        );
        new MeasurementPolicy(collateral, address(this), GUARDIAN, 2 days - 1);
        require(new MeasurementPolicy(collateral, address(this), GUARDIAN, 2 days).delay() == 2 days);
    }

    function test_announced_code_earns_after_the_delay_and_not_before() external {
        _deploy(Realm.Production, 2 days);
        uint32 index = policy.announce(NEW, TcbStatus.UpToDate, UNTIL);
        require(index == 1 && policy.measurementOf(1) == NEW && !policy.earns(index));
        vm.warp(START + 2 days - 1);
        vm.expectRevert(abi.encodeWithSelector(MeasurementPolicy.NotInForce.selector, NEW, 0, 0));
        policy.judge(NEW, TcbStatus.UpToDate);
        vm.warp(START + 2 days);
        (uint32 judged, uint40 until) = policy.judge(NEW, TcbStatus.UpToDate);
        require(judged == index && until == UNTIL && policy.earns(index));
        vm.warp(UNTIL);
        require(!policy.earns(index));
        vm.expectRevert(abi.encodeWithSelector(MeasurementPolicy.NotInForce.selector, NEW, START + 2 days, UNTIL));
        policy.judge(NEW, TcbStatus.UpToDate);
    }

    function test_a_status_below_the_floor_is_refused(uint8 status, uint8 floor) external {
        TcbStatus has = TcbStatus(within(status, 0, 6));
        TcbStatus least = TcbStatus(within(floor, 0, 5));
        policy.announce(NEW, least, UNTIL);
        if (has > least) {
            vm.expectRevert(abi.encodeWithSelector(MeasurementPolicy.StatusBelowFloor.selector, has, least));
        }
        policy.judge(NEW, has);
    }

    function test_new_terms_wait_while_the_old_ones_hold() external {
        _deploy(Realm.Production, 2 days);
        policy.announce(NEW, TcbStatus.UpToDate, UNTIL);
        vm.warp(START + 3 days);
        policy.announce(NEW, TcbStatus.OutOfDate, UNTIL + 1 days);
        (uint32 index, uint40 until, uint40 firm, TcbStatus floor) = policy.termsOf(NEW);
        require(index == 1 && until == UNTIL && firm == START + 5 days && floor == TcbStatus.UpToDate);
        vm.warp(START + 5 days);
        (index, until, firm, floor) = policy.termsOf(NEW);
        require(index == 1 && until == UNTIL + 1 days && firm == until && floor == TcbStatus.OutOfDate);
    }

    function test_a_revocation_is_immediate_and_for_good() external {
        vm.prank(GUARDIAN);
        policy.revoke(CODE);
        require(policy.isRevoked(1) && !policy.earns(1));
        vm.expectRevert(abi.encodeWithSelector(MeasurementPolicy.MeasurementRevoked.selector, CODE));
        policy.judge(CODE, TcbStatus.UpToDate);
        vm.expectRevert(abi.encodeWithSelector(MeasurementPolicy.MeasurementRevoked.selector, CODE));
        policy.announce(CODE, TcbStatus.UpToDate, UNTIL);
    }

    function test_the_guardian_can_only_revoke() external {
        vm.startPrank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, GUARDIAN));
        policy.announce(NEW, TcbStatus.UpToDate, UNTIL);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, GUARDIAN));
        policy.setGuardian(STRANGER);
        vm.stopPrank();
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGuardian.selector, STRANGER));
        policy.revoke(CODE);
    }

    function test_nonsense_is_not_announced() external {
        vm.expectRevert(MeasurementPolicy.NoMeasurement.selector);
        policy.announce(0, TcbStatus.UpToDate, UNTIL);
        vm.expectRevert(MeasurementPolicy.NoFloor.selector);
        policy.announce(NEW, TcbStatus.Revoked, UNTIL);
        vm.expectRevert(
            abi.encodeWithSelector(MeasurementPolicy.OverBeforeInForce.selector, uint40(START), uint40(START))
        );
        policy.announce(NEW, TcbStatus.UpToDate, uint40(START));
        vm.expectRevert(abi.encodeWithSelector(MeasurementPolicy.UnknownMeasurement.selector, NEW));
        policy.revoke(NEW);
    }

    function test_numbers_that_nobody_has_are_nothing() external view {
        require(policy.measurementOf(0) == 0 && policy.measurementOf(2) == 0);
        require(!policy.earns(0) && !policy.earns(2) && !policy.isRevoked(2));
    }

    function test_a_simulated_deployment_says_so_in_its_names() external {
        require(_begins(policy.name()) && _begins(registry.name()));
        _deploy(Realm.Production, 2 days);
        require(!_begins(policy.name()) && !_begins(registry.name()));
    }

    function _begins(string memory name) private pure returns (bool) {
        return bytes10(bytes(name)) == "SIMULATED ";
    }
}
