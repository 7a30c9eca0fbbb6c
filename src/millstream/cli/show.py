"""``millstream show RUN``: the story of a run, from its event to its outcome, as the record tells it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from millstream.cli.folders import Data, Json, looking, option
from millstream.cli.listing import arguments, call, cancelled, decoded, doubt_json, run_json, waits, ways_to_settle
from millstream.cli.output import (
    bold,
    brief_time,
    command,
    count,
    cut,
    fail,
    jsonl,
    printable,
    rfc3339,
    rfc3339_or_none,
    say,
    span,
    usage,
    width,
    wrapped,
)
from millstream.cli.tracebacks import place, without_ours

if TYPE_CHECKING:
    from millstream.core.tables import DoubtRow, EventRow, RecordRow, RunRow
    from millstream.stores.sqlite import SqliteStore

CUT = 300  # characters of a value, unless --full
TRACEBACK = 12  # lines of one, unless --full
SAME_US = 1_000_000  # an event without a time of its own has that of its reading


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, from `millstream runs`, or of a step of it.")],
    full: Annotated[bool, typer.Option("--full", help="Show long values and tracebacks in full.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Tell the story of a run.

    Its event and where that came from, every step with its attempts, arguments and result, timers, signals and who sent them,
    doubts and who settled them, the state before and after, what it emitted, and how it ended. Times such as +1.5 s count from
    the moment in which the event became a run.

    \b
    millstream show 42-1-17
    millstream show 42-1-17 --full
    millstream show 42-1-17 --json | jq '.records[].kind'

    With --json: as in `millstream runs`, but with event in full, and generation, started, records, waits, wake, doubts, state,
    emitted.
    """
    from millstream.core.identity import RunId, no_such_run, parse_run_id

    run = run.partition("/")[0]  # a step's id will do
    try:
        id = parse_run_id(run)
    except ValueError as error:
        usage(str(error))
    with looking(data) as store:
        told = read(store, id.number)
        if told is None:
            fail(no_such_run(run, None))
        row, folder = told.row, Path(store.path).parent
        if row.partition != id.partition:
            fail(no_such_run(run, RunId(row.partition, row.run), row.agent, row.key))
        if json:
            say(jsonl(as_json(told)))
            return
        for line in Story(told, None if full else CUT, folder).lines():
            for piece in _fitted(line):
                say(piece if piece.startswith(" ") else bold(piece))


_TIMED = re.compile(r" *(?:\+[\d.]+ \w+(?: \d+ \w+)?|\?)  +")  # what a line that begins with a time has before its text


def _fitted(line: str) -> list[str]:
    """A line of the story on this terminal; it goes on under its own beginning."""
    columns = width(sys.stdout)
    if columns is None or "\n" in line:  # commands are fitted already
        return line.split("\n")
    timed = _TIMED.match(line)
    begin = len(line) - len(line.lstrip(" ")) if timed is None else timed.end()
    return wrapped(line, columns, " " * (begin + 2))


# --- what the store knows of it -------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """All that a store tells of one run."""

    row: RunRow
    event: EventRow
    cause: str | None  # the run that emitted or sent the event
    reply: str | None  # the run that waits for its answer, until it has it
    records: list[RecordRow]
    doubts: list[DoubtRow]
    before: str | None  # the state before its first change, JSON
    emitted: list[tuple[EventRow, list[RunRow]]]  # and the runs that handle it

    @property
    def id(self) -> str:
        return _id(self.row)


def read(store: SqliteStore, number: int) -> Told | None:
    """All of a run, or None."""
    found = store.histories([number])
    if not found:
        return None
    history = found[0]
    return Told(
        history.run,
        history.event,
        _id_of(store, history.event.cause),
        _id_of(store, None if history.run.asker is None else decoded(history.run.asker)[0]),
        history.records,
        store.doubts_of(number),
        _state_before(store, history.records),
        [(event, store.handling(event.event)) for event in store.emitted(number)],
    )


def _id(row: RunRow) -> str:
    from millstream.core.identity import run_id

    return run_id(row.partition, row.run)


def _id_of(store: SqliteStore, number: int | None) -> str | None:
    row = None if number is None else store.run(number)
    return None if row is None else _id(row)


def _state_before(store: SqliteStore, records: list[RecordRow]) -> str | None:
    """The state that the first change of a run replaced: it is in the record of the run that left it."""
    first = next((record for record in records if record.kind == "changed"), None)
    if first is None:
        return None
    note = decoded(first.note or "{}")
    for change in store.changes(note["before"]) if note["before"] else ():
        if decoded(change.note or "{}")["version"] == note["version"] - 1:
            return change.result
    return None


# --- as JSON --------------------------------------------------------------------------------------------------------------


def as_json(told: Told) -> dict[str, Any]:
    """One object; its times are RFC 3339, its payloads are decoded."""
    row, event = told.row, told.event
    return {
        **run_json(row, event),
        "generation": row.generation,
        "started": rfc3339_or_none(row.started),
        "event": {
            "id": event.id,
            "stream": event.stream,
            "key": event.key,
            "time": rfc3339(event.time),
            "arrival": rfc3339(event.arrival),
            "source": event.source,
            "position": _decoded(event.position),
            "cause": told.cause,
            "payload": _decoded(event.payload),
        },
        "records": [_record_json(told.id, record) for record in told.records],
        "waits": _decoded(row.awaits) or [],
        "wake": rfc3339_or_none(row.wake),
        "doubts": [doubt_json(doubt) for doubt in told.doubts],
        "state": _state_json(told),
        "emitted": [
            {
                "id": emitted.id,
                "stream": emitted.stream,
                "key": emitted.key,
                "runs": [_id(run) for run in runs],
                "payload": _decoded(emitted.payload),
            }
            for emitted, runs in told.emitted
        ],
    }


def _record_json(run: str, record: RecordRow) -> dict[str, Any]:
    is_ask = record.kind == "intended" and record.effect is None
    args, kwargs = arguments(record.args)
    return {
        "at": rfc3339(record.at),
        "generation": record.generation,
        "kind": record.kind,
        "step": None if record.step is None else f"{run}/{record.step}",
        "tool": record.tool,
        "effect": record.effect,
        "attempt": record.attempt,
        "idempotency_key": None if is_ask else record.key,
        **({"asked": {"agent": record.tool, "key": record.key, "value": _decoded(record.args)}} if is_ask else {}),
        **({"args": args, "kwargs": kwargs} if record.args is not None and not is_ask else {}),
        "result": _decoded(record.result),
        "error": _decoded(record.error),
        "note": _decoded(record.note),
    }


def _state_json(told: Told) -> dict[str, Any] | None:
    changes = [record for record in told.records if record.kind == "changed"]
    if not changes:
        return None
    version = decoded(changes[-1].note or "{}")["version"]
    return {"version": version, "before": _decoded(told.before), "after": _decoded(changes[-1].result)}


def _decoded(text: str | None) -> Any:
    return None if text is None else decoded(text)


# --- as a story -----------------------------------------------------------------------------------------------------------

ENDED = {
    "not_sent": "nothing was sent",
    "ambiguous": "it may or may not have happened",
    "lost": "the process died, and it may or may not have happened",
    "overdue": "it overran its time-out",
    "failed": "failed",
    "not_done": "its probe says that it did not happen",
    "unknown": "its probe cannot tell",
    "unanswered": "its probe gave no answer",
}
NEXT = {"perform": "performed again", "probe": "its probe was asked", "probe again": "it was asked again", "doubt": "in doubt"}
RESTS = {
    "perform": "it will be performed again",
    "probe": "its probe will be asked",
    "probe again": "it will be asked again",
}
MARGIN = " " * 15  # of what stands below a line that begins with a time


class Story:
    """The lines of a run's story.

    Args:
        limit: characters of a value that are shown; None: all.
        folder: for the commands that are suggested.
    """

    def __init__(self, told: Told, limit: int | None, folder: Path) -> None:
        self.told = told
        self.limit = limit
        self.where = option(folder)

    def lines(self) -> Iterator[str]:
        """The story, printable."""
        told, row = self.told, self.told.row
        status = row.status.replace("_", " ")
        yield f"Run {told.id} of {printable(row.agent)}, key {printable(row.key)}: {status}"
        yield ""
        yield from self._event()
        generation = None
        for steps in self._blocks():
            if steps[0].generation != generation:
                generation = steps[0].generation
                yield ""
                yield f"Tried again ({_ordinal(generation + 1)} time){self._asked_for(generation)}" if generation else "What it did"
            yield from self._block(steps)
        if row.started is None and row.status == "queued":
            yield ""
            yield "It waits for its turn" + (" to be tried again" if row.generation else "")
        yield from self._waits()
        yield from self._state()
        yield from self._emitted()
        yield from self._outcome()

    # the event

    def _event(self) -> Iterator[str]:
        told, event = self.told, self.told.event
        origin = ""
        if told.cause is not None:
            origin = f", sent by run {told.cause}"
        elif event.source is not None:
            origin = f", from source {event.source}"
            if event.position is not None:
                origin += f" at position {self._short(event.position, 80)}"
        yield f"Event {printable(event.id)} of {event.stream}{printable(origin)}"
        is_late = abs(event.arrival - event.time) > SAME_US
        yield f"    arrived {rfc3339(event.arrival)}" + (f", event time {rfc3339(event.time)}" if is_late else "")
        yield f"    {self._value(event.payload)}"
        if told.reply is not None:
            yield f"    run {told.reply} waits for its answer"

    # what it did

    def _blocks(self) -> Iterator[list[RecordRow]]:
        """Records in order, those of one step (in one generation) together, at the place of their first."""
        blocks: dict[Any, list[RecordRow]] = {}
        for record in self.told.records:
            alone = record.step is None or record.kind in ("fired", "received") or _refused(record) is not None
            blocks.setdefault(record.record if alone else (record.generation, record.step), []).append(record)
        for block in blocks.values():
            if block[0].kind != "changed" or self._is_released():
                yield block

    def _asked_for(self, generation: int) -> str:
        """Who wanted a run to be tried again, and when."""
        for record in self.told.records:
            if record.kind == "retried" and record.generation == generation:
                return printable(f", wanted{_by(record)} at {self._since(record.at)}")
        return ""

    def _is_released(self) -> bool:
        return any(record.kind == "released" for record in self.told.records)

    def _block(self, block: list[RecordRow]) -> Iterator[str]:
        first = block[0]
        match first.kind:
            case "fired":
                name = first.step or "timer"
                yield self._line(first, f"a timer rang{'' if name == 'timer' else f' ({printable(name)})'}")
            case "received":
                note = decoded(first.note or "{}")
                by = f" by {note['by']}" if note.get("by") else ""
                about = f" about {note['about']}" if note.get("about") else ""
                yield self._line(first, printable(f"signal {first.tool}{about}, sent{by} at {self._since(note.get('sent'))}"))
                yield f"{MARGIN}value {self._value(first.result)}"
            case "noted" if (reason := _refused(first)) is not None:
                yield self._line(first, printable(f"signal {first.tool}, sent{_by(first)}, is not what it waits for: {reason}"))
            case "retried":
                return  # the heading says it
            case "cancelled":
                yield self._line(first, printable(f"cancelled{_by(first)}"))
            case "released":
                yield self._line(first, "it waits, and lets its key go on without it")
            case "resumed":
                yield self._line(first, "it has its turn again, with the state of then")
                yield f"{MARGIN}state {self._value(first.result)}"
            case "changed":
                note = decoded(first.note or "{}")
                yield self._line(first, f"state, version {note.get('version')}: {self._value(first.result)}")
            case _:
                yield from self._step(block)

    def _step(self, block: list[RecordRow]) -> Iterator[str]:
        first = block[0]
        head = next((record for record in block if record.args is not None), None) or self._arguments_of(first) or first
        is_ask = head.effect is None and head.kind == "intended"
        if is_ask:
            what = f"asked {head.tool}, key {head.key}"
        else:
            what = call(head.tool or first.step or "", head.args, self.limit or len(head.args or ""))
            what += "" if head.effect is None else f"  {head.effect.upper()}"
            what += "" if head.key is None else f", key {head.key}"
        name = "" if first.step in (head.tool, f"ask.{head.tool}") else f"{first.step}: "
        yield self._line(first, printable(f"{name}{what}"))
        if is_ask:
            yield f"{MARGIN}value {self._value(head.args)}"
        probed = False
        for record in block:
            yield from self._of_step(record, block, probed)
            if record.kind == "attempted":
                probed = decoded(record.note or "{}").get("next") == "probe"
        if block[-1].kind in ("intended", "attempted", "settled") and self._is_open(first):
            yield f"{MARGIN}no outcome yet"

    def _of_step(self, record: RecordRow, block: list[RecordRow], probed: bool) -> Iterator[str]:
        first = block[0]
        note = decoded(record.note) if record.note else {}
        ended, following = str(note.get("ended")), str(note.get("next"))
        if ended == "unanswered" and following == "probe":
            following = "probe again"
        how = "no answer came" if record.effect == "read" and ended in ("ambiguous", "lost") else ENDED.get(ended, ended)
        match record.kind:
            case "intended":
                if record.attempt > 1:
                    yield self._line(record, f"  attempt {record.attempt}")
            case "attempted":
                rests = self._is_open(first) and record is block[-1]
                what = self._rests(note, following) if rests else NEXT.get(following, following)
                yield self._line(record, f"  attempt {record.attempt}: {how}; {what}")
                if ended != "lost":
                    yield from self._because(record)
            case "doubted":
                yield self._line(record, f"  attempt {record.attempt}: IN DOUBT, {how}")
                if ended != "lost":
                    yield from self._because(record)
                if note.get("settle_at"):
                    yield f"{MARGIN}unless settled before, {note.get('settle', 'settled')} at {rfc3339(note['settle_at'])}"
            case "settled":
                yield self._line(record, printable(f"  settled{_by(record)}: it did not happen, do it now"))
            case "noted":
                yield self._line(record, "  today's code gives it other arguments; the recorded result stands")
            case "resulted":
                yield from self._result(record, first, note, probed)

    @staticmethod
    def _rests(note: dict[str, Any], following: str) -> str:
        """What a step waits for between two attempts, or before its probe."""
        what, due = RESTS.get(following, following), note.get("due")
        if due is None:
            return f"{what} when the app runs again"
        left = due - time.time_ns() // 1000
        return f"{what} at {brief_time(due)}, in {span(left)}" if left > 0 else what.replace("will be", "is being")

    def _result(self, record: RecordRow, first: RecordRow, note: dict[str, Any], probed: bool) -> Iterator[str]:
        value = self._value(record.result)
        if note.get("settled"):
            text = f"as failed: {printable(_message(record))}" if record.error else f"with the result {value}"
            yield self._line(record, f"  settled{printable(_by(record))} {text}")
        elif record.error is not None:
            yield self._line(record, f"  failed{_attempts(record)}")
            yield from self._because(record)
        elif record is first:  # a READ, whose beginning is not recorded; or one that is handed over again
            again = "known from an earlier try, not performed again: " if self._is_repeated(record) else "returned "
            yield f"{MARGIN}{again}{value}"
        else:
            probe = "its probe says that it happened, and " if probed else ""
            yield self._line(record, f"  {probe}returned{_attempts(record)} {value}")

    def _arguments_of(self, first: RecordRow) -> RecordRow | None:
        """The record of an earlier generation that holds a step's arguments."""
        for record in self.told.records:
            if record.step == first.step and record.args is not None:
                return record
        return None

    def _is_repeated(self, record: RecordRow) -> bool:
        """Is it an outcome that an earlier generation had, handed over again?"""
        own = [other for other in self.told.records if other.step == record.step and other.generation == record.generation]
        return (
            own[0] is record
            and any(
                other.kind == "resulted"
                and other.step == record.step
                and other.generation < record.generation
                and other.error is None
                for other in self.told.records
            )
            and record.effect != "read"
        )

    def _is_open(self, record: RecordRow) -> bool:
        return record.generation == self.told.row.generation and self.told.row.finished is None

    def _because(self, record: RecordRow) -> Iterator[str]:
        if record.error is not None:
            for line in printable(cut(_message(record), self.limit or 1 << 62), lines=True).split("\n"):
                yield f"{MARGIN}{line}"

    # the rest

    def _waits(self) -> Iterator[str]:
        row = self.told.row
        if row.status == "waiting":
            yield ""
            yield printable("It waits for " + (" or ".join(waits(row)) or "something"))
        for doubt in self.told.doubts:
            step = printable(f"{self.told.id}/{doubt.step}")
            yield ""
            yield f"In doubt: {step}"
            yield printable(f"    Search for its key, {doubt.idempotency_key}, where the effect would be; then say what you found:")
            yield ways_to_settle(step, self.where, sys.stdout, "    ")

    def _state(self) -> Iterator[str]:
        changed = _state_json(self.told)
        if changed is None:
            return
        last = next(record for record in reversed(self.told.records) if record.kind == "changed")
        yield ""
        yield f"State, version {changed['version']}"
        yield f"    before {'nothing' if self.told.before is None else self._value(self.told.before)}"
        yield f"    after  {self._value(last.result)}"

    def _emitted(self) -> Iterator[str]:
        if self.told.emitted:
            yield ""
            yield "What left it"
        for event, runs in self.told.emitted:
            handled = ", handled by " + ", ".join(f"run {_id(run)} ({run.agent}, {run.status})" for run in runs) if runs else ""
            agent = event.stream.removesuffix(".inbox")
            to = f"to agent {agent}" if agent != event.stream else f"to stream {event.stream}"
            yield printable(f"    {to}, key {event.key}{handled}")
            yield f"        {self._value(event.payload)}"

    def _outcome(self) -> Iterator[str]:
        row = self.told.row
        if row.finished is None:
            return
        began = "" if row.started is None else f", {span(row.finished - row.started)} after it began"
        yield ""
        yield f"{row.status.capitalize()} {rfc3339(row.finished)}{began}"
        if row.error is None:
            return
        error = decoded(row.error)
        data = error.get("data")
        text = cancelled(row, self._cancelled_by()) if row.status == "cancelled" else f"{error.get('type')}: {error.get('message')}"
        is_traceback = isinstance(data, dict) and set(data) == {"traceback"}
        where = place(str(data["traceback"])) if is_traceback else None
        first, *others = printable(cut(str(text), self.limit or 1 << 62), lines=True).split("\n")
        yield f"    {first}" + (f" at {printable(where)}" if where and not others else "")
        for line in others:
            yield f"    {line}"
        if where and others:
            yield f"    at {printable(where)}"
        if is_traceback:
            yield from self._traceback(str(data["traceback"]).rstrip().removesuffix(str(text)))
        elif data is not None:
            yield f"    data {self._value(jsonl(data))}"
        if row.turn is not None:
            yield "    It blocks its key: later events of the key wait until it is retried or cancelled"
        yield from self._what_to_do(error)

    def _cancelled_by(self) -> str | None:
        found = [record for record in self.told.records if record.kind == "cancelled"]
        by: str | None = decoded(found[-1].note or "{}").get("by") if found else None
        return by

    def _what_to_do(self, error: dict[str, Any]) -> Iterator[str]:
        row = self.told.row
        if row.status not in ("failed", "diverged"):
            return
        denied = self._denied(error)
        if denied is not None:
            yield printable(f"    {denied.step} was settled as failed{_by(denied)}; a retry will not perform it")
            return
        yield ""
        yield "Try it again"
        yield command(f"millstream retry {self.told.id}{self.where}", sys.stdout, "    ")

    def _denied(self, error: dict[str, Any]) -> RecordRow | None:
        """The settlement that this error is: it stands, so that a retry comes to the same end."""
        for record in reversed(self.told.records):
            if record.kind == "resulted" and record.error is not None and decoded(record.note or "{}").get("settled") == "fail":
                settled = decoded(record.error)
                if (settled.get("type"), settled.get("message")) == (error.get("type"), error.get("message")):
                    return record
        return None

    def _traceback(self, text: str) -> Iterator[str]:
        lines = [printable(line) for line in without_ours(text)] if text else []
        if self.limit is not None and len(lines) > TRACEBACK:
            yield f"    … ({count(len(lines) - TRACEBACK, 'line')} cut, --full shows them)"
            lines = lines[-TRACEBACK:]
        for line in lines:
            yield f"    {line}"

    # pieces

    def _line(self, record: RecordRow, text: str) -> str:
        return f"{self._since(record.at):>11}  {text}"

    def _since(self, at: int | None) -> str:
        return "?" if at is None else f"+{span(at - self.told.row.created)}"

    def _value(self, text: str | None) -> str:
        return "(erased)" if text is None else printable(self._short(text, self.limit or len(text)))

    @staticmethod
    def _short(text: str, limit: int) -> str:
        return cut(text, limit, "; --full shows all")


def _refused(record: RecordRow) -> str | None:
    """Why a signal was not taken: its value is not of the type that the handler waits for."""
    reason: str | None = decoded(record.note).get("refused") if record.kind == "noted" and record.note is not None else None
    return reason


def _by(record: RecordRow) -> str:
    by = decoded(record.note or "{}").get("by")
    return f" by {by}" if by else ""


def _attempts(record: RecordRow) -> str:
    return f" at attempt {record.attempt}," if record.attempt > 1 else ""


def _message(record: RecordRow) -> str:
    error = decoded(record.error or "{}")
    if error.get("type") == "Denied":
        return str(error.get("message") or "no reason given")
    return f"{error.get('type')}: {error.get('message')}"


def _ordinal(number: int) -> str:
    return f"{number}{'th' if 10 <= number % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
