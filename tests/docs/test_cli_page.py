"""docs/cli.md is what the commands say of themselves, and the examples in their help are true to them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = (DOCS / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^## millstream ?([\w-]*)\n\n```text\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_is_what_the_commands_say() -> None:
    assert script("make_cli").page() == PAGE, "run python docs/make_cli.py"


def test_every_command_has_a_section() -> None:
    from millstream.cli.main import COMMANDS

    assert list(SECTIONS) == ["", *(command.__name__.replace("_", "-") for command in COMMANDS)]


def test_every_example_in_the_help_is_a_command_with_options_that_it_has() -> None:
    examples = re.findall(r"millstream ([a-z][\w-]*)((?: [^\n|`]*)?)", "".join(SECTIONS.values()))
    commands = [(command, rest) for command, rest in examples if command in SECTIONS]
    assert len(commands) > 25
    for command, rest in commands:
        spoken = re.sub(r"'[^']*'", "", rest).partition("  ")[0]  # what follows a gap is an explanation
        for option in re.findall(r"(?<!\S)(--[\w-]+)", spoken):
            assert re.search(rf"^  (-\w, )?{option}\b", SECTIONS[command], re.MULTILINE), f"millstream {command}{rest}"
    usage = re.findall(r"^Usage: millstream ([\w-]+) ", PAGE, re.MULTILINE)
    assert usage == [command for command in SECTIONS if command]


def test_every_option_says_what_it_is_for() -> None:
    for command, text in SECTIONS.items():
        options = text.partition("\nOptions:\n")[2].partition("\nCommands:\n")[0]
        starts = re.findall(r"^  (-\S.*)$", options, re.MULTILINE)
        assert starts, command
        assert [line for line in starts if "  " not in line] == [], command
