// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {GlacierToken} from "../src/GlacierToken.sol";
import {Realm} from "../src/Types.sol";
import {vm} from "./Cheats.sol";

contract TokenTest {
    uint256 private constant KEY = 0xA11CE;
    address private constant STRANGER = address(0x57);

    GlacierToken private token;

    function setUp() public {
        token = new GlacierToken(Realm.Production, 100e18);
    }

    function test_nothing_exists_before_the_first_claim() public view {
        assert(token.totalSupply() == 0 && token.cap() == 100e18 && token.minter() == address(this));
        assert(token.decimals() == 18 && token.realm() == Realm.Production);
    }

    function test_a_simulated_token_says_so_in_name_symbol_and_permit_domain() public {
        GlacierToken simulated = new GlacierToken(Realm.Simulated, 1);
        assert(simulated.realm() == Realm.Simulated);
        assert(same(simulated.name(), "SIMULATED Glacier") && same(simulated.symbol(), "sGLC"));
        (, string memory domain,,,,,) = simulated.eip712Domain();
        assert(same(domain, "SIMULATED Glacier"));
        assert(same(token.name(), "Glacier") && same(token.symbol(), "GLC"));
    }

    function test_only_the_deployer_mints_and_burns() public {
        token.mint(STRANGER, 5e18);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(GlacierToken.TokenNotMinter.selector, STRANGER, address(this)));
        token.mint(STRANGER, 1);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(GlacierToken.TokenNotMinter.selector, STRANGER, address(this)));
        token.burn(1);
    }

    function test_a_burn_takes_from_the_minter_alone(uint96 mine, uint96 theirs) public {
        uint256 a = mine % 50e18;
        uint256 b = theirs % 50e18;
        token.mint(address(this), a);
        assert(token.mint(STRANGER, b) == a + b);
        token.burn(a);
        assert(token.totalSupply() == b && token.balanceOf(STRANGER) == b && token.balanceOf(address(this)) == 0);
        vm.expectRevert();
        token.burn(1);
    }

    function test_the_supply_never_passes_the_cap(uint256 amount) public {
        token.mint(STRANGER, 60e18);
        uint256 more = 40e18 + 1 + amount % type(uint128).max;
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, 60e18 + more, 100e18));
        token.mint(STRANGER, more);
        token.mint(STRANGER, 40e18);
        assert(token.totalSupply() == token.cap());
    }

    function test_a_permit_is_taken_once_from_its_signer_and_in_time(uint256 value) public {
        address owner = vm.addr(KEY);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digest(owner, value, 0, 1_000));
        vm.warp(1_000);
        vm.expectRevert();
        token.permit(owner, address(this), value, 1_000, 55 - v, r, s);
        token.permit(owner, STRANGER, value, 1_000, v, r, s);
        assert(token.allowance(owner, STRANGER) == value && token.nonces(owner) == 1);
        vm.expectRevert();
        token.permit(owner, STRANGER, value, 1_000, v, r, s);
        (v, r, s) = vm.sign(KEY, digest(owner, value, 1, 1_000));
        vm.warp(1_001);
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612ExpiredSignature.selector, 1_000));
        token.permit(owner, STRANGER, value, 1_000, v, r, s);
    }

    function digest(address owner, uint256 value, uint256 nonce, uint256 deadline) private view returns (bytes32) {
        bytes32 permit = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(permit, owner, STRANGER, value, nonce, deadline));
        return keccak256(bytes.concat(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
    }

    function same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}
