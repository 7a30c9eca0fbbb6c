"""What ``run`` tells while it runs, on stderr: one block that is kept current on a terminal, plain lines elsewhere.

Warnings come one by one, but not by the thousand: beyond ``WARNINGS`` in ``WINDOW_S`` they are counted. Figures of the store (how
many runs wait, fail or are in doubt, in this process or not) are read as a listing would read them, in a thread of their own, and
so seldom that it costs the engine next to nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.cli.folders import option
from millstream.cli.output import count, is_terminal, printable, span, tell, wrapped

if TYPE_CHECKING:
    from millstream.core.graph import Graph
    from millstream.engine.engine import Engine, Stats

LINE_S = 10.0  # between lines of figures, if they have changed
BLOCK_S = 0.25  # between updates of the block
READ_S = 1.0  # between readings of the store, at least
READ_SHARE = 0.01  # of the time, at most, is spent reading it
RATE_S = 3.0  # the rate is taken over so long
WARNINGS, WINDOW_S = 20, 10.0
OF_RUNS = ("run ", "in doubt: ")  # how warnings begin of which there may be one for each run


def progress(graph: Graph, folder: Path) -> Progress:
    """What fits where stderr goes. A ``stdout()`` sink on the same terminal would tear the block apart."""
    if is_terminal(sys.stderr) and not (is_terminal(sys.stdout) and _writes_to_stdout(graph)):
        return Block(graph, folder)
    return Progress(graph, folder)


class Progress:
    """Plain lines."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph = graph
        self.folder = folder
        self.stopped = False  # somebody has asked for it
        self._begun = False  # the first line is told
        self._early: list[tuple[str, str]] = []  # said while the folder was recovered: told behind the first line
        self._began = time.monotonic()
        self._engine: Engine | None = None
        self._stored = Stored(folder)
        self._window = self._began
        self._told = self._untold = 0
        self._rate: deque[tuple[float, int]] = deque([(self._began, 0)])  # (time, events handled until then)
        self._last = ""

    # what the engine says

    def start(self) -> None:
        """The first line: what runs, on what, and what it finds there."""
        parts = [f"{self.graph.app} on {self.folder}"]
        if self.graph.sources:
            parts.append("from " + ", ".join(_connected(name, spec.connector) for name, spec in self.graph.sources.items()))
        if self.graph.sinks:
            parts.append("to " + ", ".join(_connected(spec.stream, spec.connector) for spec in self.graph.sinks.values()))
        parts.append(f"agents {', '.join(self.graph.agents)}" if self.graph.agents else "no agents")
        self.line("info", "; ".join(parts))
        self._begun = True
        for source in _unhandled(self.graph):
            self.line("warning", f"nothing handles {source!r}: its events are counted and not kept")
        self._tell_early()
        self._stored.read()
        found = self._stored.words()
        if found:
            self.line("info", f"goes on with what is there: {found}")
        for agent, number in self._stored.orphans(list(self.graph.agents)).items():
            what = f"{count(number, 'run')} of agent {agent!r}, which is not in the app"
            self.line("warning", f"{what}: they stand still until it is (renamed? give it name={agent!r})")

    def log(self, level: str, text: str) -> None:
        """Something that an operator should see."""
        if text.startswith("stopping"):
            self.stopped = True
        if not self._begun:
            self._early.append((level, text))
            return
        if level != "warning" or not text.startswith(OF_RUNS):
            self.line(level, text)
            return
        now = time.monotonic()
        if now - self._window > WINDOW_S:
            self._tell_untold()
            self._window, self._told = now, 0
        self._told += 1
        if self._told <= WARNINGS:
            self.line(level, text)
        else:
            self._untold += 1

    def _tell_early(self) -> None:
        early, self._early, self._begun = self._early, [], True
        for level, text in early:
            self.log(level, text)

    def _tell_untold(self) -> None:
        if self._untold:
            where = "`millstream runs --status failed`, `millstream doubts`"
            self.line("warning", f"{count(self._untold, 'more warning')} in {WINDOW_S:g} s; see {where}")
        self._untold = 0

    def line(self, level: str, text: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        tell(f"{now} {level}: {_lines(text)}", hang=4)

    # figures

    async def watch(self, engine: Engine) -> None:
        """Tell how it goes, until cancelled."""
        self._engine = engine
        reading = asyncio.create_task(self._read())
        try:
            await self._show(engine)
        finally:
            reading.cancel()

    async def _read(self) -> None:
        while True:
            took = await asyncio.to_thread(self._stored.read)
            await asyncio.sleep(max(READ_S, took / READ_SHARE))

    async def _show(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(LINE_S)
            self._tell_untold()
            figures = self._figures(engine.snapshot())
            if figures != self._last:
                self._last = figures
                self.line("info", figures)

    def _figures(self, stats: Stats) -> str:
        waiting = max(stats.waiting, self._stored.runs.get("waiting", 0))
        words = [
            f"{self._per_second(stats):,.0f} events/s",
            f"accepted {stats.accepted:,}",
            f"done {stats.done:,}",
            f"failed {stats.failed:,}",
            f"active {stats.active:,}",
            f"waiting {waiting:,}",
            f"in doubt {self._stored.doubts:,}",
            f"outputs {stats.outputs:,}",
            f"commit {span(round(stats.commit_seconds * 1e6))}",
        ]
        words += [f"{names} {number:,}" for _, names, number in self._irregular(stats) if number]
        if stats.paused:
            words.append(f"sources wait: {stats.paused}")
        if stats.hung:
            words.append(stats.hung)
        return ", ".join(words)

    @staticmethod
    def _irregular(stats: Stats) -> list[tuple[str, str, int]]:
        """What is only told where there is some of it: the word for one, for more, and how many."""
        return [
            ("diverged", "diverged", stats.diverged),
            ("cancelled", "cancelled", stats.cancelled),
            ("duplicate", "duplicates", stats.duplicates),
            ("rejected", "rejected", stats.rejected),
        ]

    @staticmethod
    def _ended(stats: Stats) -> int:
        return stats.done + stats.failed + stats.diverged + stats.cancelled

    def _per_second(self, stats: Stats) -> float:
        """Events that were handled, lately. They are accepted in bursts, so that would say little of how fast it is."""
        now, handled = time.monotonic(), self._ended(stats) if self.graph.agents else stats.accepted
        while len(self._rate) > 1 and self._rate[1][0] < now - RATE_S:
            self._rate.popleft()
        since, before = self._rate[0]
        self._rate.append((now, handled))
        return (handled - before) / max(now - since, 0.001)

    # the end

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._tell_early()
        self._stored.close()

    def summary(self) -> None:
        """What was done, what is left, and what to do about it."""
        self._tell_early()
        self._tell_untold()
        if self._engine is None:
            return
        stats = self._engine.snapshot()
        self._stored.read()
        how = "stopped" if self.stopped else "idle"
        figures = [
            f"{stats.accepted:,} accepted",
            f"{stats.done:,} done",
            f"{stats.failed:,} failed",
            count(stats.outputs, "output"),
        ]
        figures += [count(number, one, more) for one, more, number in self._irregular(stats) if number]
        took = span(round((time.monotonic() - self._began) * 1e6))
        self.line("info", f"{how} after {took}: {', '.join(figures)}")
        for text in self._left(stats):
            self.line("info", text)
        self._stored.close()

    def _left(self, stats: Stats) -> list[str]:
        runs, where = self._stored.runs, option(self.folder)
        found = []
        if self._stored.doubts:
            found.append(f"{count(self._stored.doubts, 'step')} in doubt: `millstream doubts{where}`")
        for status, what in (("failed", "failed"), ("diverged", "diverged"), ("waiting", "waiting"), ("queued", "queued")):
            if number := runs.get(status):
                found.append(f"{count(number, 'run')} {what}: `millstream runs --status {status}{where}`")
        if stats.rejected:
            found.append(f"{count(stats.rejected, 'line')} rejected: `millstream dead-letters{where}`")
        return found


class Block(Progress):
    """A block that is kept current, below the lines."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        super().__init__(graph, folder)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live: Any = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=is_terminal(sys.stdout), redirect_stderr=True
        )

    def line(self, level: str, text: str) -> None:
        from rich.text import Text

        style = {"warning": "yellow", "error": "bold red"}.get(level, "")
        label = f"{level}: " if level in ("warning", "error") else ""
        columns = self._console.width
        pieces = [piece for line in f"{label}{_lines(text)}".split("\n") for piece in wrapped(line, columns, " " * 4)]
        self._console.print(Text("\n".join(pieces), style=style))

    async def _show(self, engine: Engine) -> None:
        self._live.start()
        while True:
            self._live.update(self._block(engine.snapshot()), refresh=True)
            await asyncio.sleep(BLOCK_S)

    def _block(self, stats: Stats) -> Any:
        from rich.text import Text

        doubts, failed = self._stored.doubts, stats.failed
        waiting = max(stats.waiting, self._stored.runs.get("waiting", 0))
        seconds = round(time.monotonic() - self._began)
        block, column = Text(no_wrap=True), 0
        for name, value, style in (
            ("", f"{seconds} s" if seconds < 60 else span(seconds * 1_000_000), ""),
            ("events/s", f"{self._per_second(stats):,.0f}", "bold"),
            ("accepted", f"{stats.accepted:,}", "bold"),
            ("done", f"{stats.done:,}", "bold green"),
            ("failed", f"{failed:,}", "bold red" if failed else "bold"),
            ("active", f"{stats.active:,}", "bold cyan"),
            ("waiting", f"{waiting:,}", "bold blue"),
            ("in doubt", f"{doubts:,}", "bold yellow" if doubts else "bold"),
            ("outputs", f"{stats.outputs:,}", "bold"),
            ("commit", span(round(stats.commit_seconds * 1e6)), "bold"),
            *((names, f"{number:,}", "bold yellow") for _, names, number in self._irregular(stats) if number),
        ):
            width = len(name) + 1 + len(value)
            if column and column + 2 + width > self._console.width:  # a name and its figure are not torn apart
                block.append("\n")
                column = 0
            elif column:
                block.append("  ")
                column += 2
            block.append(f"{name} " if name else "", style="dim").append(value, style=style)
            column += width
        if self.stopped:
            block.append(f"\nstopping: {count(stats.active, 'run')} active", style="yellow")
        elif stats.paused:
            block.append(f"\nsources wait: {printable(stats.paused)}", style="yellow")
        if stats.hung:
            block.append(f"\n{printable(stats.hung)}", style="yellow")
        return block

    def close(self) -> None:
        self._live.stop()
        super().close()

    def summary(self) -> None:
        self._live.stop()
        super().summary()


class Stored:
    """Figures of the store, from a connection of its own. Where it cannot be read, the last ones stand."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "millstream.db"
        self._store: Any = None
        self.runs: dict[str, int] = {}  # by status, but done and cancelled
        self.doubts = 0

    def read(self) -> float:
        """Returns the seconds that it took."""
        from millstream.errors import StoreError
        from millstream.stores.sqlite import SqliteStore

        began = time.monotonic()
        try:
            if self._store is None:
                if not self._path.exists():
                    return 0.0
                self._store = SqliteStore(self._path, app=None, partitions=None, read_only=True)
            self.runs, self.doubts = self._store.open_runs(), self._store.doubt_count()
        except StoreError:
            pass  # if it matters, the engine says so
        return time.monotonic() - began

    def orphans(self, agents: list[str]) -> dict[str, int]:
        """Unfinished runs of agents beside these."""
        return {} if self._store is None else self._store.open_runs_of_others(agents)

    def words(self) -> str:
        """What is unfinished: ``3 waiting, 1 in doubt``."""
        return ", ".join(f"{number:,} {status.replace('_', ' ')}" for status, number in sorted(self.runs.items()) if number)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _lines(text: str) -> str:
    """Made printable; lines behind the first are indented, so that none can pass for one of ours."""
    return printable(text, lines=True).replace("\n", "\n    ")


def _unhandled(graph: Graph) -> list[str]:
    """Sources whose events reach no agent and no sink."""
    left = [stream for agent in graph.agents.values() for stream in agent.streams]
    left += [sink.stream for sink in graph.sinks.values()]
    reached: set[str] = set()
    while left:
        stream = left.pop()
        if stream not in reached:
            reached.add(stream)
            left += graph.streams[stream].parents if stream in graph.streams else ()
    return [name for name in graph.sources if name not in reached]


def _writes_to_stdout(graph: Graph) -> bool:
    return any(type(spec.connector).__name__ == "StandardOutput" for spec in graph.sinks.values())


def _connected(name: str, connector: Any) -> str:
    """A source or sink with its place: ``orders (orders.jsonl)``."""
    kind = type(connector).__name__
    where = {"StandardInput": "stdin", "StandardOutput": "stdout"}.get(kind) or getattr(connector, "path", kind)
    return f"{name} ({where})"
