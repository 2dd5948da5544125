// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TcbStatus} from "../Types.sol";
import {Json} from "./Json.sol";

/// What both signed documents say of a level, and how the level of a part moves that of the whole.
library Level {
    /// A quoting enclave or a module is current, behind or withdrawn; it has nothing to configure.
    error LevelStatus(TcbStatus found);

    /// Reads `},"tcbDate":…,"tcbStatus":…,"advisoryIDs":[…]}` after a level's numbers. Advisories are passed over: no rule
    /// on chain depends on them, and who wants them has the text that was signed.
    function verdict(uint256 place) internal pure returns (TcbStatus status, uint256 next) {
        place = Json.expect(place, '},"tcbDate":"', 13);
        (, place) = Json.date(place);
        place = Json.expect(place, '","tcbStatus":"', 15);
        (status, place) = word(place);
        if (Json.shows(place, ",")) {
            place = Json.expect(place, ',"advisoryIDs":[', 16);
            unchecked {
                place = Json.find(place, "]") + 1;
            }
        }
        next = Json.expect(place, "}", 1);
    }

    /// `verdict` of a part.
    function partVerdict(uint256 place) internal pure returns (TcbStatus status, uint256 next) {
        (status, next) = verdict(place);
        if (status != TcbStatus.UpToDate && status != TcbStatus.OutOfDate && status != TcbStatus.Revoked) {
            revert LevelStatus(status);
        }
    }

    /// Status of a platform of which a part (the quoting enclave, the TDX module) has the status `part`. A part that is
    /// behind makes the whole behind, and what the platform lacks in configuration stays lacking.
    function folded(TcbStatus platform, TcbStatus part) internal pure returns (TcbStatus) {
        if (part == TcbStatus.Revoked) return TcbStatus.Revoked;
        if (part != TcbStatus.OutOfDate) return platform;
        if (platform <= TcbStatus.SWHardeningNeeded) return TcbStatus.OutOfDate;
        if (platform <= TcbStatus.ConfigurationAndSWHardeningNeeded) return TcbStatus.OutOfDateConfigurationNeeded;
        return platform;
    }

    /// A status with its closing quotation mark.
    function word(uint256 place) private pure returns (TcbStatus status, uint256 next) {
        unchecked {
            next = Json.find(place, '"') + 1;
            uint256 length = next - place;
            // The one that does not fit a word.
            if (length == 34) {
                Json.expect(place, "ConfigurationAndSWHardeningNeede", 32);
                Json.expect(place + 32, 'd"', 2);
                return (TcbStatus.ConfigurationAndSWHardeningNeeded, next);
            }
            if (length > 32) Json.unexpected(place);
            bytes32 text = bytes32((Json.load(place) >> (256 - 8 * length)) << (256 - 8 * length));
            if (text == 'UpToDate"') return (TcbStatus.UpToDate, next);
            if (text == 'OutOfDate"') return (TcbStatus.OutOfDate, next);
            if (text == 'SWHardeningNeeded"') return (TcbStatus.SWHardeningNeeded, next);
            if (text == 'ConfigurationNeeded"') return (TcbStatus.ConfigurationNeeded, next);
            if (text == 'OutOfDateConfigurationNeeded"') return (TcbStatus.OutOfDateConfigurationNeeded, next);
            if (text == 'Revoked"') return (TcbStatus.Revoked, next);
            Json.unexpected(place);
        }
    }
}
