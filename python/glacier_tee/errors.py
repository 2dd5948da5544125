"""What can go wrong, by who can put it right. Every message ends with what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .checks import Check, read_checks


class GlacierError(Exception):
    """Anything that this package raises."""

    help: str
    """What to do about it."""

    def __init__(self, message: str, *, help: str = "") -> None:
        super().__init__(f"{message} ({help})" if help else message)
        self.help = help


class NodeUnreachable(GlacierError):
    """Nobody answers at the node's address, or not as a node does."""


class NotAccepted(GlacierError):
    """The enclave, or a piece of evidence, is not what the policy accepts. Nothing private was sent."""

    checks: list[Check]
    """All that was looked at, in order. Empty where it did not come to that."""

    def __init__(self, message: str, *, help: str = "", checks: str | Iterable[Any] = ()) -> None:
        super().__init__(message, help=help)
        self.checks = read_checks(checks)

    @property
    def failed(self) -> list[Check]:
        """The checks that stand in the way."""
        return [check for check in self.checks if check.outcome == "fail"]


class ProofInvalid(NotAccepted):
    """A Work Proof does not hold, or proves something else. Do not use what it came with."""


class Refused(GlacierError):
    """The enclave said no."""

    code: str
    """Its reason, as one word: `data-invalid`, `busy`, ..."""

    def __init__(self, message: str, *, help: str = "", code: str = "") -> None:
        super().__init__(message, help=help)
        self.code = code


class PolicyError(GlacierError):
    """The policy cannot be used. None of it is used then."""


class DataError(GlacierError, ValueError):
    """Arrays, a frame, a model or a plan that cannot be taken."""


class KeyStoreError(GlacierError):
    """The key store says no."""


class SealError(GlacierError):
    """A file was not sealed or opened."""


class Cancelled(GlacierError):
    """The work was given up."""
