"""Codecs: what is encoded comes back as it was, or is refused where it was made."""

from __future__ import annotations

import datetime as dt
import enum
import math
import subprocess
import sys
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.agents.codecs import codec, encode_arguments, name_of, same_each_time


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: float


class Line(TypedDict):
    sku: str
    count: NotRequired[int]


@dataclass
class Order:
    id: str
    total: Decimal
    lines: list[Line] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    parent: Order | None = None


class Created(msgspec.Struct, tag="created"):
    id: str
    at: dt.datetime


class Cancelled(msgspec.Struct, tag="cancelled", frozen=True):
    id: str
    reasons: frozenset[str]


class Customer(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    since: dt.date | None = None
    scores: dict[int, float] = {}


class Company(pydantic.BaseModel):
    vat: str


@pydantic.dataclasses.dataclass
class Address:
    street: str


@dataclass
class Account:
    owner: Customer
    others: list[Customer]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
moments = st.datetimes(timezones=st.just(dt.UTC))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
lines = st.fixed_dictionaries({"sku": st.text()}, optional={"count": st.integers()})
orders = st.builds(Order, st.text(), decimals, st.lists(lines, max_size=3), st.dictionaries(st.text(), plain, max_size=3))
customers = st.builds(
    Customer,
    fullName=st.text(),
    since=st.none() | st.dates(),
    scores=st.dictionaries(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)

TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, plain),
    (dict, st.dictionaries(st.text(), plain, max_size=4)),
    (None, st.none()),
    (bool, st.booleans()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, st.text()),
    (bytes, st.binary()),
    (Decimal, decimals),
    (uuid.UUID, st.uuids()),
    (dt.datetime, st.datetimes() | moments | st.datetimes(timezones=st.just(dt.timezone(dt.timedelta(minutes=90))))),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas(dt.timedelta(days=-10_000), dt.timedelta(days=10_000))),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Literal["a", "b"] | None, st.sampled_from(["a", "b", None])),
    (Point, st.builds(Point, st.integers(), st.floats(allow_nan=False, allow_infinity=False))),
    (Line, lines),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (tuple[Decimal, ...], st.lists(decimals, max_size=4).map(tuple)),
    (set[str], st.sets(st.text(), max_size=5)),
    (frozenset[int], st.frozensets(st.integers(), max_size=5)),
    (set[Decimal], st.sets(st.integers(-99, 99).map(Decimal), max_size=5)),
    (dict[int, str], st.dictionaries(st.integers(), st.text(), max_size=4)),
    (dict[float, int], st.dictionaries(st.floats(allow_nan=False, allow_infinity=False), st.integers(), max_size=4)),
    (dict[Color, int], st.dictionaries(st.sampled_from(Color), st.integers())),
    (dict[Level, set[str]], st.dictionaries(st.sampled_from(Level), st.sets(st.text(), max_size=3))),
    (dict[uuid.UUID, dt.date], st.dictionaries(st.uuids(), st.dates(), max_size=3)),
    (dict[str, object], st.dictionaries(st.text(), plain, max_size=4)),
    (Order, orders | st.builds(Order, st.text(), decimals, parent=orders)),
    (Created, st.builds(Created, st.text(), moments)),
    (Created | Cancelled, st.builds(Created, st.text(), moments) | st.builds(Cancelled, st.text(), st.frozensets(st.text()))),
    (Order | None, st.none() | orders),
    (Annotated[int, msgspec.Meta(ge=0)], st.integers(min_value=0)),
    (Customer, customers),
    (list[Customer], st.lists(customers, max_size=3)),
    (Customer | None, st.none() | customers),
    (Customer | Company, customers | st.builds(Company, vat=st.text())),
    (Address, st.builds(Address, st.text())),
    (Account, st.builds(Account, customers, st.lists(customers, max_size=2))),
]


@pytest.mark.parametrize(("type", "values"), TYPES, ids=[f"{number} {name_of(type)}" for number, (type, _) in enumerate(TYPES)])
def test_what_is_encoded_comes_back_as_it_was(type: Any, values: st.SearchStrategy[Any]) -> None:
    made = codec(type)

    @given(values)
    def holds(value: Any) -> None:
        text = made.encode(value)
        back = made.decode(text)
        assert back == value
        assert back.__class__ is value.__class__
        assert made.encode(back) == text
        assert made.decode(text.encode()) == back

    holds()


anything = st.recursive(
    plain
    | moments
    | decimals
    | st.binary()
    | st.floats()
    | st.sampled_from([Color.RED, Level.LOW, Point(1, 2.0)])
    | orders
    | customers,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2) | st.integers() | st.none(), inner, max_size=3)
        | st.sets(st.text(max_size=2) | st.integers(), max_size=3)
    ),
    max_leaves=5,
)


@given(anything)
def test_plain_json_lets_nothing_through_that_would_come_back_changed(value: Any) -> None:
    made = codec(Any)
    try:
        text = made.encode(value)
    except (TypeError, ValueError):
        return
    assert made.decode(text) == with_lists(value)


def with_lists(value: Any) -> Any:
    """The one exception: tuples become lists."""
    if type(value) in (list, tuple):
        return [with_lists(item) for item in value]
    return {key: with_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_the_text_is_canonical() -> None:
    assert codec(Any).encode({"b": 1, "a": [{"d": 1, "c": "é"}]}) == '{"a":[{"c":"é","d":1}],"b":1}'
    assert codec(dict[int, str]).encode({10: "b", 2: "a"}) == codec(dict[int, str]).encode({2: "a", 10: "b"})
    script = "from millstream.agents.codecs import codec; print(codec(set[str]).encode(set('millstream')))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == codec(set[str]).encode(set("millstream"))


@pytest.mark.parametrize(
    ("type", "value", "error", "says"),
    [
        (
            Any,
            {"tags": {1, 2}},
            TypeError,
            r"\$\['tags'\] is \{1, 2\} \(set\), which would come back from JSON as \[1, 2\] \(list\)",
        ),
        (Any, {"a": [1, {"b": object()}]}, TypeError, r"\$\['a'\]\[1\]\['b'\] is <object .* \(object\), which JSON cannot hold"),
        (Any, {1: 2}, TypeError, r"\$ would come back without its key 1 \(int\): JSON's keys are text"),
        (Any, {"a": {(1, 2): 3}}, TypeError, r"\$\['a'\] has keys that are neither text nor numbers"),
        (Any, {"at": dt.date(2024, 1, 2)}, TypeError, r"\$\['at'\] is datetime.date\(2024, 1, 2\)"),
        (Any, [Point(1, 2.0)], TypeError, r"\$\[0\] is Point\(x=1, y=2.0\) \(Point\)"),
        (Any, Order("a", Decimal(1)), TypeError, r"\$ is Order\(.*\(Order\), which would come back from JSON as .* \(dict\)"),
        (Any, {"rate": math.nan}, ValueError, r"\$\['rate'\] is nan: JSON has no such number"),
        (Any, [None, -math.inf], ValueError, r"\$\[1\] is -inf"),
        (Any, "\ud800", ValueError, "surrogates not allowed"),
        (dict, [1], TypeError, r"\[1\] \(list\) does not fit dict"),
        (float, math.nan, ValueError, r"\$ is nan"),
        (float | None, math.nan, ValueError, r"\$ is nan"),
        (list[float | None], [1.0, math.inf], ValueError, r"\$\[1\] is inf"),
        (int, True, TypeError, r"True \(bool\) does not fit int"),
        (Order, Order(3, Decimal(1)), TypeError, r"does not fit Order: Expected `str`, got `int` - at `\$.id`"),  # type: ignore[arg-type]
        (Order, {"id": "a", "total": "1"}, TypeError, r"\(dict\), which would come back from JSON as Order.*; give a Order"),
        (Order, Order("a", Decimal(1), extra={"x": {1}}), TypeError, r"\$.extra\['x'\] is \{1\} \(set\)"),
        (Order, Order("a", Decimal(1), extra={"x": math.nan}), ValueError, r"\$.extra\['x'\] is nan"),
        (
            Line,
            {"sku": "a", "color": "red"},
            TypeError,
            r"\$ would come back without its key 'color' \(str\): the type has no such key",
        ),
        (tuple[int, str], [1, "a"], TypeError, r"\$ is \[1, 'a'\] \(list\), .* as \(1, 'a'\) \(tuple\)"),
        (Customer, Customer(fullName="a", scores={1: math.nan}), ValueError, r"\$.scores\[1\] is nan"),
        (Customer, {"fullName": "a"}, TypeError, r"\(dict\), which would come back from JSON as Customer"),
        (Customer, Company(vat="1"), TypeError, "does not fit Customer"),
        (Customer, Customer.model_construct(name=3), TypeError, "does not fit Customer"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(type: Any, value: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        codec(type).encode(value)


def test_plain_json_takes_what_behaves_like_it() -> None:
    class Name(str):
        pass

    value = OrderedDict(b=(1, 2), a=defaultdict(list, {"x": [Name("n")]}))
    assert codec(Any).encode(value) == '{"a":{"x":["n"]},"b":[1,2]}'


@pytest.mark.parametrize("text", ["", "{", '{"a":1}{', "[1]", '{"id":3,"total":"1"}', '{"id":"a"}', b"\xff", "NaN"])
def test_what_does_not_fit_is_a_value_error_when_it_is_read(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        codec(Order).decode(text)
    with pytest.raises(ValueError, match=r"."):
        codec(Customer).decode(text)


@pytest.mark.parametrize(
    ("type", "says"),
    [
        (complex, "complex cannot be read back from JSON: it is complex; use a dataclass"),
        (list[ModuleType], r"list\[module\] cannot be read back from JSON: it is module"),
        (dict[tuple[int, int], str], "keys of it are neither text nor numbers; use pairs"),
        (str | uuid.UUID, "may not contain more than one str-like type"),
        (Order | Account, "cannot be read back from JSON"),
        ("Order", "cannot be read back from JSON"),
        (Customer | ModuleType, "cannot be read back from JSON: Unable to generate pydantic-core schema"),
    ],
)
def test_a_type_that_cannot_be_read_back_is_refused(type: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        codec(type)


def test_a_field_that_cannot_be_read_back_is_named() -> None:
    @dataclass
    class Held:
        when: dt.datetime
        lock: complex

    with pytest.raises(TypeError, match=r"Held cannot be read back from JSON: .*Held.lock is complex"):
        codec(Held)


def test_names_of_types_do_not_depend_on_how_the_program_was_started() -> None:
    assert [
        name_of(type)
        for type in (Any, object, None, dict, Order, Order | None, dict[str, list[Order]], Literal["a"], tuple[int, ...])
    ] == [
        "Any",
        "Any",
        "None",
        "dict",
        "Order",
        "Order | None",
        "dict[str, list[Order]]",
        "Literal['a']",
        "tuple[int, ...]",
    ]


def test_a_type_whose_missing_fields_are_computed_does_not_decode_the_same_each_time() -> None:
    @dataclass
    class Stamped:
        id: uuid.UUID = field(default_factory=uuid.uuid4)

    class Model(pydantic.BaseModel):
        inner: list[Stamped] = []

    class Fresh(pydantic.BaseModel):
        id: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)

    assert all(map(same_each_time, (dict, Any, Order, Created | Cancelled, Customer, Account, list[Customer])))
    assert not any(map(same_each_time, (Stamped, list[Stamped], Stamped | None, Model, Fresh, dict[str, Fresh], Customer | Fresh)))


def test_arguments_are_canonical_json() -> None:
    assert encode_arguments(("o-1", 500), {}) == '[["o-1",500],{}]'
    assert encode_arguments((), {"b": None, "a": 1}) == encode_arguments((), {"a": 1, "b": None}) == '[[],{"a":1,"b":null}]'
    assert encode_arguments(({2: "b", 10: "a"}, {"y", "x"}), {}) == '[[{"10":"a","2":"b"},["x","y"]],{}]'
    order = Order("a", Decimal("1.50"))
    assert encode_arguments((order, Customer(fullName="n")), {"at": dt.date(2024, 1, 2)}) == (
        '[[{"extra":{},"id":"a","lines":[],"parent":null,"total":"1.50"},{"fullName":"n","scores":{},"since":null}],{"at":"2024-01-02"}]'
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "says"),
    [
        ((1, object()), {}, TypeError, r"argument 2 is <object .*, which JSON cannot hold"),
        ((), {"client": [sys]}, TypeError, r"argument 'client'\[0\] is <module 'sys'"),
        (({(1, 2): 3},), {}, TypeError, "argument 1 has keys that are neither text nor numbers"),
        ((math.nan,), {}, ValueError, "argument 1 is nan"),
        ((), {"order": Order("a", Decimal(1), extra={"x": math.inf})}, ValueError, r"argument 'order'.extra\['x'\] is inf"),
    ],
)
def test_an_argument_that_cannot_be_recorded_is_named(args: Any, kwargs: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        encode_arguments(args, kwargs)


def test_pydantic_is_not_imported_for_other_types() -> None:
    script = "import sys, millstream.agents.app as a; a.same_each_time(dict); print('pydantic' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "False"


def test_what_was_written_is_read_anew_for_each_who_reads_it() -> None:
    plain, value = codec(Any), {"a": [1]}
    text = plain.encode(value)
    first, second = plain.decode(text), plain.decode(text)
    first["a"].append(2)
    assert (value, second) == ({"a": [1]}, {"a": [1]})
    assert plain.decode(text.encode()) == {"a": [1]}
