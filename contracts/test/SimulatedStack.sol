// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TcbStatus} from "../src/Types.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";
import {StackFixture} from "./StackFixture.sol";
import {Pem} from "./mocks/Pem.sol";
import {Tree} from "./mocks/Tree.sol";

/// A network under a simulated root, and two chips of that root whose quotes say what they are asked to.
abstract contract SimulatedStack is StackFixture {
    bytes32 internal constant MEASUREMENT = 0x4242424242424242424242424242424242424242424242424242424242424242;
    uint256 internal constant OTHER_SECRET = 0xdecaf;

    string internal json = vm.readFile("test/fixtures/simulated.json");
    bytes32 internal signer;
    address internal key = vm.addr(SECRET);
    address internal otherKey = vm.addr(OTHER_SECRET);

    function setUp() public virtual {
        vm.warp(vm.parseJsonUint(json, ".now"));
        collateral = Collateral(make("SimulatedCollateral", abi.encode(field(".root.der"))));
        collateral.submitCrl(field(".collateral.rootCrl"));
        collateral.submitAuthority(field(".platformCa"));
        signer = collateral.submitAuthority(field(".tcbSigning"));
        bring(".collateral");
        deploy(collateral);
        policy.announce(MEASUREMENT, TcbStatus.SWHardeningNeeded, type(uint40).max);
    }

    /// The documents and lists of one member of the fixture.
    function bring(string memory member) internal {
        collateral.submitCrl(field(string.concat(member, ".rootCrl")));
        collateral.submitCrl(field(string.concat(member, ".pckCrl")));
        bytes memory text = bytes(vm.parseJsonString(json, string.concat(member, ".tcbInfo")));
        collateral.submitTcbInfo(text, field(string.concat(member, ".tcbInfoSignature")), signer);
        text = bytes(vm.parseJsonString(json, string.concat(member, ".qeIdentity")));
        collateral.submitQeIdentity(text, field(string.concat(member, ".qeIdentitySignature")), signer);
    }

    /// A quote of a chip with this report data: the fixture's, signed anew by its attestation key.
    function quoteOf(string memory chip, bytes32 data, bytes32 tag) internal view returns (bytes memory) {
        bytes memory quote = field(string.concat(chip, ".quote"));
        bytes memory body = bytes.concat(Pem.slice(quote, 0, 368), data, tag);
        uint256 secret = uint256(bytes32(field(string.concat(chip, ".attestationKey"))));
        (bytes32 r, bytes32 s) = vm.signP256(secret, sha256(body));
        return bytes.concat(body, r, s, Pem.slice(quote, 496, quote.length));
    }

    /// A quote that registers or renews.
    function quoteFor(string memory chip, address enclaveKey, address owner, uint32 number)
        internal
        view
        returns (bytes memory)
    {
        return quoteOf(chip, registry.registrationDigest(enclaveKey, owner, number), "glacier/registration/v1");
    }

    function register(string memory chip, address enclaveKey, address former) internal returns (bytes32 enclaveId) {
        uint32 number = registry.chip(idOf(chip)).registrations;
        bytes memory quote = quoteFor(chip, enclaveKey, OWNER, number);
        return registry.register(quote, field(string.concat(chip, ".pck")), enclaveKey, OWNER, former);
    }

    /// Gives the owner of the chips tokens by the way that everybody gets them.
    function earn(uint88 amount) internal {
        accept(Tree.leaf(OWNER, amount), amount);
        vault.claim(OWNER, amount, new bytes32[](0));
    }

    function idOf(string memory chip) internal view returns (bytes32) {
        return bytes32(field(string.concat(chip, ".enclaveId")));
    }

    function field(string memory member) internal view returns (bytes memory) {
        return vm.parseJsonBytes(json, member);
    }
}
