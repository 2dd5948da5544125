// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {WorkLedger} from "../src/WorkLedger.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {Signatures} from "../src/lib/Signatures.sol";
import {vm} from "./Cheats.sol";
import {LedgerFixture} from "./LedgerFixture.sol";

/// Signatures that another implementation of EIP-712 (alloy's, by `cast wallet sign --data`) made with the fixture's secret over the
/// typed data, for chain 31337 and a verifying contract of twenty bytes 0x11.
contract TypedDataTest is LedgerFixture {
    address private constant AT = 0x1111111111111111111111111111111111111111;
    bytes32 private constant A1 = hex"a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
    bytes32 private constant B1 = hex"b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1";
    bytes32 private constant C1 = hex"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1";

    function setUp() public override {
        super.setUp();
        vm.chainId(31337);
    }

    function test_a_work_proof_hashes_as_a_wallet_hashes_it() external {
        vm.etch(AT, address(ledger).code);
        bytes32 step = bytes32(uint256(A1) / 0xa1);
        WorkProof memory proof = WorkProof({
            enclaveId: A1,
            enclaveKey: key,
            measurement: bytes32(uint256(step) * 0xa2),
            platform: keccak256("tdx"),
            work: keccak256("inference"),
            manifest: bytes32(uint256(step) * 0xa3),
            model: bytes32(uint256(step) * 0xa4),
            input: bytes32(uint256(step) * 0xa5),
            output: bytes32(uint256(step) * 0xa6),
            units: 123_456_789,
            sequence: 7,
            previous: bytes32(uint256(step) * 0xa7),
            payer: 0x2222222222222222222222222222222222222222,
            price: 25_000
        });
        _signedByWallet(
            WorkLedger(AT).hashOf(proof),
            hex"21f3c38826a0098107dc2c51d4eb7b1b53eb8a7b92a14853f5f16cdee2b2329f4ed1c4760b6e62005d1433392d63c4a9e64fc81a9f80d983c77598069821f4e41b"
        );
    }

    function test_a_checkpoint_hashes_as_a_wallet_hashes_it() external {
        vm.etch(AT, address(ledger).code);
        _signedByWallet(
            WorkLedger(AT).hashOf(Checkpoint(A1, key, 9, B1, 987_654_321)),
            hex"0443321f06f32a097e36aad73e15bc6400ad4e4b42bfaeedd258d45c4eaa1f381be1af0396d3eac52fd63bdb3ca4c79c6eae76b96cbfd9a5ea725e4e4b6a31a41b"
        );
    }

    function test_a_registration_hashes_as_a_wallet_hashes_it() external {
        vm.etch(AT, address(registry).code);
        _signedByWallet(
            EnclaveRegistry(AT).registrationDigest(key, 0x3333333333333333333333333333333333333333, 5),
            hex"a52322e945c4cfffd5ad97764dc8b2080227dac826ce9994e3c51852c600116847ed694d3468864de90860b044ca434faeb7a39a637fce9ccfccf618ccf36d821c"
        );
    }

    function test_a_device_attachment_hashes_as_a_wallet_hashes_it() external {
        vm.etch(AT, address(registry).code);
        _signedByWallet(
            EnclaveRegistry(AT).attachmentDigest(C1, A1, key, 6),
            hex"9048085741cc5469fb7a7eb7effdb2f66eda94e8f93f85683f1f4259b088a92a2aefa8b8442290f4b04f3d54d9d10acf4668d4d42a087f78c423faf000b3ed361c"
        );
    }

    function test_the_upper_half_of_s_is_no_signature(bytes32 digest) external view {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SECRET, digest);
        bytes32 vs = bytes32(uint256(s) | uint256(v - 27) << 255);
        require(Signatures.signer(digest, r, vs) == vm.addr(SECRET));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        uint256 other = order - uint256(s);
        // The upper half of s reaches into the bit of the parity: with either parity it is refused or another signer.
        require(Signatures.signer(digest, r, bytes32(other)) != vm.addr(SECRET));
        require(Signatures.signer(digest, r, bytes32(other ^ 1 << 255)) != vm.addr(SECRET));
    }

    function _signedByWallet(bytes32 digest, bytes memory signature) private view {
        bytes32 r;
        bytes32 s;
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
        }
        uint8 v = uint8(signature[64]);
        require(ecrecover(digest, v, r, s) == key, "the digest is another");
        require(Signatures.signer(digest, r, bytes32(uint256(s) | uint256(v - 27) << 255)) == key);
    }
}
