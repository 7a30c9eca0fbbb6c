"""``runs``, ``doubts``, ``dead-letters``, ``state``: what they tell of a folder, whether or not an engine runs."""

from __future__ import annotations

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

from millstream.cli import listing, output
from millstream.cli.main import main
from millstream.cli.output import brief_time
from millstream.testing.conformance.stores import letter

COMMAND = [sys.executable, "-m", "millstream"]

APP = """
from millstream import App, Context, Effect, jsonl, tool

app = App("orders")
orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="id")


@tool(effect=Effect.AT_MOST_ONCE)
async def letter(id: str, *, to: str) -> str:
    if id == "lost":
        raise TimeoutError("no answer \\x1b[31mfrom the post")
    if id == "slow":
        open("entered", "w").close()
        open("go_on").close()
    return "posted"


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict], order: dict) -> None:
    if order["id"] == "wrong":
        raise ValueError("no such article")
    if order["id"] == "large":
        await ctx.receive("approval", about="large", timeout="24h")
    await letter(order["id"], to="ada")
    ctx.state["orders"] = [*ctx.state.get("orders", []), order["id"]]
"""

ORDERS = [
    {"id": "a", "customer": "ada"},
    {"id": "b", "customer": "ada"},
    {"id": "wrong", "customer": "bo"},
    {"id": "large", "customer": "cy"},
    {"id": "behind", "customer": "cy"},
    {"id": "lost", "customer": "evil \x1b[2J[red]"},
]

Call = Callable[..., tuple[int, str, str]]


def write(folder: Path, *orders: dict[str, str]) -> None:
    (folder / "app.py").write_text(APP)
    (folder / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose app has run until it was idle."""
    folder = tmp_path_factory.mktemp("shop")
    write(folder, *ORDERS)
    with (folder / "orders.jsonl").open("a") as lines:
        lines.write('{"id": "no customer"}\n{"id": \x1b[31m\n')
    environment = {name: value for name, value in os.environ.items() if name != "MILLSTREAM_DATA"}
    subprocess.run([*COMMAND, "run", "app.py", "--until-idle"], cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture
def call(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls ``millstream`` in ``shop``; gives its exit code, stdout and stderr."""
    monkeypatch.delenv("MILLSTREAM_DATA", raising=False)
    monkeypatch.chdir(shop)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millstream", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.out, told.err

    return call


def objects(call: Call, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    assert out.replace("\n", "").isprintable()
    return [json.loads(line) for line in out.splitlines()]


# --- runs -----------------------------------------------------------------------------------------------------------------


def test_runs_as_json_have_these_fields_newest_first(call: Call) -> None:
    runs = objects(call, "runs")
    assert [(run["event"], run["status"]) for run in runs] == [
        ("lost", "in_doubt"),
        ("behind", "queued"),
        ("large", "waiting"),
        ("wrong", "failed"),
        ("b", "done"),
        ("a", "done"),
    ]
    assert all(list(run) == ["run", "agent", "key", "status", "event", "created", "finished", "error"] for run in runs)
    done, failed, waiting = runs[-1], runs[3], runs[2]
    assert (done["agent"], done["key"], done["error"]) == ("fulfil", "ada", None)
    assert done["created"] <= done["finished"]
    assert len(done["finished"]) == len("2026-01-02T03:04:05.123456Z")
    assert (failed["error"]["type"], failed["error"]["message"]) == ("ValueError", "no such article")
    assert waiting["finished"] is None


def test_runs_can_be_chosen(call: Call) -> None:
    assert [run["event"] for run in objects(call, "runs", "--status", "waiting")] == ["large"]
    assert [run["event"] for run in objects(call, "runs", "--key", "ada")] == ["b", "a"]
    assert [run["event"] for run in objects(call, "runs", "--agent", "fulfil", "--limit", "2")] == ["lost", "behind"]
    assert objects(call, "runs", "--agent", "nobody") == []


def test_the_table_of_runs_says_why_they_do_not_go_on_and_escapes_what_a_terminal_would_obey(call: Call) -> None:
    code, out, _ = call("runs")
    assert code == 0
    assert "signal approval about large or until 2" in out
    assert "ValueError: no such article" in out
    assert "evil \\x1b[2J[red]" in out
    assert "\x1b" not in out


def test_no_runs_are_said_on_stderr(call: Call) -> None:
    assert call("runs", "--status", "diverged") == (0, "", "no runs of that kind\n")


def test_of_an_agent_without_runs_is_said_which_have_some(call: Call) -> None:
    assert call("runs", "--agent", "nobody") == (0, "", "no runs of that kind\n(there are runs of the agents fulfil)\n")


def test_an_unknown_status_is_a_usage_error_that_lists_them(call: Call) -> None:
    code, out, err = call("runs", "--status", "broken")
    assert (code, out) == (2, "")
    assert "queued, running, waiting, in_doubt, failed, diverged, done, cancelled" in err


# --- doubts ---------------------------------------------------------------------------------------------------------------


def test_doubts_as_json_have_these_fields(call: Call) -> None:
    (doubt,) = objects(call, "doubts")
    run = objects(call, "runs", "--status", "in_doubt")[0]["run"]
    expected = ["step", "run", "agent", "key", "tool", "args", "kwargs", "idempotency_key", "attempts", "sent", "error"]
    assert list(doubt) == expected
    assert (doubt["step"], doubt["run"], doubt["tool"]) == (f"{run}/letter", run, "letter")
    assert (doubt["args"], doubt["kwargs"], doubt["attempts"]) == (["lost"], {"to": "ada"}, 1)
    assert doubt["error"]["type"] == "TimeoutError"
    assert doubt["sent"].endswith("Z")
    assert len(doubt["idempotency_key"]) == 32


def test_the_table_of_doubts_says_how_to_settle_them(call: Call) -> None:
    code, out, err = call("doubts")
    assert code == 0
    assert 'letter("lost", to="ada")' in out
    assert "no answer \\x1b[31mfrom the post" in out
    assert "millstream resolve STEP --result JSON" in err


def test_the_table_of_doubts_has_the_key_that_one_searches_for(call: Call) -> None:
    (doubt,) = objects(call, "doubts")
    heading, row = call("doubts")[1].splitlines()
    assert row[heading.index("IDEMPOTENCY KEY") :].startswith(doubt["idempotency_key"])


@pytest.mark.parametrize("columns", [80, 140])
def test_on_a_terminal_nothing_is_broken_within_a_word(call: Call, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    words = {word for command in ("runs", "doubts", "dead-letters") for text in call(command)[1:] for word in text.split()}
    monkeypatch.setattr(output, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    now = brief_time(time.time_ns() // 1000)
    for command in ("runs", "doubts", "dead-letters"):
        for text in call(command)[1:]:
            assert all(len(line) <= columns for line in text.splitlines())
            shown = {word for word in text.split() if not (columns < 100 and f"{now[:11]}{word}" in words)}
            assert shown <= words | {"idempotency", "key"}


def test_a_narrow_terminal_has_the_time_of_day_and_notes_on_lines_of_their_own(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    lines = call("runs")[1].splitlines()
    assert "NOTE" not in lines[0]
    assert re.search(r"failed +wrong +(\d\d:\d\d:\d\dZ|\d{4}-\d\d-\d\d) +[\d.]+ ms$", "\n".join(lines), re.MULTILINE)
    assert "    ValueError: no such article" in lines


# --- dead letters ---------------------------------------------------------------------------------------------------------


def test_dead_letters_as_json_have_these_fields(call: Call) -> None:
    without_key, malformed = objects(call, "dead-letters")
    assert list(without_key) == ["stream", "position", "error", "data"]
    assert (without_key["stream"], without_key["position"], without_key["data"]) == ("orders", 7, '{"id": "no customer"}')
    assert "customer" in without_key["error"]
    assert malformed["data"] == '{"id": \x1b[31m'


def test_the_table_of_dead_letters_is_safe_for_a_terminal(call: Call) -> None:
    _, out, _ = call("dead-letters")
    assert '{"id": \\x1b[31m' in out


def test_a_dead_letter_that_was_cut_says_so() -> None:
    row = letter(1, kept="cut", data="abc", size=2_000_000)
    assert listing._letter_json(row)["data"] == "abc... (cut, of 2,000,000 bytes)"
    assert listing._letter_cells(row)[-1] == "abc... (cut, of 2,000,000 bytes)"
    assert listing._letter_json(letter(1, data="abc", size=3))["data"] == "abc"


def test_a_dead_letter_that_cannot_be_retried_says_so() -> None:
    row = letter(1, kept="evidence", data="{1, 2}", size=6)
    assert listing._letter_json(row)["data"] == "{1, 2}"
    assert listing._letter_cells(row)[-1] == "{1, 2} (evidence only: it cannot be retried)"


def test_dead_letters_are_not_read_again_without_an_engine(call: Call) -> None:
    code, _, err = call("dead-letters", "--retry")
    assert code == 1
    assert "millstream run TARGET" in err


# --- state ----------------------------------------------------------------------------------------------------------------


def test_the_state_of_a_key_goes_to_stdout_alone(call: Call) -> None:
    code, out, err = call("state", "fulfil", "ada")
    assert code == 0
    assert json.loads(out) == {"orders": ["a", "b"]}
    assert err.startswith("fulfil ada: version 2, left by run ")


def test_the_state_as_json_has_these_fields(call: Call) -> None:
    (state,) = objects(call, "state", "fulfil", "ada")
    last = objects(call, "runs", "--key", "ada")[0]["run"]
    assert state == {"agent": "fulfil", "key": "ada", "version": 2, "run": last, "state": {"orders": ["a", "b"]}}


@pytest.mark.parametrize(
    ("agent", "key", "hint"),
    [("nobody", "ada", "there are: fulfil"), ("fulfil", "nobody", "such as ada"), ("fulfil", "bo", "has left no state")],
)
def test_a_state_that_is_not_there_is_an_error_that_tells_what_is(call: Call, agent: str, key: str, hint: str) -> None:
    code, out, err = call("state", agent, key)
    assert (code, out) == (1, "")
    assert hint in err


# --- beside an engine -----------------------------------------------------------------------------------------------------


def test_listings_work_while_an_engine_runs(tmp_path: Path, call: Call) -> None:
    write(tmp_path, {"id": "slow", "customer": "ada"})
    for name in ("entered", "go_on"):
        os.mkfifo(tmp_path / name)
    engine = subprocess.Popen(
        [*COMMAND, "run", "app.py", "--until-idle", "--data", "data"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        (tmp_path / "entered").read_bytes()
        data = ("--data", str(tmp_path / "data"))
        assert [run["status"] for run in objects(call, "runs", *data)] == ["running"]
        assert objects(call, "doubts", *data) == []
        (tmp_path / "go_on").write_bytes(b"")
        assert engine.wait(30) == 0
        assert [run["status"] for run in objects(call, "runs", *data)] == ["done"]
    finally:
        engine.kill()
        engine.wait()
