"""Proofs hold for others, and altered ones do not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest

import glacier_tee as glacier


@pytest.fixture(scope="module")
def proof(node: glacier.Node, model: Path, tumours: pd.DataFrame) -> glacier.Proof:
    return node.connect().infer(model, tumours).proof


def test_a_saved_proof_is_verified(node: glacier.Node, proof: glacier.Proof, tmp_path: Path) -> None:
    file = tmp_path / "proof.cbor"
    proof.save(file)
    again = glacier.verify_proof(file, policy=node.policy)
    assert again.statement == proof.statement
    assert again.checks
    assert "SIMULATED" in repr(again)


def test_every_altered_part_is_refused(node: glacier.Node, proof: glacier.Proof) -> None:
    content = proof.bundle
    for place in range(8, len(content), max(1, len(content) // 40)):
        altered = bytearray(content)
        altered[place] ^= 1
        with pytest.raises(glacier.ProofInvalid):
            glacier.verify_proof(bytes(altered), policy=node.policy)


def items(cbor: bytes) -> list[bytes]:
    """The items of a CBOR array, each as it is encoded."""

    def head(at: int) -> tuple[int, int, int]:
        kind, low = cbor[at] >> 5, cbor[at] & 31
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(low, 0)
        return kind, int.from_bytes(cbor[at + 1 : at + 1 + size], "big") if size else low, at + 1 + size

    def end(at: int) -> int:
        kind, count, at = head(at)
        if kind in (2, 3):
            return at + count
        for _ in range({4: count, 5: 2 * count, 6: 1}.get(kind, 0)):
            at = end(at)
        return at

    _, count, at = head(0)
    found = []
    for _ in range(count):
        found.append(cbor[at : end(at)])
        at = end(at)
    return found


def test_a_registration_that_does_not_hold_is_shown(node: glacier.Node, proof: glacier.Proof) -> None:
    own = items(proof.bundle)
    checkpoint, path = items(own[3])
    address, number = b"\x54" + bytes(20), b"\x07"
    registration = b"\x85" + number + address * 3 + number
    settled = b"\x85" + checkpoint + path + registration + b"\x41q" + b"\x42{}"
    with pytest.raises(glacier.ProofInvalid, match="head-ledger") as caught:
        glacier.verify_proof(b"\x85" + b"".join(own[:4]) + settled, policy=node.policy)
    failed = {check.id for check in caught.value.failed}
    assert failed
    assert failed <= {"head-ledger", "registration-quote", "registration-binding"}
    assert {"head-signature", "head-inclusion"} <= {check.id for check in caught.value.checks}


def test_without_a_policy_only_genuine_hardware_will_do(proof: glacier.Proof) -> None:
    with pytest.raises(glacier.ProofInvalid) as caught:
        glacier.verify_proof(proof)
    assert caught.value.checks


def test_another_policy_and_another_time_are_refused(node: glacier.Node, proof: glacier.Proof) -> None:
    other = tomllib.loads(node.policy.to_toml()) | {"measurements": ["00" * 32]}
    with pytest.raises(glacier.ProofInvalid, match="policy-code"):
        glacier.verify_proof(proof, policy=other)
    with pytest.raises(glacier.ProofInvalid):
        glacier.verify_proof(proof, policy=node.policy, at="2000-01-01T00:00:00Z")
    with pytest.raises(glacier.DataError, match="time zone"):
        glacier.verify_proof(proof, policy=node.policy, at="2000-01-01T00:00:00")
