// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "./Types.sol";
import {IERC8004Identity, IERC8004Validation} from "./interfaces/IERC8004.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";

/// @title Enclave IDs as agents of ERC-8004, and their attestation as a validation.
/// @notice An agent's owner registers it in the Identity Registry as usual, with `tee-attestation` in `supportedTrust`, and links
/// its Enclave ID to it here. For an epoch it asks the Validation Registry for a validation by this contract, with the
/// `requestHash` that this contract gives for agent, chip, key, epoch and salt; anybody then calls `respond`. The answer is
/// 100 if the key is the chip's live key at that moment, else 0. So whoever knows the standard, and this contract's address, sees
/// whether a node is attested without knowing anything else of Glacier.
///
/// One answer for each chip and epoch: an answer costs more than a checkpoint of ten thousand proofs, and proofs are
/// settled by the ledger. An answer is of its epoch, and says nothing later; that is why each needs a request of its own
/// (registries differ in whether an answer may be lowered afterwards).
contract AgentAdapter {
    /// One slot a chip, and one of its agent.
    struct Link {
        /// Of the chip and the agent, when they were linked. It no longer holds when either has another.
        address owner;
        /// The last epoch with an answer.
        uint64 answered;
    }

    IEnclaveRegistry public immutable registry;
    IERC8004Identity public immutable identities;
    IERC8004Validation public immutable validations;
    Realm public immutable realm;
    /// @notice Seconds. Epoch n lasts from n to n + 1 times as many seconds since 1970.
    uint32 public immutable epochLength;

    mapping(bytes32 enclaveId => Link) private _links;
    mapping(bytes32 enclaveId => uint256) private _agents;
    mapping(uint256 agentId => bytes32) private _chips;

    event Linked(bytes32 indexed enclaveId, uint256 indexed agentId, address indexed owner, Realm realm);
    event Unlinked(bytes32 indexed enclaveId, uint256 indexed agentId, address by, Realm realm);
    event Responded(
        bytes32 indexed enclaveId,
        uint256 indexed agentId,
        address indexed key,
        uint64 epoch,
        uint8 response,
        bytes32 requestHash,
        Realm realm
    );

    error AgentZeroEpoch();
    error AgentOtherIdentities(address ofValidations, address given);
    error AgentNotChipOwner(bytes32 enclaveId, address caller);
    error AgentNotAgentOwner(uint256 agentId, address caller);
    error AgentChipLinked(bytes32 enclaveId, uint256 agentId);
    error AgentLinkedToOther(uint256 agentId, bytes32 enclaveId);
    error AgentNotLinked(bytes32 enclaveId);
    error AgentAnswered(bytes32 enclaveId, uint64 epoch);
    /// The request is another validator's or another agent's.
    error AgentOtherRequest(bytes32 requestHash, address validator, uint256 agentId);

    /// @param epochLength_ Seconds of an epoch, not 0.
    constructor(
        IEnclaveRegistry registry_,
        IERC8004Identity identities_,
        IERC8004Validation validations_,
        uint32 epochLength_
    ) {
        if (epochLength_ == 0) revert AgentZeroEpoch();
        address known = validations_.getIdentityRegistry();
        if (known != address(identities_)) revert AgentOtherIdentities(known, address(identities_));
        registry = registry_;
        identities = identities_;
        validations = validations_;
        epochLength = epochLength_;
        realm = registry_.realm();
    }

    /// @notice "Glacier AgentAdapter", with "SIMULATED " in front where that is true.
    function name() external view returns (string memory) {
        return realm == Realm.Production ? "Glacier AgentAdapter" : "SIMULATED Glacier AgentAdapter";
    }

    /// @notice The tag of every answer. A simulated deployment's says so, as the registry is shared with everybody.
    function tag() public view returns (string memory) {
        return realm == Realm.Production ? "tee-attestation" : "SIMULATED tee-attestation";
    }

    /// @notice Shows a chip as an agent. Only by the owner of both; one agent a chip and one chip an agent. A link that no longer
    /// holds, because the chip or the agent has another owner, is replaced.
    function link(bytes32 enclaveId, uint256 agentId) external {
        if (registry.chip(enclaveId).owner != msg.sender) revert AgentNotChipOwner(enclaveId, msg.sender);
        if (identities.ownerOf(agentId) != msg.sender) revert AgentNotAgentOwner(agentId, msg.sender);
        (bool held, uint256 formerAgent) = agentOf(enclaveId);
        if (held) revert AgentChipLinked(enclaveId, formerAgent);
        bytes32 formerChip = _chips[agentId];
        (held,) = agentOf(formerChip);
        if (held) revert AgentLinkedToOther(agentId, formerChip);

        if (_links[enclaveId].owner != address(0)) _drop(enclaveId);
        if (_links[formerChip].owner != address(0)) _drop(formerChip);
        _links[enclaveId].owner = msg.sender;
        _agents[enclaveId] = agentId;
        _chips[agentId] = enclaveId;
        emit Linked(enclaveId, agentId, msg.sender, realm);
    }

    /// @notice Ends a link. By the owner of the chip or of the agent.
    function unlink(bytes32 enclaveId) external {
        uint256 agentId = _agents[enclaveId];
        if (_links[enclaveId].owner == address(0)) revert AgentNotLinked(enclaveId);
        if (registry.chip(enclaveId).owner != msg.sender && identities.ownerOf(agentId) != msg.sender) {
            revert AgentNotChipOwner(enclaveId, msg.sender);
        }
        _drop(enclaveId);
    }

    /// @notice Answers the request of this epoch for a chip's key: 100 if the registry has it as the live key, else 0. Anybody may
    /// call; the request itself can only be made by the agent's owner or operator.
    /// @param salt What the owner chose for the request, so that nobody can take its hash first.
    /// Reverts if the chip is not linked, was answered for in this epoch, or has no such request.
    function respond(bytes32 enclaveId, address key, bytes32 salt) external returns (uint8 response) {
        (bool held, uint256 agentId) = agentOf(enclaveId);
        if (!held) revert AgentNotLinked(enclaveId);
        uint64 epoch = epochNow();
        if (_links[enclaveId].answered == epoch) revert AgentAnswered(enclaveId, epoch);
        bytes32 requestHash = requestHashOf(enclaveId, agentId, key, epoch, salt);
        (address validator, uint256 asked,,,,) = validations.getValidationStatus(requestHash);
        if (validator != address(this) || asked != agentId) revert AgentOtherRequest(requestHash, validator, asked);

        response = registry.isLive(enclaveId, key) ? 100 : 0;
        _links[enclaveId].answered = epoch;
        emit Responded(enclaveId, agentId, key, epoch, response, requestHash, realm);
        validations.validationResponse(requestHash, response, "", _factsHash(enclaveId, key, epoch, response), tag());
    }

    /// @notice The agent that a chip is shown as. `held` is false if there is none, or if chip and agent no longer have the owner
    /// that linked them.
    function agentOf(bytes32 enclaveId) public view returns (bool held, uint256 agentId) {
        address owner = _links[enclaveId].owner;
        agentId = _agents[enclaveId];
        held = owner != address(0) && registry.chip(enclaveId).owner == owner && _ownerOf(agentId) == owner;
        if (!held) agentId = 0;
    }

    /// @notice The chip that an agent shows; zero if none does at this moment.
    function chipOf(uint256 agentId) external view returns (bytes32 enclaveId) {
        (bool held,) = agentOf(_chips[agentId]);
        return held ? _chips[agentId] : bytes32(0);
    }

    /// @notice The last epoch in which this contract answered for a chip; 0 if it never did.
    function answeredIn(bytes32 enclaveId) external view returns (uint64) {
        return _links[enclaveId].answered;
    }

    /// @notice The hash that a request must have.
    function requestHashOf(bytes32 enclaveId, uint256 agentId, address key, uint64 epoch, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encode("glacier/erc8004-request/v1", block.chainid, address(this), enclaveId, agentId, key, epoch, salt)
        );
    }

    /// @notice The epoch of this moment.
    function epochNow() public view returns (uint64) {
        return uint64(block.timestamp / epochLength);
    }

    /// What the answer rests on, for whoever wants to compare it with the registry's events later.
    function _factsHash(bytes32 enclaveId, address key, uint64 epoch, uint8 response) private view returns (bytes32) {
        IEnclaveRegistry.Chip memory chip = registry.chip(enclaveId);
        return
            keccak256(
                abi.encode("glacier/erc8004-response/v1", address(registry), enclaveId, key, epoch, response, chip)
            );
    }

    function _drop(bytes32 enclaveId) private {
        uint256 agentId = _agents[enclaveId];
        // What was answered stays, or a new link would allow a second answer.
        _links[enclaveId].owner = address(0);
        delete _agents[enclaveId];
        delete _chips[agentId];
        emit Unlinked(enclaveId, agentId, msg.sender, realm);
    }

    /// An agent that was burned has no owner, and registries revert for it.
    function _ownerOf(uint256 agentId) private view returns (address) {
        try identities.ownerOf(agentId) returns (address owner) {
            return owner;
        } catch {
            return address(0);
        }
    }
}
