"""The lives of the process that an ``AppRun`` plays, one after the other: each finds what the last one had committed.

Rules:

* a death is planned (``plans``: each is told of every moment there is) or comes from outside (``die``). It is followed by the next
  life at once, and what runs the process (``settle``, ``advance``, ``until``) goes on with that;
* a life that dies of its own start is followed by another one, too; one whose start raises is over, and so is the scenario;
* the code of the app and the replaced bodies of its tools may be others in the next life (``deploy``). The store, the clock, the
  ledger of what tools did, the log and the list of deaths outlive them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

from millstream.core.desk import Limits
from millstream.core.graph import Graph, ToolSpec
from millstream.errors import UsageError
from millstream.stores.memory import MemoryStore
from millstream.testing.bodies import Ledger
from millstream.testing.clock import VirtualClock
from millstream.testing.crashes import Crash, Moment, Point
from millstream.testing.process import Process, Setting
from millstream.testing.views import clock_text

T = TypeVar("T")


class Lives:
    """See the module.

    Args:
        replaced: other bodies for tools, by name.
        resources: makes what handlers and tools get; None: the app's lifespan does.

    Attributes:
        plans: of deaths.
        passed: how often a tool, or a step, was at a point.
        log: what an operator would have read, as (level, text).
        deaths: when and how the process died, in words.
    """

    def __init__(
        self,
        graph: Graph,
        replaced: dict[str, Callable[[ToolSpec], ToolSpec]],
        store: MemoryStore,
        clock: VirtualClock,
        limits: Limits,
        resources: Callable[[], AbstractAsyncContextManager[Any]] | None,
    ) -> None:
        self.graph = graph
        self.ledger = Ledger(replaced, self._reached, clock)
        self.plans: list[Crash] = []
        self.passed: Counter[tuple[str, Point]] = Counter()
        self.log: list[tuple[str, str]] = []
        self.deaths: list[str] = []
        self._store = store
        self._clock = clock
        self._limits = limits
        self._resources = resources
        self._process: Process | None = None

    @property
    def alive(self) -> Process:
        """The life that is under way.

        Raises:
            UsageError: there is none.
        """
        if self._process is None:
            raise UsageError("the app does not run: use `with AppRun(app) as world:`, and ask inside of it")
        return self._process

    @property
    def problems(self) -> list[str]:
        """What asyncio reported in this life."""
        return [] if self._process is None else self._process.problems

    # --- from one to the next -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life; another one, if it dies of that."""
        while True:
            self._process = Process(
                Setting(self.graph, self._store, self._clock, self.ledger, self._limits, self._note, self._lifespan())
            )
            try:
                self._process.start()
            except BaseException:
                process, self._process = self._process, None
                process.stop(0.0, last=True)
                raise
            if self._process.dead is None:
                return
            self._died(self._process)

    def die(self, how: str) -> None:
        """End this life now, as ``kill -9`` would, and begin the next."""
        self.alive.die(how)
        self._recover()

    def deploy(self, graph: Graph, replaced: dict[str, Callable[[ToolSpec], ToolSpec]]) -> None:
        """From the next life on, it is this app."""
        self.ledger.replaced = replaced
        self.graph = graph

    def restart(self, grace: float) -> None:
        """Stop as SIGTERM does, and begin the next life. Steps in flight get ``grace`` seconds of virtual time."""
        process = self.alive
        process.stop(grace)
        if process.dead is not None:
            self._died(process)
        self.start()

    def end(self) -> None:
        """Stop for good. Nothing happens where nothing lives."""
        process, self._process = self._process, None
        if process is not None and process.dead is None:
            process.stop(0.0, last=True)

    def _recover(self) -> None:
        self._died(self.alive)
        self.start()

    def _died(self, process: Process) -> None:
        self.deaths.append(f"{clock_text(self._clock.now() - self._clock.origin)}  the process died: {process.dead}")
        process.bury()

    def _reached(self, where: str, moments: list[Moment]) -> bool:
        if self._process is None or self._process.dead is not None:
            return False
        self.passed.update((name, moment.point) for moment in moments for name in {moment.tool, moment.step})
        told = [plan.reached(where, moments) for plan in self.plans]  # each of them counts
        return any(told)

    def _note(self, level: str, text: str) -> None:
        self.log.append((level, text))

    def _lifespan(self) -> Callable[[], AbstractAsyncContextManager[Any]]:
        if self._resources is not None:
            return self._resources
        return nullcontext if self.graph.lifespan is None else self.graph.lifespan

    # --- going on, over deaths ----------------------------------------------------------------------------------------------

    def settle(self, limit: int) -> None:
        """Go on until nothing can go on by itself, as ``Process.settle`` does; ``limit``: engine time, us."""
        while True:
            self.alive.settle(limit - self._clock.now())
            if self.alive.dead is None:
                return
            self._recover()

    def advance(self, to: int) -> None:
        """Go on until it is ``to``, us, as ``Process.advance`` does."""
        while True:
            self.alive.advance(to)
            if self.alive.dead is None:
                return
            self._recover()

    def until(self, work: Coroutine[Any, Any, T]) -> T:
        """Go on until a coroutine has returned, as ``Process.until`` does: it does not survive a death, which raises."""
        try:
            return self.alive.until(work)
        finally:
            if self.alive.dead is not None:
                self._recover()
