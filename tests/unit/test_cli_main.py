"""The command as a whole: its help, its version, what it costs to start, and its exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

COMMANDS = ["demo", "new", "run", "runs", "show", "state", "doubts", "resolve", "signal", "retry", "cancel", "dead-letters"]


def millstream(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millstream", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_these_commands_and_no_others() -> None:
    told = millstream("--help")
    assert told.returncode == 0
    listed = told.stdout.partition("Commands:\n")[2]
    assert re.findall(r"^  (\S+)", listed, re.MULTILINE) == COMMANDS
    assert "..." not in listed  # the first sentence of each fits


def test_help_imports_no_engine_no_store_and_no_rich() -> None:
    code = (
        "import sys\nfrom millstream.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'apsw', 'msgspec', 'rich', 'uvloop', 'asyncio', 'pydantic', 'millstream.engine', 'millstream.core.tables'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command: str) -> None:
    told = millstream(command, "--help")
    assert told.returncode == 0
    assert f"\n  millstream {command}" in told.stdout
    assert [line for line in told.stdout.splitlines() if len(line) > 80] == []
    assert not re.search(r"<\w|\[required|\{[A-Z(]", told.stdout), "marks of Typer's own"


def test_the_version_is_that_of_the_package() -> None:
    assert millstream("--version").stdout == f"millstream {version('millstream')}\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["runs", "--nonsense"], ["run"], ["runs", "--limit", "0"], ["runs", "--limit", "many"], ["show"]]
)
def test_wrong_usage_has_exit_code_2_and_nothing_on_stdout(arguments: list[str]) -> None:
    told = millstream(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert "Traceback" not in told.stderr


def test_a_reader_that_goes_away_is_no_reason_to_complain() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    told = subprocess.run([sys.executable, "-m", "millstream", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert told.stderr == b""


# --- where its output goes, or cannot go ----------------------------------------------------------------------------------

APP = """
from millstream import App, jsonl, stdin, stdout

app = App("closed")
lines = app.source("lines", jsonl("in.jsonl"), key="k")

@app.agent(on=lines)
async def handle(ctx, line: dict) -> dict:
    print("printed")
    return line

handle.output.sink(jsonl("out.jsonl"))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.jsonl").write_text('{"k": "a"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def redirected(how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a shell starts it: ``how`` is what it does with the standard streams."""
    command = [sys.executable, "-m", "millstream", *arguments]
    return subprocess.run(["sh", "-c", f'exec "$@" {how}', "sh", *command], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_an_app_runs_where_standard_streams_are_closed(folder: Path, closed: str) -> None:
    told = redirected(closed, "run", "app.py", "--until-idle")
    assert (told.returncode, (folder / "out.jsonl").read_text()) == (0, '{"k":"a"}\n'), told.stderr
    listed = redirected(closed, "runs", "--json")
    assert listed.returncode == 0
    assert "Traceback" not in listed.stderr


def test_outputs_to_a_closed_standard_output_are_kept_and_an_error(folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace('jsonl("out.jsonl")', "stdout()"))
    told = redirected(">&-", "run", "app.py", "--until-idle")
    assert told.returncode == 1
    assert "error: cannot write to standard output: Bad file descriptor" in told.stderr
    again = millstream("run", "app.py", "--until-idle")
    assert again.returncode == 0
    assert again.stdout == '{"k":"a"}\n'


def test_a_closed_standard_input_is_at_its_end(folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace('jsonl("in.jsonl")', "stdin()"))
    told = redirected("<&-", "run", "app.py", "--until-idle")
    assert told.returncode == 0, told.stderr
    assert "0 accepted" in told.stderr


@pytest.mark.parametrize("arguments", [["runs"], ["runs", "--json"], ["--help"], ["--version"]])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(
    folder: Path, arguments: list[str], buffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", buffered)
    assert millstream("run", "app.py", "--until-idle").returncode == 0
    told = redirected("> /dev/full", *arguments)
    assert told.returncode == 1
    assert told.stderr == "error: cannot write the output: [Errno 28] No space left on device\n"


def test_a_log_that_cannot_be_written_stops_no_engine(folder: Path) -> None:
    assert redirected("2> /dev/full", "run", "app.py", "--until-idle").returncode == 0
    assert (folder / "out.jsonl").read_text() == '{"k":"a"}\n'


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_listing_that_nobody_reads_to_its_end_is_quiet(folder: Path, buffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", buffered)
    assert millstream("run", "app.py", "--until-idle").returncode == 0
    assert redirected("| head -n 0", "runs").stderr == ""
