"""What a test sees of an app that ran: runs and their steps, as the store has them, and the story that they add up to.

Everything is read from what is durable. A ``Run`` is looked up anew each time that something of it is asked, so it may be kept in
a variable while it goes on; a ``Step`` is what it was when it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from millstream.agents.tools import Tool
from millstream.core import runs as r
from millstream.core.effects import Effect
from millstream.core.graph import AgentSpec, Graph
from millstream.core.identity import run_id, step_id
from millstream.core.tables import EventRow, RecordRow, RunRow
from millstream.core.times import utc
from millstream.engine.ports import Store

Status = Literal["queued", "running", "waiting", "in_doubt", "failed", "diverged", "done", "cancelled"]
StepStatus = Literal["open", "waiting", "in_doubt", "done", "failed"]
Kind = Literal["tool", "signal", "ask", "timer"]

CUT = 200  # characters of a value in a story


class Step(msgspec.Struct, kw_only=True, frozen=True, eq=False):
    """One recorded action of a run.

    Attributes:
        id: its public id, as ``millstream doubts`` prints it.
        name: its identity within the run, such as ``charge``, ``charge:2`` or ``worker:3/charge``.
        kind: "tool", "signal", "ask" or "timer".
        tool: name of the tool, the signal or the asked agent; of a timer, its identity.
        effect: class of a tool's step; else None.
        status: "open" (begun, no outcome), "waiting" (for a signal or an answer), "in_doubt", "done" or "failed".
        attempts: how many were begun.
        key: the idempotency key; None where there is none in the record (READ, signals, timers).
        args: as recorded: plain JSON. Of an ask, the value is ``args[0]``.
        kwargs: as recorded: plain JSON.
        result: as the handler got it where the graph knows the tool, else plain JSON.
        error: {"type", "message", "data"}, or None.
        by: who sent the signal, or settled the doubt.
        began: when it was asked for, UTC; of a READ without retries only ``ended`` is known, and stands here too.
        ended: when its outcome was recorded, UTC; None before that.
    """

    id: str
    name: str
    kind: Kind
    tool: str
    effect: Effect | None = None
    status: StepStatus = "open"
    attempts: int = 0
    key: str | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    result: Any = None
    error: dict[str, Any] | None = None
    by: str | None = None
    began: datetime
    ended: datetime | None = None

    def __repr__(self) -> str:
        return f"<step {self.id}: {self.status}>"


class DeadLetter(msgspec.Struct, kw_only=True, frozen=True):
    """Input that could not become an event.

    Attributes:
        stream: of the source, or the operator, that refused it.
        position: in the source; of a ``MemorySource`` the item's number, from 1.
        error: why.
        data: the beginning of its text.
    """

    stream: str
    position: Any
    error: str
    data: str | None


class Run:
    """One handling of one event by one agent instance."""

    def __init__(self, store: Store, graph: Graph, number: int, origin: int) -> None:
        self._store = store
        self._graph = graph
        self._number = number
        self._origin = origin  # us; the story counts from it

    @property
    def _row(self) -> RunRow:
        row = self._store.run(self._number)
        assert row is not None, "runs are never deleted in memory"
        return row

    @property
    def id(self) -> str:
        """Its public id."""
        row = self._row
        return run_id(row.partition, row.run)

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return self._row.agent

    @property
    def key(self) -> str:
        """Of the agent's instance."""
        return self._row.key

    @property
    def status(self) -> Status:
        """As ``millstream runs`` shows it."""
        status: Status = self._row.status  # type: ignore[assignment]  # a column is plain text
        return status

    @property
    def error(self) -> dict[str, Any] | None:
        """{"type", "message", "data"} of a run that failed, diverged or was cancelled."""
        error = self._row.error
        return None if error is None else r.json_decode(error)

    @property
    def event(self) -> Any:
        """The value that it handles, of the agent's event type."""
        agent = self._spec
        text = self._event.payload or "null"
        return r.json_decode(text) if agent is None else agent.event.decode(text)

    @property
    def event_id(self) -> str:
        """Of the event that it handles: that of the source's ``id=``, or "source:position"."""
        return self._event.id

    @property
    def retries(self) -> int:
        """How often it was retried."""
        return self._row.generation

    @property
    def created(self) -> datetime:
        """When its event was accepted, UTC."""
        return utc(self._row.created)

    @property
    def finished(self) -> datetime | None:
        """When it came to its end, UTC; None before that."""
        at = self._row.finished
        return None if at is None else utc(at)

    @property
    def output(self) -> Any:
        """What its handler returned, once that is durable; None if it returned None, or has not."""
        agent = self._spec
        for event in self._store.emitted(self._number):
            if agent is not None and event.stream == agent.output:
                codec = self._graph.streams[agent.output].codec
                return codec.decode(event.payload or "null")
        return None

    @property
    def waits_for(self) -> list[str]:
        """Names of the signals, and of the asked agents, that it waits for."""
        return [name for _, _, name, _ in self._waits()]

    def steps(self, which: str | Tool[..., Any] | None = None) -> list[Step]:
        """Its steps in the order in which they were first recorded; only those of a tool, or of this name.

        Args:
            which: a tool, the name of a tool, signal or agent, or a step's name.
        """
        name = which.name if isinstance(which, Tool) else which
        return [step for step in self._steps() if name is None or name in (step.tool, step.name)]

    def step(self, which: str | Tool[..., Any]) -> Step:
        """The only one of them.

        Args:
            which: as of ``steps``.

        Raises:
            AssertionError: there is none, or there are several; with the run's story.
        """
        found = self.steps(which)
        if len(found) != 1:
            name = which.name if isinstance(which, Tool) else which
            there = ", ".join(step.name for step in self._steps()) or "none"
            raise AssertionError(f"run {self.id} has {len(found)} steps {name!r}; its steps: {there}\n{self.story()}")
        return found[0]

    def expect(self, status: Status) -> Run:
        """This run, if it has that status.

        Args:
            status: the one that it should have.

        Raises:
            AssertionError: it has another one; with the run's story.
        """
        if self.status != status:
            raise AssertionError(f"run {self.id} is {self.status}, not {status}\n{self.story()}")
        return self

    def story(self) -> str:
        """What happened, line by line, as it is recorded. Times count from the beginning of the test."""
        return "\n".join(self._story())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other._store is self._store and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __repr__(self) -> str:
        waits = f" for {', '.join(self.waits_for)}" if self.waits_for else ""
        error = f" ({self.error['type']}: {self.error['message']})" if self.error else ""
        return f"<run {self.id} of {self.agent} {self.key!r}: {self.status}{waits}{error}>"

    # --- from the record ----------------------------------------------------------------------------------------------------

    @property
    def _spec(self) -> AgentSpec | None:
        return self._graph.agents.get(self.agent)

    @property
    def _event(self) -> EventRow:
        (event,) = self._store.events([self._row.event])
        return event

    def _records(self) -> list[RecordRow]:
        (history,) = self._store.histories([self._number])
        return history.records

    def _waits(self) -> list[list[Any]]:
        awaits = self._row.awaits
        found: list[list[Any]] = [] if awaits is None else r.json_decode(awaits)
        return found

    def _steps(self) -> list[Step]:
        of: dict[str, list[RecordRow]] = {}
        for record in self._records():
            if record.step is not None and record.kind != r.NOTED:
                of.setdefault(record.step, []).append(record)
        steps = [self._step(name, records) for name, records in of.items()]
        for name, kind, tool, _ in self._waits():
            if name not in of:
                waiting: Kind = "ask" if kind == "ask" else "signal"
                steps.append(
                    Step(id=step_id(self.id, name), name=name, kind=waiting, tool=tool, status="waiting", began=self.created)
                )
        return steps

    def _step(self, name: str, records: list[RecordRow]) -> Step:
        first, last = records[0], records[-1]
        tool = next((record.tool for record in records if record.tool is not None), name)
        effect = next((Effect(record.effect) for record in records if record.effect is not None), None)
        kind: Kind = "timer" if first.kind == r.FIRED else "signal" if first.kind == r.RECEIVED else "tool" if effect else "ask"
        args, kwargs = self._arguments(kind, records)
        status: StepStatus = "waiting" if kind == "ask" else "open"
        result = error = None
        if last.kind in (r.RESULTED, r.RECEIVED, r.FIRED):
            status = "done" if last.error is None else "failed"
            result = None if last.result is None else self._result(kind, tool, last.result)
            error = None if last.error is None else r.json_decode(last.error)
        elif last.kind == r.DOUBTED:
            status = "in_doubt"
            error = None if last.error is None else r.json_decode(last.error)
        note = {} if last.note is None else r.json_decode(last.note)
        return Step(
            id=step_id(self.id, name),
            name=name,
            kind=kind,
            tool=tool,
            effect=effect,
            status=status,
            attempts=max(record.attempt for record in records),
            key=next((record.key for record in records if record.key is not None), None) if effect else None,
            args=args,
            kwargs=kwargs,
            result=result,
            error=error,
            by=note.get("by"),
            began=utc(first.at),
            ended=utc(last.at) if status in ("done", "failed") else None,
        )

    @staticmethod
    def _arguments(kind: Kind, records: list[RecordRow]) -> tuple[list[Any], dict[str, Any]]:
        text = next((record.args for record in records if record.args is not None), None)
        if text is None:
            return [], {}
        if kind == "ask":
            return [r.json_decode(text)], {}
        args, kwargs = r.json_decode(text)
        return args, kwargs

    def _result(self, kind: Kind, tool: str, text: str) -> Any:
        spec = self._graph.tools.get(tool) if kind == "tool" else None
        return r.json_decode(text) if spec is None else spec.result.decode(text)

    # --- its story ----------------------------------------------------------------------------------------------------------

    def _story(self) -> Iterator[str]:
        row, event = self._row, self._event
        yield f"run {self.id} of {row.agent} {row.key!r}, event {event.id!r}: {row.status}"
        yield f"  {self._since(row.created)}  event {_cut(event.payload or 'null')}"
        for record in self._records():
            yield f"  {self._since(record.at)}  {_told(record)}"
        for name, kind, what, about in self._waits():
            to = (
                f"an answer of {what} {about!r}"
                if kind == "ask"
                else f"signal {what!r}{'' if about is None else f' about {about!r}'}"
            )
            yield f"  {'':>12}  {name}: waits for {to}"
        if row.wake is not None:
            yield f"  {self._since(row.wake)}  its next timer"
        if row.error is not None:
            error = r.json_decode(row.error)
            yield f"  {self._since(row.finished or row.created)}  {row.status}: {error['type']}: {error['message']}"
            trace = (error.get("data") or {}).get("traceback") if isinstance(error.get("data"), dict) else None
            for line in (trace or "").splitlines()[-6:]:
                yield f"  {'':>12}  | {line}"
        elif row.finished is not None:
            returned = "" if self.output is None else f", returned {_cut(repr(self.output))}"
            yield f"  {self._since(row.finished)}  {row.status}{returned}"

    def _since(self, at: int) -> str:
        return f"{clock_text(at - self._origin):>12}"


def clock_text(us: int) -> str:
    """A stretch of time as text: ``+1d 02:03:04.567``."""
    days, rest = divmod(us // 1000, 86_400_000)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, ms = divmod(rest, 1000)
    text = f"{hours:02}:{minutes:02}:{seconds:02}.{ms:03}" if days or hours else f"{minutes}:{seconds:02}.{ms:03}"
    return f"+{days}d {text}" if days else f"+{text}"


def _told(record: RecordRow) -> str:
    note = {} if record.note is None else r.json_decode(record.note)
    error = None if record.error is None else r.json_decode(record.error)
    failed = "" if error is None else f": {error['type']}: {error['message']}"
    again = f" (attempt {record.attempt})" if record.attempt > 1 else ""
    by = f" by {note['by']}" if note.get("by") else ""
    who = f"{record.step}:" if record.step is not None else ""
    effect = f" {record.effect}" if record.effect else ""
    match record.kind:
        case r.INTENDED if record.effect is None:
            return f"{who} asks {record.tool} {record.key!r} {_cut(record.args or '')}"
        case r.INTENDED:
            return f"{who} intended,{effect}, attempt {record.attempt}, {_cut(record.args or '(same arguments)')}, key {record.key}"
        case r.ATTEMPTED:
            return f"{who} attempt {record.attempt} ended {note['ended']}{failed}; next: {note['next']}"
        case r.DOUBTED:
            return f"{who} in doubt{failed}"
        case r.SETTLED:
            return f"{who} settled: {note['settled']}{by}"
        case r.RESULTED:
            settled = f", settled{by}" if "settled" in note else ""
            called = f" {_cut(record.args)}" if record.args is not None else ""
            return f"{who}{effect}{called}{again}{settled}" + (
                f" failed{failed}" if error else f" -> {_cut(record.result or 'null')}"
            )
        case r.RECEIVED:
            about = f" about {note['about']!r}" if note.get("about") is not None else ""
            return f"{who} received{about}{by}: {_cut(record.result or 'null')}"
        case r.FIRED:
            return f"{who} timer"
        case r.CANCEL:
            return f"cancelled{by}"
        case r.RELEASED:
            return "released its key"
        case r.RESUMED:
            return f"goes on with the state {_cut(record.result or 'it begins with')}"
        case r.CHANGED:
            return f"state is now {_cut(record.result or 'null')} (version {note['version']})"
        case _:
            return f"{who} {record.kind} {_cut(record.note or '')}"


def _cut(text: str) -> str:
    return text if len(text) <= CUT else f"{text[:CUT]}... ({len(text)} characters)"
