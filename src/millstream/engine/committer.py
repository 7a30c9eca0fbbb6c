"""The committer: one thread that makes commits durable, one at a time, in order.

Group commit: a commit starts as soon as the last one has returned, and the next one gathers meanwhile. One hop to the thread and
one back for a commit. A refused commit (disk full, busy) is tried again, the same one, and nothing overtakes it; a failed one is
the end: the engine stops and the process recovers from what is on disk.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from millstream.core.tables import Commit
from millstream.engine.ports import Store
from millstream.errors import CommitRefused

RETRY_S = (0.05, 0.1, 0.25, 0.5, 1.0)


class Committer:
    """See the module.

    Args:
        done: called on the loop when a commit is durable: (commit, seconds that it took).
        refused: called on the loop with the reason each time a commit was refused, and with None when it went through after all.
        failed: called on the loop with the exception when all is over.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[Commit, float], None],
        refused: Callable[[str | None], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._loop = loop
        self._done = done
        self._refused = refused
        self._failed = failed
        self._queue: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._abandon = threading.Event()
        self.busy = False
        self._thread = threading.Thread(target=self._work, name="millstream-committer", daemon=True)
        self._thread.start()

    def write(self, commit: Commit) -> None:
        """Begin to write; only when not ``busy``."""
        self.busy = True
        self._queue.put(commit)

    def close(self, *, abandon: bool = False) -> None:
        """End the thread, after what it has in hand; ``abandon``: do not go on trying a refused commit."""
        if abandon:
            self._abandon.set()
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (commit := self._queue.get()) is not None:
            try:
                took = self._write(commit)
            except BaseException as error:
                self._call(self._failed, error)
                return
            if took is None:
                return
            self._call(self._finish, commit, took)

    def _write(self, commit: Commit) -> float | None:
        tries = 0
        while True:
            began = time.perf_counter()
            try:
                if commit.rows:
                    self._store.write(commit)
            except CommitRefused as reason:
                self._call(self._refused, str(reason))
                if self._abandon.wait(RETRY_S[min(tries, len(RETRY_S) - 1)]):
                    return None
                tries += 1
                continue
            if tries:
                self._call(self._refused, None)
            return time.perf_counter() - began

    def _call(self, fn: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            pass  # the loop has gone: nobody is left to be told

    def _finish(self, commit: Commit, took: float) -> None:
        self.busy = False
        self._done(commit, took)
