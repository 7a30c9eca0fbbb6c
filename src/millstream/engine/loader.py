"""The loader: answers the core's questions to the store, each once the commit that it names is durable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millstream.core.commands import LoadDiverged, LoadLine, LoadLines, LoadMail, LoadRuns, LoadWaiting, LoadWakes, ScanLines
from millstream.core.facts import (
    DivergedLoaded,
    Fact,
    LineContinued,
    LinesLoaded,
    LinesScanned,
    MailLoaded,
    RunsLoaded,
    WaitingLoaded,
    WakesLoaded,
)
from millstream.core.lines import KEPT_BYTES, is_new
from millstream.engine.ports import Store


class Loader:
    """See the module. ``feed`` takes the answers, ``now`` gives engine time."""

    def __init__(self, store: Store, feed: Callable[[Fact], None], now: Callable[[], int]) -> None:
        self._store = store
        self._feed = feed
        self._now = now
        self._durable = 0
        self._waiting: list[Any] = []
        self.answers: dict[type[Any], Callable[[Any, int], Fact]] = {
            LoadLines: self._lines,
            LoadLine: self._line,
            ScanLines: self._scan,
            LoadRuns: self._runs,
            LoadMail: self._mail,
            LoadWaiting: self._waiting_runs,
            LoadWakes: self._wakes,
            LoadDiverged: self._diverged,
        }

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    def load(self, command: Any) -> None:
        if command.after > self._durable:
            self._waiting.append(command)
        else:
            self._feed(self.answers[type(command)](command, self._now()))

    def durable(self, number: int) -> None:
        """Commits up to this number can be read."""
        self._durable = number
        if self._waiting:
            ready = [command for command in self._waiting if command.after <= number]
            self._waiting = [command for command in self._waiting if command.after > number]
            for command in ready:
                self._feed(self.answers[type(command)](command, self._now()))

    def _lines(self, command: LoadLines, at: int) -> Fact:
        return LinesLoaded(at, self._store.lines(command.keys, command.limit))

    def _line(self, command: LoadLine, at: int) -> Fact:
        rows = self._store.line_after(command.agent, command.key, command.turn, command.limit + 1)
        line = rows[: command.limit]
        events = self._store.events([row.event for row in line if is_new(row)], at_most=KEPT_BYTES)
        found = {event.event: event for event in events}
        return LineContinued(at, command.agent, command.key, line, len(rows) > command.limit, found)

    def _scan(self, command: ScanLines, at: int) -> Fact:
        rows = self._store.scan_lines(command.turn, command.limit)
        return LinesScanned(at, rows, len(rows) < command.limit)

    def _runs(self, command: LoadRuns, at: int) -> Fact:
        return RunsLoaded(at, command.runs, self._store.histories(list(dict.fromkeys(command.runs))))

    def _mail(self, command: LoadMail, at: int) -> Fact:
        mail = [row for row in self._store.mail(command.agent, command.key) if row.run is None or row.run == command.run]
        return MailLoaded(at, command.run, mail)

    def _waiting_runs(self, command: LoadWaiting, at: int) -> Fact:
        return WaitingLoaded(at, self._store.waiting(command.agent, command.key), command.mail)

    def _wakes(self, command: LoadWakes, at: int) -> Fact:
        rows = self._store.wakes(command.until, command.limit + 1)
        return WakesLoaded(at, command.until, rows[: command.limit], len(rows) > command.limit)

    def _diverged(self, command: LoadDiverged, at: int) -> Fact:
        rows = self._store.diverged(command.behind, command.limit + 1)
        return DivergedLoaded(at, rows[: command.limit], len(rows) > command.limit)
