// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// What the adapter needs of an ERC-8004 Identity Registry: it is an ERC-721 whose tokens are agents.
interface IERC8004Identity {
    function ownerOf(uint256 agentId) external view returns (address);
}

/// What the adapter needs of an ERC-8004 Validation Registry.
interface IERC8004Validation {
    /// The Identity Registry whose agents it speaks of.
    function getIdentityRegistry() external view returns (address);

    /// An answer from 0 to 100 by the validator that the request names.
    function validationResponse(
        bytes32 requestHash,
        uint8 response,
        string calldata responseURI,
        bytes32 responseHash,
        string calldata tag
    ) external;

    /// The request and its last answer. Registries revert, or answer with zeros, for a hash that nobody asked with.
    function getValidationStatus(bytes32 requestHash)
        external
        view
        returns (
            address validatorAddress,
            uint256 agentId,
            uint8 response,
            bytes32 responseHash,
            string memory tag,
            uint256 lastUpdate
        );
}
