"""Lines: whose turn it is. One line of runs for each (agent, key); the head of the line holds the key.

* A run enters at the end with a turn (a number); the line is the runs with a turn, by turn, and the store keeps it.
* The head may be queued (start it), running (resume it: the process died, or it was put away and is wanted again), or waiting,
  in doubt, or failed with on_error="block" (nothing to do until something happens to it).
* In memory are the instances with something to do, the first few runs of their lines, and the states of some idle ones. All
  else is in the store and is loaded when an event, a wake-up or a scan asks for it.
* At most ``limits.running`` handlers run at once; instances that could start wait in ``ready``; when that is full too, a scan
  over all lines finds the rest later. That is also how recovery finds its work.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from millstream.core import runs as status
from millstream.core.commands import LoadLine, LoadLines, LoadRuns, ScanLines
from millstream.core.desk import Desk
from millstream.core.facts import LineContinued, LinesLoaded, LinesScanned
from millstream.core.identity import partition_of
from millstream.core.runs import Run
from millstream.core.tables import RUNS, EventRow, RunRow

if TYPE_CHECKING:
    from millstream.core.graph import AgentSpec
    from millstream.core.lifecycle import Lifecycle


KEPT_BYTES = 2_048  # the payload of a queued run is kept in memory up to this size; a larger one is read again


class Queued:
    """A run in line that is not resident."""

    __slots__ = ("row", "event")

    def __init__(self, row: RunRow, event: EventRow | None) -> None:
        self.row = row
        self.event = event  # None: in the store


class Instance:
    """One agent instance (agent, key) in memory."""

    __slots__ = (
        "spec",
        "key",
        "partition",
        "loaded",
        "state",
        "version",
        "state_run",
        "asking",
        "changed",
        "line",
        "more",
        "holder",
        "ready",
        "starting",
        "mailed",
    )

    def __init__(self, spec: AgentSpec, key: str, partition: int) -> None:
        self.spec = spec
        self.key = key
        self.partition = partition
        self.asking = True  # the store is asked for (the rest of) its line; ``line`` holds what came meanwhile
        self.state: str | None = None
        self.version = 0
        self.state_run = 0
        self.changed: dict[int, RunRow] = {}  # rows written meanwhile: what the store answers may be older
        self.line: list[Queued] = []  # without the holder
        self.more = False  # the line goes on in the store
        self.holder: Run | None = None  # the resident head of the line
        self.ready = False
        self.starting = False  # its head is being loaded
        self.mailed = False  # there may be mail for it in the store


class Lines:
    """All lines; see the module."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.lifecycle: Lifecycle  # set by the machine
        self.instances: dict[tuple[str, str], Instance] = {}
        self.cold: OrderedDict[tuple[str, str], int] = OrderedDict()  # idle instances, longest idle first: bytes of their states
        self.cold_bytes = 0
        self.ready: deque[Instance] = deque()
        self.waking: dict[int, int] = {}  # runs to be looked at when there is room, and after which commit
        self.running = 0  # handlers that run or are being loaded
        self.isolated: set[int] = set()  # suspects that run while nothing else does
        self.suspects = False  # there are more of them, whose turn comes next
        self.backlog = 0  # bytes of queued payloads
        self._to_load: list[tuple[str, str]] = []
        self._load_after = 0
        self._to_resume: list[int] = []
        self._resume_after = 0
        self._scan: int | None = None  # scan behind this turn when there is room
        self._scanning = False
        self._overflowed = False

    # --- entering -------------------------------------------------------------------------------------------------

    def enter(self, row: RunRow, event: EventRow, spec: AgentSpec) -> None:
        """A new run joins the end of its line."""
        instance = self.instance(spec, row.key)  # before it is touched: the store need not hold this run to tell of the others
        self.desk.commit.put(RUNS, row)
        self.desk.touch((row.agent, row.key))
        size = status.size(event.payload)
        self.backlog += size
        at_once = size <= KEPT_BYTES or (instance.holder is None and not instance.line and self.has_room())
        self._join(instance, Queued(row, event if at_once else None))
        self.advance(instance)

    def moved(self, row: RunRow) -> None:
        """A run that is not resident joins its line, leaves it, or has something to do in it, as its row says (already written)."""
        instance = self.instances.get((row.agent, row.key))
        if instance is None:
            if row.turn is None:
                return
            instance = self.instance(self.desk.graph.agents[row.agent], row.key)
        if instance.asking:
            instance.changed[row.run] = row
            return
        place = next((place for place, queued in enumerate(instance.line) if queued.row.run == row.run), None)
        if place is not None:
            if row.turn is None:
                del instance.line[place]
            else:
                instance.line[place].row = row
        elif row.turn is not None and (not instance.line or (instance.line[-1].row.turn or 0) < row.turn):
            self._join(instance, Queued(row, None))
        self.advance(instance)

    def found(self, row: RunRow) -> None:
        """A run has been read from the store: if it is the head of its line that was to start, it can."""
        instance = self.instances.get((row.agent, row.key))
        if instance is not None and instance.starting and instance.line and instance.line[0].row.run == row.run:
            instance.starting = False

    def step_back(self, row: RunRow, instance: Instance) -> None:
        """The holder is put away, or blocks its line: it stays at the head without a handler."""
        instance.line.insert(0, Queued(row, None))
        self.vacate(instance)

    def _join(self, instance: Instance, queued: Queued) -> None:
        if instance.more or len(instance.line) >= self.desk.limits.line:
            instance.more = True  # it is in the store, behind what is in memory
        else:
            instance.line.append(queued)

    def instance(self, spec: AgentSpec, key: str) -> Instance:
        """The instance, asked from the store where it is not in memory."""
        name = (spec.name, key)
        instance = self.instances.get(name)
        if instance is None:
            instance = Instance(spec, key, partition_of(key, self.desk.graph.partitions))
            self.instances[name] = instance
            self._to_load.append(name)
            self._load_after = max(self._load_after, self.desk.after(*name))
        return instance

    # --- loading --------------------------------------------------------------------------------------------------

    def loaded(self, fact: LinesLoaded) -> None:
        for found in fact.lines:
            instance = self.instances.get((found.agent, found.key))
            if instance is None or not instance.asking:
                continue
            instance.asking = False
            if found.state is not None:
                instance.state = found.state.payload
                instance.version = found.state.version
                instance.state_run = found.state.run
            instance.mailed = instance.mailed or found.mailed
            self._merge(instance, found.line, found.more)
            self.advance(instance)

    def continued(self, fact: LineContinued) -> None:
        instance = self.instances.get((fact.agent, fact.key))
        if instance is not None and instance.asking:
            instance.asking = False
            self._merge(instance, fact.line, fact.more)
            for queued in instance.line:
                if queued.event is None and is_new(queued.row):
                    queued.event = fact.events.get(queued.row.event)
            self.advance(instance)

    def _merge(self, instance: Instance, rows: list[RunRow], more: bool) -> None:
        """Put together what the store holds of a line, and what came or changed while it was asked."""
        fresh, changed = instance.line, instance.changed
        if not fresh and not changed:
            instance.line = [Queued(row, None) for row in rows]
            instance.more = instance.more or more
            return
        last = rows[-1].turn or 0 if rows else 0
        known = {queued.row.run: queued for queued in (*(Queued(row, None) for row in rows), *fresh)}
        for row in changed.values():
            known.setdefault(row.run, Queued(row, None)).row = row
        line = sorted((queued for queued in known.values() if queued.row.turn is not None), key=_turn)
        if more and (not fresh or last < (fresh[0].row.turn or 0)):
            instance.more = True  # a gap lies behind what was read: the others are found in the store in their time
        elif instance.more:
            last = fresh[-1].row.turn or 0  # and here, behind what came
        else:
            last = 1 << 63
        instance.line = [queued for queued in line if _turn(queued) <= last]
        instance.changed = {}
        most = 2 * self.desk.limits.line
        if len(instance.line) > most:  # many were woken at once
            instance.more = True
            del instance.line[most:]

    def scan(self) -> None:
        """Find work in the store: all lines, from the oldest turn."""
        self._scan = 0

    def scanned(self, fact: LinesScanned) -> None:
        self._scanning = False
        self._scan = None if fact.ended else (fact.rows[-1].turn or 0)
        agents = self.desk.graph.agents
        for row in fact.rows:
            spec = agents.get(row.agent)
            if spec is not None and (row.agent, row.key) not in self.instances and row.status in (status.QUEUED, status.RUNNING):
                self.instance(spec, row.key)

    # --- starting -------------------------------------------------------------------------------------------------

    def advance(self, instance: Instance) -> None:
        """Start or resume the head of a line if that is what it needs."""
        if instance.holder is not None or instance.asking or instance.starting:
            return
        if instance.ready and not (instance.line and instance.line[0].row.run in self.isolated):
            return  # until there is room
        self.cold_bytes -= self.cold.pop((instance.spec.name, instance.key), 0)
        if not instance.line:
            if instance.more:
                instance.asking = True
                instance.more = False  # what comes meanwhile is kept in memory, behind what the store answers
                self.desk.say(
                    LoadLine(
                        instance.spec.name,
                        instance.key,
                        0,
                        self.desk.limits.line,
                        self.desk.after(instance.spec.name, instance.key),
                    )
                )
            else:
                self._cool(instance)
            return
        if instance.line[0].row.status not in (status.QUEUED, status.RUNNING):
            self._cool(instance)
        elif not self.has_room() and instance.line[0].row.run not in self.isolated:
            self._wait_for_room(instance)
        else:
            self._start(instance)

    def has_room(self) -> bool:
        return self.running < self.desk.limits.running and not self.isolated and not self.suspects

    def _wait_for_room(self, instance: Instance) -> None:
        if len(self.ready) < self.desk.limits.ready:
            first = instance.line[0]
            if first.event is not None and status.size(first.event.payload) > KEPT_BYTES:
                first.event = None
            instance.ready = True
            self.ready.append(instance)
        else:
            self._overflowed = True
            self._forget(instance)

    def _start(self, instance: Instance) -> None:
        queued = instance.line[0]
        self.running += 1
        stashed = self.lifecycle.stash.pop(queued.row.run, None)
        if stashed is not None:
            del instance.line[0]
            self.lifecycle.go_on(stashed, instance)
        elif queued.event is not None:
            del instance.line[0]
            self.lifecycle.begin(queued.row, queued.event, instance)
        else:
            instance.starting = True
            self.resume_later(queued.row.run, self.desk.after(instance.spec.name, instance.key))

    def resume_later(self, run: int, after: int) -> None:
        """Ask the store for a run; ``running`` already counts it."""
        self._to_resume.append(run)
        self._resume_after = max(self._resume_after, after)

    def wake(self, run: int, after: int) -> None:
        """Look at a run in the store, once this commit is durable and there is room."""
        self.waking[run] = after

    def look_at(self, run: int, after: int) -> None:
        """Look at a run in the store, whatever else waits for room."""
        self.running += 1
        self.resume_later(run, after)

    @property
    def scanning(self) -> bool:
        return self._scan is not None or self._scanning or self._overflowed

    def vacate(self, instance: Instance) -> None:
        """The holder has left the line (or has been put away): the next one may start."""
        instance.holder = None
        self.advance(instance)

    def flush(self) -> None:
        """At the end of every round of facts: let in what has room, and ask the store for all that is needed in one go."""
        page = self.desk.limits.page
        while self.ready and self.has_room() and len(self._to_resume) < page:
            instance = self.ready.popleft()
            instance.ready = False
            self.advance(instance)
        while self.waking and self.has_room() and len(self._to_resume) < page:
            run = next(iter(self.waking))
            self.look_at(run, self.waking.pop(run))
        if self._scan is None and self._overflowed and not self.ready:
            self._overflowed = False
            self._scan = 0
        if self._scan is not None and not self._scanning and len(self.ready) < page and not self.isolated and not self.suspects:
            self._scanning = True
            self.desk.say(ScanLines(self._scan, page, self.desk.latest()))
        if self._to_load:
            self.desk.say(LoadLines(self._to_load, self.desk.limits.line, self._load_after))
            self._to_load, self._load_after = [], 0
        if self._to_resume:
            self.desk.say(LoadRuns(self._to_resume, self._resume_after))
            self._to_resume, self._resume_after = [], 0

    # --- forgetting -----------------------------------------------------------------------------------------------

    def _cool(self, instance: Instance) -> None:
        """Nothing to do for this instance: keep its state for a while."""
        kept = self.cold[instance.spec.name, instance.key] = status.size(instance.state)
        self.cold_bytes += kept
        limits = self.desk.limits
        while len(self.cold) > limits.instances or self.cold_bytes > limits.cold_bytes:
            oldest = next(iter(self.cold))  # of a dict this would walk over all that were taken from its front
            self._forget(self.instances[oldest])

    def _forget(self, instance: Instance) -> None:
        name = (instance.spec.name, instance.key)
        self.cold_bytes -= self.cold.pop(name, 0)
        self.instances.pop(name, None)


def is_new(row: RunRow) -> bool:
    """Nothing has happened to this run yet: its event is all that it needs to begin."""
    return row.status == status.QUEUED and row.started is None and row.generation == 0


def _turn(queued: Queued) -> int:
    return queued.row.turn or 0
