// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Dates as seconds since 1970.
library Calendar {
    /// No such moment in the Gregorian calendar from 1970 on.
    error CalendarNoSuchTime(uint256 year, uint256 month, uint256 day, uint256 hour, uint256 minute, uint256 second);

    /// Seconds since 1970 of a moment in UTC. Leap seconds do not exist here.
    function timestamp(uint256 year, uint256 month, uint256 day, uint256 hour, uint256 minute, uint256 second)
        internal
        pure
        returns (uint40)
    {
        unchecked {
            bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            // Days of the months, a byte each, January in the highest of the twelve.
            uint256 lengths = leap ? 0x1f1d1f1e1f1e1f1f1e1f1e1f : 0x1f1c1f1e1f1e1f1f1e1f1e1f;
            if (
                year < 1970 || year > 9999 || month - 1 > 11 || day - 1 >= (lengths >> (8 * (12 - month))) & 0xff
                    || hour > 23 || minute > 59 || second > 59
            ) revert CalendarNoSuchTime(year, month, day, hour, minute, second);
            // The year starts in March, so that the leap day is its last.
            uint256 y = month < 3 ? year - 1 : year;
            uint256 dayOfYear = (153 * (month < 3 ? month + 9 : month - 3) + 2) / 5 + day - 1;
            // 719468 days from the first of March of the year 0 to 1970.
            uint256 days_ = 365 * y + y / 4 - y / 100 + y / 400 + dayOfYear - 719468;
            // Below 2^40 up to the year 9999.
            return uint40(86400 * days_ + 3600 * hour + 60 * minute + second);
        }
    }
}
