"""Evidence of real hardware, where a folder of it is: $GLACIER_VECTORS, or `shared/vectors` beside the repository."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import glacier_tee as glacier

VECTORS = Path(os.environ.get("GLACIER_VECTORS", Path(__file__).resolve().parents[3] / "shared/vectors"))


def cases(kind: str) -> list[Any]:
    manifest = VECTORS / kind / "manifest.json"
    if not manifest.is_file():
        return [pytest.param(None, None, marks=pytest.mark.skip(reason="skipped: no evidence vectors"))]
    found = []
    for entry in json.loads(manifest.read_text())["entries"]:
        if entry.get("tee", "").lower() == kind:
            found += [pytest.param(entry, case, id=f"{entry['id']}-{case['eval_time']}") for case in entry["cases"]]
    return found


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(("entry", "case"), cases("sgx"))
def test_an_sgx_quote_has_its_known_status(entry: dict[str, Any], case: dict[str, Any]) -> None:
    quote, collateral = VECTORS / "sgx" / entry["file"], VECTORS / "sgx" / case["collateral"]
    expected = bytes.fromhex(entry["report_data"])
    moment = at(case["eval_time"])
    evidence = glacier.verify_evidence(quote, at=moment, collateral=collateral, report_data=expected)
    assert evidence.platform == "sgx"
    assert not evidence.simulated
    assert evidence.tcb_status == case["expected"]["tcb_status"]
    assert sorted(evidence.advisories) == sorted(case["expected"]["advisories"])
    assert evidence.registers == entry["mrenclave"]
    assert evidence.hardware_id == entry["ppid"]
    assert evidence.report_data == entry["report_data"]
    assert evidence.debug == entry["debug"]
    for outside in (case["valid_from"] - 1, case["valid_to"] + 1):
        with pytest.raises(glacier.NotAccepted, match="rejected"):
            glacier.verify_evidence(quote, at=at(outside), collateral=collateral)
    with pytest.raises(glacier.NotAccepted, match="undetermined"):
        glacier.verify_evidence(quote, at=moment)
    with pytest.raises(glacier.NotAccepted, match="report-data: report data differs"):
        glacier.verify_evidence(quote, at=moment, collateral=collateral, report_data=b"\xff" * 64)
    with pytest.raises(glacier.NotAccepted):
        glacier.verify_evidence(quote, at=moment, collateral=collateral, policy={"platforms": ["tdx"]})
    altered = bytearray(quote.read_bytes())
    altered[48 + 64] ^= 1
    with pytest.raises(glacier.NotAccepted) as caught:
        glacier.verify_evidence(bytes(altered), at=moment, collateral=collateral)
    assert caught.value.failed
    text = quote.read_bytes().hex().encode()
    assert glacier.verify_evidence(text, at=moment, collateral=collateral.read_bytes()) == glacier.verify_evidence(
        quote, at=moment, collateral=collateral
    )


@pytest.mark.parametrize(("entry", "case"), cases("tdx"))
def test_a_tdx_quote_has_its_known_status(entry: dict[str, Any], case: dict[str, Any]) -> None:
    quote, collateral = VECTORS / "tdx" / entry["file"], VECTORS / "tdx" / case["collateral"]
    if case["expected"].get("dcap_qvl_error") == "No matching TCB level found":
        with pytest.raises(glacier.NotAccepted, match="tcb-level"):
            glacier.verify_evidence(quote, at=at(case["eval_time"]), collateral=collateral)
        return
    evidence = glacier.verify_evidence(quote, at=at(case["eval_time"]), collateral=collateral)
    assert evidence.platform == "tdx"
    if case["expected"].get("verdict") == "reject":
        assert evidence.exposures == ["sept-ve-disable-clear"]
        return
    assert evidence.tcb_status == case["expected"]["tcb_status"]


def test_what_is_no_evidence_is_not_accepted() -> None:
    with pytest.raises(glacier.NotAccepted):
        glacier.verify_evidence(b"no quote at all", at="2026-01-01T00:00:00Z")
    with pytest.raises(glacier.DataError, match="collateral"):
        glacier.verify_evidence(b"no quote at all", at="2026-01-01T00:00:00Z", collateral=b"{}")
    with pytest.raises(glacier.DataError, match="PEM nor DER"):
        glacier.verify_evidence(b"no quote at all", at="2026-01-01T00:00:00Z", vek=b"-----")
