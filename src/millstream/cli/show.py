"""``millstream show RUN``: the story of a run, from its event to its outcome, as the record tells it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.folders import Data, Json, looking
from millstream.cli.output import bold, fail, jsonl, say, usage, width, wrapped

CUT = 300  # characters of a value, unless --full


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
    from millstream.cli.story import Story
    from millstream.cli.told import as_json, read
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
