"""``millstream show``: runs to which much has happened, as a story (``cli.story``) and as JSON (``cli.told``)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millstream.cli import output
from millstream.cli.main import main
from millstream.cli.output import brief_time
from millstream.cli.story import Story
from millstream.cli.told import Told, read
from millstream.core.identity import parse_run_id
from millstream.runtime.local import visit
from millstream.stores.sqlite import SqliteStore

COMMAND = [sys.executable, "-m", "millstream"]

APP = """
import os
from pathlib import Path
from millstream import INJECTED, App, Context, Done, Effect, Retry, ToolCall, jsonl, tool

app = App("orders")
orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="id")


@tool(effect=Effect.READ, retry=Retry(backoff="1ms"))
async def lookup(id: str, call: ToolCall = INJECTED) -> str:
    if call.attempt == 1:
        raise TimeoutError("too slow")
    return "x" * 1000


@tool(effect=Effect.IDEMPOTENT)
async def charge(id: str) -> str:
    if not Path("repaired").exists():
        raise ValueError("card refused")
    return "charged"


asked = []


async def is_booked(call: ToolCall, id: str) -> Done[str]:
    asked.append(id)
    if len(asked) == 1:
        raise ConnectionError("no line")
    return Done("B-7")


@tool(effect=Effect.VERIFIED, verify=is_booked, timeout="50ms", settle="0s", retry=Retry(backoff="1ms"))
async def book(id: str) -> str:
    raise ConnectionError("reset")


@tool(effect=Effect.AT_MOST_ONCE)
async def letter(id: str) -> str:
    raise TimeoutError("no answer\\x1b[31m")


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict], order: dict) -> dict:
    ctx.state["last"] = order["id"]
    if order["id"] == "first":
        return {}
    if order["id"] == "broken":
        raise RuntimeError("broken\\nin two lines")
    await lookup(order["id"])
    await ctx.sleep("1ms")
    await ctx.receive("approval", about=order["id"])
    await ctx.ask("helper", "h", {"for": order["id"]})
    await charge(order["id"])
    await book(order["id"])
    await letter(order["id"])
    return {"order": order["id"]}


@app.agent()
async def helper(ctx: Context[dict], question: dict) -> dict:
    return {"helped": question["for"]}
"""


def millstream(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "MILLSTREAM_DATA"}
    told = subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder, and the runs in it by the id of their event."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "app.py").write_text(APP)
    orders = [{"id": "first", "customer": "ada"}, {"id": "full", "customer": "ada"}, {"id": "broken", "customer": "bo"}]
    (folder / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    millstream(folder, "run", "app.py", "--until-idle")
    found = {run["event"]: run["run"] for run in map(json.loads, millstream(folder, "runs", "--json").splitlines())}
    data, run = folder / ".millstream/orders", found["full"]
    asyncio.run(visit(data, {"op": "signal", "run": run, "name": "approval", "value": "yes", "about": "full", "by": "ann"}))
    millstream(folder, "run", "app.py", "--until-idle")
    (folder / "repaired").touch()
    asyncio.run(visit(data, {"op": "retry", "run": run}))
    millstream(folder, "run", "app.py", "--until-idle")
    asyncio.run(visit(data, {"op": "resolve", "step": f"{run}/letter", "how": "result", "value": "posted", "by": "bob"}))
    millstream(folder, "run", "app.py", "--until-idle")
    return folder, found


Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(runs: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Calls ``millstream show`` with the run of an event; gives its exit code, stdout and stderr."""
    monkeypatch.delenv("MILLSTREAM_DATA", raising=False)
    monkeypatch.chdir(runs[0])

    def show(event: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millstream", "show", runs[1].get(event, event), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.out, told.err

    return show


def in_order(text: str, *parts: str) -> None:
    """Each part is in the text, behind the one before."""
    place = 0
    for part in parts:
        found = text.find(part, place)
        assert found >= 0, f"{part!r} is not behind {text[:place][-80:]!r} in\n{text}"
        place = found + len(part)


def test_a_story_is_told_from_the_event_to_the_outcome(show: Show, runs: tuple[Path, dict[str, str]]) -> None:
    code, story, error = show("full")
    assert (code, error) == (0, "")
    in_order(
        story,
        f"Run {runs[1]['full']} of fulfil, key ada: done",
        "Event full of orders, from source orders at position 2",
        '{"id": "full", "customer": "ada"}',
        "What it did",
        'lookup("full")  READ',
        "attempt 1: no answer came; performed again",
        "TimeoutError: too slow",
        "returned at attempt 2,",
        "a timer rang",
        "signal approval about full, sent by ann at +",
        'value "yes"',
        "asked helper, key h",
        'value {"for":"full"}',
        'returned {"helped":"full"}',
        'charge("full")  IDEMPOTENT, key ',
        "failed",
        "ValueError: card refused",
        "Tried again (2nd time)",
        'book("full")  VERIFIED, key ',
        "attempt 1: it may or may not have happened; its probe was asked",
        "ConnectionError: reset",
        "attempt 1: its probe gave no answer; it was asked again",
        "ConnectionError: no line",
        'its probe says that it happened, and returned "B-7"',
        'letter("full")  AT_MOST_ONCE, key ',
        "attempt 1: IN DOUBT, it may or may not have happened",
        "TimeoutError: no answer\\x1b[31m",
        'settled by bob with the result "posted"',
        "State, version 2",
        'before {"last":"first"}',
        'after  {"last":"full"}',
        "What left it",
        "to agent helper, key h, handled by run ",
        "to stream fulfil.output, key ada",
        '{"order":"full"}',
        "Done 2",
    )


def test_long_values_are_cut_with_a_note_unless_full(show: Show) -> None:
    _, story, _ = show("full")
    assert "x" * 1000 not in story
    assert "--full shows all" in story
    assert "x" * 1000 in show("full", "--full")[1]


def test_the_story_of_a_failed_run_ends_with_its_error_its_place_and_what_to_do(
    show: Show, runs: tuple[Path, dict[str, str]]
) -> None:
    _, story, _ = show("broken")
    line = 1 + APP.splitlines().index('        raise RuntimeError("broken\\nin two lines")')
    retry = f"millstream retry {runs[1]['broken']}"
    in_order(story, "Failed 2", "RuntimeError: broken\n", "in two lines\n", f"at app.py:{line} in fulfil\n", "Traceback", retry)
    assert story.count("RuntimeError: broken") == 1
    assert "millstream/agents" not in story


def told(runs: tuple[Path, dict[str, str]], event: str) -> Told:
    store = SqliteStore(runs[0] / ".millstream/orders/millstream.db", app=None, partitions=None, read_only=True)
    try:
        found = read(store, parse_run_id(runs[1][event]).number)
    finally:
        store.close()
    assert found is not None
    return found


def story(told: Told) -> str:
    return "\n".join(Story(told, None, Path("nowhere")).lines())


def while_its_probe_is_waited_for(runs: tuple[Path, dict[str, str]]) -> Told:
    found = told(runs, "full")
    kinds = [(record.kind, record.tool) for record in found.records]
    until = kinds.index(("attempted", "book")) + 1
    return found._replace(row=found.row._replace(status="running", finished=None), records=found.records[:until])


def test_while_a_probe_is_waited_for_it_is_said_when_it_will_be_asked(runs: tuple[Path, dict[str, str]]) -> None:
    found = while_its_probe_is_waited_for(runs)
    last, now = found.records[-1], time.time_ns() // 1000

    def due(at: int | None) -> str:
        note = json.loads(last.note or "") | {"due": at}
        return story(found._replace(records=[*found.records[:-1], last._replace(note=json.dumps(note))]))

    assert f"its probe will be asked at {brief_time(now + 90_000_000)}, in 1 min " in due(now + 90_000_000)
    assert "its probe is being asked" in due(now - 1)
    assert "its probe will be asked when the app runs again" in due(None)


def test_the_record_knows_when_a_probe_will_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILLSTREAM_DATA", raising=False)
    app = APP.replace('settle="0s"', 'settle="1h"').replace('    await ctx.receive("approval", about=order["id"])\n', "")
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "repaired").touch()
    (tmp_path / "orders.jsonl").write_text('{"id": "slow", "customer": "ada"}\n')
    engine = subprocess.Popen([*COMMAND, "run", "app.py"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline, shown = time.monotonic() + 30, ""
        while "its probe will be asked at 2" not in shown:
            assert time.monotonic() < deadline, shown
            listed = subprocess.run([*COMMAND, "runs", "--agent", "fulfil", "--json"], cwd=tmp_path, capture_output=True, text=True)
            shown = millstream(tmp_path, "show", json.loads(listed.stdout)["run"]) if listed.stdout else ""
    finally:
        engine.kill()
        engine.wait()
    assert re.search(r"its probe will be asked at .*Z, in (59 min|1 h)", shown)


def test_a_retry_says_who_wanted_it_and_when_if_that_is_recorded(runs: tuple[Path, dict[str, str]]) -> None:
    found = told(runs, "full")
    first = next(place for place, record in enumerate(found.records) if record.generation == 1)
    wanted = found.records[first]._replace(kind="retried", step=None, tool=None, args=None, result=None, note='{"by": "ann"}')
    text = story(found._replace(records=[*found.records[:first], wanted, *found.records[first:]]))
    assert re.search(r"^Tried again \(2nd time\), wanted by ann at \+", text, re.MULTILINE)
    queued = found._replace(row=found.row._replace(status="queued", started=None), records=[*found.records[:first], wanted])
    in_order(story(queued), "Tried again (2nd time), wanted by ann", "It waits for its turn to be tried again")


def test_a_signal_that_was_refused_is_told_with_the_reason(runs: tuple[Path, dict[str, str]]) -> None:
    found = told(runs, "full")
    note = '{"refused": "Expected `bool`", "by": "ann", "id": "1"}'
    received = next(record for record in found.records if record.kind == "received")
    refused = received._replace(kind="noted", note=note, result=None)
    in_order(
        story(found._replace(records=[refused, *found.records])),
        "signal approval, sent by ann, is not what it waits for: Expected `bool`\n",
        "signal approval about full, sent by ann",
    )


def test_where_a_retry_comes_to_the_same_end_it_is_not_suggested(runs: tuple[Path, dict[str, str]]) -> None:
    found = told(runs, "full")
    settled = next(record for record in found.records if record.kind == "resulted" and record.step == "letter")
    denied = '{"type": "Denied", "message": "no stamp", "data": null}'
    settled = settled._replace(result=None, error=denied, note='{"settled": "fail", "by": "bob"}')
    row = found.row._replace(status="failed", error=denied)
    text = story(found._replace(row=row, records=[*found.records[:-1], settled]))
    assert "letter was settled as failed by bob; a retry will not perform it" in text
    assert "millstream retry" not in text
    other = found._replace(row=row._replace(error='{"type": "ValueError", "message": "no stamp", "data": null}'))
    assert "millstream retry" in story(other)


def test_a_settlement_that_does_not_fit_is_to_be_given_anew_and_not_to_be_retried(runs: tuple[Path, dict[str, str]]) -> None:
    found = told(runs, "full")
    message = "the recorded result of letter does not fit its declared type int: Expected `int`, got `str`"
    row = found.row._replace(status="diverged", error=json.dumps({"type": "Diverged", "message": message, "data": None}))
    text = story(found._replace(row=row))
    assert "What letter was settled with by bob does not fit; settle it anew" in text
    assert f"millstream resolve {runs[1]['full']}/letter --result JSON" in text
    assert "millstream retry" not in text
    other = row._replace(error='{"type": "Diverged", "message": "another reason", "data": null}')
    assert "millstream retry" in story(found._replace(row=other))


def test_where_something_was_done_after_the_failure_a_retry_is_not_suggested(runs: tuple[Path, dict[str, str]]) -> None:
    found = told(runs, "full")
    failed = next(record for record in found.records if record.kind == "resulted" and record.step == "charge")
    later = next(record for record in found.records if record.kind == "intended" and record.step == "letter")
    assert failed.error is not None
    text = story(found._replace(row=found.row._replace(status="failed", error=failed.error), records=[failed, later]))
    assert "charge failed, and then letter was done: a retry is handed that failure again, and" in text
    assert "millstream retry" not in text
    text = story(found._replace(row=found.row._replace(status="failed", error=failed.error), records=[later, failed]))
    assert "millstream retry" in text


def test_on_a_terminal_lines_go_on_under_their_beginning_and_keys_stay_whole(
    show: Show, runs: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {record.key for record in told(runs, "full").records if record.kind == "intended"}
    monkeypatch.setattr(output, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    _, text, _ = show("full")
    assert all(len(line) <= 60 for line in text.splitlines())
    assert keys <= set(text.split())
    assert re.search(r'^ +\+[\d.]+ m?s  charge\("full"\)  IDEMPOTENT, key\n {15}[0-9a-f]{32}$', text, re.MULTILINE)


def test_a_run_that_was_sent_its_event_names_the_sender(show: Show, runs: tuple[Path, dict[str, str]]) -> None:
    helper = re.search(r"handled by run (\S+) \(helper", show("full")[1])
    assert helper is not None
    _, story, _ = show(helper[1])
    in_order(story, f"Event {runs[1]['full']}/", f"of helper.inbox, sent by run {runs[1]['full']}", '{"for":"full"}')


def test_times_never_go_back_within_a_step_and_begin_at_the_event(show: Show) -> None:
    records = as_json(show, "full")["records"]
    assert [record["at"] for record in records] == sorted(record["at"] for record in records)
    assert all(record["at"] >= as_json(show, "full")["created"] for record in records)


def test_times_in_the_notes_of_records_are_rfc_3339_too(show: Show) -> None:
    notes = [record["note"] for record in as_json(show, "full")["records"] if record["kind"] == "received"]
    assert notes
    assert all(note["sent"].endswith("Z") for note in notes)


def as_json(show: Show, event: str) -> dict[str, Any]:
    code, out, _ = show(event, "--json")
    assert code == 0
    assert out.count("\n") == 1
    told: dict[str, Any] = json.loads(out)
    return told


def test_as_json_it_holds_the_same(show: Show, runs: tuple[Path, dict[str, str]]) -> None:
    told = as_json(show, "full")
    assert (told["run"], told["status"], told["generation"]) == (runs[1]["full"], "done", 1)
    assert told["event"]["payload"] == {"id": "full", "customer": "ada"}
    assert (told["event"]["source"], told["event"]["position"], told["event"]["cause"]) == ("orders", 2, None)
    assert told["state"] == {"version": 2, "before": {"last": "first"}, "after": {"last": "full"}}
    received = next(record for record in told["records"] if record["kind"] == "received")
    assert (received["result"], received["note"]["by"]) == ("yes", "ann")
    charge = [record for record in told["records"] if record["tool"] == "charge" and record["kind"] == "intended"]
    assert {record["idempotency_key"] for record in charge} == {charge[0]["idempotency_key"]}
    assert (charge[0]["args"], charge[0]["effect"]) == (["full"], "idempotent")
    assert [emitted["stream"] for emitted in told["emitted"]][-1] == "fulfil.output"


def test_the_id_of_a_step_will_do(show: Show, runs: tuple[Path, dict[str, str]]) -> None:
    assert show(f"{runs[1]['full']}/letter")[0] == 0


def test_a_run_that_is_not_there_is_an_error_and_no_id_is_wrong_usage(show: Show) -> None:
    code, out, err = show("1-1-4000000")
    assert (code, out) == (1, "")
    assert "there is no run 1-1-4000000" in err
    assert show("nonsense")[0] == 2
