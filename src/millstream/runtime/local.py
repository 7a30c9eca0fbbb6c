"""The local runtime: one process, one data folder. Wires a graph to a store, connectors and an engine, and runs it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from millstream.core.desk import Limits
from millstream.core.graph import AgentSpec, Codec, Graph
from millstream.core.runs import dump, json_decode
from millstream.engine.clock import Clock, SystemClock
from millstream.engine.engine import Engine
from millstream.errors import CommitRefused, StoreError
from millstream.runtime.control import ControlServer
from millstream.runtime.operations import Operations
from millstream.stores.folder import DataFolder
from millstream.stores.sqlite import SqliteStore

GC_THRESHOLDS = (20_000, 20, 20)
"""Runs leave no cycles of references, so the collector has little to find, and thousands of runs in flight are much to look
through. With Python's 700, 10, 10 it takes 7 % more CPU for an agent request, and 40 % more with 20,000 in flight."""

VISIT_S = 15.0  # a command without an engine waits so long for its commit

T = TypeVar("T")
Log = Callable[[str, str], None]


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, on uvloop where it is installed. The process is this engine's: its garbage collector is set for it."""
    gc.freeze()  # what has been imported stays, and need not be looked through again and again
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@asynccontextmanager
async def engine(
    graph: Graph,
    folder: Path,
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
    log: Log = lambda level, text: None,
    grace: float = 25.0,
    existing: bool = False,
) -> AsyncIterator[Engine]:
    """An engine on a data folder, opened, its control socket listening; closed at the end.

    Args:
        folder: the data folder; made if it does not exist, unless ``existing``.
        grace: seconds that steps in flight get when it closes.

    Raises:
        StoreLocked: another engine holds the folder.
        StoreVersion, StoreError, SinkError, ClockJumped: it cannot go on from what is there.
    """
    data = DataFolder(folder)
    if existing and not data.database.exists():
        raise StoreError(f"there is no data in {folder}, and --existing says that there must be: check --data")
    with data.lock():
        store = SqliteStore(data.database, app=graph.app, partitions=graph.partitions)
        try:
            async with _lifespan(graph) as resources:
                running = Engine(
                    graph,
                    store,
                    clock or SystemClock(),
                    sources={name: spec.connector.as_source() for name, spec in graph.sources.items()},
                    sinks={name: spec.connector.as_sink() for name, spec in graph.sinks.items()},
                    resources=resources,
                    limits=limits,
                    log=log,
                )
                running.open()
                server = ControlServer(data.socket, Operations(running))
                await server.start()
                try:
                    yield running
                finally:
                    await server.close()
                    await running.close(grace)
        finally:
            store.close()


@asynccontextmanager
async def _lifespan(graph: Graph) -> AsyncIterator[Any]:
    if graph.lifespan is None:
        yield None
    else:
        async with graph.lifespan() as resources:
            yield resources


async def serve(
    graph: Graph,
    folder: Path,
    *,
    until_idle: bool = False,
    grace: float = 25.0,
    existing: bool = False,
    clock: Clock | None = None,
    limits: Limits | None = None,
    log: Log = lambda level, text: None,
    opened: Callable[[], None] = lambda: None,
    watch: Callable[[Engine], Coroutine[Any, Any, None]] | None = None,
    at_once: Callable[[], None] = lambda: None,
) -> None:
    """Run a graph until it is stopped by SIGTERM or SIGINT, or idle. A second signal ends the process at once.

    Args:
        opened: called when the folder is held and recovered, before any source is read.
        watch: a coroutine that runs beside the engine (a progress display) until it is closed, and is then cancelled.
        at_once: called before the process ends at once, to leave the terminal as it was.
    """
    watcher: asyncio.Task[None] | None = None
    signals = ExitStack()  # until the engine has closed: a second one ends that too
    try:
        async with engine(graph, folder, clock=clock, limits=limits, log=log, grace=grace, existing=existing) as running:
            signals.enter_context(_stopped_by_signals(running, grace, log, at_once))
            opened()
            running.start()
            if watch is not None:
                watcher = asyncio.get_running_loop().create_task(watch(running))
            await running.run(until_idle=until_idle)
    finally:
        signals.close()
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


@contextmanager
def _stopped_by_signals(running: Engine, grace: float, log: Log, at_once: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end ``run``; a second one ends the process, whatever holds the loop up.

    Not by ``loop.add_signal_handler``, which waits for a turn of the loop: a handler that never waits would not let one come.
    """
    stops = 0

    def first() -> None:
        log("info", f"stopping; steps in flight get {grace:g} s (again: at once)")
        running.stop()

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stops
        stops += 1
        if stops == 1:
            running.loop.call_soon_threadsafe(first)
            return
        try:
            log("warning", "stopped at once; what is committed is kept, and the next run goes on from there")
            at_once()
        finally:
            os._exit(130)  # nothing that waits, in a handler or a thread, may hold it up

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def visit(folder: Path, request: dict[str, Any], graph: Graph | None = None) -> Any:
    """Carry out one operation on a folder that no engine holds: take the lock, commit and go.

    Args:
        graph: needed only where the operation reads lines of a source again.
    """
    data = DataFolder(folder)
    with data.lock():
        store = SqliteStore(data.database, app=None if graph is None else graph.app, partitions=None)
        try:
            visitor = Engine(graph or stored_graph(store), store, SystemClock(), sources={}, sinks={}, visiting=True)
            visitor.open()
            try:
                return await _answered(visitor, request)
            finally:
                await visitor.close(0.0)
        finally:
            store.close()


async def _answered(visitor: Engine, request: dict[str, Any]) -> Any:
    asked = asyncio.ensure_future(Operations(visitor).do(request))
    broken = asyncio.ensure_future(visitor.failed())
    try:
        await asyncio.wait({asked, broken}, timeout=VISIT_S, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        if broken.done():
            return broken.result()
        unknown = "the store does not answer; whether it was done, `millstream show` tells"
        refused = CommitRefused(unknown if visitor.refusal is None else f"nothing was changed: {visitor.refusal}")
        visitor.give_up(refused)  # or its end would try the commit again, behind this answer
        raise refused
    finally:
        for task in (asked, broken):
            task.cancel()
        await asyncio.gather(asked, broken, return_exceptions=True)


def stored_graph(store: SqliteStore) -> Graph:
    """What a folder tells of its app without the app's code: its name, its partitions, and the agents that have run."""
    meta = store.meta()
    plain = Codec("json", dump, json_decode)
    agents = {name: AgentSpec(name, (), f"{name}.output", _no_handler, plain, plain, dict, "") for name in store.agents()}
    return Graph(json_decode(meta["app"]), json_decode(meta["partitions"]), {}, {}, agents, {}, {}, "")


def _no_handler(handle: Any) -> Any:
    raise AssertionError("a visitor starts no handler")
