"""Intake: events come in, pass the operators, and become runs, outputs or dead letters, in the entry of the fact that brought them.

* A batch flows through the graph column-wise. An operator that raises is tried event by event: the bad ones are dead letters.
* An event that reaches an agent is a row, once, whoever handles it; what a run emits is a row. Events of plain streams (source to
  sink) are not copied: their output rows hold a chunk of lines, and name the source and the range of positions.
* With ``id=``, an id is accepted once within ``dedupe``.
* What cannot go on is a dead letter, with all that a retry needs to let it in again where it was refused: a line at its source, an
  event at its operator. What it leads to then, and the end of the letter, are one entry.
"""

from __future__ import annotations

from typing import Any

from millstream.core import runs as r
from millstream.core.commands import Answer, Note, Output
from millstream.core.desk import Desk
from millstream.core.facts import Arrived, Emitted, EventBatch, LettersRetried, Opened, ReadAgain, Rejected, SinkWritten
from millstream.core.graph import AgentSpec, SinkSpec, StreamSpec
from millstream.core.identity import partition_of, run_id, step_id
from millstream.core.lines import Lines
from millstream.core.operators import OPERATORS, as_given, extend, select
from millstream.core.origins import DOUBTS_STREAM, FAILURES_STREAM, LETTERS_STREAM, Origin, marked, own_streams
from millstream.core.runs import QUEUED, Run
from millstream.core.tables import (
    CUT,
    EVENT,
    EVENTS,
    EVIDENCE,
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
from millstream.core.text import MESSAGE_LIMIT, clean, shown, text_of
from millstream.core.times import rfc3339

LETTER_BYTES = 1 << 20  # of a dead letter's text are kept; what is longer is cut and cannot be retried
LETTER_ROW = 1 << 14  # bytes of it that count as a row of a commit, which is bounded in rows


NOT_AGAIN = "; it has no JSON form, so only what it looks like is kept, and it cannot be tried again"


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
        self._refusal: str | None = None  # why something was refused, first, since this was last cleared

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
            self._reject(fact.source, Origin(fact.source), rejected)
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
            self._route(fact.source, batch, Origin(fact.source))

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
        return select(batch, keep), len(batch) - len(keep)

    def _reject(self, stream: str, origin: Origin, rejected: Rejected, again: LetterRow | None = None) -> None:
        """What cannot go on is kept, with its position and reason. ``again``: the letter that it was before this retry."""
        reason = clean(rejected.reason, 2 * MESSAGE_LIMIT)  # its parts are bounded
        self._refusal = self._refusal or reason
        if again is not None:
            self.desk.commit.put(LETTERS, again._replace(error=reason))
            return
        number = self.desk.number()
        position = None if rejected.position is None else _position(rejected.position)
        data, kept = _beginning(rejected.data, rejected.kept)
        letter = LetterRow(
            number,
            stream,
            origin.source,
            position,
            origin.cause,
            rejected.key,
            rejected.id,
            rejected.time,
            self.desk.now,
            reason,
            kept,
            JSON,
            data,
            rejected.size,
        )
        self.desk.commit.put(LETTERS, letter)
        self.desk.commit.rows += len(data) // LETTER_ROW
        self.desk.counts["rejected"] += 1
        if LETTERS_STREAM not in origin.own and self._has_consumers(LETTERS_STREAM):
            value = {
                "stream": stream,
                "position": None if position is None else r.json_decode(position),
                "error": reason,
                "data": data,
                "at": rfc3339(self.desk.now),
            }
            told = Emitted(LETTERS_STREAM, value, r.dump(value), stream)
            self._emit(told, None, f"letter-{number}", self.desk.now, origin.own | {LETTERS_STREAM})

    def letters_retried(self, fact: LettersRetried) -> None:
        """Each letter is gone, or says why it was refused again, in the entry of what it led to.

        One by one, so that it can be said of each how it went. Letters that a retry makes have numbers from ``begun`` on.
        """
        begun = self.desk.number()
        ends: dict[str, int] = {"events": 0, "duplicates": 0, "refused": 0}
        reason: str | None = None
        for again in fact.letters:
            if self.desk.wrote(LETTERS, (again.letter.letter,)):
                continue  # somebody else has retried it, and that is not durable yet
            self._refusal = None
            duplicate = not self._try_again(again, fact.known)
            ends["refused" if self._refusal is not None else "duplicates" if duplicate else "events"] += 1
            reason = reason or self._refusal
        if fact.token is not None:
            self.desk.gate(Answer(fact.token, None, {**ends, "reason": reason, "begun": begun}))

    def _try_again(self, again: ReadAgain, known: dict[str, set[str]]) -> bool:
        """Let the event in where it was refused. False: it is a duplicate."""
        letter, batch = again.letter, again.batch
        if again.rejected is not None:
            self._reject(letter.stream, Origin(letter.source), again.rejected, letter)
            return True
        self.desk.commit.delete(LETTERS, (letter.letter,))
        if letter.kept == EVENT:  # not by its source: the operators and agents beside this one have had it
            origin = Origin(letter.source, letter.cause, None, own_streams(letter.source, batch.ids[0]))
            op = self.desk.graph.streams[letter.stream]
            self._through(op, batch, origin, op.parents[0], letter)
            return True
        if self.desk.graph.sources[letter.stream].id is not None:
            batch, _ = self._without_duplicates(letter.stream, batch, known.get(letter.stream, frozenset()))
        if len(batch):
            self._route(letter.stream, batch, Origin(letter.stream))
        return len(batch) > 0

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
            self._through(child, batch, origin, stream)

    def _through(self, op: StreamSpec, batch: EventBatch, origin: Origin, stream: str, again: LetterRow | None = None) -> None:
        """From a stream through an operator and on."""
        passed = self._merge(stream, op, batch) if op.op == "merge" else self._apply(op, batch, origin, again)
        if len(passed):
            self._route(op.name, passed, origin if op.op in ("merge", "filter") else origin.changed())

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

    def _apply(self, op: StreamSpec, batch: EventBatch, origin: Origin, again: LetterRow | None) -> EventBatch:
        try:
            return OPERATORS[op.op](op, batch)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # user code, which may raise SystemExit too
            good = EventBatch([], [], [], [], [], [])
            if len(batch) == 1:
                reason = f"operator {op.name} raised {type(error).__name__}: {text_of(error)}"
                self._reject(op.name, origin, self._given(op, batch, reason), again)
            else:  # find which events it cannot take
                for place in range(len(batch)):
                    extend(good, self._apply(op, select(batch, [place]), origin, again))
            return good

    def _given(self, op: StreamSpec, one: EventBatch, reason: str) -> Rejected:
        """An event as an operator was given it, so that it can be given to it again."""
        spec = self.desk.graph.streams[op.parents[0]]
        try:
            return _rejected(one, 0, reason, as_given(spec, one.values[0], one.payloads[0]), EVENT)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return _rejected(one, 0, reason + NOT_AGAIN, shown(one.values[0], LETTER_BYTES), EVIDENCE)

    @staticmethod
    def _text(batch: EventBatch, place: int, stream: StreamSpec) -> str:
        payload = batch.payloads[place]
        if payload is None:
            return stream.codec.encode(batch.values[place])
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
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._unencodable(stream, origin, batch, place, error)
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
                desk.commit.bytes += len(text)
            for agent in agents:
                self._new_run(agent, key, partition, event, None)

    def _unencodable(self, stream: str, origin: Origin, batch: EventBatch, place: int, error: BaseException) -> None:
        """A value that no agent or sink can be given: what made it has had its event, so there is nothing to try again."""
        reason = f"stream {stream}: cannot encode the value: {type(error).__name__}: {text_of(error)}{NOT_AGAIN}"
        self._reject(stream, origin, _rejected(batch, place, reason, shown(batch.values[place], LETTER_BYTES), EVIDENCE))

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
        self.desk.commit.bytes += len(text)
        self.desk.commit.append(OUTPUTS, output) if output.event is not None else self.desk.commit.put(OUTPUTS, output)
        self.desk.counts["outputs"] += output.lines
        self.desk.gate(Output(sink.name, row, text))

    def _lines(self, stream: str, spec: StreamSpec, batch: EventBatch, origin: Origin) -> tuple[list[str], str | None, str | None]:
        try:
            encode = spec.codec.encode
            lines = [encode(value) if text is None else text for value, text in zip(batch.values, batch.payloads, strict=True)]
        except KeyboardInterrupt:
            raise
        except BaseException:
            lines = []
            for place in range(len(batch)):
                try:
                    lines.append(self._text(batch, place, spec))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._unencodable(stream, origin, batch, place, error)
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
            self._emit(emitted, run.number, f"{run.id}/{number & 0xFFFFFFFF}", run.event.time, _own(run), number)

    def _emit(
        self, emitted: Emitted, cause: int | None, id: str, time: int, own: frozenset[str], number: int | None = None
    ) -> None:
        id = marked(id, own)
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
        self.desk.commit.bytes += len(emitted.payload)
        before = getattr(self, "_emitted", event)
        self._emitted = event
        batch = EventBatch([emitted.value], [emitted.payload], [event.key], [id], [time], [None])
        self._route(emitted.stream, batch, Origin(None, cause, event.event, own))
        self._emitted = before

    def send(self, run: Run, agent: str, key: str, payload: str, *, asker: str | None) -> None:
        """A run of another agent for this value, whether or not a stream leads there."""
        number = self.desk.number()
        event = EventRow(
            number,
            partition_of(key, self.desk.graph.partitions),
            f"{agent}.inbox",
            key,
            marked(f"{run.id}/{number & 0xFFFFFFFF}", _own(run)),
            run.event.time,
            self.desk.now,
            run.number,
            None,
            None,
            JSON,
            payload,
        )
        self.desk.commit.append(EVENTS, event)
        self.desk.commit.bytes += len(payload)
        self._new_run(self.desk.graph.agents[agent], key, event.partition, event, asker)

    # --- the inbox streams ----------------------------------------------------------------------------------------

    def doubt(self, run: Run, row: DoubtRow, error: dict[str, Any] | None) -> None:
        name = step_id(run.id, row.step)
        self.desk.say(Note("warning", f"in doubt: {name} ({row.effect}): {_say(error)}; see `millstream doubts`"))
        own = _own(run)
        if DOUBTS_STREAM not in own and self._has_consumers(DOUBTS_STREAM):
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
            told = Emitted(DOUBTS_STREAM, value, r.dump(value), row.key)
            self._emit(told, run.number, f"{name}/doubt", run.event.time, own | {DOUBTS_STREAM})

    def failure(self, run: Run, error: dict[str, Any]) -> None:
        if run.status != r.CANCELLED:
            self.desk.say(Note("warning", f"run {run.id} of {run.spec.name} {run.key!r} {run.status}: {_say(error)}"))
        own = _own(run)
        if FAILURES_STREAM not in own and self._has_consumers(FAILURES_STREAM):
            value = {
                "run": run_id(run.partition, run.number),
                "agent": run.spec.name,
                "key": run.key,
                "status": run.status,
                "error": error,
                "at": rfc3339(self.desk.now),
            }
            told = Emitted(FAILURES_STREAM, value, r.dump(value), run.key)
            self._emit(told, run.number, f"{run.id}/failure/{run.generation}", run.event.time, own | {FAILURES_STREAM})

    # --- sinks ----------------------------------------------------------------------------------------------------

    def written(self, fact: SinkWritten) -> None:
        self.desk.commit.put(SINKS, SinkRow(fact.sink, fact.row, fact.position))


def _rejected(batch: EventBatch, place: int, reason: str, text: str, kept: str) -> Rejected:
    return Rejected(
        batch.positions[place], reason, text, r.size(text), kept, batch.keys[place], batch.ids[place], batch.times[place]
    )


def _beginning(text: str, kept: str) -> tuple[str, str]:
    """As much of a letter's text as is kept, and what that is."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= LETTER_BYTES:
        return data.decode(), kept
    return data[:LETTER_BYTES].decode("utf-8", "ignore"), CUT


def _own(run: Run) -> frozenset[str]:
    return own_streams(run.event.source, run.event.id)


def _position(position: Any) -> str:
    try:
        return r.dump(position)
    except (TypeError, ValueError):  # a connector of the user's
        return r.dump(shown(position))


def _say(error: dict[str, Any] | None) -> str:
    if error is None:
        return "no evidence"
    where = f" in {error['tool']}" if "tool" in error else ""
    return f"{error.get('type')}{where}: {error.get('message')}"
