"""What there is: ``runs``, ``doubts``, ``dead-letters``, ``state``. They only read, beside a running engine too."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from millstream.cli import operate
from millstream.cli.folders import Data, Json, data_folder, looking, option
from millstream.cli.output import (
    brief_time,
    count,
    cut,
    fail,
    is_wide,
    jsonl,
    printable,
    say,
    short_time,
    span,
    table,
    tell,
    usage,
)
from millstream.cli.rows import (
    call,
    cancelled,
    decoded,
    decoded_or_none,
    doubt_json,
    doubt_step,
    error_line,
    id_of,
    run_json,
    waits,
    ways_to_settle,
)

if TYPE_CHECKING:
    from millstream.core.tables import DoubtRow, EventRow, LetterRow, RunRow
    from millstream.stores.sqlite import SqliteStore

SHOWN = 50  # rows of a table, unless --limit says otherwise
PAGE = 500  # runs whose events are read at once


# --- runs -----------------------------------------------------------------------------------------------------------------


def runs(
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only runs of this status.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this agent.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only runs of this key.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default=False, help=f"At most N. Default: {SHOWN}, and all with --json."),
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List runs, newest first.

    A run is one handling of one event by one agent. A key (a customer, say) is handled one run at a time.

    \b
    millstream runs                      the newest ones
    millstream runs --status failed      then: millstream show RUN, retry RUN
    millstream runs --agent fulfil --key c42
    millstream runs --json | jq -r 'select(.status == "failed") | .run'

    \b
    queued     behind other runs of its key
    running    under way; if no engine runs: goes on with the next one
    waiting    for a signal (millstream signal), an answer or a time
    in_doubt   a step may or may not have happened (millstream doubts)
    failed     with an error; kept for millstream retry
    diverged   its code no longer fits its record; tried again when it changes
    done, cancelled

    TOOK is the time from the start of its handler to its end; of a run that was retried, of the last try.

    With --json: run, agent, key, status, event, created, finished, error (null, or type, message and data).
    """
    from millstream.core.runs import STATUSES

    if status is not None and status not in STATUSES:
        usage(f"there is no status {status!r}; a run is one of {', '.join(STATUSES)}")
    with looking(data) as store:
        found = store.runs(status=status, agent=agent, key=key, limit=limit)
        if json:
            for row, event in _with_events(store, found):
                say(jsonl(run_json(row, event)))
            return
        shown = list(_with_events(store, found if limit is not None else itertools.islice(found, SHOWN + 1)))
        more = limit is None and len(shown) > SHOWN
        shown = shown[:SHOWN] if limit is None else shown
        if not shown:
            chosen = any(value is not None for value in (status, agent, key))
            tell("no runs" + (" of that kind" if chosen else " yet"))
            if agent is not None and agent not in (known := store.agents()):
                tell(f"(there are runs of the agents {', '.join(known)})" if known else "(there are no runs of any agent)")
            return
        by = _cancelled_by(store, [row for row, _ in shown if row.status == "cancelled"])
        rows = [_run_cells(row, event, by.get(row.run)) for row, event in shown]
        table(("RUN", "AGENT", "KEY", "STATUS", "EVENT", "CREATED", "TOOK", "NOTE"), rows, {"NOTE": ""})
        if more:
            tell(f"(the newest {SHOWN}; --limit N shows more)")


def _with_events(store: SqliteStore, found: Iterator[RunRow]) -> Iterator[tuple[RunRow, EventRow | None]]:
    while page := list(itertools.islice(found, PAGE)):
        events = {event.event: event for event in store.events([row.event for row in page])}
        for row in page:
            yield row, events.get(row.event)


def _cancelled_by(store: SqliteStore, rows: list[RunRow]) -> dict[int, str]:
    """Who cancelled a run, as far as it is recorded: it is not, where the run had no handler to tell."""
    found = store.cancellations([row.run for row in rows]) if rows else []
    return {record.run: by for record in found if (by := decoded(record.note or "{}").get("by"))}


def _run_cells(row: RunRow, event: EventRow | None, cancelled_by: str | None) -> list[str]:
    took = "" if row.finished is None or row.started is None else span(row.finished - row.started)
    event_id = "" if event is None else cut(event.id, 40)
    return [
        id_of(row),
        row.agent,
        cut(row.key, 60),
        row.status,
        event_id,
        time_cell(row.created),
        took,
        cut(_note(row, cancelled_by), 100),
    ]


def time_cell(us: int) -> str:
    """A time in a table: of today without its date where there is little room."""
    return brief_time(us) if is_wide(sys.stdout) else short_time(us, time.time_ns() // 1000)


def _note(row: RunRow, cancelled_by: str | None) -> str:
    if row.status == "cancelled":
        return cancelled(row, cancelled_by) or ""
    if row.error is not None:
        blocks = "blocks its key: " if row.turn is not None else ""
        return blocks + error_line(row.error)
    if row.status == "waiting":
        return " or ".join(waits(row)) or "waits"
    return ""


# --- doubts ---------------------------------------------------------------------------------------------------------------


def doubts(json: Json = False, data: Data = None) -> None:
    """List the steps in doubt, and how to settle them.

    A step is in doubt when it was started and nobody can tell whether it took effect: its effect class does not allow to do it
    again, and nothing could be asked. Its run waits. Look there where the effect would be (the bank, the mailbox) for its
    idempotency key, or for its arguments, then say what happened:

    \b
    millstream doubts
    millstream resolve STEP --result JSON   it happened, and returned this
    millstream resolve STEP --retry         it did not happen: do it now
    millstream resolve STEP --fail TEXT     it did not happen, and shall not

    With --json: step, run, agent, key, tool, args, kwargs, idempotency_key, attempts, sent, error.
    """
    with looking(data) as store:
        found = store.doubts()
    if json:
        for row in found:
            say(jsonl(doubt_json(row)))
        return
    if not found:
        tell("nothing is in doubt")
        return
    columns = ("STEP", "AGENT", "KEY", "CLASS", "SENT", "CALL", "IDEMPOTENCY KEY", "WHY")
    table(columns, [_doubt_cells(row) for row in found], {"CALL": "", "IDEMPOTENCY KEY": "idempotency key ", "WHY": ""})
    where = option(data_folder(data))
    look = "Search for the idempotency key where the effect would be, then say what you found:"
    tell(f"\n{count(len(found), 'step')} in doubt. {look}", hang=0)
    tell(ways_to_settle("STEP", where, sys.stderr), hang=None)


def _doubt_cells(row: DoubtRow) -> list[str]:
    again = "" if row.attempts == 1 else f" ({row.attempts} attempts)"
    sent = time_cell(row.sent) + again
    return [doubt_step(row), row.agent, row.key, row.effect, sent, call(row.tool, row.args, 80), row.idempotency_key, _why(row)]


def _why(row: DoubtRow) -> str:
    if row.error is not None:
        return cut(error_line(row.error), 100)
    return "its probe cannot tell" if row.effect == "verified" else "nothing tells"


# --- dead letters ---------------------------------------------------------------------------------------------------------


def dead_letters(
    retry: Annotated[bool, typer.Option("--retry", help="Try them all again: those that are good now become events.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """List input that could not become an event.

    It was malformed, had no key, was not of the declared type, or an operator raised; it is kept with its position and the reason.
    Repair the app, then have it tried again where it was refused; the engine does that, because it knows the app.

    \b
    millstream dead-letters
    millstream dead-letters --retry      while `millstream run TARGET` runs

    With --json: stream, position, error, data. With --retry --json: retried (became events), duplicates,
    refused (again), reason (of the first), cannot (be retried: why, and how many), remaining.
    """
    if retry:
        operate.retry_letters(data, json)
        return
    with looking(data) as store:
        letters = _letters(store)
        if json:
            for row in letters:
                say(jsonl(_letter_json(row)))
            return
        shown = [_letter_cells(row) for row in letters]
    if not shown:
        tell("no dead letters")
        return
    table(("STREAM", "POSITION", "AT", "ERROR", "DATA"), shown, {"ERROR": "", "DATA": ""})
    tell(f"\n{count(len(shown), 'dead letter')}; `millstream dead-letters --retry` has them read again while the engine runs")


def _letters(store: SqliteStore) -> Iterator[LetterRow]:
    after = 0
    while page := store.letters(after, PAGE):
        yield from page
        after = page[-1].letter


def _letter_json(row: LetterRow) -> dict[str, Any]:
    position = decoded_or_none(row.position)
    return {"stream": row.stream, "position": position, "error": row.error, "data": _letter_data(row, row.data)}


def _letter_data(row: LetterRow, text: str | None) -> str | None:
    """What is not whole says so: no retry takes it."""
    if row.kept == "cut":
        return f"{text or ''}... (cut, of {count(row.size, 'byte')})"
    return text


def _letter_cells(row: LetterRow) -> list[str]:
    position = "" if row.position is None else str(decoded(row.position))
    shown = _letter_data(row, cut(row.data or "", 80)) or ""
    shown += " (evidence only: it cannot be retried)" if row.kept == "evidence" else ""
    return [row.stream, position, time_cell(row.at), cut(row.error, 120), shown]


# --- state ----------------------------------------------------------------------------------------------------------------


def state(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent, as `millstream runs` lists it.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key, such as a customer's.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """Print the durable state of an agent for one key.

    It is what `ctx.state` held when a run of the key was last done (or, with waiting="release", began to wait). A run that is under
    way, or has failed, has changed nothing of it.

    \b
    millstream state fulfil c42
    millstream state fulfil c42 --json | jq .state

    With --json: agent, key, version (how many runs have changed it), run (the last of them), state.
    """
    from millstream.core.identity import run_id

    with looking(data) as store:
        row = store.state(agent, key)
        if row is None:
            _no_state(store, agent, key)
    last = run_id(row.partition, row.run)
    value = decoded_or_none(row.payload)
    if json:
        say(jsonl({"agent": row.agent, "key": row.key, "version": row.version, "run": last, "state": value}))
    else:
        tell(f"{printable(row.agent)} {printable(row.key)}: version {row.version}, left by run {last}")
        say(pretty(value))


def _no_state(store: SqliteStore, agent: str, key: str) -> NoReturn:
    agents = store.agents()
    if agent not in agents:
        fail(f"no agent {agent!r} has run in {Path(store.path).parent}; there are: {', '.join(agents) or 'none yet'}")
    handled = next(store.runs(agent=agent, key=key, limit=1), None)
    if handled is not None:
        fail(f"{agent} has left no state for the key {key!r}: none of its runs has changed it (see `millstream runs --key {key}`)")
    near = store.states(agent, 5)
    fail(f"{agent} has handled no event of the key {key!r}" + (f"; there are keys such as {', '.join(near)}" if near else ""))


def pretty(value: Any) -> str:
    """A value as JSON on several lines."""
    return printable(json.dumps(value, ensure_ascii=False, indent=2), lines=True)
