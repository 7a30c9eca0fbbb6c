"""Blocking reads beside the event loop, without losing what was read when the reader is cancelled.

A thread of the source's own, not the loop's executor: blocking tools may fill that one, and a source must not wait for them. A
daemon, because a read of a terminal or pipe cannot be interrupted and must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Worker:
    """One daemon thread that makes one call after another; begun with the first call, also after it was stopped."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._started = False

    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Have the call made; its result is a future of the running loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, call))
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    def stop(self) -> None:
        """End the thread once the calls that were submitted have returned; does not wait for that."""
        if self._started:
            self._started = False
            self._calls.put(None)

    def _run(self) -> None:
        while (task := self._calls.get()) is not None:
            loop, future, call = task
            result: Any = None
            error: BaseException | None = None
            try:
                result = call()
            except BaseException as problem:  # whatever it is, it belongs to whoever waits
                error = problem
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                pass  # the loop was closed: nobody waits any more
            del task, future, call, result, error  # a waiting thread must not keep the last chunk alive


class Ahead(Generic[T]):
    """A call that may be made ahead of its need: one at a time, and a result that nobody took is kept for the next taker."""

    def __init__(self, worker: Worker, call: Callable[[], T]) -> None:
        self._worker = worker
        self._call = call
        self._pending: asyncio.Future[T] | None = None

    def start(self) -> None:
        if self._pending is None:
            self._pending = self._worker.submit(self._call)

    async def take(self) -> T:
        """Wait for the result. Cancelled, it leaves the call and its result to the next ``take``."""
        self.start()
        pending = self._pending
        assert pending is not None
        await asyncio.wait([pending])
        self._pending = None
        return pending.result()

    def drop(self) -> None:
        """Nobody will take it any more."""
        pending, self._pending = self._pending, None
        if pending is not None and not pending.cancel() and not pending.cancelled():
            pending.exception()  # seen: asyncio need not complain that nobody looked


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
