// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "../Types.sol";
import {IQuoteVerifier} from "./IQuoteVerifier.sol";

/// Names the verifier of each quote version.
interface IQuoteRouter {
    function realm() external view returns (Realm);

    /// The current verifier of this quote version. Reverts if there is none.
    function verifier(uint16 version) external view returns (IQuoteVerifier);
}
