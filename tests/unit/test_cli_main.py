"""The command as a whole: its help, its version, what it costs to start, and its exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version

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
