"""All that a store tells of one run, and the same as JSON: what ``millstream show`` shows.

``read`` is the only one here that asks the store; ``as_json`` and the story (``cli.story``) are made of what it found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from millstream.cli.output import rfc3339, rfc3339_or_none
from millstream.cli.rows import arguments, decoded, decoded_or_none, doubt_json, id_of, run_json

if TYPE_CHECKING:
    from millstream.core.tables import DoubtRow, EventRow, RecordRow, RunRow
    from millstream.stores.sqlite import SqliteStore

TIMES = frozenset(("sent", "due", "settle_at", "first", "began"))  # in the notes of records


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
        return id_of(self.row)


def read(store: SqliteStore, number: int) -> Told | None:
    """All of a run, or None."""
    found = store.histories([number])
    if not found:
        return None
    history = found[0]
    return Told(
        history.run,
        history.event,
        _run_id(store, history.event.cause),
        _run_id(store, None if history.run.asker is None else decoded(history.run.asker)[0]),
        history.records,
        store.doubts_of(number),
        _state_before(store, history.records),
        [(event, store.handling(event.event)) for event in store.emitted(number)],
    )


def _run_id(store: SqliteStore, number: int | None) -> str | None:
    row = None if number is None else store.run(number)
    return None if row is None else id_of(row)


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
            "position": decoded_or_none(event.position),
            "cause": told.cause,
            "payload": decoded_or_none(event.payload),
        },
        "records": [_record_json(told.id, record) for record in told.records],
        "waits": decoded_or_none(row.awaits) or [],
        "wake": rfc3339_or_none(row.wake),
        "doubts": [doubt_json(doubt) for doubt in told.doubts],
        "state": state_json(told),
        "emitted": [
            {
                "id": emitted.id,
                "stream": emitted.stream,
                "key": emitted.key,
                "runs": [id_of(run) for run in runs],
                "payload": decoded_or_none(emitted.payload),
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
        **({"asked": {"agent": record.tool, "key": record.key, "value": decoded_or_none(record.args)}} if is_ask else {}),
        **({"args": args, "kwargs": kwargs} if record.args is not None and not is_ask else {}),
        "result": decoded_or_none(record.result),
        "error": decoded_or_none(record.error),
        "note": _note_json(record.note),
    }


def _note_json(text: str | None) -> Any:
    note = decoded_or_none(text)
    if isinstance(note, dict):
        return {name: rfc3339(value) if name in TIMES and isinstance(value, int) else value for name, value in note.items()}
    return note


def state_json(told: Told) -> dict[str, Any] | None:
    """The state that it left, and the one before; None: it changed nothing of it."""
    changes = [record for record in told.records if record.kind == "changed"]
    if not changes:
        return None
    version = decoded(changes[-1].note or "{}")["version"]
    return {"version": version, "before": decoded_or_none(told.before), "after": decoded_or_none(changes[-1].result)}
