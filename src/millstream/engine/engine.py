"""The engine: one event loop around the core. It decides when, never what.

    sources ─► feed(fact) ─► machine.handle ─► commands ─► runs | performer | loader | sinks
                  ▲                                            │
                  └──────────── facts ◄─────────────────────────┘          machine.take ─► committer ─► Durable

Everything happens on the loop's thread but the writing of commits, the appending to sinks, and tools that are plain functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from millstream.core.commands import (
    Answer,
    CancelAttempt,
    Deliver,
    LoadDiverged,
    LoadLine,
    LoadLines,
    LoadMail,
    LoadRuns,
    LoadWaiting,
    LoadWakes,
    Note,
    Output,
    Pause,
    Perform,
    Probe,
    PutAway,
    ScanLines,
    ScanMail,
    Start,
    WakeAt,
)
from millstream.core.desk import Limits
from millstream.core.effects import Ended
from millstream.core.facts import AttemptEnded, Due, Durable, Fact, Forgotten, SinkWritten, Stopping
from millstream.core.graph import Graph
from millstream.core.machine import Machine
from millstream.core.mail import SIGNALS
from millstream.core.runs import dump, json_decode
from millstream.core.tables import SINKS, Commit, SinkRow
from millstream.engine import recovery
from millstream.engine.clock import Clock
from millstream.engine.committer import Committer
from millstream.engine.loader import Loader
from millstream.engine.outcomes import Outcome
from millstream.engine.performer import Performer
from millstream.engine.ports import SinkConnector, SourceConnector, Store
from millstream.engine.runs import Runs
from millstream.engine.sinks import SinkWriter
from millstream.engine.sources import Pump
from millstream.errors import CommitRefused, IoInRun, MillstreamError

LAST_WORDS_S = 1.0  # code that is stopped is given so long to say how it has ended
FLUSH_S = 5.0  # the last commits of an engine that stops are given at least so long
LINGER_S = 0.005  # a commit that nothing waits for gathers so long
FORGET_S = 60.0  # how often ids whose dedupe time is over are looked for
FORGET_ROWS = 5_000
SIGNALS_DEDUPE = 7 * 24 * 3_600_000_000  # how long the ids of signals are remembered, us
HEARTBEAT_S = 0.5  # the clock is looked at at least so often


class Stats(msgspec.Struct):
    """What a progress line shows; all since the engine started."""

    accepted: int = 0
    done: int = 0
    failed: int = 0
    diverged: int = 0
    cancelled: int = 0
    duplicates: int = 0
    rejected: int = 0
    outputs: int = 0
    active: int = 0
    waiting: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    paused: str | None = None
    hung: str | None = None  # why no tool that blocks can start


class Parts(msgspec.Struct, frozen=True):
    """What a test may put in the place of the engine's own: whatever lives in a thread, and the passing of time.

    ``timers=False``: nothing is done by time alone. Whoever moves the clock feeds ``Due``, and calls ``forget``.
    """

    committer: Callable[..., Committer] = Committer
    performer: Callable[..., Performer] = Performer
    writer: Callable[..., SinkWriter] = SinkWriter
    timers: bool = True


class Engine:
    """See the module. ``open``, ``start``, then ``run`` until idle or stopped, then ``close``.

    Args:
        sources, sinks: the opened form of the graph's connectors; those that are left out are not touched.
        resources: what the app's lifespan yielded.
        log: told (level, text) of what an operator should see.
        visiting: only pass something on to the runs (a signal, a settlement) and go: no handler is started, and whether the
            last engine died is left for the next one to find.
        parts: for tests.
    """

    def __init__(
        self,
        graph: Graph,
        store: Store,
        clock: Clock,
        *,
        sources: dict[str, SourceConnector],
        sinks: dict[str, SinkConnector],
        resources: Any = None,
        limits: Limits | None = None,
        log: Callable[[str, str], None] = lambda level, text: None,
        visiting: bool = False,
        parts: Parts = Parts(),  # noqa: B008 - immutable
    ) -> None:
        self.graph = graph
        self.store = store
        self.clock = clock
        self.machine = Machine(graph, Limits(running=0) if visiting else limits)
        self.loop = asyncio.get_running_loop()
        self._connectors = sources
        self._resources = resources
        self._log = log
        self._visiting = visiting
        self._timers = parts.timers
        self.committer = parts.committer(store, self.loop, self._committed, self._refused, self._fatal)
        self.loader = Loader(store, self.feed, clock.now)
        self.performer = parts.performer(self._attempt_ended, resources, self.loop)
        self.runs: Runs
        self.writers = {
            name: parts.writer(
                graph.sinks[name],
                connector,
                store,
                self.loop,
                written=self._sink_written,
                stuck=self._sink_stuck,
                failed=self._fatal,
            )
            for name, connector in sinks.items()
        }
        self.pumps: dict[str, Pump] = {}
        self.stats = Stats()
        self._gate = asyncio.Event()  # sources may be read
        self._reasons: dict[str, str] = {}  # why not
        self._tasks: list[asyncio.Task[None]] = []
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tokens = 0
        self._facts: list[Fact] = []
        self._ends: list[tuple[int, str, int, Outcome]] = []  # of attempts, in this turn of the loop
        self._feeding = False
        self._torn = False  # an entry was left half made: nothing that has gathered may be committed
        self._kicking = False  # a look at whether to commit is due in this turn of the loop
        self._linger: asyncio.TimerHandle | None = None  # the commit that nothing waits for
        self._wake: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()  # something happened: look again whether all is idle
        self._ended: asyncio.Future[None] = self.loop.create_future()  # ``run`` ends with it
        self._failure: BaseException | None = None  # what it cannot go on with
        self._stopped = False
        self._last_words = False  # what is still under way was cancelled, for the process ends
        load = self.loader.load
        self._dispatch: dict[type[Any], Callable[[Any], None]] = {
            Start: self._start,
            Deliver: self._deliver,
            PutAway: lambda command: self.runs.put_away(command.run),
            Perform: self._perform,
            Probe: self._probe,
            CancelAttempt: lambda command: self.performer.cancel(command.run, command.step),
            Output: lambda command: self.writers[command.sink].push(command.row, command.text),
            WakeAt: self._wake_at,
            Answer: self._answer,
            Pause: self._pause,
            Note: lambda command: self._log(command.level, command.text),
            **dict.fromkeys(
                (LoadLines, LoadLine, ScanLines, LoadRuns, LoadMail, LoadWaiting, ScanMail, LoadWakes, LoadDiverged), load
            ),
        }

    # --- life -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Recover from the store and take hold of the sinks; nothing is read yet. Blocking.

        Raises:
            ClockJumped, SinkError, StoreError.
        """
        opened = recovery.begin(self.graph, self.store, self.clock, visiting=self._visiting)
        self._open_sinks({row.sink: row for row in opened.sinks}, opened.last_outputs)
        self.machine.desk.open(opened.store_id, opened.epoch)
        self.runs = Runs(self.graph, self.machine.desk.keys, self._resources, self._log, self._alarm, self.loop)
        self.feed(opened)

    def _open_sinks(self, rows: dict[str, SinkRow], last: dict[str, int]) -> None:
        """Where a sink began is recorded before its first append, or a crash between them would append it again."""
        begun = Commit(0)
        for name, writer in self.writers.items():
            row = rows.get(name) or SinkRow(name, 0, None)
            position = None if row.position is None else json_decode(row.position)
            held = writer.open(row.row, position, last[name])
            if position is None and held is not None:
                begun.put(SINKS, SinkRow(name, row.row, dump(held)))
        if begun.rows:
            self.store.write(begun)
        for writer in self.writers.values():
            writer.start()

    def start(self) -> None:
        """Begin to read the sources."""
        known = {row.source: row for row in self.store.sources()}
        for name, connector in self._connectors.items():
            row = known.get(name)
            position = None if row is None or row.position is None else json_decode(row.position)
            self.pumps[name] = Pump(
                self.graph.sources[name],
                connector,
                position,
                now=self.clock.now,
                feed=self.feed,
                seen=self.store.seen,
                gate=self._gate,
                nothing_new=self._changed.set,
            )
            self._tasks.append(self.loop.create_task(self._pump(self.pumps[name])))
        if self._timers:
            self._tasks.append(self.loop.create_task(self._tick()))
        self._open_gate()

    async def run(self, *, until_idle: bool = False) -> None:
        """Go on until stopped, or until nothing can go on by itself.

        Raises:
            Whatever the engine cannot go on with: StoreError, SourceError, SinkError, ClockJumped.
        """
        while not self._ended.done():
            if until_idle and await self._is_idle():
                return
            self._changed.clear()
            await self._changed.wait()
        self._ended.result()

    async def _is_idle(self) -> bool:
        """Sources are consumed, sinks synced, and only receives, asks and doubts (or nothing) are left to wait for."""
        if not all(pump.caught_up for pump in self.pumps.values()) or not self._looks_idle():
            return False
        await asyncio.sleep(0)  # what is about to be called back is called back
        return self._looks_idle() and not self._sleeps()

    def _looks_idle(self) -> bool:
        return (
            self.machine.quiet
            and not self.loader.pending
            and not self.committer.busy
            and not self.performer.running
            and all(writer.idle for writer in self.writers.values())
        )

    def _sleeps(self) -> bool:
        """Does a run sleep, and nothing else? That is waited for."""
        return self.store.sleeping(list(self.graph.agents))

    async def failed(self) -> None:
        """Wait until the engine cannot go on.

        Raises:
            What it cannot go on with.
        """
        await asyncio.shield(self._ended)

    @property
    def refusal(self) -> str | None:
        """Why the store does not take a commit now."""
        return self._reasons.get("store")

    def stop(self) -> None:
        """End ``run``."""
        if not self._ended.done():
            self._ended.set_result(None)
        self._changed.set()

    async def close(self, grace: float = 25.0) -> None:
        """Stop reading, start no new effect, give steps in flight ``grace`` seconds, commit, and let go of everything.

        Raises:
            What the engine cannot go on with, if that came to light only now: a commit or a sink that failed meanwhile,
            CommitRefused where the store would not take the last commits within ``grace`` seconds.
        """
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        failed_before = self._failure is not None
        if self._failure is None:
            self.feed(Stopping(self.clock.now()))
            self.performer.stop()
            if await self.performer.drain(grace):
                self._last_words = True
                self.performer.cancel_all()
                await self.performer.drain(LAST_WORDS_S)
            await self._flush(max(grace, FLUSH_S))
        if self._wake is not None:
            self._wake.cancel()
        if hasattr(self, "runs"):
            self.runs.close()
        for writer in self.writers.values():
            writer.close()
        await asyncio.sleep(0)  # the writers' last words
        if self._failure is None:
            await self._flush(FLUSH_S)
        self.committer.close(abandon=self._failure is not None)
        if self._failure is None:
            recovery.end(self.store, self.machine.desk.now, visiting=self._visiting)
        elif not failed_before:
            self._ended.exception()  # asyncio warns of one that nobody has looked at
            raise self._failure

    async def _flush(self, within: float) -> None:
        """Until all that has gathered is durable, or cannot be within so many seconds."""
        deadline = self.loop.time() + within
        while self._failure is None:
            self._kick(now=True)
            if not self.committer.busy and self.machine.take_is_empty():
                return
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                reason = self.refusal or "the store takes its time"
                said = f"stopped without the last commit ({reason}); what is not durable will be done when it is started again"
                self._fatal(CommitRefused(said))

    def give_up(self, error: BaseException) -> None:
        """End ``run`` with this error; nothing more is committed."""
        self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        if not self._ended.done():
            self._ended.set_exception(error)
        self._changed.set()

    # --- facts and commands ---------------------------------------------------------------------------------------

    def feed(self, fact: Fact) -> None:
        """Tell the core, and do what it says; facts that arise from that are told in the next round. For callbacks of the engine's
        loop."""
        self._facts.append(fact)
        self._go_round()

    def _go_round(self) -> None:
        if self._feeding:
            return
        if self._torn:
            self._facts.clear()
            return
        self._feeding = True
        handle, dispatch = self.machine.handle, self._dispatch
        try:
            while facts := self._facts:
                self._facts = []
                for command in handle(facts):
                    dispatch[type(command)](command)
        except BaseException as error:
            self._torn = True
            self._fatal(error)
            raise
        finally:
            self._feeding = False
        if not self._kicking:
            self._kicking = True
            self.loop.call_soon(self._kick)
        self._changed.set()

    def _start(self, command: Start) -> None:
        self._facts.append(self.runs.start(command))

    def _deliver(self, command: Deliver) -> None:
        advanced = self.runs.deliver(command)
        if advanced is not None:
            self._facts.append(advanced)

    def _alarm(self, run: int, error: IoInRun) -> None:
        """Called in a thread that called into the loop of a run."""
        try:
            self.loop.call_soon_threadsafe(self._fail, run, error)
        except RuntimeError:
            pass  # the loop is closed: the run comes back in another process

    def _fail(self, run: int, error: IoInRun) -> None:
        advanced = self.runs.fail(run, error, self._time())
        if advanced is not None:
            self.feed(advanced)

    def _perform(self, command: Perform) -> None:
        self.performer.perform(command.run, command.id, command.step, command.attempt, command.key, command.body)

    def _probe(self, command: Probe) -> None:
        self.performer.probe(command.run, command.id, command.step, command.attempt, command.key, command.body)

    def _attempt_ended(self, run: int, step: str, attempt: int, outcome: Outcome) -> None:
        if self._last_words and outcome.ended not in (Ended.SUCCEEDED, Ended.NOT_SENT):
            return  # we have stopped it, and that says nothing of it: the next life settles it by its class
        if not self._ends:
            self.loop.call_soon(self._tell_ends)
        self._ends.append((run, step, attempt, outcome))
        if outcome.ended is Ended.OVERDUE or self.stats.hung is not None:
            self._count_hung()

    def _tell_ends(self) -> None:
        """Those that one turn of the loop has brought are told in one round."""
        now = self._time()
        self._facts += [
            AttemptEnded(now, run, step, attempt, end.ended, end.result, end.error, end.retryable, end.trace)
            for run, step, attempt, end in self._ends
        ]
        self._ends.clear()
        self._go_round()

    def _count_hung(self) -> None:
        """Code in a thread cannot be stopped. Where such code has taken all threads for good, tools that block stand still, and
        nothing else would say why."""
        hung, threads = self.performer.hung(), self.machine.desk.limits.threads
        full = hung.total() >= threads
        if full:
            tools = ", ".join(f"{name} ({number:,})" for name, number in hung.most_common(5)) + (", ..." if len(hung) > 5 else "")
            said = f"all {threads} threads are taken by tools that have outlived their time-out and still run: {tools}"
            if self.stats.hung is None:
                fix = "give what they call a time-out of its own; a restart frees the threads"
                self._log("warning", f"{said}; no other `def` tool starts until one of them ends; {fix}")
            self.stats.hung = said
        elif self.stats.hung is not None:
            self.stats.hung = None
            self._log("warning", "threads: one is free again, `def` tools go on")

    def _sink_written(self, sink: str, row: int, position: Any) -> None:
        self.feed(SinkWritten(self._time(), sink, row, None if position is None else dump(position)))

    # --- commits --------------------------------------------------------------------------------------------------

    def _kick(self, now: bool = False) -> None:
        """Begin the next commit if none is under way: at once if something waits for it, else a little later.

        Once a turn of the loop, so that all that a turn brought goes into one commit [M: half the commits, 15 % less CPU].
        """
        self._kicking = False
        if self.committer.busy:
            return
        if now or self.machine.urgent or self.loader.pending:
            self._commit()
        elif self._linger is None and self.machine.desk.commit:
            self._linger = self.loop.call_later(LINGER_S if self._timers else 0.0, self._commit)

    def _commit(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self.committer.busy or self._torn:
            return
        commit = self.machine.take()
        if commit is not None:
            if commit.rows:
                recovery.stamp(commit, self.machine.desk.now)
            self.committer.write(commit)

    def _committed(self, commit: Commit, took: float) -> None:
        self.stats.commits += 1
        self.stats.commit_seconds += (took - self.stats.commit_seconds) * 0.1
        self.feed(Durable(self._time(), commit.number))
        try:
            self.loader.durable(commit.number)  # behind it: the core knows what the answers can know
        except BaseException as error:
            self._fatal(error)
            raise

    def _refused(self, reason: str | None) -> None:
        """The store cannot take a commit now: sources wait, the same commit is tried again."""
        self._because("store", reason)

    # --- flow -----------------------------------------------------------------------------------------------------

    def _pause(self, command: Pause) -> None:
        self._because("core", command.reason)

    def _sink_stuck(self, sink: str, reason: str | None) -> None:
        self._because(f"sink {sink}", reason)

    def _because(self, who: str, reason: str | None) -> None:
        before = self._reasons.get(who)
        if reason is None:
            self._reasons.pop(who, None)
        else:
            self._reasons[who] = reason
        self.stats.paused = "; ".join(self._reasons.values()) or None
        if who != "core" and (before is None) != (reason is None):
            self._log("warning", f"{who}: goes on" if reason is None else f"{who}: {reason}; sources wait, it is tried again")
        self._open_gate()

    def _open_gate(self) -> None:
        if self._reasons or self._stopped:
            self._gate.clear()
        else:
            self._gate.set()

    async def _pump(self, pump: Pump) -> None:
        try:
            await pump.run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fatal(error)
        self._changed.set()

    # --- time -----------------------------------------------------------------------------------------------------

    def _time(self) -> int:
        try:
            return self.clock.now()
        except MillstreamError as error:
            self._fatal(error)
            return self.machine.desk.now

    def _wake_at(self, command: WakeAt) -> None:
        if self._wake is not None:
            self._wake.cancel()
        if self._timers:
            self._wake = self.loop.call_later(self.clock.seconds_until(command.at), self._due)

    def _due(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if not self._ended.done() and not self._stopped:
            self.feed(Due(self._time()))

    async def _tick(self) -> None:
        """Look at the clock, so that a leap is seen before a timer is; forget ids whose time is over."""
        passed = FORGET_S
        while True:
            now, due = self._time(), self.machine.next_wake_up()
            if due is not None and due <= now and not self._ended.done():
                self._due()  # the wall clock went ahead of the loop's: what was to come in an hour is due
            if passed >= FORGET_S:
                passed = FORGET_S if self.forget() else 0.0
            await asyncio.sleep(HEARTBEAT_S)
            passed += HEARTBEAT_S

    def forget(self) -> bool:
        """Forget ids whose ``dedupe`` time is over. True: there are more of them."""
        more = False
        remembered = {name: spec.dedupe for name, spec in self.graph.sources.items() if spec.id is not None}
        for source, dedupe in {SIGNALS: SIGNALS_DEDUPE, **remembered}.items():
            ids = self.store.forget_seen(source, self.machine.desk.now - dedupe, FORGET_ROWS)
            if ids:
                self.feed(Forgotten(self._time(), [(source, id) for id in ids]))
            more = more or len(ids) == FORGET_ROWS
        return more

    # --- being asked ----------------------------------------------------------------------------------------------

    def token(self) -> tuple[int, asyncio.Future[Any]]:
        """A token for a fact that wants an answer, and the future that will have it."""
        self._tokens += 1
        future: asyncio.Future[Any] = self.loop.create_future()
        self._answers[self._tokens] = future
        return self._tokens, future

    def _answer(self, command: Answer) -> None:
        future = self._answers.pop(command.token, None)
        if future is not None and not future.done():
            future.set_result((command.error, command.value))

    def snapshot(self) -> Stats:
        """The figures of now."""
        counts = self.machine.desk.counts
        stats = self.stats
        for name in ("accepted", "done", "failed", "diverged", "cancelled", "duplicates", "rejected", "outputs"):
            setattr(stats, name, counts[name])
        stats.active = self.machine.lines.running
        stats.waiting = len(self.machine.lifecycle.idle)
        return stats
