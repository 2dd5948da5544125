"""Proofs and evidence, judged on this machine and without a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from . import _native
from .checks import Check, read_checks
from .errors import DataError, NotAccepted, ProofInvalid
from .results import Proof
from .session import AnyPolicy, to_policy


def verify_proof(
    proof: str | PathLike[str] | bytes | Proof, *, policy: AnyPolicy | None = None, at: datetime | str | None = None
) -> Proof:
    """Checks a Work Proof with all that it stands on, and gives it back; raises `ProofInvalid` with the checks.

    With a policy the question is whether that policy accepts the enclave; without one, whether it is genuine
    hardware's. `at` is the moment at which its evidence is judged: now, unless it is named.
    """
    bundle = proof.bundle if isinstance(proof, Proof) else proof
    content = bundle if isinstance(bundle, bytes) else Path(bundle).read_bytes()
    told = json.loads(_native.verify_proof(content, to_policy(policy) if policy is not None else None, moment(at)))
    checks = read_checks(told["checks"]) + read_checks(told["evidence"])
    if (registered := told["settlement"]) is not None:
        checks += read_checks(registered["checks"]) + read_checks(registered["quote"])
    if told["verdict"] != "accepted":
        raise ProofInvalid(
            f"the proof is {told['verdict']}" + _first(checks),
            help="do not rely on it; `.checks` says why",
            checks=checks,
        )
    return Proof(told["proof"], checks, content)


@dataclass(frozen=True)
class Evidence:
    """What genuine evidence says."""

    platform: str
    simulated: bool
    measurement: str
    """The one name of the code, for policies."""
    registers: Any
    """The code as the hardware shows it."""
    report_data: str
    hardware_id: str | None
    enclave_id: str | None
    tcb_status: str | None
    advisories: list[str]
    debug: bool
    exposures: list[Any]
    checks: list[Check] = field(repr=False)

    def __repr__(self) -> str:
        simulated = ", SIMULATED: no hardware stands behind it" if self.simulated else ""
        status = f", {self.tcb_status}" if self.tcb_status else ""
        return f"<Evidence of {self.platform}{status}, code {self.measurement[:16]}…{simulated}>"


Document: TypeAlias = str | PathLike[str] | bytes
"""A file, or its content."""


def verify_evidence(
    evidence: Document,
    *,
    at: datetime | str,
    collateral: Document | None = None,
    vek: Document | None = None,
    amd_ca: Sequence[Document] = (),
    gpu_chain: Document | None = None,
    rim: Sequence[Document] = (),
    ocsp: Sequence[Document] = (),
    trust_root: Document | None = None,
    policy: AnyPolicy | None = None,
    report_data: bytes | None = None,
) -> Evidence:
    """Judges what hardware signed at a moment, and gives what it says; raises `NotAccepted` with the checks.

    `evidence` is a quote or report, raw or as hex text, or all that an enclave shows. Beside it: of SGX and TDX
    `collateral` (JSON), of SNP `vek` and `amd_ca` (DER or PEM), of NVIDIA `gpu_chain` (PEM), `rim` and `ocsp`.
    Without a policy the question is only whether it is genuine. `report_data` is what it must carry.
    """
    beside = {
        "collateral": _read(collateral),
        "vek": _read(vek),
        "amd_ca": [_content(document) for document in amd_ca],
        "gpu_chain": _read(gpu_chain),
        "rims": [_content(document) for document in rim],
        "ocsp": [_content(document) for document in ocsp],
        "trust_root": _read(trust_root),
    }
    accepts = to_policy(policy) if policy is not None else None
    when = moment(at)
    assert when is not None
    told = json.loads(_native.verify_evidence(_content(evidence), when, beside, accepts, report_data))
    checks = read_checks(told["checks"])
    if told["verdict"] != "accepted":
        help = "`.checks` says what was looked at; a skipped one lacks its input"
        raise NotAccepted(f"the evidence is {told['verdict']}{_first(checks)}", help=help, checks=checks)
    return Evidence(**told["said"], checks=checks)


def _content(document: Document) -> bytes:
    return document if isinstance(document, bytes) else Path(document).read_bytes()


def _read(document: Document | None) -> bytes | None:
    return None if document is None else _content(document)


def moment(at: datetime | str | None) -> int | None:
    """Seconds since 1970."""
    if at is None:
        return None
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    if when.tzinfo is None:
        raise DataError(f"{when} may be anywhere", help="name a time zone: 2026-03-20T10:00:00Z")
    return int(when.timestamp())


def _first(checks: list[Check]) -> str:
    wrong = [check for check in checks if check.outcome == "fail"] or [
        check for check in checks if check.outcome == "skip"
    ]
    return f" at {wrong[0].id}: {wrong[0].reason}" if wrong else ""
