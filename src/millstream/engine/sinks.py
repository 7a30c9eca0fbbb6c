"""Sink writers: each appends durable output rows to its sink, in order, from a thread of its own, and says how far it is.

What waits to be written is bounded: beyond ``BYTES`` it is left to the store and read again when the sink has caught up.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from millstream.core.graph import SinkSpec
from millstream.engine.ports import SinkConnector, Store
from millstream.errors import SinkError

BYTES = 32 << 20
READ_ROWS = 500
RETRY_S = (0.1, 0.25, 0.5, 1.0)


class SinkWriter:
    """One sink.

    Args:
        written: called on the loop: (sink, row, position) are in the sink, synced.
        stuck: called on the loop with a reason each time an append was refused and will be tried again; None: it went through.
        failed: called on the loop when the sink cannot go on.
    """

    def __init__(
        self,
        spec: SinkSpec,
        connector: SinkConnector,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        *,
        written: Callable[[str, int, Any], None],
        stuck: Callable[[str, str | None], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.spec = spec
        self._connector = connector
        self._store = store
        self._loop = loop
        self._written = written
        self._stuck = stuck
        self._failed = failed
        self._lock = threading.Condition()
        self._pending: deque[tuple[int, str]] = deque()
        self._gathered: list[tuple[int, str]] = []  # about to be given to the thread
        self._bytes = 0
        self._behind = False  # rows after ``last`` are in the store only
        self._closing = False
        self.last = 0  # the last row that was given to the thread
        self.row = 0  # the last row that is in the sink
        self.newest = 0  # the last row that there is
        self._thread: threading.Thread | None = None

    def open(self, row: int, position: Any | None, newest: int) -> Any | None:
        """Take hold of the target behind ``row`` and give the position there, to be recorded before ``start``. Blocking.

        Raises:
            SinkError: the target is not what was recorded.
        """
        self.row = self.last = row
        self.newest = newest
        self._behind = newest > row
        return self._connector.open(position, self._rows_behind(row))

    def start(self) -> None:
        """Begin to append."""
        self._thread = threading.Thread(target=self._work, name=f"millstream-sink-{self.spec.name}", daemon=True)
        self._thread.start()
        self._catch_up()

    def _rows_behind(self, row: int) -> Iterator[bytes]:
        while rows := self._store.outputs(self.spec.name, row, READ_ROWS):
            for _, text in rows:
                yield text.encode()
            row = rows[-1][0]

    def push(self, row: int, text: str) -> None:
        """A row is durable."""
        self.newest = row
        if self._behind or self._bytes > BYTES:
            self._behind = True
            return
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((row, text))

    def _hand_over(self) -> None:
        """All that a commit made durable goes to the thread at once: one wake-up, one append, one sync."""
        if self._gathered:
            rows, self._gathered = self._gathered, []
            self._give(rows)

    def _give(self, rows: list[tuple[int, str]]) -> None:
        with self._lock:
            self._pending.extend(rows)
            self._bytes += sum(len(text) for _, text in rows)
            self.last = rows[-1][0]
            self._lock.notify()

    def _catch_up(self) -> None:
        """Read on from the store when what was in memory has been written."""
        self._hand_over()
        if self._behind and not self._pending:
            rows = self._store.outputs(self.spec.name, self.last, READ_ROWS)
            if rows:
                self._give(rows)
            self._behind = self.last < self.newest

    def close(self) -> None:
        """Write what is pending, and let go."""
        self._hand_over()
        with self._lock:
            self._closing = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join()

    @property
    def idle(self) -> bool:
        return self.row == self.newest

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    while not self._pending and not self._closing:
                        self._lock.wait()
                    if not self._pending:
                        break
                    rows = list(self._pending)
                    self._pending.clear()
                    self._bytes = 0
                position = self._append([text.encode() for _, text in rows])
                self._call(self._done, rows[-1][0], position)
        except BaseException as error:
            self._call(self._failed, error)
        finally:
            self._connector.close()

    def _append(self, chunks: list[bytes]) -> Any:
        tries = 0
        while True:
            try:
                position = self._connector.append(chunks)
            except SinkError as error:
                if not getattr(error, "retryable", False) or self._closing:
                    raise
                self._call(self._stuck, self.spec.name, str(error))
                threading.Event().wait(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
                continue
            if tries:
                self._call(self._stuck, self.spec.name, None)
            return position

    def _call(self, fn: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            pass  # the loop has gone; what is in the sink beyond its record is found at the next start

    def _done(self, row: int, position: Any) -> None:
        self.row = row
        self._written(self.spec.name, row, position)
        self._catch_up()
