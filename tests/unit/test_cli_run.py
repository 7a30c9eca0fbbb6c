"""``millstream run``, as a user's shell runs it: a process of its own, signals, a terminal.

Tools block on named pipes, so that a test knows where the app is, and decides when it goes on.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from millstream import App, Context, jsonl
from millstream.cli.main import main
from millstream.cli.progress import WARNINGS, Progress
from millstream.runtime.control import ask
from millstream.stores.folder import SOCKET

COMMAND = [sys.executable, "-m", "millstream"]

APP = """
import sys

from millstream import INJECTED, App, Context, Effect, ToolCall, jsonl, tool

app = App("orders")
orders = app.source("orders", jsonl("orders.jsonl"), key="id", id="id")


@tool(effect=Effect.IDEMPOTENT)
def charge(id: str, call: ToolCall = INJECTED) -> str:
    if id == "slow":
        open("entered", "w").close()  # a named pipe: until the test reads it
        open("go_on").close()         # until the test writes to it
    return call.idempotency_key


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict], order: dict) -> dict:
    if order["id"] == "wrong":
        raise ValueError("no such article")
    if order["id"] == "loops":
        print("about to loop", file=sys.stderr, flush=True)
        while True:
            pass
    return {"order": order["id"], "receipt": await charge(order["id"])}


fulfil.output.sink(jsonl("receipts.jsonl"))
"""

DATA = Path(".millstream/orders")

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MILLSTREAM_DATA", raising=False)
    (tmp_path / "app.py").write_text(APP)
    for name in ("entered", "go_on"):
        os.mkfifo(tmp_path / name)
    return tmp_path


@pytest.fixture
def start(shop: Path) -> Iterator[Start]:
    """Starts ``millstream run app.py`` with the given orders; whatever is left at the end is killed."""
    children = []

    def start(*arguments: str, orders: str = "") -> subprocess.Popen[str]:
        write_orders(shop, *orders.split())
        child = subprocess.Popen(
            [*COMMAND, "run", "app.py", *arguments], cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def write_orders(shop: Path, *ids: str) -> None:
    (shop / "orders.jsonl").write_text("".join(json.dumps({"id": id}) + "\n" for id in ids))


def millstream(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=shop, capture_output=True, text=True, check=False, timeout=60)


def wait_until_entered(shop: Path) -> None:
    (shop / "entered").read_bytes()


def let_go_on(shop: Path) -> None:
    (shop / "go_on").write_bytes(b"")


def line_with(child: subprocess.Popen[str], text: str) -> str:
    assert child.stderr is not None
    for line in child.stderr:
        if text in line:
            return line
    raise AssertionError(f"{text!r} was never said")


def statuses(shop: Path) -> dict[str, str]:
    listed = millstream(shop, "runs", "--json").stdout.splitlines()
    return {run["event"]: run["status"] for run in map(json.loads, listed)}


def receipts(shop: Path) -> list[str]:
    return [json.loads(line)["order"] for line in (shop / "receipts.jsonl").read_text().splitlines()]


def sink_is_recorded(shop: Path) -> bool:
    """Is it durable that the first output was written?"""
    if not (shop / DATA / "millstream.db").exists():
        return False
    with closing(sqlite3.connect(shop / DATA / "millstream.db")) as database:
        try:
            return database.execute("SELECT 1 FROM sinks WHERE row = 1").fetchone() is not None
        except sqlite3.OperationalError:  # the table is not there yet
            return False


# --- running --------------------------------------------------------------------------------------------------------------


def test_until_idle_a_followed_file_is_waited_for_until_what_is_there_was_read(shop: Path) -> None:
    (shop / "app.py").write_text(APP.replace('jsonl("orders.jsonl")', 'jsonl("orders.jsonl", follow=True)'))
    told = millstream(shop, "run", "app.py", "--until-idle")  # there is no file yet
    assert (told.returncode, receipts(shop)) == (0, [])
    orders = [f"order-{number}" for number in range(600)]  # several reads
    write_orders(shop, *orders)
    with (shop / "orders.jsonl").open("a") as file:
        file.write('{"id": "half')  # whose newline may never come
    told = millstream(shop, "run", "app.py", "--until-idle")
    assert told.returncode == 0
    assert sorted(receipts(shop)) == sorted(orders)
    with (shop / "orders.jsonl").open("a") as file:
        file.write('-written"}\n')
    assert millstream(shop, "run", "app.py", "--until-idle").returncode == 0
    assert sorted(receipts(shop)) == sorted([*orders, "half-written"])


def test_until_idle_an_open_pipe_is_waited_for_until_its_writer_has_closed_it(shop: Path) -> None:
    (shop / "app.py").write_text(
        APP.replace("import INJECTED, ", "import INJECTED, stdin, ").replace('jsonl("orders.jsonl")', "stdin()")
    )
    child = subprocess.Popen(
        [*COMMAND, "run", "app.py", "--until-idle"], cwd=shop, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    with child:
        child.stdin.write('{"id": "a"}\n')
        child.stdin.flush()
        while not sink_is_recorded(shop):
            assert child.poll() is None
            time.sleep(0.01)
        # It is idle now, but for the pipe, and looks whether it is behind the commit of this signal, at the latest. If it ended
        # then, the next request would find nobody.
        assert ask(shop / DATA / SOCKET, {"op": "signal", "agent": "fulfil", "key": "a", "name": "x", "value": 1}) == "kept"
        assert ask(shop / DATA / SOCKET, {"op": "status"})["done"] == 1
        child.stdin.write('{"id": "b"}\n')
        child.stdin.close()
        assert child.wait(30) == 0
    assert sorted(receipts(shop)) == ["a", "b"]


def test_until_idle_works_off_the_input_and_says_on_stderr_what_was_done_and_what_is_left(shop: Path) -> None:
    write_orders(shop, "a", "wrong", "b")
    told = millstream(shop, "run", "app.py", "--until-idle")
    assert (told.returncode, told.stdout) == (0, "")  # whatever the outcomes of runs
    first, failed, summary, left = told.stderr.splitlines()
    assert "orders on .millstream/orders; from orders (orders.jsonl); to fulfil.output (receipts.jsonl)" in first
    assert "warning: run " in failed
    assert "no such article" in failed
    assert re.search(r"idle after .*: 3 accepted, 2 done, 1 failed, 2 outputs", summary)
    assert "1 run failed: `millstream runs --status failed`" in left
    assert sorted(receipts(shop)) == ["a", "b"]


def test_the_data_is_beside_the_target_wherever_the_command_is_given(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_orders(elsewhere, "a")  # the app's paths are relative to where it is run
    assert millstream(elsewhere, "run", str(shop / "app.py"), "--until-idle").returncode == 0
    assert (shop / ".millstream/orders/millstream.db").exists()
    assert not (elsewhere / ".millstream").exists()


def test_existing_refuses_to_begin_anew(shop: Path) -> None:
    write_orders(shop, "a")
    told = millstream(shop, "run", "app.py", "--until-idle", "--existing")
    assert told.returncode == 1
    assert "--existing" in told.stderr
    assert not (shop / ".millstream").exists()
    assert millstream(shop, "run", "app.py", "--until-idle").returncode == 0
    assert millstream(shop, "run", "app.py", "--until-idle", "--existing").returncode == 0


def test_a_second_engine_is_refused_with_the_pid_of_the_first_which_goes_on(shop: Path, start: Start) -> None:
    engine = start("--until-idle", orders="slow")
    wait_until_entered(shop)
    told = millstream(shop, "run", "app.py")
    assert told.returncode == 1
    assert f"held by process {engine.pid}" in told.stderr
    let_go_on(shop)
    assert engine.wait(30) == 0
    assert receipts(shop) == ["slow"]


# --- stopping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_the_step_in_flight_is_recorded(shop: Path, start: Start, number: signal.Signals) -> None:
    engine = start(orders="slow a")
    wait_until_entered(shop)
    engine.send_signal(number)
    assert "25 s" in line_with(engine, "stopping")
    let_go_on(shop)
    assert "stopped after" in line_with(engine, "stopped")
    assert engine.wait(30) == 0
    assert millstream(shop, "run", "app.py", "--until-idle").returncode == 0
    assert sorted(receipts(shop)) == ["a", "slow"]


def test_a_second_ctrl_c_ends_it_at_once_and_the_next_run_goes_on(shop: Path, start: Start) -> None:
    engine = start(orders="slow")
    wait_until_entered(shop)
    engine.send_signal(signal.SIGINT)
    line_with(engine, "stopping")
    engine.send_signal(signal.SIGINT)
    line_with(engine, "stopped at once")
    assert engine.wait(30) == 130
    assert statuses(shop) == {"slow": "running"}
    again = start("--until-idle", orders="slow")
    wait_until_entered(shop)
    let_go_on(shop)
    assert again.wait(30) == 0
    assert receipts(shop) == ["slow"]


def test_a_second_ctrl_c_ends_it_also_when_a_handler_never_waits(shop: Path, start: Start) -> None:
    engine = start(orders="loops")
    line_with(engine, "about to loop")
    engine.send_signal(signal.SIGINT)
    engine.send_signal(signal.SIGTERM)
    line_with(engine, "stopped at once")
    assert engine.wait(30) == 130


def test_runs_of_an_agent_that_is_not_in_the_app_any_more_are_told_of(shop: Path) -> None:
    write_orders(shop, "wrong")
    assert "which is not in the app" not in millstream(shop, "run", "app.py", "--until-idle").stderr
    (shop / "app.py").write_text(APP.replace("fulfil", "deliver"))
    told = millstream(shop, "run", "app.py", "--until-idle").stderr
    assert "1 run of agent 'fulfil', which is not in the app: they stand still until it is" in told


def test_after_kill_9_listings_work_and_the_same_command_goes_on(shop: Path, start: Start) -> None:
    engine = start("--until-idle", orders="a slow")
    wait_until_entered(shop)
    engine.kill()
    engine.wait()
    assert statuses(shop)["slow"] == "running"
    again = start("--until-idle", orders="a slow")
    wait_until_entered(shop)
    let_go_on(shop)
    assert " running" in line_with(again, "goes on with what is there")
    assert again.wait(30) == 0
    assert sorted(receipts(shop)) == ["a", "slow"]
    assert statuses(shop) == {"a": "done", "slow": "done"}


# --- what is wrong, in this process --------------------------------------------------------------------------------------

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Calls ``millstream run`` in ``shop``; gives its exit code and what it says on stderr."""
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "path", sys.path[:])
    modules = set(sys.modules)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["millstream", "run", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert told.out == ""
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.err

    yield call
    for name in set(sys.modules) - modules:
        if not name.startswith("millstream"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "arguments",
    [["nowhere.py"], ["nowhere:app"], ["app"], ["app.py:app"], ["app.py", "--grace", "5"], ["app.py", "--max-clock-jump", "x"]],
)
def test_wrong_usage_has_exit_code_2_and_says_what_to_give(call: Call, arguments: list[str]) -> None:
    code, error = call(*arguments)
    assert code == 2
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_an_app_that_cannot_be_imported_shows_the_users_frames_and_no_others(shop: Path, call: Call) -> None:
    (shop / "broken.py").write_text("def load():\n    raise KeyError('settings')\n")
    (shop / "app.py").write_text("import broken\nbroken.load()\n")
    code, error = call("app.py")
    assert code == 1
    files = re.findall(r'File "(.*?)", line (\d+)', error)
    assert [(Path(name).name, line) for name, line in files] == [("app.py", "2"), ("broken.py", "2")]
    assert error.splitlines()[-1] == "error: broken.py:2: app.py cannot be imported: KeyError: 'settings'"


def test_a_syntax_error_shows_its_line(shop: Path, call: Call) -> None:
    (shop / "app.py").write_text("def app(:\n")
    code, error = call("app.py")
    assert code == 1
    assert "def app(:" in error
    assert "importlib" not in error


def test_a_wrong_declaration_is_one_block_with_its_place(shop: Path, call: Call) -> None:
    (shop / "app.py").write_text("from millstream import App\n\napp = App('not a name')\n")
    code, error = call("app.py")
    assert code == 1
    assert error.startswith("error: app.py:3: ")
    assert "Traceback" not in error


def test_an_error_of_the_apps_lifespan_shows_the_users_frames(shop: Path, call: Call) -> None:
    lifespan = "@contextlib.asynccontextmanager\nasync def life():\n    raise OSError('no database')\n    yield\n"
    (shop / "app.py").write_text(f"import contextlib\nfrom millstream import App\n{lifespan}app = App('a', lifespan=life)\n")
    code, error = call("app.py")
    assert code == 1
    assert re.findall(r'File ".*/(.*?)", line (\d+)', error) == [("app.py", "5")]
    assert "raised by the app's own code" in error


def test_a_source_that_is_not_there_is_one_block(call: Call) -> None:
    code, error = call("app.py", "--until-idle")
    assert code == 1
    assert "orders.jsonl does not exist" in error
    assert "Traceback" not in error


# --- on a terminal --------------------------------------------------------------------------------------------------------


def test_on_a_terminal_a_block_is_kept_current_and_the_cursor_is_given_back(shop: Path) -> None:
    write_orders(shop, *(f"o{number}" for number in range(200)))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shop)
        os.environ.update(TERM="xterm", COLUMNS="200")
        os.execv(sys.executable, [*COMMAND, "run", "app.py", "--until-idle"])
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # Linux tells the end of a terminal so
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert "orders on .millstream/orders" in text
    assert re.search(r"events/s [\d,]+  accepted [\d,]+  done [\d,]+  failed 0  active [\d,]+  waiting 0  in doubt 0", text)
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")
    assert text.rstrip().endswith("200 accepted, 200 done, 0 failed, 200 outputs")


def progress_of(app: App, folder: Path) -> Progress:
    return Progress(app.graph(), folder)


def test_what_is_said_while_the_folder_is_recovered_comes_behind_the_first_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App("early")
    app.source("orders", jsonl("orders.jsonl"), key="id").sink(jsonl("out.jsonl"))
    shown = progress_of(app, tmp_path)
    shown.log("warning", "run 1-1-1 failed")
    shown.start()
    first, second = capsys.readouterr().err.splitlines()
    assert "info: early on " in first
    assert second.endswith("warning: run 1-1-1 failed")


def test_what_is_said_before_it_could_start_is_told_when_it_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress_of(App("early"), tmp_path)
    shown.log("warning", "run 1-1-1 failed")
    shown.close()
    assert capsys.readouterr().err.endswith("warning: run 1-1-1 failed\n")


def test_a_source_that_nothing_handles_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App("unhandled")
    app.source("forgotten", jsonl("a.jsonl"), key="id").filter(bool)
    app.source("copied", jsonl("b.jsonl"), key="id").map(lambda value: value).sink(jsonl("out.jsonl"))
    handled = app.source("handled", jsonl("c.jsonl"), key="id")

    @app.agent(on=handled.filter(bool))
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None: ...

    progress_of(app, tmp_path).start()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith("warning: nothing handles 'forgotten': its events are counted and not kept")


def test_lines_behind_the_first_of_a_message_are_indented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress_of(App("lines"), tmp_path)
    shown.start()
    capsys.readouterr()
    shown.log("warning", "recorded is [1]\n2026-01-01T00:00:00Z info: and now [2]")
    told = capsys.readouterr().err
    assert told.endswith("warning: recorded is [1]\n    2026-01-01T00:00:00Z info: and now [2]\n")


def test_a_run_that_diverges_is_not_counted_among_those_that_failed_and_one_duplicate_is_one(shop: Path) -> None:
    waits = 'await charge(order["id"] + PRICE)\n    await ctx.receive("go")\n    return {"order": order["id"], "receipt": ""}\n'
    edited = APP.replace('return {"order": order["id"], "receipt": await charge(order["id"])}\n', waits)
    (shop / "app.py").write_text('PRICE = "1"\n' + edited)
    write_orders(shop, "a", "a", "wrong")
    summary = millstream(shop, "run", "app.py", "--until-idle").stderr
    assert "2 accepted, 0 done, 1 failed, 0 outputs, 1 duplicate\n" in summary
    (shop / "app.py").write_text('PRICE = "2"\n' + edited)
    assert millstream(shop, "signal", "fulfil", "a", "go", "1").returncode == 0
    summary = millstream(shop, "run", "app.py", "--until-idle").stderr
    assert "0 accepted, 0 done, 0 failed, 0 outputs, 1 diverged\n" in summary
    assert "1 run diverged: `millstream runs --status diverged`" in summary
    assert "\\n" not in summary
    assert re.search(r"diverged: .* is recorded with the arguments .*\n    and the handler now asks for it with ", summary)


def test_beyond_a_number_of_warnings_they_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App("many")
    app.source("orders", jsonl("orders.jsonl"), key="id")
    shown = Progress(app.graph(), tmp_path)
    for number in range(WARNINGS + 7):
        shown.log("warning", f"run {number} failed: \x1b[2J")
    shown.log("warning", "all 64 threads are taken")  # one of its kind
    shown.summary()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == WARNINGS + 2
    assert lines[WARNINGS].endswith("warning: all 64 threads are taken")
    assert lines[0].endswith("warning: run 0 failed: \\x1b[2J")
    assert "7 more warnings" in lines[-1]
