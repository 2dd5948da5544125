// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Realm} from "../Types.sol";
import {IQuoteRouter} from "../interfaces/IQuoteRouter.sol";
import {IQuoteVerifier} from "../interfaces/IQuoteVerifier.sol";

/// Names the verifier of each quote version. A verifier never changes, so a fault is mended by another one, which everybody
/// can read for `delay` seconds before it counts. Taking one away works at once: it stops registrations, and lets nothing in.
contract QuoteRouter is IQuoteRouter, Ownable2Step {
    /// No verifier for quotes of this version.
    error VerifierMissing(uint16 version);
    /// The verifier trusts another realm's root.
    error ForeignVerifier(IQuoteVerifier verifier, Realm realm);
    /// A delay outside of what this realm allows, in seconds.
    error Delay(uint40 found, uint40 least, uint40 most);
    /// Nothing is proposed for this version.
    error ProposalMissing(uint16 version);
    /// The proposal counts from then on (seconds since 1970).
    error ProposalTooEarly(uint40 from);
    /// As many versions as verifiers have to be named.
    error Unpaired(uint256 versions, uint256 verifiers);
    /// The owner is the only one who can mend a fault.
    error OwnerNeeded();

    /// `verifier` may be put in place from `from` on.
    event VerifierProposed(uint16 indexed version, IQuoteVerifier verifier, uint40 from, Realm realm);
    event ProposalWithdrawn(uint16 indexed version, IQuoteVerifier verifier, Realm realm);
    /// `verifier` judges quotes of this version from now on; zero: nobody does.
    event VerifierChanged(uint16 indexed version, IQuoteVerifier former, IQuoteVerifier verifier, Realm realm);

    struct Proposal {
        IQuoteVerifier verifier;
        uint40 from;
    }

    /// Least delay of a production deployment, and most of any, in seconds.
    uint40 public constant LEAST_DELAY = 2 days;
    uint40 public constant MOST_DELAY = 30 days;

    Realm private immutable REALM;
    /// Seconds between a proposal and the moment from which it can be put in place.
    uint40 public immutable delay;
    mapping(uint16 version => IQuoteVerifier) private _verifiers;
    /// What is proposed for a version; all zero if nothing is.
    mapping(uint16 version => Proposal) public proposals;

    /// The first verifiers need no delay: nobody relies on this router yet. The realm is that of all of them, now and later.
    constructor(
        Realm realm_,
        address owner_,
        uint40 delay_,
        uint16[] memory versions,
        IQuoteVerifier[] memory verifiers
    ) Ownable(owner_) {
        uint40 least = realm_ == Realm.Production ? LEAST_DELAY : 0;
        if (delay_ < least || delay_ > MOST_DELAY) revert Delay(delay_, least, MOST_DELAY);
        if (versions.length != verifiers.length) revert Unpaired(versions.length, verifiers.length);
        REALM = realm_;
        delay = delay_;
        for (uint256 i = 0; i < versions.length; ++i) {
            _demandRealm(verifiers[i], realm_);
            _verifiers[versions[i]] = verifiers[i];
            emit VerifierChanged(versions[i], IQuoteVerifier(address(0)), verifiers[i], realm_);
        }
    }

    /// For people. Begins with "SIMULATED " where it is.
    function name() external view returns (string memory) {
        return REALM == Realm.Simulated ? "SIMULATED Glacier Quote Router" : "Glacier Quote Router";
    }

    /// @inheritdoc IQuoteRouter
    function realm() external view returns (Realm) {
        return REALM;
    }

    /// @inheritdoc IQuoteRouter
    function verifier(uint16 version) external view returns (IQuoteVerifier found) {
        found = _verifiers[version];
        if (address(found) == address(0)) revert VerifierMissing(version);
    }

    /// Proposes a verifier for a quote version; it replaces what was proposed before, and its delay begins now. Reverts if the
    /// verifier is of another realm, or no contract.
    function propose(uint16 version, IQuoteVerifier verifier_) external onlyOwner {
        _demandRealm(verifier_, REALM);
        uint40 from = uint40(block.timestamp) + delay;
        proposals[version] = Proposal(verifier_, from);
        emit VerifierProposed(version, verifier_, from, REALM);
    }

    /// Withdraws what is proposed.
    function withdraw(uint16 version) external onlyOwner {
        IQuoteVerifier verifier_ = proposals[version].verifier;
        if (address(verifier_) == address(0)) revert ProposalMissing(version);
        delete proposals[version];
        emit ProposalWithdrawn(version, verifier_, REALM);
    }

    /// Puts in place what was proposed, when its delay is over. Anybody may call.
    function enact(uint16 version) external {
        Proposal memory proposal = proposals[version];
        if (address(proposal.verifier) == address(0)) revert ProposalMissing(version);
        if (block.timestamp < proposal.from) revert ProposalTooEarly(proposal.from);
        delete proposals[version];
        _change(version, proposal.verifier);
    }

    /// Takes the verifier of a version away, at once. Quotes of that version are refused until another one is in place.
    function remove(uint16 version) external onlyOwner {
        if (address(_verifiers[version]) == address(0)) revert VerifierMissing(version);
        _change(version, IQuoteVerifier(address(0)));
    }

    /// Without an owner a faulty verifier would stay for good.
    function renounceOwnership() public view override onlyOwner {
        revert OwnerNeeded();
    }

    function _change(uint16 version, IQuoteVerifier verifier_) private {
        IQuoteVerifier former = _verifiers[version];
        _verifiers[version] = verifier_;
        emit VerifierChanged(version, former, verifier_, REALM);
    }

    function _demandRealm(IQuoteVerifier verifier_, Realm realm_) private view {
        Realm found = verifier_.realm();
        if (found != realm_) revert ForeignVerifier(verifier_, found);
    }
}
