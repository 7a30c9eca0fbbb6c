"""What comes in and cannot be used: no text, exception or value of an app stops the engine; it is a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from millstream import App, Context, jsonl
from millstream.core.facts import Arrived
from millstream.core.machine import Machine
from millstream.core.text import clean, key_text, shown, text_of
from millstream.engine.sources import events
from millstream.testing import AppRun


class Mute(Exception):
    """An exception without text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Faceless:
    """A value without a repr."""

    def __repr__(self) -> str:
        raise SystemExit("no repr")


def raising(error: BaseException) -> Callable[[Any], Any]:
    def fn(value: Any) -> Any:
        if value.get("bad"):
            raise error
        return value

    return fn


def mapped(fn: Callable[[Any], Any], **options: Any) -> tuple[App, Any, Any]:
    """An app of a source, one operator and its sink."""
    app = App("small")
    source = app.source("in", jsonl("in"), key="k", **options)
    stream = source.map(fn, name="op")
    stream.sink(jsonl("out"))
    return app, source, stream


GOOD, BAD = {"k": "a"}, {"k": "a", "bad": 1}


# --- user code that raises --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("half a \ud83d character"), "ValueError: half a \\ud83d character"),
        (Mute(), "Mute: (its text cannot be had: RuntimeError)"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit: "),
        (asyncio.CancelledError("why"), "CancelledError: why"),
    ],
)
def test_whatever_an_operator_raises_is_a_dead_letter(error: BaseException, said: str) -> None:
    app, source, stream = mapped(raising(error))
    with AppRun(app) as world:
        world.send(source, GOOD, BAD, GOOD)
        world.settle()
        assert world.outputs(stream) == [GOOD, GOOD]
        (letter,) = world.dead_letters()
        assert (letter.stream, letter.position) == ("op", 2)
        assert letter.error == f"operator op raised {said}"


@pytest.mark.parametrize("option", ["key", "id"])
@pytest.mark.parametrize("error", [Mute(), SystemExit(3), ValueError("\udcff"), KeyError(Faceless())])
def test_whatever_a_key_or_id_function_raises_is_a_dead_letter(error: BaseException, option: str) -> None:
    app = App("small")
    options: dict[str, Any] = {"key": "k", option: lambda value: raising(error)(value)["k"]}
    source = app.source("in", jsonl("in"), **options)
    source.sink(jsonl("out"))
    with AppRun(app) as world:
        world.send(source, BAD, GOOD)
        world.settle()
        assert world.outputs(source) == [GOOD]
        assert [letter.position for letter in world.dead_letters()] == [1]


def test_an_interrupt_by_the_keyboard_passes() -> None:
    app, _, _ = mapped(raising(KeyboardInterrupt()))
    app.source("keyed", jsonl("in"), key=raising(KeyboardInterrupt()))
    graph = app.graph()
    with pytest.raises(KeyboardInterrupt):
        events(graph.sources["keyed"], [b'{"bad": 1}'], [1], 0)
    batch, _ = events(graph.sources["in"], [b'{"k": "a", "bad": 1}'], [1], 0)
    with pytest.raises(KeyboardInterrupt):
        Machine(graph).handle([Arrived(0, "in", batch, [], "1")])


def test_a_value_without_json_and_without_repr_is_a_dead_letter() -> None:
    app, source, stream = mapped(lambda value: Faceless() if value.get("bad") else value)
    with AppRun(app) as world:
        world.send(source, BAD, GOOD)
        world.settle()
        assert world.outputs(stream) == [GOOD]
        (letter,) = world.dead_letters()
        assert letter.data == "<Faceless>"


def test_an_operator_may_refuse_what_has_no_json() -> None:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    source.map(lambda value: 1j, name="complex").filter(raising_always, name="op").sink(jsonl("out"))
    with AppRun(app) as world:
        world.send(source, GOOD)
        world.settle()
        (letter,) = [letter for letter in world.dead_letters() if letter.stream == "op"]
        assert letter.data == "1j"


def raising_always(value: Any) -> bool:
    raise ValueError("never")


# --- text that cannot be stored ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["key", "id"])
def test_a_key_or_id_that_is_no_unicode_text_is_a_dead_letter(option: str) -> None:
    app = App("small")
    options: dict[str, Any] = {"key": "k", option: lambda value: "\udcff" if value.get("bad") else value["k"]}
    source = app.source("in", jsonl("in"), **options)

    @app.agent(on=source, state=dict)
    async def keep(ctx: Context[dict[str, Any]], value: dict[str, Any]) -> None:
        ctx.state["seen"] = True

    with AppRun(app) as world:
        world.send(source, BAD, GOOD)
        world.settle()
        assert world.state(keep, "a") == {"seen": True}
        (letter,) = world.dead_letters()
        assert f"the {option} is not Unicode text" in letter.error


def test_a_key_that_key_by_makes_of_no_unicode_text_is_a_dead_letter() -> None:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    source.key_by(lambda value: "\ud800" if value.get("bad") else "x", name="op").sink(jsonl("out"))
    with AppRun(app) as world:
        world.send(source, BAD, GOOD)
        world.settle()
        (letter,) = world.dead_letters()
        assert "the key is not Unicode text" in letter.error


def test_clean_text_can_be_encoded_and_is_bounded() -> None:
    assert clean("a\ud800b") == "a\\ud800b"
    assert clean("x" * 10, 4) == "xxxx... (10 characters)"
    assert text_of(Mute()) == "(its text cannot be had: RuntimeError)"
    assert text_of(ExceptionGroup("two", [ValueError("a"), Mute()])).startswith("two (2 sub-exceptions): ValueError: a; Mute: (its")
    assert shown(Faceless()) == "<Faceless>"
    assert shown("é\ud800") == r"'é\ud800'"


# --- what is said of it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "the id is missing"),
        (1.5, "the id must be text or an integer, not float: 1.5"),
        (True, "the id must be text or an integer, not bool: True"),
        ("\ud800", "the id is not Unicode text (surrogates not allowed): '\\ud800'"),
    ],
)
def test_a_bad_id_is_called_an_id(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match="the id") as raised:
        key_text(value, "id")
    assert str(raised.value) == said


LINES = [
    (b'{"k": "a", "id": null}', "ValueError: the id is missing"),
    (b'{"k": null, "id": 1}', "ValueError: the key is missing"),
    (b'{"k": "a"}', "missing field 'id'"),
    (b'{"k": "\xff", "id": 1}', "not UTF-8: invalid start byte at byte 7 of the line"),
    (b'{"k": "a\xc3", "id": 1}', "not UTF-8: invalid continuation byte at byte 8 of the line"),
]


@pytest.mark.parametrize(("line", "said"), LINES)
def test_a_rejected_line_says_which_field_or_which_byte(line: bytes, said: str) -> None:
    app = App("small")
    app.source("in", jsonl("in"), key="k", id="id").sink(jsonl("out"))
    _, (rejected,) = events(app.graph().sources["in"], [line], [1], 0)
    assert rejected.reason == said
