"""Rows of the store as programs and people read them: the same in every command that shows them.

As JSON (``run_json``, ``doubt_json``): times are RFC 3339, payloads are decoded. In words (``waits``, ``call``, ``error_line``):
short, and not made safe for a terminal, which is for whoever puts them into a line (``output.printable``, ``output.table``).
Nothing here reads the store.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from millstream.cli.output import brief_time, choices, cut, rfc3339, rfc3339_or_none

if TYPE_CHECKING:
    from millstream.core.tables import DoubtRow, EventRow, RunRow

SETTLEMENTS = (
    ("--result JSON", "it happened, and returned this"),
    ("--retry", "it did not happen: do it now"),
    ("--fail TEXT", "it did not happen, and shall not"),
)


# --- runs -----------------------------------------------------------------------------------------------------------------


def run_json(row: RunRow, event: EventRow | None) -> dict[str, Any]:
    return {
        "run": id_of(row),
        "agent": row.agent,
        "key": row.key,
        "status": row.status,
        "event": None if event is None else event.id,
        "created": rfc3339(row.created),
        "finished": rfc3339_or_none(row.finished),
        "error": decoded_or_none(row.error),
    }


def id_of(row: RunRow) -> str:
    """The public id of a run."""
    from millstream.core.identity import run_id

    return run_id(row.partition, row.run)


def cancelled(row: RunRow, by: str | None) -> str | None:
    """What to say of a run that somebody cancelled, in one way whether or not it had a handler that was told."""
    error = decoded(row.error) if row.error is not None else {}
    if not isinstance(error, dict) or error.get("type") != "Cancelled":
        return None if row.error is None else error_line(row.error)
    return f"cancelled by {by}" if by else str(error.get("message")).replace("the run was ", "")


def waits(row: RunRow) -> list[str]:
    """What a waiting run waits for, in words."""
    found = []
    for _, kind, name, about in decoded(row.awaits or "[]"):
        if kind == "ask":
            found.append(f"the answer of {name} {about!r}")
        else:
            found.append(f"signal {name}" + ("" if about is None else f" about {about}"))
    if row.wake is not None:
        found.append(f"until {brief_time(row.wake)}")
    return found


# --- steps, and doubts about them -----------------------------------------------------------------------------------------


def doubt_json(row: DoubtRow) -> dict[str, Any]:
    args, kwargs = arguments(row.args)
    return {
        "step": doubt_step(row),
        "run": doubt_step(row).partition("/")[0],
        "agent": row.agent,
        "key": row.key,
        "tool": row.tool,
        "args": args,
        "kwargs": kwargs,
        "idempotency_key": row.idempotency_key,
        "attempts": row.attempts,
        "sent": rfc3339(row.sent),
        "error": decoded_or_none(row.error),
    }


def doubt_step(row: DoubtRow) -> str:
    """The public id of a step in doubt."""
    from millstream.core.identity import run_id, step_id

    return step_id(run_id(row.partition, row.run), row.step)


def ways_to_settle(step: str, where: str, stream: TextIO, indent: str = "  ") -> str:
    """The commands that settle a step, and what each says."""
    return choices([(f"millstream resolve {step} {how}{where}", meaning) for how, meaning in SETTLEMENTS], stream, indent)


def call(tool: str, text: str | None, limit: int) -> str:
    """A step as its call: ``charge("o-1", cents=1200)``."""
    args, kwargs = arguments(text)
    given = [json.dumps(value, ensure_ascii=False) for value in args]
    given += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in kwargs.items()]
    return f"{tool}({cut(', '.join(given), limit)})"


def arguments(text: str | None) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments from a record."""
    found = decoded(text) if text else None
    if isinstance(found, list) and len(found) == 2 and isinstance(found[0], list) and isinstance(found[1], dict):
        return found[0], found[1]
    return [], {}


# --- payloads -------------------------------------------------------------------------------------------------------------


def error_line(text: str | None) -> str:
    """An error as it is in the store, on one line."""
    error = decoded(text) if text else {}
    kind, message = error.get("type") or "error", (error.get("message") or "").strip().split("\n")
    return f"{kind}: {message[0]}" + (" …" if len(message) > 1 else "") if message[0] else str(kind)


def decoded(text: str) -> Any:
    """JSON of the store; what is none (it was erased, or written by hand) as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def decoded_or_none(text: str | None) -> Any:
    return None if text is None else decoded(text)
