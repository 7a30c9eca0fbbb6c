"""The public names are pinned, and come at no cost before they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import millstream

NAMES = {
    "App",
    "Agent",
    "Stream",
    "Context",
    "Signal",
    "tool",
    "Tool",
    "Effect",
    "Retry",
    "INJECTED",
    "ToolCall",
    "Connection",
    "Done",
    "NotDone",
    "Unknown",
    "jsonl",
    "stdin",
    "stdout",
    "MillstreamError",
    "DeclarationError",
    "UsageError",
    "NotFound",
    "RunError",
    "ToolFailed",
    "AskFailed",
    "Deadlock",
    "NotSent",
    "RunPutAway",
}


def test_the_public_names_are_these() -> None:
    assert set(millstream.__all__) == NAMES
    assert len(millstream.__all__) == len(NAMES)
    assert set(dir(millstream)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(millstream, name)
    assert getattr(millstream, name) is value
    assert value.__doc__ or name == "INJECTED"


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    """PEP 562 hides the imports from type checkers, so they are written twice."""
    tree = ast.parse(Path(millstream.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    modules = {name: f"millstream.{millstream._MODULE_OF.get(name, 'errors')}" for name in NAMES}
    assert seen == modules


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'millstream' has no attribute 'Ap'"):
        millstream.Ap  # type: ignore[attr-defined]  # noqa: B018


def imported_by(code: str) -> set[str]:
    """Modules that are there after ``code`` and were not there before, in a process of its own."""
    script = f"import sys; before = set(sys.modules); exec({code!r}); print(*(set(sys.modules) - before))"
    return set(subprocess.check_output([sys.executable, "-c", script], text=True).split())


def test_importing_millstream_imports_nothing_else() -> None:
    assert {name for name in imported_by("import millstream") if not name.startswith("importlib")} <= {"millstream", "warnings"}
    assert not imported_by("import millstream") & {"asyncio", "typing", "msgspec", "inspect"}


def test_a_program_imports_neither_stores_nor_what_it_does_not_name() -> None:
    there = imported_by("from millstream import App, Context, tool, jsonl")
    assert not there & {"pydantic", "apsw", "rich", "typer", "millstream.runtime", "millstream.stores", "millstream.cli"}
