"""What the parts of the machine share: the time of the fact at hand, the open commit, the commands so far, numbers, alarms."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any

from millstream.core.commands import Note
from millstream.core.graph import Graph
from millstream.core.identity import EPOCH_BITS, LOW, KeyMaker, run_id
from millstream.core.tables import META, Commit, Key, MetaRow, Table


class Limits:
    """Bounds of one engine. Counts are runs in this process, if nothing else is said."""

    __slots__ = (
        "running", "idle", "line", "instances", "backlog_bytes", "commit_rows", "ready", "cut", "page", "threads",
        "cut_bytes", "idle_bytes", "cold_bytes", "memory_bytes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        running: int = 32_768,
        idle: int = 1_000,
        line: int = 16,
        instances: int = 6_144,
        backlog_bytes: int = 1 << 30,
        commit_rows: int = 20_000,
        ready: int = 50_000,
        cut: int = 1_000,
        page: int = 500,
        threads: int = 64,
        cut_bytes: int = 4 << 20,
        idle_bytes: int = 16 << 20,
        cold_bytes: int = 64 << 20,
        memory_bytes: int = 64 << 20,
    ) -> None:
        self.running = running  # handlers that run at once
        self.idle = idle  # waiting handlers kept in memory; the longest waiting are put away first
        self.line = line  # runs of one line kept in memory
        self.instances = instances  # idle (agent, key) whose state is kept in memory
        self.backlog_bytes = backlog_bytes  # bytes of queued payloads in the store, before sources are paused
        self.commit_rows = commit_rows  # rows that gather behind a slow commit before sources are paused
        self.ready = ready  # keys that wait for a free handler in memory; what is beyond is found again by a scan
        self.cut = cut  # rows of a commit, so that what is gated behind it is released early
        self.page = page  # rows that a scan of lines or of wake-ups reads at once
        self.threads = threads  # attempts of tools that block, at once
        self.cut_bytes = cut_bytes  # payloads of a commit, likewise
        self.idle_bytes = idle_bytes  # payloads and results that waiting handlers keep in memory
        self.cold_bytes = cold_bytes  # states of idle (agent, key) kept in memory
        self.memory_bytes = memory_bytes  # those of all handlers and of what is not durable yet: beyond it sources are paused


class Desk:
    """See the module. ``number()`` gives numbers of runs, events, records and so on (core.tables, Numbers)."""

    __slots__ = (
        "graph", "limits", "now", "commit", "commands", "cut", "in_flight", "durable", "keys", "alarms", "touched", "counts",
        "stopping", "bytes",
        "horizon", "_next", "_alarm_order",
    )  # fmt: skip

    def __init__(self, graph: Graph, limits: Limits) -> None:
        self.graph = graph
        self.limits = limits
        self.now = 0
        self.commit = Commit(1)
        self.cut: deque[Commit] = deque()  # full, and not taken yet
        self.in_flight: deque[Commit] = deque()  # being written
        self.commands: list[Any] = []
        self.durable = 0
        self.bytes = 0  # of the payloads of commits that are closed and not durable
        self.keys = KeyMaker(graph.app, "")
        self.alarms: list[tuple[int, int, str, Any]] = []  # (due, order, what, of which)
        self.touched: dict[tuple[str, str], int] = {}  # (agent, key) -> the commit, not yet durable, that wrote of it
        self.horizon = 0  # wake-ups of waiting runs are known up to this time; later ones are read from the store, us
        self.stopping = False  # no new effect starts
        self._next = 0
        self._alarm_order = 0
        self.counts = {
            "accepted": 0,
            "done": 0,
            "failed": 0,
            "diverged": 0,
            "cancelled": 0,
            "duplicates": 0,
            "rejected": 0,
            "outputs": 0,
        }

    def open(self, store_id: str, epoch: int) -> None:
        self.keys = KeyMaker(self.graph.app, store_id)
        self._next = epoch << EPOCH_BITS

    def number(self) -> int:
        self._next += 1
        if not self._next & LOW:  # this start has used its numbers up: the next one must not begin where we go on
            self.commit.put(META, MetaRow("epoch", str(self._next >> EPOCH_BITS)))
        return self._next

    def run_id(self, partition: int, number: int) -> str:
        return run_id(partition, number)

    def say(self, command: Any) -> None:
        self.commands.append(command)

    def gate(self, command: Any) -> None:
        """Say it when everything up to now is durable."""
        self.commit.gated.append(command)

    def note(self, level: str, text: str) -> None:
        self.commands.append(Note(level, text))

    # What the store does not know yet.

    def touch(self, place: tuple[str, str]) -> None:
        """What the store tells of (agent, key) is stale until the open commit is durable."""
        if self.touched.get(place) != self.commit.number:
            self.touched[place] = self.commit.number
            self.commit.touched.add(place)

    def after(self, agent: str, key: str) -> int:
        """The commit that must be durable before the store tells the truth about (agent, key)."""
        return self.touched.get((agent, key), 0)

    def latest(self) -> int:
        """The commit that must be durable before the store knows all that has happened."""
        return self.commit.number if self.commit else self.commit.number - 1

    def not_durable(self) -> Iterator[Commit]:
        """Commits that the store may not hold, oldest first."""
        yield from self.in_flight
        yield from self.cut
        yield self.commit

    def wrote(self, table: Table, key: Key) -> int:
        """The commit that must be durable before the store tells the truth about this row (0: it does). Not for the hot path."""
        return max((commit.number for commit in self.not_durable() if key in commit.puts.get(table, ())), default=0)

    def pending(self, table: Table, key: Key) -> tuple[Any, ...] | None:
        """This row as a commit that is not durable yet has put it. Not for the hot path."""
        found = [put for commit in self.not_durable() if (put := commit.puts.get(table, {}).get(key)) is not None]
        return found[-1] if found else None

    def alarm(self, due: int, what: str, which: Any) -> None:
        self._alarm_order += 1
        heapq.heappush(self.alarms, (due, self._alarm_order, what, which))
