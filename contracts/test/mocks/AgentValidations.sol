// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";

/// The Validation Registry of ERC-8004 (Draft of 2026). Where the text leaves a choice this takes the stricter one that is
/// deployed: a hash is asked with once, an unknown hash reverts, and an answer is never lowered.
contract AgentValidations {
    struct Status {
        address validator;
        uint256 agentId;
        uint8 response;
        bytes32 responseHash;
        string tag;
        uint256 lastUpdate;
        bool answered;
    }

    address private immutable _identities;
    mapping(bytes32 requestHash => Status) private _status;
    mapping(uint256 agentId => bytes32[]) private _ofAgent;
    mapping(address validator => bytes32[]) private _ofValidator;

    event ValidationRequest(
        address indexed validatorAddress, uint256 indexed agentId, string requestURI, bytes32 indexed requestHash
    );
    event ValidationResponse(
        address indexed validatorAddress,
        uint256 indexed agentId,
        bytes32 indexed requestHash,
        uint8 response,
        string responseURI,
        bytes32 responseHash,
        string tag
    );

    error NoValidator();
    error Taken(bytes32 requestHash);
    error Unknown(bytes32 requestHash);
    error NotAuthorized(address caller);
    error OutOfRange(uint8 response);
    error Lowered(uint8 response, uint8 before);

    constructor(address identities) {
        _identities = identities;
    }

    function getIdentityRegistry() external view returns (address) {
        return _identities;
    }

    function validationRequest(
        address validatorAddress,
        uint256 agentId,
        string calldata requestURI,
        bytes32 requestHash
    ) external {
        if (validatorAddress == address(0)) revert NoValidator();
        if (_status[requestHash].validator != address(0)) revert Taken(requestHash);
        IERC721 identities = IERC721(_identities);
        address owner = identities.ownerOf(agentId);
        if (
            msg.sender != owner && !identities.isApprovedForAll(owner, msg.sender)
                && identities.getApproved(agentId) != msg.sender
        ) revert NotAuthorized(msg.sender);
        _status[requestHash] = Status(validatorAddress, agentId, 0, 0, "", block.timestamp, false);
        _ofAgent[agentId].push(requestHash);
        _ofValidator[validatorAddress].push(requestHash);
        emit ValidationRequest(validatorAddress, agentId, requestURI, requestHash);
    }

    function validationResponse(
        bytes32 requestHash,
        uint8 response,
        string calldata responseURI,
        bytes32 responseHash,
        string calldata tag
    ) external {
        Status storage status = _status[requestHash];
        if (status.validator == address(0)) revert Unknown(requestHash);
        if (status.validator != msg.sender) revert NotAuthorized(msg.sender);
        if (response > 100) revert OutOfRange(response);
        if (response < status.response) revert Lowered(response, status.response);
        status.response = response;
        status.responseHash = responseHash;
        status.tag = tag;
        status.lastUpdate = block.timestamp;
        status.answered = true;
        emit ValidationResponse(msg.sender, status.agentId, requestHash, response, responseURI, responseHash, tag);
    }

    function getValidationStatus(bytes32 requestHash)
        external
        view
        returns (address, uint256, uint8, bytes32, string memory, uint256)
    {
        Status storage status = _status[requestHash];
        if (status.validator == address(0)) revert Unknown(requestHash);
        return (status.validator, status.agentId, status.response, status.responseHash, status.tag, status.lastUpdate);
    }

    function getSummary(uint256 agentId, address[] calldata validators, string calldata tag)
        external
        view
        returns (uint64 count, uint8 averageResponse)
    {
        uint256 sum;
        for (uint256 i; i < _ofAgent[agentId].length; ++i) {
            Status storage status = _status[_ofAgent[agentId][i]];
            bool counts =
                status.answered && (bytes(tag).length == 0 || keccak256(bytes(tag)) == keccak256(bytes(status.tag)));
            bool named = validators.length == 0;
            for (uint256 j; j < validators.length; ++j) {
                named = named || validators[j] == status.validator;
            }
            if (!counts || !named) continue;
            sum += status.response;
            ++count;
        }
        averageResponse = count == 0 ? 0 : uint8(sum / count);
    }

    function getAgentValidations(uint256 agentId) external view returns (bytes32[] memory) {
        return _ofAgent[agentId];
    }

    function getValidatorRequests(address validator) external view returns (bytes32[] memory) {
        return _ofValidator[validator];
    }
}
