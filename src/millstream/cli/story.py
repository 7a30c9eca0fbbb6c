"""The story of a run for people, line by line: its event, what it did, what it waits for, what it left, how it ended.

Rules:

* it is told from the record alone (``cli.told``), in the order of the record; the records of one step (in one generation) are told
  together, where the first of them stands;
* a line is printable, and whoever prints it fits it to the terminal; suggested commands alone are fitted here, for a shell;
* values are cut, unless all is wanted;
* times count from the moment in which the event became a run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.cli.folders import option
from millstream.cli.output import brief_time, command, count, cut, jsonl, printable, rfc3339, span
from millstream.cli.rows import call, cancelled, decoded, id_of, waits, ways_to_settle
from millstream.cli.told import Told, state_json
from millstream.cli.tracebacks import place, without_ours
from millstream.core.runs import MISFIT

if TYPE_CHECKING:
    from millstream.core.tables import RecordRow

TRACEBACK = 12  # lines of one, unless all is wanted
SAME_US = 1_000_000  # an event without a time of its own has that of its reading
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
        yield f"Run {told.id} of {printable(row.agent)}, key {printable(self._name(row.key))}: {status}"
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
        yield f"Event {printable(self._name(event.id))} of {event.stream}{printable(origin)}"
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
            for line in printable(self._short(_message(record), self.limit or 1 << 62), lines=True).split("\n"):
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
            yield printable(f"    Search for its key, {doubt.idempotency_key}, or its arguments where the effect would be;")
            yield "    then say what you found:"
            yield ways_to_settle(step, self.where, sys.stdout, "    ")

    def _state(self) -> Iterator[str]:
        changed = state_json(self.told)
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
            handled = ", handled by " + ", ".join(f"run {id_of(run)} ({run.agent}, {run.status})" for run in runs) if runs else ""
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
        first, *others = printable(self._short(str(text), self.limit or 1 << 62), lines=True).split("\n")
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
        stands = self._stands(error)
        if stands is not None:
            yield printable(
                f"    {stands[0].step} failed, and then {stands[1].step} was done: a retry is handed that failure again, and"
            )
            yield "    ends here too. Send the event anew"
            return
        misfit = self._misfit(error)
        if misfit is not None:
            yield ""
            yield printable(f"What {misfit.step} was settled with{_by(misfit)} does not fit; settle it anew")
            yield command(f"millstream resolve {self.told.id}/{misfit.step} --result JSON{self.where}", sys.stdout, "    ")
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

    def _stands(self, error: dict[str, Any]) -> tuple[RecordRow, RecordRow] | None:
        """The failure that this error is, and the effect that was done after it."""
        last: RecordRow | None = None
        for record in reversed(self.told.records):
            if record.kind == "intended" and last is None:
                last = record
            elif record.kind == "resulted" and record.error is not None and last is not None and record.step != last.step:
                failed = decoded(record.error)
                if (failed.get("type"), failed.get("message")) == (error.get("type"), error.get("message")):
                    return record, last
        return None

    def _misfit(self, error: dict[str, Any]) -> RecordRow | None:
        """The settlement that the code cannot read: a retry would read it again."""
        for record in self.told.records:
            settled = record.kind == "resulted" and decoded(record.note or "{}").get("settled") == "result"
            if settled and str(error.get("message")).startswith(MISFIT.format(step=record.step)):
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

    def _name(self, text: str) -> str:
        return text if self.limit is None else self._short(text, 200)

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
