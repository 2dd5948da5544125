"""Training: the course is told, the result computes elsewhere, and giving up ends it in the enclave too."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import glacier_tee as glacier


@pytest.fixture(scope="module")
def table(tumours: pd.DataFrame, diagnoses: pd.Series[str]) -> pd.DataFrame:
    return tumours.assign(diagnosis=diagnoses)


def accuracy(onnx: bytes, rows: np.ndarray, answers: np.ndarray) -> float:
    local = onnxruntime.InferenceSession(onnx)
    names = local.get_modelmeta().custom_metadata_map["glacier.labels"]
    labels = [name.strip('" ') for name in names.strip("[]").split(",")]
    outputs = local.run(None, {local.get_inputs()[0].name: rows.astype(np.float32)})[0]
    return float(np.mean(np.array(labels)[outputs.argmax(axis=1)] == answers))


def test_a_table(session: glacier.Session, table: pd.DataFrame, tmp_path: Path) -> None:
    told: list[glacier.Progress] = []
    refined = session.train(
        table, "diagnosis", epochs=8, standardise=True, validation=0.2, metrics=["accuracy"], progress=told.append
    )
    assert [epoch.epoch for epoch in refined.history] == list(range(1, 9))
    assert [each.epoch.epoch for each in told if each.epoch] == list(range(1, 9))
    assert refined.history[-1].loss < refined.history[0].loss
    assert refined.history[-1].metrics["accuracy"] > 0.9
    assert list(refined.frame().columns) == ["loss", *(f"held-out {name}" for name in refined.history[0].metrics)]
    rows = table.drop(columns="diagnosis").to_numpy()
    assert accuracy(refined.onnx, rows, table["diagnosis"].to_numpy()) > 0.92
    assert refined.proof.work == "training"
    assert "SIMULATED" in repr(refined)
    refined.save(tmp_path / "refined.onnx", proof=tmp_path / "training.cbor")
    assert (tmp_path / "refined.onnx").read_bytes() == refined.onnx
    with pytest.raises(glacier.DataError, match="exists already"):
        refined.save(tmp_path / "refined.onnx")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "refined.onnx": 0o600,
        "training.cbor": 0o600,
    }
    assert session.infer(refined.onnx, table.drop(columns="diagnosis")).labels


def test_arrays_with_numbers_as_answers(session: glacier.Session, tumours: pd.DataFrame) -> None:
    rows = tumours.to_numpy()[:, :5]
    refined = session.train((rows, rows[:, 0] * 2 + 0.5), model="logistic", epochs=3, standardise=True)
    assert refined.record["plan"]
    assert refined.history[-1].loss < refined.history[0].loss


def test_answers_take_no_columns_place(session: glacier.Session, tumours: pd.DataFrame) -> None:
    answers = np.arange(len(tumours)) % 2
    with pytest.raises(glacier.DataError, match="X has a column `target`"):
        session.train((tumours.assign(target=answers), answers), epochs=1)
    with pytest.raises(glacier.DataError, match="X has a column `x3`"):
        session.train((tumours.to_numpy(), answers), "x3", epochs=1)


def test_rows_that_are_held_out_come_in_every_form(
    session: glacier.Session, table: pd.DataFrame, tmp_path: Path
) -> None:
    learnt, held_out = table.iloc[:450], table.iloc[450:]
    held_out.to_csv(tmp_path / "held-out.csv", index=False)
    pair = (held_out.drop(columns="diagnosis"), held_out["diagnosis"])
    for validation in (held_out, tmp_path / "held-out.csv", pair):
        refined = session.train(
            learnt, "diagnosis", validation=validation, metrics=["accuracy"], epochs=2, standardise=True
        )
        assert refined.history[-1].metrics["accuracy"] > 0.8
    refined = session.train(learnt, "diagnosis", validation="none", epochs=1, standardise=True)
    assert not refined.history[-1].metrics


def test_tqdm(session: glacier.Session, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm

    session.train(table, "diagnosis", epochs=2, standardise=True, progress=tqdm)
    assert "training" in capsys.readouterr().err


def test_what_a_plan_cannot_say(session: glacier.Session, table: pd.DataFrame) -> None:
    with pytest.raises(glacier.DataError, match="epoch"):
        session.train(table, "diagnosis", epoch=3)
    with pytest.raises(glacier.DataError, match="the columns are"):
        session.train(table, "diagnose")
    with pytest.raises(glacier.DataError, match="name it"):
        session.train(table.drop(columns="diagnosis"))


def workers(node: glacier.Node) -> int:
    """Processes under the node: each job has one of its own, which ends with it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue

    def under(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == node.pid:
                return True
        return False

    return sum(under(process) for process in parents)


def ends(node: glacier.Node, before: int) -> bool:
    until = time.monotonic() + 20
    while workers(node) > before and time.monotonic() < until:
        time.sleep(0.1)
    return workers(node) <= before


def test_ctrl_c_ends_it(node: glacier.Node, table: pd.DataFrame) -> None:
    session, before = node.connect(), workers(node)
    seen = threading.Event()
    during = []

    def interrupt() -> None:
        seen.wait(60)
        during.append(workers(node))
        os.kill(os.getpid(), signal.SIGINT)

    def watch(told: glacier.Progress) -> None:
        if told.stage == "training":
            seen.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.train(table, "diagnosis", epochs=10_000, standardise=True, progress=watch)
    thread.join()
    assert time.monotonic() - since < 60
    assert during[0] > before
    assert ends(node, before), "the enclave goes on with a training that nobody waits for"
    assert session.train(table, "diagnosis", epochs=1, standardise=True).history


def test_cancelling_the_awaiter_ends_it(node: glacier.Node, table: pd.DataFrame) -> None:
    async def main() -> None:
        async with await node.aconnect() as session:
            begun, before = asyncio.Event(), workers(node)

            def watch(told: glacier.Progress) -> None:
                if told.stage == "training":
                    begun.set()

            work = asyncio.create_task(
                session.train(table, "diagnosis", epochs=10_000, standardise=True, progress=watch)
            )
            await asyncio.wait_for(begun.wait(), 60)
            assert workers(node) > before
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert await asyncio.to_thread(ends, node, before)
            assert (await session.train(table, "diagnosis", epochs=1, standardise=True)).history

    asyncio.run(main())
