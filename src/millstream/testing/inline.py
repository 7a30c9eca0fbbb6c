"""What the engine does in threads of its own, done on its loop instead: in the same order every time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from millstream.core.tables import Commit
from millstream.engine.committer import Committer
from millstream.engine.ports import Store
from millstream.engine.sinks import SinkWriter


class InlineCommitter(Committer):
    """Writes commits on the loop, each in a turn of its own.

    Args:
        dies: asked before and behind each write whether the process dies there.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[Commit, float], None],
        refused: Callable[[str | None], None],
        failed: Callable[[BaseException], None],
        *,
        dies: Callable[[Commit, bool], bool],
    ) -> None:
        self._store = store
        self._loop = loop
        self._done = done
        self._failed = failed
        self._dies = dies
        self._closed = False
        self.busy = False

    def write(self, commit: Commit) -> None:
        self.busy = True
        self._loop.call_soon(self._write_now, commit)

    def _write_now(self, commit: Commit) -> None:
        if self._closed or (commit.rows and self._dies(commit, False)):
            return
        try:
            self._store.write(commit)
        except BaseException as error:
            self._failed(error)
            return
        if commit.rows and self._dies(commit, True):
            return
        self.busy = False
        self._done(commit, 0.0)

    def close(self, *, abandon: bool = False) -> None:
        self._closed = True


class InlineWriter(SinkWriter):
    """Appends to a sink on the loop."""

    def start(self) -> None:
        self._catch_up()

    def _give(self, rows: list[tuple[int, str]]) -> None:
        super()._give(rows)
        self._loop.call_soon(self._append_pending)

    def _append_pending(self) -> None:
        if not self._pending:
            return
        rows = list(self._pending)
        self._pending.clear()
        self._bytes = 0
        try:
            position = self._connector.append([text.encode() for _, text in rows])
        except BaseException as error:
            self._failed(error)
        else:
            self._done(rows[-1][0], position)

    def close(self) -> None:
        self._append_pending()
        self._connector.close()
