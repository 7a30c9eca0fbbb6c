"""docs/reference.md is what the docstrings say, and they say all that the contract asks for."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> Any:
    """A script of docs/, which finds the modules beside it as when it is run."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS))


reference = script("make_reference")
ENTRIES = {entry.name: entry for entry in reference.entries()}

# What section 7 of the design names and this version has: each name, method and parameter.
CONTRACT = {
    "App": "name lifespan partitions",
    "App.source": "name connector key id type dedupe",
    "App.stream": "name type key",
    "App.agent": "on state name waiting on_error on_doubt",
    "Stream.filter": "condition name",
    "Stream.map": "fn type name",
    "Stream.flat_map": "fn type name",
    "Stream.key_by": "key name",
    "Stream.merge": "others name",
    "Stream.sink": "connector name",
    "Context.now": "",
    "Context.random": "",
    "Context.uuid": "",
    "Context.step": "name fn args effect timeout",
    "Context.sleep": "duration",
    "Context.sleep_until": "time",
    "Context.timeout": "duration",
    "Context.scope": "name",
    "Context.receive": "signal about type timeout",
    "Context.emit": "stream value key",
    "Context.send": "agent key value",
    "Context.ask": "agent key value timeout",
    "Context.as_completed": "awaitables",
    "tool": "effect timeout retry key key_ttl verify settle database raises ambiguous in_doubt in_doubt_after max_concurrency name",
    "Tool.using": "options",
    "Retry": "",
    "Done": "result",
    "NotDone": "",
    "Unknown": "",
    "INJECTED": "",
    "NotSent": "",
    "RunPutAway": "",
    "jsonl": "path follow max_line",
    "stdin": "max_line",
    "stdout": "",
}
ATTRIBUTES = {
    "App": "doubts failures dead_letters",
    "Agent": "output",
    "Context": "key event state run_id resources",
    "Signal": "value by at id",
    "ToolCall": "idempotency_key attempt run_id step_id resources",
    "ToolFailed": "type message data",
    "Effect": "READ IDEMPOTENT TRANSACTIONAL VERIFIED AT_MOST_ONCE",
    "Retry": "attempts backoff factor max_backoff jitter on",
}

# A formula or a protocol, and where it is from.
SOURCES = {
    "App": "librdkafka",
    "Context.random": "RFC 7693",
    "Context.uuid": "RFC 9562",
    "Retry": "Brooker",
    "jsonl": "RFC 8259",
    "tool": "PEP 249",
}
UNITS = re.compile(
    r"\b(us|s|bytes|how (many|often)|counts?|counted|times|from [01]|handlers|runs|keys|rows|kept in memory|at once|number)\b",
    re.IGNORECASE,
)


def test_the_page_is_what_the_docstrings_say() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run python docs/make_reference.py"


def test_the_contract_is_there() -> None:
    for name, parameters in CONTRACT.items():
        there = {item.name.lstrip("*") for item in ENTRIES[name].parameters}
        assert set(parameters.split()) <= there, name
    for name, attributes in ATTRIBUTES.items():
        entry = ENTRIES[name]
        assert set(attributes.split()) <= {item.name for item in [*entry.parameters, *entry.attributes]}, name


@pytest.mark.parametrize("name", ENTRIES)
def test_every_name_has_a_text(name: str) -> None:
    assert ENTRIES[name].prose


def test_every_parameter_and_attribute_is_described() -> None:
    missing = {
        f"{entry.name}: {item.name}"
        for entry in ENTRIES.values()
        for item in [*entry.parameters, *entry.attributes]
        if item.text is None
    }
    assert missing == set()


def test_every_parameter_has_a_type() -> None:
    assert [f"{entry.name}: {item.name}" for entry in ENTRIES.values() for item in entry.parameters if item.type is None] == []


def test_no_description_is_of_a_parameter_that_is_not_there() -> None:
    for entry in ENTRIES.values():
        described = {*reference.Doc(inspect.cleandoc(entry.value.__doc__ or "")).args} if callable(entry.value) else set()
        assert described <= {item.name.lstrip("*") for item in entry.parameters}, entry.name


def test_numbers_say_what_they_count_or_their_unit() -> None:
    numbers = {
        f"{entry.name}: {item.name}": item.text
        for entry in ENTRIES.values()
        for item in [*entry.parameters, *entry.attributes]
        if item.type is not None and re.search(r"\b(int|float)\b", item.type) and "str" not in item.type and item.text is not None
    }
    assert len(numbers) > 15
    # cut_bytes: a name may end with its unit.
    assert [name for name, text in numbers.items() if not UNITS.search(f"{name.replace('_', ' ')}: {text}")] == []


def test_whatever_raises_says_what() -> None:
    for entry in ENTRIES.values():
        if not inspect.isfunction(entry.value):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(entry.value)))
        if any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree)):
            assert entry.raises, entry.name


def test_every_error_that_is_named_exists() -> None:
    import builtins

    from millstream import errors

    for entry in ENTRIES.values():
        for names, text in entry.raises:
            assert text
            for name in names.split(", "):
                assert hasattr(errors, name) or hasattr(builtins, name), f"{entry.name}: {name}"


@pytest.mark.parametrize("name", SOURCES)
def test_a_formula_or_protocol_names_its_source(name: str) -> None:
    entry = ENTRIES[name]
    texts = [entry.prose, *(item.text or "" for item in [*entry.parameters, *entry.attributes])]
    assert any(SOURCES[name] in text for text in texts)


def test_every_link_leads_to_a_heading() -> None:
    text = reference.PAGE.read_text()
    anchors: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        anchors.append(f"{anchor}-{anchors.count(anchor)}" if anchor in anchors else anchor)
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert set(links) <= set(anchors)
    assert len(links) == len(set(links)) > 40
