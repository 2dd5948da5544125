// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Realm} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {QuoteRouter} from "../src/dcap/QuoteRouter.sol";
import {IQuoteVerifier} from "../src/interfaces/IQuoteVerifier.sol";
import {vm} from "./Cheats.sol";
import {MockCollateral} from "./mocks/MockCollateral.sol";

contract QuoteRouterTest {
    IQuoteVerifier private genuine = new DcapVerifier(new MockCollateral(Realm.Production));
    IQuoteVerifier private better = new DcapVerifier(new MockCollateral(Realm.Production));
    IQuoteVerifier private simulated = new DcapVerifier(new MockCollateral(Realm.Simulated));
    QuoteRouter private router = _router(Realm.Production, 2 days, genuine);

    function test_each_version_has_its_verifier_and_the_others_none() external {
        require(_is(router, 3, genuine) && _is(router, 4, genuine));
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.VerifierMissing.selector, uint16(5)));
        router.verifier(5);
    }

    function test_a_replacement_waits_for_its_delay_and_then_anybody_enacts_it() external {
        uint256 start = 1_800_000_000;
        vm.warp(start);
        router.propose(3, better);
        vm.warp(start + 2 days - 1);
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.ProposalTooEarly.selector, uint40(start + 2 days)));
        router.enact(3);
        require(_is(router, 3, genuine));
        vm.warp(start + 2 days);
        vm.prank(address(0xbeef));
        router.enact(3);
        require(_is(router, 3, better) && _is(router, 4, genuine));
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.ProposalMissing.selector, uint16(3)));
        router.enact(3);
    }

    function test_a_second_proposal_waits_anew() external {
        vm.warp(1_800_000_000);
        router.propose(3, better);
        vm.warp(1_800_000_000 + 2 days - 1);
        router.propose(3, better);
        vm.warp(1_800_000_000 + 2 days);
        vm.expectRevert(
            abi.encodeWithSelector(QuoteRouter.ProposalTooEarly.selector, uint40(1_800_000_000 + 4 days - 1))
        );
        router.enact(3);
    }

    function test_a_withdrawn_proposal_is_never_enacted() external {
        router.propose(5, better);
        router.withdraw(5);
        vm.warp(block.timestamp + 3 days);
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.ProposalMissing.selector, uint16(5)));
        router.enact(5);
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.ProposalMissing.selector, uint16(5)));
        router.withdraw(5);
    }

    function test_a_removed_verifier_judges_nothing_from_that_moment_on() external {
        router.remove(4);
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.VerifierMissing.selector, uint16(4)));
        router.verifier(4);
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.VerifierMissing.selector, uint16(4)));
        router.remove(4);
        require(_is(router, 3, genuine));
    }

    function test_a_verifier_of_another_realm_is_refused_at_the_start_and_later() external {
        bytes memory foreign = abi.encodeWithSelector(QuoteRouter.ForeignVerifier.selector, simulated, Realm.Simulated);
        vm.expectRevert(foreign);
        router.propose(3, simulated);
        vm.expectRevert(foreign);
        _router(Realm.Production, 2 days, simulated);
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.ForeignVerifier.selector, genuine, Realm.Production));
        _router(Realm.Simulated, 0, genuine);
    }

    function test_what_is_no_contract_is_refused() external {
        vm.expectRevert();
        router.propose(3, IQuoteVerifier(address(0xbeef)));
        vm.expectRevert();
        router.propose(3, IQuoteVerifier(address(0)));
    }

    function test_only_the_owner_proposes_withdraws_and_removes() external {
        bytes memory denied = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(0xbeef));
        vm.startPrank(address(0xbeef));
        vm.expectRevert(denied);
        router.propose(3, better);
        vm.expectRevert(denied);
        router.withdraw(3);
        vm.expectRevert(denied);
        router.remove(3);
        vm.stopPrank();
    }

    function test_ownership_is_not_given_up() external {
        vm.expectRevert(QuoteRouter.OwnerNeeded.selector);
        router.renounceOwnership();
    }

    function test_a_production_delay_has_at_least_two_days_and_a_simulated_one_may_be_none() external {
        vm.expectRevert(
            abi.encodeWithSelector(QuoteRouter.Delay.selector, uint40(2 days - 1), uint40(2 days), uint40(30 days))
        );
        _router(Realm.Production, 2 days - 1, genuine);
        vm.expectRevert(
            abi.encodeWithSelector(QuoteRouter.Delay.selector, uint40(30 days + 1), uint40(0), uint40(30 days))
        );
        _router(Realm.Simulated, 30 days + 1, simulated);
        QuoteRouter test = _router(Realm.Simulated, 0, simulated);
        test.propose(5, simulated);
        test.enact(5);
        require(_is(test, 5, simulated));
    }

    function test_a_simulated_deployment_says_so_in_its_name() external {
        require(keccak256(bytes(router.name())) == keccak256("Glacier Quote Router"));
        string memory name = _router(Realm.Simulated, 0, simulated).name();
        require(keccak256(bytes(name)) == keccak256("SIMULATED Glacier Quote Router"));
        require(router.realm() == Realm.Production);
    }

    function test_every_version_is_paired_with_a_verifier() external {
        vm.expectRevert(abi.encodeWithSelector(QuoteRouter.Unpaired.selector, uint256(1), uint256(0)));
        new QuoteRouter(Realm.Simulated, address(this), 0, new uint16[](1), new IQuoteVerifier[](0));
    }

    function _is(QuoteRouter among, uint16 version, IQuoteVerifier expected) private view returns (bool) {
        return address(among.verifier(version)) == address(expected);
    }

    function _router(Realm realm, uint40 delay, IQuoteVerifier verifier) private returns (QuoteRouter) {
        uint16[] memory versions = new uint16[](2);
        (versions[0], versions[1]) = (3, 4);
        IQuoteVerifier[] memory verifiers = new IQuoteVerifier[](2);
        (verifiers[0], verifiers[1]) = (verifier, verifier);
        return new QuoteRouter(realm, address(this), delay, versions, verifiers);
    }
}
