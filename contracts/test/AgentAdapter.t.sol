// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AgentAdapter} from "../src/AgentAdapter.sol";
import {Realm} from "../src/Types.sol";
import {IERC8004Identity, IERC8004Validation} from "../src/interfaces/IERC8004.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "./Cheats.sol";
import {AgentIdentities} from "./mocks/AgentIdentities.sol";
import {AgentValidations} from "./mocks/AgentValidations.sol";
import {GasReport} from "./mocks/GasReport.sol";
import {MockEnclaveRegistry} from "./mocks/MockEnclaveRegistry.sol";

contract AgentAdapterTest is GasReport {
    address private constant ALICE = address(0xA11CE);
    address private constant BOB = address(0xB0B);
    address private constant KEY = address(0x8E1);
    address private constant OTHER_KEY = address(0x8E2);
    bytes32 private constant CHIP = keccak256("a chip");
    bytes32 private constant OTHER_CHIP = keccak256("another chip");
    bytes32 private constant SALT = keccak256("salt");

    MockEnclaveRegistry private registry;
    AgentIdentities private identities;
    AgentValidations private validations;
    AgentAdapter private adapter;
    uint256 private agent;

    function setUp() public {
        vm.warp(1_800_000_000);
        identities = new AgentIdentities();
        validations = new AgentValidations(address(identities));
        deploy(Realm.Production);
        vm.prank(ALICE);
        agent = identities.register("https://node.example/agent.json");
        assert(agent == 0);
    }

    function test_the_owner_of_both_links_them_and_the_first_agent_has_number_zero() public {
        (bool held,) = adapter.agentOf(CHIP);
        assert(!held && adapter.chipOf(agent) == 0);
        link(ALICE, CHIP, agent);
        uint256 shown;
        (held, shown) = adapter.agentOf(CHIP);
        assert(held && shown == agent && adapter.chipOf(agent) == CHIP);
    }

    function test_nobody_links_a_chip_or_an_agent_of_another() public {
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentNotChipOwner.selector, CHIP, BOB));
        adapter.link(CHIP, agent);
        registry.put(OTHER_CHIP, BOB, OTHER_KEY);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentNotAgentOwner.selector, agent, BOB));
        adapter.link(OTHER_CHIP, agent);
    }

    function test_one_chip_is_one_agent() public {
        registry.put(OTHER_CHIP, ALICE, OTHER_KEY);
        link(ALICE, CHIP, agent);
        vm.startPrank(ALICE);
        uint256 second = identities.register();
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentChipLinked.selector, CHIP, agent));
        adapter.link(CHIP, second);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentLinkedToOther.selector, agent, CHIP));
        adapter.link(OTHER_CHIP, agent);
        adapter.unlink(CHIP);
        adapter.link(OTHER_CHIP, agent);
        adapter.link(CHIP, second);
        vm.stopPrank();
        assert(adapter.chipOf(agent) == OTHER_CHIP && adapter.chipOf(second) == CHIP);
    }

    function test_a_link_ends_when_the_agent_is_sold_and_its_buyer_links_it_anew() public {
        link(ALICE, CHIP, agent);
        vm.prank(ALICE);
        identities.transferFrom(ALICE, BOB, agent);
        (bool held,) = adapter.agentOf(CHIP);
        assert(!held && adapter.chipOf(agent) == 0);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentNotLinked.selector, CHIP));
        adapter.respond(CHIP, KEY, SALT);
        registry.put(OTHER_CHIP, BOB, OTHER_KEY);
        link(BOB, OTHER_CHIP, agent);
        assert(adapter.chipOf(agent) == OTHER_CHIP);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentNotLinked.selector, CHIP));
        adapter.unlink(CHIP);
    }

    function test_a_link_ends_when_the_chip_has_another_owner() public {
        link(ALICE, CHIP, agent);
        registry.put(CHIP, BOB, OTHER_KEY);
        (bool held,) = adapter.agentOf(CHIP);
        assert(!held);
        vm.startPrank(BOB);
        uint256 second = identities.register();
        adapter.link(CHIP, second);
        vm.stopPrank();
        assert(adapter.chipOf(second) == CHIP && adapter.chipOf(agent) == 0);
    }

    function test_only_an_owner_unlinks() public {
        link(ALICE, CHIP, agent);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentNotChipOwner.selector, CHIP, BOB));
        adapter.unlink(CHIP);
    }

    function test_a_live_key_is_answered_with_100() public {
        link(ALICE, CHIP, agent);
        bytes32 hash = ask(CHIP, agent, KEY, SALT);
        vm.prank(BOB);
        assert(adapter.respond(CHIP, KEY, SALT) == 100);
        check(hash, 100, "tee-attestation");
        address[] memory only = new address[](1);
        only[0] = address(adapter);
        (uint64 count, uint8 average) = validations.getSummary(agent, only, "tee-attestation");
        assert(count == 1 && average == 100);
    }

    function test_a_key_that_is_replaced_expired_or_barred_is_answered_with_0() public {
        link(ALICE, CHIP, agent);
        registry.put(CHIP, ALICE, OTHER_KEY);
        check(askAndRespond(KEY), 0, "tee-attestation");
        vm.warp(vm.getBlockTimestamp() + 1 days);
        check(askAndRespond(OTHER_KEY), 100, "tee-attestation");
        vm.warp(vm.getBlockTimestamp() + 1 days);
        registry.expire(CHIP);
        check(askAndRespond(OTHER_KEY), 0, "tee-attestation");
        vm.warp(vm.getBlockTimestamp() + 1 days);
        registry.put(CHIP, ALICE, KEY);
        registry.bar(CHIP);
        check(askAndRespond(KEY), 0, "tee-attestation");
    }

    function test_one_answer_for_a_chip_and_epoch_whatever_agent_or_salt() public {
        link(ALICE, CHIP, agent);
        askAndRespond(KEY);
        uint64 epoch = adapter.epochNow();
        ask(CHIP, agent, KEY, keccak256("other salt"));
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentAnswered.selector, CHIP, epoch));
        adapter.respond(CHIP, KEY, keccak256("other salt"));
        vm.startPrank(ALICE);
        adapter.unlink(CHIP);
        uint256 second = identities.register();
        adapter.link(CHIP, second);
        vm.stopPrank();
        ask(CHIP, second, KEY, SALT);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentAnswered.selector, CHIP, epoch));
        adapter.respond(CHIP, KEY, SALT);
        vm.warp(vm.getBlockTimestamp() + 1 days);
        ask(CHIP, second, KEY, SALT);
        assert(adapter.respond(CHIP, KEY, SALT) == 100 && adapter.answeredIn(CHIP) == epoch + 1);
    }

    function test_nothing_is_answered_that_was_not_asked_of_this_validator_by_this_agent() public {
        link(ALICE, CHIP, agent);
        vm.expectRevert();
        adapter.respond(CHIP, KEY, SALT);
        bytes32 hash = adapter.requestHashOf(CHIP, agent, KEY, adapter.epochNow(), SALT);
        vm.prank(ALICE);
        validations.validationRequest(BOB, agent, "", hash);
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentOtherRequest.selector, hash, BOB, agent));
        adapter.respond(CHIP, KEY, SALT);
        // A stranger takes the hash for its own agent; another salt gets around it.
        hash = adapter.requestHashOf(CHIP, agent, KEY, adapter.epochNow(), keccak256("second"));
        vm.startPrank(BOB);
        uint256 theirs = identities.register();
        validations.validationRequest(address(adapter), theirs, "", hash);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(AgentAdapter.AgentOtherRequest.selector, hash, address(adapter), theirs));
        adapter.respond(CHIP, KEY, keccak256("second"));
        ask(CHIP, agent, KEY, keccak256("third"));
        assert(adapter.respond(CHIP, KEY, keccak256("third")) == 100);
    }

    function test_an_old_request_is_not_answered_in_a_later_epoch() public {
        link(ALICE, CHIP, agent);
        ask(CHIP, agent, KEY, SALT);
        vm.warp(vm.getBlockTimestamp() + 1 days);
        vm.expectRevert();
        adapter.respond(CHIP, KEY, SALT);
    }

    function test_a_simulated_adapter_says_so_in_its_name_and_in_each_answer() public {
        deploy(Realm.Simulated);
        link(ALICE, CHIP, agent);
        assert(keccak256(bytes(adapter.name())) == keccak256("SIMULATED Glacier AgentAdapter"));
        check(askAndRespond(KEY), 100, "SIMULATED tee-attestation");
    }

    function test_a_validation_registry_of_other_identities_is_refused() public {
        AgentIdentities others = new AgentIdentities();
        vm.expectRevert(
            abi.encodeWithSelector(AgentAdapter.AgentOtherIdentities.selector, address(identities), address(others))
        );
        new AgentAdapter(
            IEnclaveRegistry(address(registry)),
            IERC8004Identity(address(others)),
            IERC8004Validation(address(validations)),
            1 days
        );
    }

    function test_gas_of_links_and_answers() public {
        link(ALICE, CHIP, agent);
        report("agent link", 130_000);
        for (uint256 i; i < 3; ++i) {
            askAndRespond(KEY);
            report("agent response", 180_000);
            vm.warp(vm.getBlockTimestamp() + 1 days);
        }
    }

    function deploy(Realm realm) private {
        registry = new MockEnclaveRegistry(realm);
        registry.put(CHIP, ALICE, KEY);
        adapter = new AgentAdapter(
            IEnclaveRegistry(address(registry)),
            IERC8004Identity(address(identities)),
            IERC8004Validation(address(validations)),
            1 days
        );
    }

    function link(address who, bytes32 chip, uint256 agentId) private {
        vm.prank(who);
        adapter.link(chip, agentId);
    }

    function ask(bytes32 chip, uint256 agentId, address key, bytes32 salt) private returns (bytes32 hash) {
        hash = adapter.requestHashOf(chip, agentId, key, adapter.epochNow(), salt);
        vm.prank(ALICE);
        validations.validationRequest(address(adapter), agentId, "https://node.example/evidence", hash);
    }

    function askAndRespond(address key) private returns (bytes32 hash) {
        hash = ask(CHIP, agent, key, SALT);
        adapter.respond(CHIP, key, SALT);
    }

    function check(bytes32 hash, uint8 expected, string memory tag) private view {
        (address validator, uint256 agentId, uint8 response, bytes32 facts, string memory given, uint256 time) =
            validations.getValidationStatus(hash);
        assert(validator == address(adapter) && agentId == agent && response == expected && facts != 0);
        assert(keccak256(bytes(given)) == keccak256(bytes(tag)) && time == vm.getBlockTimestamp());
    }
}
