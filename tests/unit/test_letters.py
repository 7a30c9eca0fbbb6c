"""Dead letters are kept for retry: a line at its source, an event at the operator that refused it, in one entry, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from millstream import App, Context, Stream, jsonl
from millstream.agents.codecs import codec
from millstream.core.facts import Arrived, Durable, EventBatch, Rejected
from millstream.core.graph import StreamSpec
from millstream.core.intake import LETTER_BYTES
from millstream.core.machine import Machine
from millstream.core.operators import as_given, given
from millstream.core.tables import LETTERS, OUTPUTS, Commit, LetterRow
from millstream.engine.letters import read_again
from millstream.engine.ports import Line
from millstream.engine.sources import _unread, events
from millstream.runtime import operations
from millstream.testing import AppRun

Json = dict[str, Any]


class Refusal:
    """What is wrong, until it is repaired."""

    def __init__(self) -> None:
        self.repaired = False
        self.tried: Counter[str] = Counter()

    def operator(self, value: Any) -> Any:
        name = value["n"] if isinstance(value, dict) else value.n
        self.tried[name] += 1
        if not self.repaired:
            raise ValueError(f"{name} is bad")
        return value


def seen_by(app: App, stream: Stream[Any], name: str) -> Any:
    """An agent that keeps what it has had, with the ids and times of the events."""

    async def handle(ctx: Context[Json], value: Any) -> Any:
        ctx.state.setdefault("had", []).append([ctx.event.id, ctx.event.time.timestamp(), ctx.key])
        return value

    return app.agent(on=stream, state=dict, name=name)(handle)


def counts(**changes: Any) -> Json:
    nothing: Json = {"retried": 0, "duplicates": 0, "refused": 0, "reason": None, "cannot": {}, "remaining": 0}
    return {**nothing, **changes}


# --- at the operator --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["filter", "map", "flat_map", "key_by"])
def test_a_refused_event_is_tried_again_at_the_operator_that_refused_it(op: str) -> None:
    app, bad = App("small"), Refusal()
    source = app.source("in", jsonl("in"), key="k", id="n")
    seen_by(app, source, "beside")
    beside = source.map(lambda value: value, dict, name="sibling")
    functions: dict[str, Any] = {
        "filter": bad.operator,
        "map": bad.operator,
        "flat_map": lambda value: [bad.operator(value)],
        "key_by": lambda value: bad.operator(value)["k"] + "!",
    }
    stream = getattr(source, op)(functions[op], name="op")
    behind = seen_by(app, stream, "behind")
    with AppRun(app) as world:
        world.send(source, {"k": "a", "n": "1"})
        world.settle()
        at = world.now.timestamp()
        (letter,) = world.dead_letters()
        assert (letter.stream, letter.data) == ("op", '{"k":"a","n":"1"}')
        assert world.retry_letters() == counts(refused=1, remaining=1, reason="operator op raised ValueError: 1 is bad")
        assert world.dead_letters() == [letter]
        bad.repaired = True
        world.advance("1h")
        assert world.retry_letters() == counts(retried=1)
        world.settle()
        assert world.dead_letters() == []
        assert len(world.runs("beside")) == len(world.outputs(beside)) == 1
        key, id = "a!" if op == "key_by" else "a", "1#0" if op == "flat_map" else "1"
        assert world.state(behind, key) == {"had": [[id, at, key]]}
        assert world.retry_letters() == counts()


def test_an_event_of_a_source_without_ids_comes_once_too() -> None:
    app, bad = App("small"), Refusal()
    source = app.source("in", jsonl("in"), key="k")
    stream = source.map(bad.operator, dict, name="op")
    with AppRun(app) as world:
        world.send(source, {"k": "a", "n": "1"}, {"k": "a", "n": "2"})
        world.settle()
        bad.repaired = True
        assert world.retry_letters() == counts(retried=2)
        world.settle()
        assert world.outputs(stream) == [{"k": "a", "n": "1"}, {"k": "a", "n": "2"}]
        assert len(world.outputs(source)) == 2


def test_what_an_operator_further_on_refuses_is_a_letter_there() -> None:
    app, first, second = App("small"), Refusal(), Refusal()
    source = app.source("in", jsonl("in"), key="k", id="n")
    stream = source.map(first.operator, dict, name="first").map(second.operator, dict, name="second")
    with AppRun(app) as world:
        world.send(source, {"k": "a", "n": "1"})
        world.settle()
        first.repaired = True
        assert world.retry_letters() == counts(refused=1, remaining=1, reason="operator second raised ValueError: 1 is bad")
        assert [letter.stream for letter in world.dead_letters()] == ["second"]
        assert second.tried == {"1": 1}  # a letter that a retry makes is not tried by that retry
        second.repaired = True
        assert world.retry_letters() == counts(retried=1)
        world.settle()
        assert world.outputs(stream) == [{"k": "a", "n": "1"}]
        assert first.tried == {"1": 2}  # by the source, and by the first retry


def test_a_line_that_an_operator_refuses_when_it_is_read_again_stays_a_letter() -> None:
    app, bad = App("small"), Refusal()
    keyed: list[str] = []

    def key(value: Json) -> str:
        return str(value[keyed[0] if keyed else "no"])

    source = app.source("in", jsonl("in"), key=key, id="n")
    source.map(bad.operator, dict, name="op")
    with AppRun(app) as world:
        world.send(source, {"k": "a", "n": "1"})
        world.settle()
        keyed.append("k")
        assert world.retry_letters() == counts(refused=1, remaining=1, reason="operator op raised ValueError: 1 is bad")
        assert [letter.stream for letter in world.dead_letters()] == ["op"]
        bad.repaired = True
        assert world.retry_letters() == counts(retried=1)


def test_an_emitted_event_keeps_its_run() -> None:
    app, bad = App("small"), Refusal()
    source = app.source("in", jsonl("in"), key="k")
    alerts = app.stream("alerts")
    late = seen_by(app, alerts.map(bad.operator, dict, name="op"), "late")

    @app.agent(on=source)
    async def first(ctx: Context[Json], value: Json) -> None:
        ctx.emit(alerts, {"n": "1"})

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        (letter,) = world._store.letters(0, 9)
        bad.repaired = True
        world.retry_letters()
        world.settle()
        (run,) = world.runs(late)
        event = world._store.events([run._row.event])[0]
        assert (event.cause, event.id, event.key) == (letter.cause, letter.id, "a")
        assert event.cause == world.run(first, key="a")._number


@dataclass
class Order:
    k: str
    n: str


def test_the_operator_is_given_the_type_that_it_reads() -> None:
    app, bad = App("small"), Refusal()
    source = app.source("in", jsonl("in"), key="k", type=Order)
    stream = source.filter(lambda order: True).map(bad.operator, Order, name="op")
    with AppRun(app) as world:
        world.send(source, Order("a", "1"))
        world.settle()
        bad.repaired = True
        world.retry_letters()
        world.settle()
        assert world.outputs(stream) == [Order("a", "1")]


def test_a_value_whose_type_has_changed_is_refused_again_with_the_reason() -> None:
    def version(kind: Any) -> tuple[App, Any]:
        app = App("small")
        source = app.source("in", jsonl("in"), key="k", type=kind)
        source.map(Refusal().operator, dict, name="op")
        return app, source

    @dataclass
    class Newer:
        k: str
        n: int

    (app, source), (newer, _) = version(Order), version(Newer)
    with AppRun(app) as world:
        world.send(source, Order("a", "one"))
        world.settle()
        world.restart(newer)
        answer = world.retry_letters()
        assert answer["refused"] == 1
        assert answer["reason"].startswith("stream in: does not fit its declared type: Expected `int`")
        (letter,) = world.dead_letters()
        assert (letter.error, letter.data) == (answer["reason"], '{"k":"a","n":"one"}')


# --- what cannot be retried -------------------------------------------------------------------------------------------------


def test_what_cannot_be_retried_is_told_with_the_reason() -> None:
    def version(*names: str, source: str) -> tuple[App, Stream[Any]]:
        app = App("small")
        stream = app.source(source, jsonl("in"), key="k")
        for name in names:
            stream.map(lambda value: value["no such field"], name=name)
        return app, stream

    app, source = version("op", source="in")
    sets: Stream[Any] = source.map(lambda value: {1, 2}, name="sets")
    sets.map(lambda value: value["no such field"], name="of_sets")
    with AppRun(app) as world:
        world.send(source, {"k": "a"}, b'{"k": "\xff"}', b"{" + b" " * LETTER_BYTES, b"{")
        world.settle()
        letters = {(letter.stream, letter.position): letter for letter in world.dead_letters() if "__test__" not in letter.stream}
        assert letters["of_sets", 1].data == "{1, 2}"
        assert letters["of_sets", 1].error.endswith("it cannot be tried again")
        world.restart(version(source="other")[0])
        cannot = {"its operator is gone": 1, "evidence only": 2, "cut": 1, "its source is gone": 1}
        assert world.retry_letters() == counts(cannot=cannot, remaining=5)


async def nothing(ctx: Context[Json], value: Any) -> None: ...


def test_a_value_that_cannot_be_encoded_for_an_agent_is_evidence() -> None:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    app.agent(on=source.map(lambda value: 1j, name="complex"), name="agent")(nothing)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        (letter,) = world.dead_letters()
        assert letter.data == "1j"
        assert letter.error.endswith("it cannot be tried again")
        assert world.retry_letters() == counts(cannot={"evidence only": 1}, remaining=1)


def test_a_line_is_kept_whole_up_to_a_mebibyte_and_can_be_retried() -> None:
    app, keys = App("small"), ["no"]
    source = app.source("in", jsonl("in"), key=lambda value: value[keys[0]], id="n")
    long = {"k": "a", "n": "1", "text": "é" * 100_000}
    with AppRun(app) as world:
        world.send(source, long, {**long, "text": "é" * LETTER_BYTES}, {**long, "text": "again"})
        world.settle()
        keys[0] = "k"
        assert world.retry_letters() == counts(retried=1, duplicates=1, cannot={"cut": 1}, remaining=1)
        world.settle()
        assert world.outputs(source) == [long]
        (letter,) = world.dead_letters()
        assert letter.data is not None
        assert LETTER_BYTES - 4 < len(letter.data.encode()) <= LETTER_BYTES


def test_what_a_connector_rejected_is_not_taken_for_a_line_later() -> None:
    assert _unread(Line(1, b'{"k": "a"}', "the remainder of a line", 10)).kept == "evidence"
    assert _unread(Line(1, b'{"k": "a"}', "too long", 99)).kept == "cut"


# --- once -------------------------------------------------------------------------------------------------------------------


def letters_of(app: App, *values: bytes) -> tuple[Machine, list[LetterRow]]:
    """A machine whose letters are of these lines' events."""
    graph = app.graph()
    machine = Machine(graph)
    batch, _ = events(graph.sources["in"], list(values), range(len(values)), 1)
    machine.handle([Arrived(1, "in", batch, [], "1")])
    commit = taken(machine)
    machine.handle([Durable(1, commit.number)])
    letters = [row for row in commit.puts[LETTERS].values() if row is not None]
    return machine, [LetterRow(*row) for row in letters]


def taken(machine: Machine) -> Commit:
    commit = machine.take()
    assert commit is not None
    return commit


def test_a_letter_is_deleted_in_the_entry_of_what_its_retry_leads_to() -> None:
    app, bad = App("small"), Refusal()
    app.source("in", jsonl("in"), key="k").map(bad.operator, dict, name="op").sink(jsonl("out"))
    machine, (letter,) = letters_of(app, b'{"k": "a", "n": "1"}')
    bad.repaired = True
    fact, _ = read_again(app.graph(), [letter], 2, lambda source, ids: set())
    machine.handle([fact])
    machine.handle([fact])  # somebody else, before it is durable
    commit = taken(machine)
    assert commit.puts[LETTERS] == {(letter.letter,): None}
    assert commit.puts[OUTPUTS].keys() == {("op.sink", 1)}
    assert machine.take() is None


def test_a_letter_that_is_refused_again_keeps_its_number_and_is_told_once() -> None:
    app, bad = App("small"), Refusal()
    app.source("in", jsonl("in"), key="k").map(bad.operator, dict, name="op")
    app.dead_letters.sink(jsonl("letters"))
    machine, (letter,) = letters_of(app, b'{"k": "a", "n": "1"}')
    fact, _ = read_again(app.graph(), [letter], 2, lambda source, ids: set())
    machine.handle([fact])
    commit = taken(machine)
    assert commit.puts[LETTERS] == {(letter.letter,): letter}
    assert [table.name for table, rows in {**commit.puts, **commit.appends}.items() if rows] == ["letters"]


def test_two_retries_at_once_handle_each_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LETTERS_AT_ONCE", 2)
    app, bad = App("small"), Refusal()
    source = app.source("in", jsonl("in"), key="k")
    stream = source.map(bad.operator, dict, name="op")
    other = source.map(bad.operator, dict, name="other")
    values = [{"k": "a", "n": str(n)} for n in range(5)]
    with AppRun(app) as world:
        world.send(source, *values)
        world.settle()
        bad.repaired = True

        async def both() -> list[Json]:
            return list(await asyncio.gather(world._operations.retry_letters(), world._operations.retry_letters()))

        answers = world._ask(both())
        world.settle()
        assert sum(answer["retried"] for answer in answers) == 10
        assert world.outputs(stream) == world.outputs(other) == values


def test_large_letters_make_commits_end_early() -> None:
    app = App("small")
    app.source("in", jsonl("in"), key="k")
    machine = Machine(app.graph())
    batch = EventBatch([], [], [], [], [], [])
    for _ in range(40):
        machine.handle([Arrived(1, "in", batch, [Rejected(1, "bad", "x" * LETTER_BYTES, LETTER_BYTES)], "1")])
    assert len(machine.desk.cut) >= 2


# --- what is kept of a value ------------------------------------------------------------------------------------------------

UNTYPED = StreamSpec("s", "map", codec(Any))


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "é", [1, [2]], {"a": {"b": [1.0]}}, []])
def test_an_untyped_value_comes_back(value: Any) -> None:
    back = given(UNTYPED, as_given(UNTYPED, value, None))
    assert back == value
    assert type(back) is type(value)


def test_an_untyped_tuple_comes_back_as_a_list() -> None:
    assert given(UNTYPED, as_given(UNTYPED, {"a": (1, 2)}, None)) == {"a": [1, 2]}


@pytest.mark.parametrize("value", [{1, 2}, {1: 2}, float("nan"), b"x", Order("a", "1"), [Order("a", "1")], 1j, "\ud800"])
def test_an_untyped_value_that_would_come_back_changed_is_not_kept(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_given(UNTYPED, value, None)


def test_an_event_is_kept_as_it_came_and_not_as_an_operator_left_it() -> None:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    assert as_given(app.graph().streams[source.name], {"changed": 1}, '{"k": "a"}') == '{"k": "a"}'


def test_the_text_of_another_type_is_not_taken_for_the_value() -> None:
    with pytest.raises(TypeError):
        as_given(UNTYPED, Order("a", "1"), '{"k": "a", "n": "1"}')


# ---------------------------------------------------------------------------------------------------------- reasons of lines


def test_that_a_line_is_malformed_is_said_once() -> None:
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k")
    with AppRun(app) as world:
        world.send(source, b"nope", b'{"k": }', b"{", rb'{"k": "\ud83d"}')
        world.settle()
        assert [letter.error for letter in world.dead_letters()] == [
            "malformed JSON: invalid character (byte 4)",
            "malformed JSON: invalid character (byte 6)",
            "malformed JSON: Input data was truncated",
            "malformed JSON: half of a surrogate pair is no Unicode text",
        ]
