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
    assert content is not None
    for place in range(8, len(content), max(1, len(content) // 40)):
        altered = bytearray(content)
        altered[place] ^= 1
        with pytest.raises(glacier.ProofInvalid):
            glacier.verify_proof(bytes(altered), policy=node.policy)


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
