"""Intake: events come in, pass the operators, and become runs, outputs or dead letters, in the entry of the fact that brought them.

* A batch flows through the graph column-wise. An operator that raises is tried event by event: the bad ones are dead letters.
* An event that reaches an agent is a row, once, whoever handles it; what a run emits is a row. Events of plain streams (source to
  sink) are not copied: their output rows hold a chunk of lines, and name the source and the range of positions.
* With ``id=``, an id is accepted once within ``dedupe``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millstream.core import runs as r
from millstream.core.commands import Answer, Note, Output
from millstream.core.desk import Desk
from millstream.core.facts import Arrived, Emitted, EventBatch, LettersRetried, Opened, Rejected, SinkWritten
from millstream.core.graph import AgentSpec, SinkSpec, StreamSpec
from millstream.core.identity import partition_of, run_id, step_id
from millstream.core.lines import Lines
from millstream.core.runs import QUEUED, Run
from millstream.core.tables import (
    EVENTS,
    JSON,
    LETTERS,
    OUTPUTS,
    SEEN,
    SINKS,
    SOURCES,
    DoubtRow,
    EventRow,
    LetterRow,
    OutputRow,
    RunRow,
    SeenRow,
    SinkRow,
    SourceRow,
)
from millstream.core.times import rfc3339

LETTER_BYTES = 64 * 1024  # of a dead letter's text are kept

DOUBTS_STREAM, FAILURES_STREAM, LETTERS_STREAM = "doubts", "failures", "dead_letters"


class Origin:
    """Where a batch comes from: a source, or a run, or the runtime itself."""

    __slots__ = ("source", "cause", "event")

    def __init__(self, source: str | None, cause: int | None, event: int | None) -> None:
        self.source = source
        self.cause = cause  # run
        self.event = event  # the row of the one emitted event, as long as no operator has changed it


class Intake:
    """See the module."""

    def __init__(self, desk: Desk, lines: Lines) -> None:
        self.desk = desk
        self.lines = lines
        graph = desk.graph
        self._children: dict[str, list[StreamSpec]] = {name: [] for name in graph.streams}
        self._agents: dict[str, list[AgentSpec]] = {name: [] for name in graph.streams}
        self._sinks: dict[str, list[SinkSpec]] = {name: [] for name in graph.streams}
        for stream in graph.streams.values():
            for parent in stream.parents:
                self._children[parent].append(stream)
        for agent in graph.agents.values():
            for name in agent.streams:
                self._agents[name].append(agent)
        for sink in graph.sinks.values():
            self._sinks[sink.stream].append(sink)
        self._sources: dict[str, SourceRow] = {}
        self._rows: dict[str, int] = {}  # sink -> its last output row
        self._recent: dict[str, dict[str, int]] = {}  # source -> ids accepted lately, and the commit that holds them
        self._settled: dict[str, int] = {}  # source -> what was durable when its last batch came

    def opened(self, fact: Opened) -> None:
        self._sources = {row.source: row for row in fact.sources}
        self._rows = dict(fact.last_outputs)

    # --- sources --------------------------------------------------------------------------------------------------

    def arrived(self, fact: Arrived) -> None:
        spec = self.desk.graph.sources[fact.source]
        batch = fact.batch
        duplicates = 0
        if spec.id is not None:
            batch, duplicates = self._without_duplicates(fact.source, batch, fact.known)
        for rejected in fact.rejected:
            self._reject(fact.source, fact.source, rejected)
        before = self._sources.get(fact.source)
        row = SourceRow(
            fact.source,
            fact.position,
            (before.events if before else 0) + len(batch),
            (before.duplicates if before else 0) + duplicates,
            (before.rejected if before else 0) + len(fact.rejected),
            1 if fact.ended else 0,
        )
        self._sources[fact.source] = row
        self.desk.commit.put(SOURCES, row)
        self.desk.counts["accepted"] += len(batch)
        self.desk.counts["duplicates"] += duplicates
        if len(batch):
            self._route(fact.source, batch, Origin(fact.source, None, None))

    def _without_duplicates(self, source: str, batch: EventBatch, known: set[str] | frozenset[str]) -> tuple[EventBatch, int]:
        """Drop ids that were seen: in the store as the shell read it, or here since (what was durable before the last batch
        of this source came was in the store when the shell read it for this one)."""
        recent = self._recent.setdefault(source, {})
        settled = self._settled.get(source, 0)
        if recent and settled:
            for id in [id for id, commit in recent.items() if commit <= settled]:
                del recent[id]
        self._settled[source] = self.desk.durable
        partitions, number, now = self.desk.graph.partitions, self.desk.commit.number, self.desk.now
        keep: list[int] = []
        for place, id in enumerate(batch.ids):
            if id in recent or id in known:
                continue
            recent[id] = number
            keep.append(place)
            self.desk.commit.put(SEEN, SeenRow(source, id, partition_of(batch.keys[place], partitions), now))
        if len(keep) == len(batch):
            return batch, 0
        return _select(batch, keep), len(batch) - len(keep)

    def _reject(self, stream: str, source: str | None, rejected: Rejected) -> None:
        """Bad input is kept, with its position and reason."""
        number = self.desk.number()
        position = None if rejected.position is None else r.dump(rejected.position)
        data = rejected.data[:LETTER_BYTES]
        self.desk.commit.put(
            LETTERS, LetterRow(number, stream, source, position, self.desk.now, rejected.reason, JSON, data, rejected.size)
        )
        self.desk.counts["rejected"] += 1
        if stream != LETTERS_STREAM and self._has_consumers(LETTERS_STREAM):
            value = {
                "stream": stream,
                "position": rejected.position,
                "error": rejected.reason,
                "data": data,
                "at": rfc3339(self.desk.now),
            }
            self._emit(Emitted(LETTERS_STREAM, value, r.dump(value), stream), None, f"letter-{number}", self.desk.now)

    def letters_retried(self, fact: LettersRetried) -> None:
        batch = fact.batch
        again = [place for place, letter in enumerate(fact.letters) if self.desk.wrote(LETTERS, (letter,))]
        if again:  # somebody else has retried them, and it is not durable yet
            batch = _select(batch, [place for place in range(len(batch)) if place not in again])
        if self.desk.graph.sources[fact.source].id is not None:
            batch, _ = self._without_duplicates(fact.source, batch, fact.known)
        for letter in fact.letters:
            self.desk.commit.delete(LETTERS, (letter,))
        if len(batch):
            self._route(fact.source, batch, Origin(fact.source, None, None))
        if fact.token is not None:
            self.desk.gate(Answer(fact.token, None, len(batch)))

    # --- the graph ------------------------------------------------------------------------------------------------

    def _has_consumers(self, stream: str) -> bool:
        return bool(self._children.get(stream) or self._agents.get(stream) or self._sinks.get(stream))

    def _route(self, stream: str, batch: EventBatch, origin: Origin) -> None:
        """Hand a batch of a stream to its agents, its sinks, and the operators that read it."""
        agents = self._agents[stream]
        if agents:
            self._to_agents(stream, agents, batch, origin)
        for sink in self._sinks[stream]:
            self._to_sink(stream, sink, batch, origin)
        for child in self._children[stream]:
            changed = origin if child.op in ("merge", "filter") else Origin(origin.source, origin.cause, None)
            passed = self._merge(stream, child, batch) if child.op == "merge" else self._apply(child, batch, origin)
            if len(passed):
                self._route(child.name, passed, changed)

    def _merge(self, stream: str, merged: StreamSpec, batch: EventBatch) -> EventBatch:
        """Values of types that nobody could tell apart again are written as the streams that they come from say."""
        spec = self.desk.graph.streams[stream]
        if merged.codec is spec.codec or None not in batch.payloads:
            return batch
        texts: list[str | None] = []
        for place in range(len(batch)):
            try:
                texts.append(self._text(batch, place, spec))
            except Exception:  # who writes it finds out, and says so
                texts.append(None)
        return EventBatch(batch.values, texts, batch.keys, batch.ids, batch.times, batch.positions)

    def _apply(self, op: StreamSpec, batch: EventBatch, origin: Origin) -> EventBatch:
        try:
            return OPERATORS[op.op](op, batch)
        except Exception:  # user code: find which events it cannot take
            good = EventBatch([], [], [], [], [], [])
            for place in range(len(batch)):
                one = _select(batch, [place])
                try:
                    _extend(good, OPERATORS[op.op](op, one))
                except Exception as error:
                    text = self._text(one, 0)
                    reason = f"operator {op.name} raised {type(error).__name__}: {error}"
                    self._reject(op.name, origin.source, Rejected(one.positions[0], reason, text, len(text)))
            return good

    @staticmethod
    def _text(batch: EventBatch, place: int, stream: StreamSpec | None = None) -> str:
        payload = batch.payloads[place]
        if payload is None:
            value = batch.values[place]
            if stream is not None:
                return stream.codec.encode(value)
            payload = r.dump(value)
        return payload

    def _to_agents(self, stream: str, agents: list[AgentSpec], batch: EventBatch, origin: Origin) -> None:
        desk = self.desk
        spec = desk.graph.streams[stream]
        partitions = desk.graph.partitions
        for place in range(len(batch)):
            key = batch.keys[place]
            partition = partition_of(key, partitions)
            if origin.event is not None:
                event = self._emitted
            else:
                try:
                    text = self._text(batch, place, spec)
                except Exception as error:
                    shown = repr(batch.values[place])
                    reason = f"stream {stream}: cannot encode the value: {type(error).__name__}: {error}"
                    self._reject(stream, origin.source, Rejected(batch.positions[place], reason, shown, len(shown)))
                    continue
                position = batch.positions[place]
                event = EventRow(
                    desk.number(),
                    partition,
                    stream,
                    key,
                    batch.ids[place],
                    batch.times[place],
                    desk.now,
                    origin.cause,
                    origin.source,
                    None if position is None else r.dump(position),
                    JSON,
                    text,
                )
                desk.commit.append(EVENTS, event)
            for agent in agents:
                self._new_run(agent, key, partition, event, None)

    def _new_run(self, agent: AgentSpec, key: str, partition: int, event: EventRow, asker: str | None) -> None:
        number = self.desk.number()
        row = RunRow(
            number,
            partition,
            agent.name,
            key,
            event.event,
            number,
            QUEUED,
            0,
            self.desk.now,
            None,
            None,
            None,
            None,
            asker,
            agent.fingerprint,
            0,
            None,
        )
        self.lines.enter(row, event, agent)

    def _to_sink(self, stream: str, sink: SinkSpec, batch: EventBatch, origin: Origin) -> None:
        """One output row for the whole batch; it refers to the event row where that is the line."""
        row = self._rows.get(sink.name, 0) + 1
        partition = partition_of(batch.keys[0], self.desk.graph.partitions)
        spec = self.desk.graph.streams[stream]
        if origin.event is not None and len(batch) == 1:
            text = self._text(batch, 0, spec) + "\n"
            output = OutputRow(sink.name, row, partition, origin.event, None, None, None, 1, JSON, None)
        else:
            lines, first, last = self._lines(stream, spec, batch, origin)
            if not lines:
                return
            text = "\n".join(lines) + "\n"
            output = OutputRow(sink.name, row, partition, None, origin.source, first, last, len(lines), JSON, text)
        self._rows[sink.name] = row
        self.desk.commit.append(OUTPUTS, output) if output.event is not None else self.desk.commit.put(OUTPUTS, output)
        self.desk.counts["outputs"] += output.lines
        self.desk.gate(Output(sink.name, row, text))

    def _lines(self, stream: str, spec: StreamSpec, batch: EventBatch, origin: Origin) -> tuple[list[str], str | None, str | None]:
        try:
            encode = spec.codec.encode
            lines = [encode(value) if text is None else text for value, text in zip(batch.values, batch.payloads, strict=True)]
        except Exception:
            lines = []
            for place in range(len(batch)):
                try:
                    lines.append(self._text(batch, place, spec))
                except Exception as error:
                    shown = repr(batch.values[place])
                    reason = f"stream {stream}: cannot encode the value: {type(error).__name__}: {error}"
                    self._reject(stream, origin.source, Rejected(batch.positions[place], reason, shown, len(shown)))
        if origin.source is None or batch.positions[0] is None:
            return lines, None, None
        return lines, r.dump(batch.positions[0]), r.dump(batch.positions[-1])

    # --- what runs emit and send ----------------------------------------------------------------------------------

    _emitted: EventRow

    def emit(self, run: Run, emitted: Emitted) -> None:
        """A run's output or emitted value; its entry is the run's completion."""
        if emitted.agent is not None:
            self.send(run, emitted.agent, emitted.key, emitted.payload, asker=None)
        else:
            number = self.desk.number()
            self._emit(emitted, run.number, f"{run.id}/{number & 0xFFFFFFFF}", run.event.time, number)

    def _emit(self, emitted: Emitted, cause: int | None, id: str, time: int, number: int | None = None) -> None:
        event = EventRow(
            number or self.desk.number(),
            partition_of(emitted.key, self.desk.graph.partitions),
            emitted.stream,
            emitted.key,
            id,
            time,
            self.desk.now,
            cause,
            None,
            None,
            JSON,
            emitted.payload,
        )
        self.desk.commit.append(EVENTS, event)
        before = getattr(self, "_emitted", event)
        self._emitted = event
        batch = EventBatch([emitted.value], [emitted.payload], [event.key], [id], [time], [None])
        self._route(emitted.stream, batch, Origin(None, cause, event.event))
        self._emitted = before

    def send(self, run: Run, agent: str, key: str, payload: str, *, asker: str | None) -> None:
        """A run of another agent for this value, whether or not a stream leads there."""
        number = self.desk.number()
        event = EventRow(
            number,
            partition_of(key, self.desk.graph.partitions),
            f"{agent}.inbox",
            key,
            f"{run.id}/{number & 0xFFFFFFFF}",
            run.event.time,
            self.desk.now,
            run.number,
            None,
            None,
            JSON,
            payload,
        )
        self.desk.commit.append(EVENTS, event)
        self._new_run(self.desk.graph.agents[agent], key, event.partition, event, asker)

    # --- the inbox streams ----------------------------------------------------------------------------------------

    def doubt(self, run: Run, row: DoubtRow, error: dict[str, Any] | None) -> None:
        name = step_id(run.id, row.step)
        self.desk.say(Note("warning", f"in doubt: {name} ({row.effect}): {_say(error)}; see `millstream doubts`"))
        if self._has_consumers(DOUBTS_STREAM):
            args, kwargs = r.json_decode(row.args or "[[], {}]")
            value = {
                "step": name,
                "run": run.id,
                "agent": row.agent,
                "key": row.key,
                "tool": row.tool,
                "effect": row.effect,
                "args": args,
                "kwargs": kwargs,
                "idempotency_key": row.idempotency_key,
                "attempts": row.attempts,
                "sent": rfc3339(row.sent),
                "error": error,
            }
            self._emit(Emitted(DOUBTS_STREAM, value, r.dump(value), row.key), run.number, f"{name}/doubt", run.event.time)

    def failure(self, run: Run, error: dict[str, Any]) -> None:
        if run.status != r.CANCELLED:
            self.desk.say(Note("warning", f"run {run.id} of {run.spec.name} {run.key!r} {run.status}: {_say(error)}"))
        if self._has_consumers(FAILURES_STREAM):
            value = {
                "run": run_id(run.partition, run.number),
                "agent": run.spec.name,
                "key": run.key,
                "status": run.status,
                "error": error,
                "at": rfc3339(self.desk.now),
            }
            self._emit(
                Emitted(FAILURES_STREAM, value, r.dump(value), run.key),
                run.number,
                f"{run.id}/failure/{run.generation}",
                run.event.time,
            )

    # --- sinks ----------------------------------------------------------------------------------------------------

    def written(self, fact: SinkWritten) -> None:
        self.desk.commit.put(SINKS, SinkRow(fact.sink, fact.row, fact.position))


def _say(error: dict[str, Any] | None) -> str:
    if error is None:
        return "no evidence"
    where = f" in {error['tool']}" if "tool" in error else ""
    return f"{error.get('type')}{where}: {error.get('message')}"


# --- operators: pure functions of a batch ---------------------------------------------------------------------------


def _select(batch: EventBatch, places: list[int]) -> EventBatch:
    return EventBatch(
        [batch.values[i] for i in places],
        [batch.payloads[i] for i in places],
        [batch.keys[i] for i in places],
        [batch.ids[i] for i in places],
        [batch.times[i] for i in places],
        [batch.positions[i] for i in places],
    )


def _extend(batch: EventBatch, more: EventBatch) -> None:
    batch.values += more.values
    batch.payloads += more.payloads
    batch.keys += more.keys
    batch.ids += more.ids
    batch.times += more.times
    batch.positions += more.positions


def _filter(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    fn = op.fn
    places = [place for place, value in enumerate(batch.values) if fn(value)]
    return batch if len(places) == len(batch.values) else _select(batch, places)


def _map(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    values = list(map(op.fn, batch.values))
    return EventBatch(values, [None] * len(values), batch.keys, batch.ids, batch.times, batch.positions)


def _flat_map(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    out = EventBatch([], [], [], [], [], [])
    for place, value in enumerate(batch.values):
        values = list(op.fn(value))
        count = len(values)
        out.values += values
        out.payloads += [None] * count
        out.keys += [batch.keys[place]] * count
        out.ids += [f"{batch.ids[place]}#{n}" for n in range(count)]
        out.times += [batch.times[place]] * count
        out.positions += [batch.positions[place]] * count
    return out


def _key_by(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    keys = [key_text(op.fn(value)) for value in batch.values]
    return EventBatch(batch.values, batch.payloads, keys, batch.ids, batch.times, batch.positions)


OPERATORS: dict[str, Callable[[StreamSpec, EventBatch], EventBatch]] = {
    "filter": _filter,
    "map": _map,
    "flat_map": _flat_map,
    "key_by": _key_by,
}


def key_text(key: Any) -> str:
    """A key as text: str as it is, int (not bool) in decimals.

    Raises:
        ValueError: there is none, or it is of another type.
    """
    if type(key) is str:
        return key
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if key is None:
        raise ValueError("the key is missing")
    raise ValueError(f"the key must be text or an integer, not {type(key).__name__}: {str(key)[:100]!r}")
