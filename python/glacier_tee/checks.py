"""Named outcomes of a verification."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

_MARKS: dict[str, str] = {"pass": "✓", "fail": "✗", "skip": "?"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. A skipped check never counts as passed."""

    id: str
    outcome: Literal["pass", "fail", "skip"]
    reason: str
    device: int | None = None

    def __str__(self) -> str:
        device = "" if self.device is None else f"device {self.device}: "
        reason = "" if self.reason == "holds" else f"  {self.reason}"
        return f"{_MARKS[self.outcome]} {device}{self.id}{reason}"


def read_checks(lines: str | Iterable[Any]) -> list[Check]:
    """Checks as the binding tells them."""
    told: Iterable[Any] = json.loads(lines) if isinstance(lines, str) else lines
    return [line if isinstance(line, Check) else Check(**line) for line in told]
