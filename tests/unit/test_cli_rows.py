"""Rows of the store in words and as JSON, whatever is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millstream.cli import listing, rows
from millstream.cli.output import brief_time
from millstream.cli.story import Story
from millstream.cli.told import Told
from millstream.core.tables import RunRow
from millstream.testing.conformance.stores import doubt, event, run

AT = 1_700_000_000_000_000


def waiting(awaits: list[Any] | None, wake: int | None = None) -> RunRow:
    return run(17)._replace(status="waiting", awaits=None if awaits is None else json.dumps(awaits), wake=wake)


def test_a_run_waits_for_signals_answers_and_a_time() -> None:
    assert rows.waits(waiting(None)) == []
    awaits = [[1, "receive", "approval", "o-1"], [2, "receive", "news", None], [3, "ask", "helper", "h"]]
    assert rows.waits(waiting(awaits)) == ["signal approval about o-1", "signal news", "the answer of helper 'h'"]
    assert rows.waits(waiting([], AT)) == [f"until {brief_time(AT)}"]


def test_a_cancelled_run_names_who_did_it_and_another_error_stays_what_it_is() -> None:
    row = run(17)
    assert rows.cancelled(row, None) is None
    cancelled = row._replace(error='{"type": "Cancelled", "message": "the run was cancelled by its time-out", "data": null}')
    assert rows.cancelled(cancelled, "ann") == "cancelled by ann"
    assert rows.cancelled(cancelled, None) == "cancelled by its time-out"
    assert rows.cancelled(row._replace(error='{"type": "ValueError", "message": "no"}'), "ann") == "ValueError: no"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ('{"type": "ValueError", "message": "no"}', "ValueError: no"),
        ('{"type": "ValueError", "message": "first\\nsecond"}', "ValueError: first …"),
        ('{"type": "TimeoutError", "message": ""}', "TimeoutError"),
        ("{}", "error"),
        (None, "error"),
    ],
)
def test_an_error_is_one_line(error: str | None, line: str) -> None:
    assert rows.error_line(error) == line


def test_a_step_is_written_as_its_call() -> None:
    assert rows.call("charge", '[["o-1", 2], {"currency": "é"}]', 80) == 'charge("o-1", 2, currency="é")'
    assert rows.call("charge", None, 80) == "charge()"
    assert rows.call("charge", '[["' + "x" * 100 + '"], {}]', 10).startswith('charge("xxxxxxxxx')


@pytest.mark.parametrize("text", [None, "erased", "[1, 2]", '{"a": 1}', "[[], [], []]"])
def test_what_are_no_arguments_is_none(text: str | None) -> None:
    assert rows.arguments(text) == ([], {})


def test_a_payload_that_is_no_json_is_shown_as_it_is() -> None:
    assert rows.decoded('{"a": 1}') == {"a": 1}
    assert rows.decoded("erased by hand") == "erased by hand"
    assert rows.decoded_or_none(None) is None
    assert rows.decoded_or_none("null") is None


def test_a_doubt_names_its_step_and_its_run() -> None:
    told = rows.doubt_json(doubt(17, "charge"))
    assert told["step"] == f"{told['run']}/charge"
    assert list(told) == ["step", "run", "agent", "key", "tool", "args", "kwargs", "idempotency_key", "attempts", "sent", "error"]


def test_a_run_whose_event_is_gone_has_none() -> None:
    assert rows.run_json(run(17), None)["event"] is None
    assert rows.run_json(run(17), event(16))["event"] == event(16).id


def test_long_keys_and_ids_of_events_are_cut_where_people_read_them() -> None:
    row = run(17)._replace(key="k" * 5_000_000)
    of = event(row.event)._replace(id="e" * 5_000_000)
    assert sum(map(len, listing._run_cells(row, of, None))) < 500
    told = Told(row, of, None, None, [], [], None, [])
    short, full = ("\n".join(Story(told, limit, Path("data")).lines()) for limit in (200, None))
    assert len(short) < 2_000
    assert row.key in full
    assert of.id in full
