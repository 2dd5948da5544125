"""A node on this machine, for notebooks and tests. It is simulated: nothing protects what is given to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from ._native import Key, Policy
from .errors import GlacierError, NodeUnreachable
from .session import AsyncSession, Session, aconnect, connect

_START = 60.0


class Node:
    """A node that was started here, and ends with this object."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, policy: Policy, home: Path) -> None:
        self.url = url
        self.policy = policy
        """Accepts exactly this node's enclave."""
        self.home = home
        self._process = process
        self._end = weakref.finalize(self, _stop, process)

    def connect(self, *, key: Key | None = None, fresh: bool = False) -> Session:
        """Attests its enclave."""
        return connect(self.url, self.policy, key=key, fresh=fresh)

    async def aconnect(self, *, key: Key | None = None, fresh: bool = False) -> AsyncSession:
        """Attests its enclave."""
        return await aconnect(self.url, self.policy, key=key, fresh=fresh)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends it."""
        self._end()

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Node {self.url}, SIMULATED: no hardware protects it{'' if self.running else ', ended'}>"


def local_node(*, program: str | PathLike[str] | None = None, home: str | PathLike[str] | None = None) -> Node:
    """Starts a simulated node with the program `glacier`: the one named, or $GLACIER_PROGRAM, or that on the PATH.

    Its folder is temporary unless `home` names one.
    """
    found = program or os.environ.get("GLACIER_PROGRAM") or shutil.which("glacier")
    if found is None or not os.access(found, os.X_OK):
        raise GlacierError(
            f"there is no program {found or 'glacier'}",
            help="build it with `cargo xtask build`, then put target/release on the PATH or pass program=",
        )
    folder = Path(home) if home is not None else Path(tempfile.mkdtemp(prefix="glacier-"))
    command = [
        os.fspath(found),
        "--json",
        "--home",
        str(folder),
        "node",
        "run",
        "--no-chain",
        "--listen",
        "127.0.0.1:0",
    ]
    log = folder / "node.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        # A session of its own: Ctrl-C in a notebook is not for the node.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
    clean = weakref.finalize(process, shutil.rmtree, folder, True) if home is None else None
    try:
        said = _first_document(process)
    except BaseException:
        _stop(process)
        tail = log.read_text(errors="replace")[-400:].strip()
        if clean is not None:
            clean()
        raise NodeUnreachable(f"the node did not start: {tail}", help="start it in a shell to see more") from None
    return Node(process, said["url"], Policy.from_toml(said["policy"]), folder)


def _first_document(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What it prints once it listens. Later output is read and dropped, so that it never waits for a reader."""
    until, text = time.monotonic() + _START, b""
    stream = process.stdout
    assert stream is not None
    watchdog = threading.Timer(_START, process.kill)
    watchdog.start()
    try:
        while time.monotonic() < until and (line := stream.readline()):
            text += line
            try:
                document = json.loads(text)
            except ValueError:
                continue
            threading.Thread(target=stream.read, daemon=True).start()
            return {"url": document["address"], "policy": document["policy"]}
    finally:
        watchdog.cancel()
    raise NodeUnreachable("the node ended before it listened")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
