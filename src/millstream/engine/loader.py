"""The loader: answers the core's questions to the store, each once the commit that it names is durable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millstream.core.commands import (
    LoadDiverged,
    LoadLine,
    LoadLines,
    LoadMail,
    LoadRuns,
    LoadWaiting,
    LoadWakes,
    Offer,
    ScanLines,
    ScanMail,
)
from millstream.core.facts import (
    DivergedLoaded,
    Fact,
    LineContinued,
    LinesLoaded,
    LinesScanned,
    MailLoaded,
    MailScanned,
    RunsLoaded,
    WaitingLoaded,
    WakesLoaded,
)
from millstream.core.lines import KEPT_BYTES, is_new
from millstream.core.tables import RunRow
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
            ScanMail: self._scan_mail,
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
        mail = [
            self._store.mail_for(command.run, command.agent, command.key, wait, after, command.limit)
            for wait, after in command.waits
        ]
        return MailLoaded(at, command.run, command.waits, mail, command.limit)

    def _waiting_runs(self, command: LoadWaiting, at: int) -> Fact:
        return WaitingLoaded(at, command.offers, [self._waits_for(offer) for offer in command.offers])

    def _waits_for(self, offer: Offer) -> list[RunRow]:
        if offer.run is None:
            return self._store.receivers(offer.agent, offer.key, offer.name, offer.about, offer.limit)
        run = self._store.run(offer.run)
        return [] if run is None else [run]

    def _scan_mail(self, command: ScanMail, at: int) -> Fact:
        rows = self._store.mail(command.mail, command.limit, awaited=True)
        return MailScanned(at, rows, len(rows) < command.limit)

    def _wakes(self, command: LoadWakes, at: int) -> Fact:
        rows = self._store.wakes(command.until, command.limit + 1)
        return WakesLoaded(at, command.until, rows[: command.limit], len(rows) > command.limit)

    def _diverged(self, command: LoadDiverged, at: int) -> Fact:
        rows = self._store.diverged(command.behind, command.limit + 1)
        return DivergedLoaded(at, rows[: command.limit], len(rows) > command.limit)
