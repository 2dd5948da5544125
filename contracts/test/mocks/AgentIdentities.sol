// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";

/// The Identity Registry of ERC-8004 (Draft of 2026: `agentURI`, string tags), without `setAgentWallet`, which nothing here
/// calls. Agents are numbered from 0, as the registry that is deployed on public chains does.
contract AgentIdentities is ERC721URIStorage {
    struct MetadataEntry {
        string metadataKey;
        bytes metadataValue;
    }

    bytes32 private constant WALLET = keccak256("agentWallet");

    uint256 private _next;
    mapping(uint256 agentId => mapping(string key => bytes)) private _metadata;

    event Registered(uint256 indexed agentId, string agentURI, address indexed owner);
    event MetadataSet(
        uint256 indexed agentId, string indexed indexedMetadataKey, string metadataKey, bytes metadataValue
    );
    event URIUpdated(uint256 indexed agentId, string newURI, address indexed updatedBy);

    error ReservedKey();

    constructor() ERC721("Agents", "AGENT") {}

    function register() external returns (uint256) {
        return _register("", new MetadataEntry[](0));
    }

    function register(string calldata agentURI) external returns (uint256) {
        return _register(agentURI, new MetadataEntry[](0));
    }

    function register(string calldata agentURI, MetadataEntry[] calldata metadata) external returns (uint256) {
        return _register(agentURI, metadata);
    }

    function setAgentURI(uint256 agentId, string calldata newURI) external {
        _checkAuthorized(_ownerOf(agentId), msg.sender, agentId);
        _setTokenURI(agentId, newURI);
        emit URIUpdated(agentId, newURI, msg.sender);
    }

    function setMetadata(uint256 agentId, string calldata key, bytes calldata value) external {
        _checkAuthorized(_ownerOf(agentId), msg.sender, agentId);
        if (keccak256(bytes(key)) == WALLET) revert ReservedKey();
        _set(agentId, key, value);
    }

    function getMetadata(uint256 agentId, string calldata key) external view returns (bytes memory) {
        return _metadata[agentId][key];
    }

    function getAgentWallet(uint256 agentId) external view returns (address) {
        _requireOwned(agentId);
        return address(bytes20(_metadata[agentId]["agentWallet"]));
    }

    function unsetAgentWallet(uint256 agentId) external {
        _checkAuthorized(_ownerOf(agentId), msg.sender, agentId);
        _set(agentId, "agentWallet", "");
    }

    function _register(string memory agentURI, MetadataEntry[] memory metadata) private returns (uint256 agentId) {
        agentId = _next++;
        _safeMint(msg.sender, agentId);
        _setTokenURI(agentId, agentURI);
        _set(agentId, "agentWallet", abi.encodePacked(msg.sender));
        for (uint256 i; i < metadata.length; ++i) {
            if (keccak256(bytes(metadata[i].metadataKey)) == WALLET) revert ReservedKey();
            _set(agentId, metadata[i].metadataKey, metadata[i].metadataValue);
        }
        emit Registered(agentId, agentURI, msg.sender);
    }

    function _set(uint256 agentId, string memory key, bytes memory value) private {
        _metadata[agentId][key] = value;
        emit MetadataSet(agentId, key, key, value);
    }

    /// A transfer clears the wallet: the new owner has not shown that it controls it.
    function _update(address to, uint256 agentId, address auth) internal override returns (address from) {
        from = super._update(to, agentId, auth);
        if (from != address(0) && from != to) _set(agentId, "agentWallet", "");
    }
}
