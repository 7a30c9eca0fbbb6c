"""Suspects: runs that were active in several consecutive unclean deaths of the process without getting anywhere.

They are started with few others, then fewer, then alone, once it is durable that they were; one that dies with the process alone is
poisoned, and fails. Few enough start together that the culprit is found in a few deaths, however many runs were active with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from millstream.core.commands import Note
from millstream.core.desk import Desk
from millstream.core.identity import run_id
from millstream.core.lines import Lines
from millstream.core.tables import RUNS, RunRow

if TYPE_CHECKING:
    from millstream.core.lifecycle import Lifecycle

DEATHS = 3  # active in so many consecutive unclean deaths without getting anywhere: a suspect
GROUPS = (64, 8, 1)  # they start with so few others, death after death; one that dies with the process alone is poisoned
POISONED = DEATHS - 1 + len(GROUPS)  # ``resumes`` of a run that was started alone and died

POISON = {
    "type": "Poisoned",
    "message": f"the process died {POISONED + 1} times in a row while this run was active and got nowhere, at last with nothing "
    "else running. It is kept: `millstream show` tells how far it came, `millstream retry` tries it again",
    "data": None,
}


class Poison(msgspec.Struct, frozen=True, gc=False):
    """A run is to fail: it took the process with it once too often."""

    run: int
    token: None = None


class Suspects:
    """See the module."""

    def __init__(self, desk: Desk, lines: Lines, lifecycle: Lifecycle) -> None:
        self.desk = desk
        self.lines = lines
        self.lifecycle = lifecycle
        self._rows: list[RunRow] = []  # the most suspect last

    def opened(self, rows: list[RunRow]) -> None:
        """Those that the store knows."""
        for row in rows:
            if row.resumes >= POISONED:
                self.lifecycle.errands.run(Poison(row.run))
            else:
                self._rows.append(row)
        self._rows.sort(key=lambda row: (row.resumes, -row.run))
        self.lines.suspects = bool(self._rows)

    def start_next(self) -> None:
        """Start the most suspect ones, and nothing else, once it is durable that they were."""
        deaths = self._rows[-1].resumes
        group = GROUPS[deaths - (DEATHS - 1)]
        chosen = [row for row in self._rows[-group:] if row.resumes == deaths]
        del self._rows[-len(chosen) :]
        self.lines.suspects = bool(self._rows)
        for row in chosen:
            self.lines.isolated.add(row.run)
            if row.run in self.lifecycle.stash:
                self.lifecycle.stash[row.run].resumes = deaths + 1
            self.desk.commit.put(RUNS, row._replace(resumes=deaths + 1))
            self.desk.touch((row.agent, row.key))
            self.lines.look_at(row.run, self.desk.commit.number)
        names = ", ".join(run_id(row.partition, row.run) for row in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
        self.desk.say(Note("warning", f"active in {deaths + 1} unclean deaths, started with nothing else beside: {names}"))
