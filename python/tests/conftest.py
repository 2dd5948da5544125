"""One local node for all tests: real programs, a simulated chip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import glacier_tee as glacier

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def node() -> Iterator[glacier.Node]:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = os.environ.get("GLACIER_PROGRAM", str(target / "release/glacier"))
    with glacier.local_node(program=program) as running:
        yield running


@pytest.fixture
def session(node: glacier.Node) -> Iterator[glacier.Session]:
    with node.connect() as opened:
        yield opened


@pytest.fixture(scope="session")
def model() -> Path:
    return ROOT / "models/breast-cancer/model.onnx"


@pytest.fixture(scope="session")
def tumours() -> pd.DataFrame:
    return pd.read_csv(ROOT / "models/breast-cancer/data.csv")


@pytest.fixture(scope="session")
def diagnoses() -> pd.Series[str]:
    return pd.read_csv(ROOT / "models/breast-cancer/labels.csv").iloc[:, 0]


@pytest.fixture(scope="session")
def expected(model: Path, tumours: pd.DataFrame) -> dict[str, np.ndarray]:
    """What ONNX Runtime says."""
    import onnxruntime

    local = onnxruntime.InferenceSession(str(model))
    outputs = local.run(None, {local.get_inputs()[0].name: tumours.to_numpy(np.float32)})
    return dict(zip((output.name for output in local.get_outputs()), outputs, strict=True))
