"""Answers are the numbers that ONNX Runtime has, whatever the rows came in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import glacier_tee as glacier
from glacier_tee import _data

Expected = dict[str, np.ndarray]


def same(result: glacier.Inference, expected: Expected) -> None:
    assert result.outputs.keys() == expected.keys()
    for name, values in expected.items():
        assert result[name].dtype == values.dtype
        np.testing.assert_allclose(result[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8"])
def test_an_array(session: glacier.Session, model: Path, tumours: pd.DataFrame, expected: Expected, dtype: str) -> None:
    result = session.infer(model, tumours.to_numpy().astype(dtype))
    same(result, expected)
    assert result.labels is not None
    assert len(result) == len(result.labels) == len(tumours)


def test_an_array_that_is_not_contiguous(
    session: glacier.Session, model: Path, tumours: pd.DataFrame, expected: Expected
) -> None:
    same(session.infer(model.read_bytes(), np.asfortranarray(tumours.to_numpy(np.float32))), expected)


def test_a_frame_with_shuffled_columns(
    session: glacier.Session, model: Path, tumours: pd.DataFrame, expected: Expected
) -> None:
    shuffled = tumours[tumours.columns[::-1]].assign(note=1)
    shuffled.index = pd.Index(range(1000, 1000 + len(tumours)), name="patient")
    result = session.infer(model, shuffled)
    same(result, expected)
    frame = result.frame()
    assert frame.index.equals(shuffled.index)
    assert list(frame["label"]) == result.labels


def test_a_path(session: glacier.Session, model: Path, expected: Expected) -> None:
    same(session.infer(model, model.with_name("data.csv")), expected)


def test_a_served_model(session: glacier.Session, model: Path, tumours: pd.DataFrame, expected: Expected) -> None:
    name = session.serve(model)
    described = session.model(name)
    assert sorted(described.features) == sorted(tumours.columns)
    port = described.inputs[0]
    same(session.infer(name, tumours[tumours.columns[::-1]]), expected)
    same(session.infer(name, {port.name: tumours.to_numpy(np.float32)}), expected)
    same(session.infer(name, model.with_name("data.csv")), expected)
    result = session.infer(name, tumours.to_numpy()[:7])
    np.testing.assert_array_equal(result.labels, session.infer(name, tumours.head(7)).labels)
    assert result.proof.work == "deployment"
    assert result.proof.manifest == name


def test_the_proof_of_a_served_models_answer_is_a_file(
    node: glacier.Node, session: glacier.Session, model: Path, tumours: pd.DataFrame, tmp_path: Path
) -> None:
    proof = session.infer(session.serve(model), tumours.head(3)).proof
    proof.save(tmp_path / "proof.cbor")
    again = glacier.verify_proof(tmp_path / "proof.cbor", policy=node.policy)
    assert again.statement == proof.statement
    assert {check.id for check in again.checks} >= {"manifest-signatures", "manifest-binding"}


def test_frames_keep_every_digit() -> None:
    whole = pd.DataFrame({"id": [16_777_217, 2**53 + 1], "place": [1, 2**63 - 1], "sick": [True, False]})
    whole = whole.astype({"place": np.uint64})
    rows = _data.matrix(whole, [])
    assert (rows.dtype.name, rows.tolist()) == ("int64", [[16_777_217, 1, 1], [2**53 + 1, 2**63 - 1, 0]])
    mixed = _data.matrix(whole.assign(dose=[0.1, 1e300]), ["dose", "id"])
    assert (mixed.dtype.name, mixed.tolist()) == ("float64", [[0.1, 16_777_217.0], [1e300, 2.0**53]])
    assert _data.matrix(pd.DataFrame({"id": np.array([2**63], np.uint64)}), []).tolist() == [[2.0**63]]


def test_a_number_that_the_model_cannot_hold(
    session: glacier.Session, model: Path, tumours: pd.DataFrame, tmp_path: Path
) -> None:
    name = session.serve(model)
    table = tmp_path / "rows.csv"
    rows = tumours.head(2).astype(float)
    rows.iloc[1, 3] = 1e300
    rows.to_csv(table, index=False)
    for given in (rows, table):
        with pytest.raises(glacier.DataError, match="takes FP32"):
            session.infer(name, given)
    tumours.drop(columns=tumours.columns[3]).to_csv(table, index=False)
    with pytest.raises(glacier.DataError, match=r"rows\.csv: the input has no column"):
        session.infer(name, table)


def test_the_memory_of_a_result_is_its_own(session: glacier.Session, model: Path, tumours: pd.DataFrame) -> None:
    result = session.infer(session.serve(model), tumours)
    probabilities = next(iter(result.outputs.values()))
    before = probabilities.copy()
    del result
    np.testing.assert_array_equal(probabilities, before)
    probabilities[0] = 0


def test_rows_that_are_refused(session: glacier.Session, model: Path, tumours: pd.DataFrame) -> None:
    name = session.serve(model)
    with pytest.raises(glacier.DataError, match="no column"):
        session.infer(name, tumours.drop(columns=tumours.columns[3]))
    with pytest.raises(glacier.DataError, match="lacks 1 values"):
        session.infer(name, tumours.mask(tumours == tumours.iloc[0, 0]).iloc[:1])
    with pytest.raises(glacier.DataError, match="astype"):
        session.infer(name, tumours.to_numpy(np.float16))
    with pytest.raises(glacier.DataError, match="astype"):
        session.infer(model, np.array([["a"]]))
    with pytest.raises(glacier.DataError, match="masked"):
        session.infer(model, np.ma.masked_less(tumours.to_numpy(), 0))
    with pytest.raises(glacier.DataError, match="computes with numbers"):
        session.infer(model, tumours.assign(note="word"))
    with pytest.raises(glacier.DataError, match="no file"):
        session.infer("absent.onnx", tumours)


def test_the_enclave_refuses_with_a_code(session: glacier.Session, model: Path, tumours: pd.DataFrame) -> None:
    with pytest.raises(glacier.Refused) as caught:
        session.infer(model, tumours.to_numpy()[:, :3])
    assert caught.value.code == "data-invalid"
    assert caught.value.help
    with pytest.raises(glacier.Refused) as unknown:
        session.infer("00" * 32, tumours)
    assert unknown.value.code == "not-found"


def test_progress_is_told(session: glacier.Session, model: Path, tumours: pd.DataFrame) -> None:
    stages = []
    session.infer(model, tumours, progress=lambda told: stages.append(told.stage))
    assert {"accepted", "signed", "sending data", "sending model", "done"} <= set(stages)


def test_an_exception_of_the_callback_ends_the_work(
    session: glacier.Session, model: Path, tumours: pd.DataFrame
) -> None:
    def stop(_: glacier.Progress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        session.infer(model, tumours, progress=stop)
