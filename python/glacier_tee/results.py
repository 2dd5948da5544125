"""What comes back: arrays, refined models, and the proofs of how they came about."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._data import Array
from .checks import Check
from .errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Proof:
    """A Work Proof: this enclave, running this code on this chip, did this work."""

    statement: Mapping[str, Any]
    """All that was signed, member by member."""
    checks: list[Check] = field(repr=False)
    """By what it was checked; empty for an answer of a served model, whose proof was checked against that exchange by
    the enclave's accepted key."""
    bundle: bytes = field(repr=False)
    """The proof with its evidence and what the parties signed, for others to check."""

    @property
    def platform(self) -> str:
        """What kind of hardware."""
        return str(self.statement["platform"])

    @property
    def simulated(self) -> bool:
        """Whether software played the hardware."""
        return self.platform == "simulated"

    @property
    def units(self) -> int:
        """Multiply-accumulates, counted from the model's graph and the shapes."""
        return int(self.statement["units"])

    @property
    def sequence(self) -> int:
        """Its place among the proofs of its enclave key, from 0."""
        return int(self.statement["sequence"])

    @property
    def work(self) -> str:
        """What was done."""
        return str(self.statement["work"])

    @property
    def measurement(self) -> str:
        """The code."""
        return str(self.statement["measurement"])

    @property
    def enclave_id(self) -> str:
        """The chip."""
        return str(self.statement["enclave_id"])

    @property
    def manifest(self) -> str:
        """The job."""
        return str(self.statement["manifest"])

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the proof with all that it stands on into a new file."""
        _write_new(Path(path), self.bundle)

    def __repr__(self) -> str:
        simulated = ", SIMULATED: no hardware stands behind it" if self.simulated else ""
        return f"<Proof {self.sequence} of {self.work}, {self.units:,} multiply-accumulates{simulated}>"


@dataclass(frozen=True)
class Inference:
    """A model's outputs for each row, proved."""

    outputs: dict[str, Array]
    """By the model's names for them; the first dimension counts rows."""
    labels: list[str] | None
    """The class of each row, where the model says what its classes are called."""
    proof: Proof
    index: Any = field(default=None, repr=False, compare=False)

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __len__(self) -> int:
        return len(next(iter(self.outputs.values()), ()))

    def frame(self) -> pd.DataFrame:
        """A pandas frame: `label` where there are labels, then the outputs; the rows are called as in the frame that
        was asked about."""
        import pandas as pd

        columns: dict[str, Any] = {} if self.labels is None else {"label": self.labels}
        for name, values in self.outputs.items():
            flat = values.reshape(len(values), -1)
            if values.ndim == 1:
                columns[name] = values
            else:
                columns |= {f"{name}[{column}]": flat[:, column] for column in range(flat.shape[1])}
        return pd.DataFrame(columns, index=self.index)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in self.outputs.items())
        return f"<Inference of {len(self)} rows: {shapes}; {self.proof!r}>"


@dataclass(frozen=True)
class Point:
    """The state of a training at one step."""

    step: int
    loss: float
    rate: float
    norm: float


@dataclass(frozen=True)
class Epoch:
    """What was measured after one pass over the data."""

    epoch: int
    steps: int
    loss: float
    """On the rows that were learnt from."""
    metrics: dict[str, float]
    """On the rows that were held out."""


@dataclass(frozen=True)
class Progress:
    """How far the work is."""

    stage: str
    """`sealing data`, `sending model`, `loading`, `running`, `training`, `fetching`, ..."""
    done: int = 0
    """Bytes, rows or steps, by the stage."""
    total: int | None = None
    """Of how many, where that is known."""
    point: Point | None = None
    """The newest step of a training."""
    epoch: Epoch | None = None
    """The newest finished pass of a training."""
    epochs: int | None = None
    """Passes that are planned."""


@dataclass(frozen=True)
class Refinement:
    """A refined model that nobody else has seen, and the proof of how it came about."""

    onnx: bytes = field(repr=False)
    """The refined graph; the adapter as `.npz`, where the plan says so."""
    history: list[Epoch] = field(repr=False)
    """What was measured after each pass."""
    points: list[Point] = field(repr=False)
    """The course of the loss, step by step, as it was told."""
    record: Mapping[str, Any] = field(repr=False)
    """What was proved: digests of plan, data, and of the weights after each pass."""
    proof: Proof

    def save(self, path: str | PathLike[str], *, proof: str | PathLike[str] | None = None) -> None:
        """Writes the model, and the proof if it is named, into new files."""
        _write_new(Path(path), self.onnx)
        if proof is not None:
            self.proof.save(proof)

    def frame(self) -> pd.DataFrame:
        """The history as a pandas frame, one row for each pass."""
        import pandas as pd

        rows = [
            {
                "epoch": epoch.epoch,
                "loss": epoch.loss,
                **{f"held-out {name}": value for name, value in epoch.metrics.items()},
            }
            for epoch in self.history
        ]
        return pd.DataFrame(rows).set_index("epoch")

    def __repr__(self) -> str:
        last = f", loss {self.history[-1].loss:.4f}" if self.history else ""
        return f"<Refinement: {len(self.history)} epochs{last}, {len(self.onnx):,} bytes; {self.proof!r}>"


def read_point(document: Mapping[str, Any]) -> Point:
    """A point as the binding tells it."""
    return Point(**document)


def read_epoch(document: Mapping[str, Any]) -> Epoch:
    """An epoch as the binding tells it."""
    metrics = {measured["metric"]: float(np.float32(measured["value"])) for measured in document["validation"]}
    return Epoch(document["epoch"], document["steps"], document["loss"], metrics)


def _write_new(path: Path, content: bytes) -> None:
    """The file is whole or not there, and its owner's alone."""
    handle, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _put(part, path)
    except FileExistsError:
        raise DataError(f"{path} exists already", help="name another file, or move this one away") from None
    finally:
        Path(part).unlink(missing_ok=True)


def _put(part: str, path: Path) -> None:
    try:
        # A link fails where the name is taken; a rename would silently replace it.
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        # File systems without hard links.
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(part, path)
