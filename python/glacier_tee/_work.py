"""Work as a generator of tasks: written once, driven by whoever waits, with or without an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from ._native import Task

T = TypeVar("T")

Work = Generator[Task, Any, T]
"""Yields tasks, is sent what came of them, returns the result."""

Tell = Callable[[dict[str, Any]], None]
"""Takes one piece of news."""

# A signal is noticed between two waits.
_WAIT = 0.1
# How long a task that was given up may take to clean up behind itself.
_CLEAN = 6.0


def drive(work: Work[T], tell: Tell) -> T:
    """Waits in this thread. Other threads run meanwhile; Ctrl-C ends it, in the enclave too."""
    try:
        task = next(work)
        while True:
            task = work.send(_wait(task, tell))
    except StopIteration as end:
        result: T = end.value
        return result


def _wait(task: Task, tell: Tell) -> Any:
    try:
        ended = False
        while not ended:
            ended = task.wait(_WAIT)
            _tell(task, tell)
        return task.result()
    except BaseException:
        if not task.ended():
            task.cancel()
            _settle(task)
        raise


def _settle(task: Task) -> None:
    for _ in range(int(_CLEAN / _WAIT)):
        task.news()
        if task.wait(_WAIT):
            return


async def adrive(work: Work[T], tell: Tell) -> T:
    """Waits in an event loop, which goes on. Cancelling the awaiter ends the work, in the enclave too."""
    try:
        task = next(work)
        while True:
            task = work.send(await _await(task, tell))
    except StopIteration as end:
        result: T = end.value
        return result


async def _await(task: Task, tell: Tell) -> Any:
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    task.on_news(lambda: loop.call_soon_threadsafe(moved.set))
    try:
        ended = task.ended()
        while not ended:
            await moved.wait()
            moved.clear()
            ended = task.ended()
            _tell(task, tell)
        _tell(task, tell)
        return task.result()
    except BaseException:
        if not task.ended():
            task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLEAN):
                    while not task.ended():
                        await moved.wait()
                        moved.clear()
        raise


def _tell(task: Task, tell: Tell) -> None:
    for news in task.news():
        tell(json.loads(news))
