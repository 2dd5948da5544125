// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {MeasurementPolicy} from "../src/MeasurementPolicy.sol";
import {Platform, Realm, TcbStatus, Verdict} from "../src/Types.sol";
import {IIntelCollateral} from "../src/interfaces/IIntelCollateral.sol";
import {IQuoteVerifier} from "../src/interfaces/IQuoteVerifier.sol";
import {vm} from "./Cheats.sol";
import {CollateralMock} from "./mocks/CollateralMock.sol";
import {QuoteMock, RouterMock} from "./mocks/QuoteMock.sol";

/// A policy with one accepted measurement, a registry, and chips whose quotes are believed.
abstract contract RegistryFixture {
    event Measured(string what, uint256 gas);

    uint256 internal constant START = 1_800_000_000;
    uint40 internal constant VALID_UNTIL = uint40(START + 30 days);
    address internal constant GUARDIAN = address(0x6a);
    address internal constant OWNER = address(0xa11ce);
    address internal constant STRANGER = address(0xbad);
    bytes32 internal constant CODE = keccak256("code");
    bytes32 internal constant CHIP = keccak256("chip");
    bytes32 internal constant OTHER_CHIP = keccak256("other chip");
    uint256 internal constant SECRET = 0xc0ffee;
    uint256 internal constant OTHER_SECRET = 0xdecaf;

    QuoteMock internal verifier;
    MeasurementPolicy internal policy;
    EnclaveRegistry internal registry;
    address internal key = vm.addr(SECRET);
    address internal otherKey = vm.addr(OTHER_SECRET);

    function setUp() public virtual {
        vm.warp(START);
        _deploy(Realm.Simulated, 0);
        policy.announce(CODE, TcbStatus.SWHardeningNeeded, type(uint40).max);
    }

    function _deploy(Realm realm, uint40 delay) internal {
        verifier = new QuoteMock(realm);
        RouterMock router = new RouterMock(IQuoteVerifier(address(verifier)));
        IIntelCollateral collateral = IIntelCollateral(address(new CollateralMock(realm)));
        policy = new MeasurementPolicy(collateral, address(this), GUARDIAN, delay);
        registry = new EnclaveRegistry(router, policy, address(this), GUARDIAN);
        policy.setRegistry(registry);
    }

    function _verdict(bytes32 chip, address enclaveKey, address owner, uint32 number)
        internal
        view
        returns (Verdict memory)
    {
        return Verdict({
            platform: Platform.Tdx,
            status: TcbStatus.UpToDate,
            validUntil: VALID_UNTIL,
            enclaveId: chip,
            measurement: CODE,
            reportData: registry.registrationDigest(enclaveKey, owner, number),
            reportTag: "glacier/registration/v1"
        });
    }

    function _quote(Verdict memory verdict) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"0400", abi.encode(verdict));
    }

    function _register(bytes32 chip, address enclaveKey, address former) internal {
        uint32 number = registry.chip(chip).registrations;
        registry.register(_quote(_verdict(chip, enclaveKey, OWNER, number)), "", enclaveKey, OWNER, former);
    }

    function _sign(uint256 secret, bytes32 digest) internal pure returns (bytes32, bytes32) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secret, digest);
        return (r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    function _list(address one) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }
}
