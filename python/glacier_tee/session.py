"""Sessions with attested enclaves, with and without an event loop."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from . import _data, _native
from ._data import Rows
from ._native import Key, Policy
from ._work import Tell, Work, adrive, drive
from .checks import Check, read_checks
from .errors import DataError, GlacierError
from .results import Inference, Point, Progress, Proof, Refinement, read_epoch, read_point

T = TypeVar("T")
AnyPolicy: TypeAlias = Policy | str | PathLike[str] | Mapping[str, Any]
"""A policy, the path of its file, its text as TOML, or its members."""
AnyModel: TypeAlias = str | PathLike[str] | bytes
AnyProgress: TypeAlias = Callable[[Progress], object] | type[Any] | bool | None
"""A callback, a class of bars like `tqdm`, or True for the bar that suits."""


@dataclass(frozen=True)
class Enclave:
    """What was accepted."""

    platform: str
    simulated: bool
    measurement: str
    enclave_id: str | None
    enclave_key: str
    tcb_status: str | None
    advisories: list[str]
    post_quantum: bool
    party: str
    """Who this side is to it."""
    version: str
    """By its own word."""
    app: str
    """By its own word."""


@dataclass(frozen=True)
class Port:
    """One input or output of a model."""

    name: str
    dtype: str
    shape: list[int]
    """-1 where the data decides."""


@dataclass(frozen=True)
class Model:
    """What a served model takes and gives."""

    name: str
    engine: str
    inputs: list[Port]
    outputs: list[Port]
    features: list[str]
    """The columns it wants, in its order; empty where it does not say."""
    labels: list[str]


def to_policy(policy: AnyPolicy) -> Policy:
    """Any form of a policy. Text with a line break or an equals sign is TOML, other text is a path."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, Mapping):
        return Policy.from_json(json.dumps(policy))
    if isinstance(policy, str) and ("\n" in policy or "=" in policy):
        return Policy.from_toml(policy)
    return Policy.from_file(fspath(policy))


class _Common:
    """What both kinds of session are."""

    def __init__(self, native: _native.Session, url: str) -> None:
        facts = json.loads(native.facts())
        self._native: _native.Session | None = native
        self._models: dict[str, Model] = {}
        self.url = url
        self.checks: list[Check] = read_checks(facts.pop("checks"))
        """By what the enclave was accepted, in order."""
        self.enclave = Enclave(**facts)
        """What was accepted."""

    @property
    def platform(self) -> str:
        """What kind of hardware; `simulated` where there is none."""
        return self.enclave.platform

    @property
    def simulated(self) -> bool:
        """Whether software plays the hardware, and nothing protects what is given to it."""
        return self.enclave.simulated

    @property
    def enclave_id(self) -> str | None:
        """The chip."""
        return self.enclave.enclave_id

    @property
    def measurement(self) -> str:
        """The code."""
        return self.enclave.measurement

    def __repr__(self) -> str:
        simulated = ", SIMULATED: no hardware protects it" if self.simulated else ""
        passed = sum(check.outcome == "pass" for check in self.checks)
        open_ = "" if self._native else ", closed"
        return f"<{type(self).__name__} with {self.url} ({self.platform}{simulated}), {passed} checks passed{open_}>"

    def _open(self) -> _native.Session:
        if self._native is None:
            raise GlacierError("this session is closed", help="connect again")
        return self._native

    def _describe(self, deployment: str) -> Work[Model]:
        if deployment not in self._models:
            facts = json.loads((yield self._open().model(deployment)))
            for ports in ("inputs", "outputs"):
                facts[ports] = [Port(**port) for port in facts[ports]]
            self._models[deployment] = Model(**facts)
        return self._models[deployment]

    def _infer(self, model: AnyModel, x: Rows, limits: dict[str, Any]) -> Work[Inference]:
        index = getattr(x, "index", None) if _data.is_frame(x) else None
        if (deployment := _deployment(model)) is not None:
            described = yield from self._describe(deployment)
            given = _data.arrays(x, described.features)
            taken, labels, statement, bundle = yield self._open().ask(deployment, given)
            proof = Proof(json.loads(statement), [], bundle)
        else:
            taken, labels, facts, bundle = yield self._open().run(_onnx(model), _data.bytes_of(x), limits)
            told = json.loads(facts)
            proof = Proof(told["proof"], read_checks(told["checks"]), bundle)
        return Inference(_data.take(taken), labels, proof, index)

    def _serve(self, model: AnyModel, runs: int, limits: dict[str, Any]) -> Work[str]:
        name: str = yield self._open().serve(_onnx(model), runs, limits)
        return name

    def _train(
        self,
        data: object,
        target: object,
        model: AnyModel,
        validation: object,
        plan: dict[str, Any],
        limits: dict[str, Any],
    ) -> Work[Refinement]:
        targets = _targets(target, data, plan)
        names = [str(name) for name in targets]
        sets = [_data.rows_of(each, names) for each in (data if isinstance(data, list) else [data])]
        held_out = None
        word = isinstance(validation, str) and validation == "none"  # a frame compares cell by cell
        if validation is None or isinstance(validation, (float, int)) or word:
            plan |= {} if validation is None else {"validation": validation}
        else:
            held_out = _data.rows_of(validation, names)
        if targets:
            plan["target"] = targets
        initial = _initial(model, sets, targets, plan)
        onnx, facts, bundle = yield self._open().train(initial, sets, held_out, json.dumps(plan), limits)
        told = json.loads(facts)
        return Refinement(
            onnx,
            [read_epoch(epoch) for epoch in told["epochs"]],
            [read_point(point) for point in told["points"]],
            told["record"],
            Proof(told["proof"], read_checks(told["checks"]), bundle),
        )


class Session(_Common):
    """A session with an enclave that the policy has accepted. Later connections end in that code on that chip."""

    def model(self, deployment: str) -> Model:
        """What a served model takes and gives."""
        return drive(self._describe(deployment), _silent)

    def infer(
        self,
        model: AnyModel,
        x: Rows,
        *,
        progress: AnyProgress = None,
        memory: int = 1 << 30,
        units: int = 1 << 44,
        expires: float = 3600,
        settle: bool = True,
    ) -> Inference:
        """Runs a model over rows, and gives the outputs after their proof was checked.

        `model` is ONNX of yours (a path, or bytes), which is sealed, brought to the enclave and forgotten afterwards;
        or the name of a deployment that somebody serves. `x` is an array, arrays by the names of the inputs, a pandas
        frame whose columns are found by the model's names for them, or the path of a `.csv`, `.npy` or `.npz`.
        `memory` (bytes), `units` (multiply-accumulates) and `expires` (seconds) bound a job with a model of yours;
        `settle` says whether its proof is to count on the chain of the node.
        """
        with _Watch(progress, "asking") as tell:
            return drive(self._infer(model, x, _limits(memory, units, expires, settle)), tell)

    def serve(
        self,
        model: AnyModel,
        *,
        runs: int = 1 << 20,
        progress: AnyProgress = None,
        memory: int = 1 << 30,
        units: int = 1 << 44,
        expires: float = 3600,
        settle: bool = True,
    ) -> str:
        """Opens a deployment: the model stays in the enclave and answers whoever knows the name that is given back."""
        with _Watch(progress, "serving") as tell:
            return drive(self._serve(model, runs, _limits(memory, units, expires, settle)), tell)

    def train(
        self,
        data: object,
        target: str | int | Sequence[str | int] | None = None,
        *,
        model: AnyModel = "mlp",
        validation: object = None,
        progress: AnyProgress = None,
        plan: Mapping[str, Any] | None = None,
        memory: int = 2 << 30,
        units: int = 10**15,
        expires: float = 86400,
        settle: bool = True,
        **more: Any,
    ) -> Refinement:
        """Refines a model on rows, and gives the refined model after the proof of how it came about was checked.

        `data` is a pandas frame, `(X, y)`, arrays by name, the path of a `.csv`, `.npy` or `.npz`, or a list of these;
        `target` names the column with the answers. `model` is ONNX of yours (a path, or bytes), or `mlp`, `mlp:64,32`
        or `logistic` for one that is made for the table. `validation` is the share of rows that are held out, or rows
        of their own. `plan`, or members of it as arguments (`epochs=20, metrics=["accuracy"]`), says how.
        `progress` is called with a `Progress`, in this thread; what it raises ends the training, as Ctrl-C does.
        """
        with _Watch(progress, "training") as tell:
            work = self._train(
                data, target, model, validation, {**(plan or {}), **more}, _limits(memory, units, expires, settle)
            )
            return drive(work, tell)

    def close(self) -> None:
        """Ends the session."""
        self._native = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSession(_Common):
    """The same in an event loop. Cancelling the awaiter ends the work, in the enclave too."""

    async def model(self, deployment: str) -> Model:
        """What a served model takes and gives."""
        return await adrive(self._describe(deployment), _silent)

    async def infer(
        self,
        model: AnyModel,
        x: Rows,
        *,
        progress: AnyProgress = None,
        memory: int = 1 << 30,
        units: int = 1 << 44,
        expires: float = 3600,
        settle: bool = True,
    ) -> Inference:
        """As `Session.infer`."""
        with _Watch(progress, "asking") as tell:
            return await adrive(self._infer(model, x, _limits(memory, units, expires, settle)), tell)

    async def serve(
        self,
        model: AnyModel,
        *,
        runs: int = 1 << 20,
        progress: AnyProgress = None,
        memory: int = 1 << 30,
        units: int = 1 << 44,
        expires: float = 3600,
        settle: bool = True,
    ) -> str:
        """As `Session.serve`."""
        with _Watch(progress, "serving") as tell:
            return await adrive(self._serve(model, runs, _limits(memory, units, expires, settle)), tell)

    async def train(
        self,
        data: object,
        target: str | int | Sequence[str | int] | None = None,
        *,
        model: AnyModel = "mlp",
        validation: object = None,
        progress: AnyProgress = None,
        plan: Mapping[str, Any] | None = None,
        memory: int = 2 << 30,
        units: int = 10**15,
        expires: float = 86400,
        settle: bool = True,
        **more: Any,
    ) -> Refinement:
        """As `Session.train`."""
        with _Watch(progress, "training") as tell:
            work = self._train(
                data, target, model, validation, {**(plan or {}), **more}, _limits(memory, units, expires, settle)
            )
            return await adrive(work, tell)

    async def close(self) -> None:
        """Ends the session."""
        self._native = None

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def connect(url: str, policy: AnyPolicy, *, key: Key | None = None, fresh: bool = False) -> Session:
    """Attests the enclave of the node at `http://HOST:PORT`, or raises `NotAccepted` with the check that failed.

    Without `key` a key is made that lives as long as the session. `fresh` has the chip make a new quote; without it the
    session is bound to the enclave all the same.
    """
    return Session(drive(_connect(url, policy, key, fresh), _silent), url)


async def aconnect(url: str, policy: AnyPolicy, *, key: Key | None = None, fresh: bool = False) -> AsyncSession:
    """As `connect`, in an event loop."""
    return AsyncSession(await adrive(_connect(url, policy, key, fresh), _silent), url)


def _connect(url: str, policy: AnyPolicy, key: Key | None, fresh: bool) -> Work[_native.Session]:
    session: _native.Session = yield _native.connect(url, to_policy(policy), key or Key.generate(), fresh)
    return session


def _deployment(model: AnyModel) -> str | None:
    """64 hexadecimal digits name a deployment."""
    if not isinstance(model, str):
        return None
    digits = model.removeprefix("0x")
    return model if len(digits) == 64 and set(digits) <= set(string.hexdigits) else None


def _onnx(model: AnyModel) -> str | bytes:
    if isinstance(model, bytes):
        return model
    return _data._path(fspath(model))


def _targets(target: Any, data: object, plan: Mapping[str, Any]) -> list[str | int]:
    if target is None and isinstance(data, tuple):
        return ["target"]
    named = plan.get("target") if target is None else target
    if named is None:
        return []
    return list(named) if isinstance(named, (list, tuple)) else [named]


def _initial(
    model: AnyModel, sets: Sequence[str | bytes], target: Sequence[str | int], plan: dict[str, Any]
) -> str | bytes:
    if not isinstance(model, str):
        return _onnx(model)
    kind, _, widths = model.partition(":")
    if kind not in ("mlp", "logistic"):
        return _onnx(model)
    try:
        hidden = [] if kind == "logistic" else [int(width) for width in (widths or "32").split(",")]
    except ValueError:
        raise DataError(
            f"`{model}` is no model", help="the widths of the layers are wanted, such as mlp:64,32"
        ) from None
    features, classes = _data.look(sets[0], target)
    if classes is None:
        plan.setdefault("loss", "mse")
    return _native.initial_model(features, hidden, classes, len(target), json.dumps(plan))


def _limits(memory: int, units: int, expires: float, settle: bool) -> dict[str, Any]:
    return {"memory": memory, "units": units, "expires": int(expires), "settle": settle}


def _silent(_: dict[str, Any]) -> None:
    pass


class _Watch:
    """News as a caller wants it: as `Progress`, or as a bar."""

    def __init__(self, progress: AnyProgress, what: str) -> None:
        if progress is True:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                raise DataError("tqdm is not installed", help="pip install tqdm, or pass a callback") from None
            progress = tqdm
        self._bar: Any = None
        self._call: Callable[[Progress], object] | None = None
        if isinstance(progress, type):
            self._bar = progress(desc=what, total=None)
        elif callable(progress):
            self._call = progress
        self._seen = 0

    def __enter__(self) -> Tell:
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _tell(self, news: dict[str, Any]) -> None:
        if self._bar is None and self._call is None:
            return
        for told in _progress(news):
            if self._call is not None:
                self._call(told)
            else:
                self._move(told)

    def _move(self, told: Progress) -> None:
        bar = self._bar
        bar.set_description(told.stage, refresh=False)
        if told.stage != "training":
            bar.refresh()
            return
        bar.total = told.total
        bar.update(max(0, told.done - self._seen))
        self._seen = max(self._seen, told.done)
        shown = {} if told.point is None else {"loss": f"{told.point.loss:.4f}"}
        if told.epoch is not None:
            shown |= {name: f"{value:.4f}" for name, value in told.epoch.metrics.items()}
        if shown:
            bar.set_postfix(shown)


def _progress(news: dict[str, Any]) -> list[Progress]:
    page = news.get("page")
    if page is None:
        return [Progress(news["stage"], news.get("done", news.get("rows", 0)), news.get("total"))]
    planned, per = page["planned_epochs"], page["steps_per_epoch"]
    points: list[Point] = [read_point(point) for point in page["points"]]
    total = planned * per or None
    told = []
    for epoch in (read_epoch(epoch) for epoch in page["epochs"]):
        # The steps of an epoch come before what was measured after it.
        before = [point for point in points if point.step <= epoch.steps]
        told.append(Progress("training", epoch.steps, total, before[-1] if before else None, epoch, planned))
        points = points[len(before) :]
    if points:
        told.append(Progress("training", points[-1].step, total, points[-1], None, planned))
    return told
