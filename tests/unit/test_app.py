"""The app: what declarations compile to, and which of them are refused, with place and fix."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from types import ModuleType
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from millstream.agents.agent import agrees, fingerprint
from millstream.agents.app import App
from millstream.agents.context import Context
from millstream.agents.streams import Stream
from millstream.agents.tools import tool
from millstream.connectors.files import jsonl
from millstream.connectors.standard import stdin, stdout
from millstream.core.effects import Effect
from millstream.core.graph import Graph
from millstream.errors import DeclarationError


@dataclass
class Order:
    id: str
    customer: str
    cents: int = 0

    @property
    def shop(self) -> str:
        return self.customer.partition("/")[0]


@dataclass
class Refund(Order):
    why: str = ""


class Line(TypedDict):
    sku: str


class Created(msgspec.Struct, tag=True):
    id: str


class Cancelled(msgspec.Struct, tag=True):
    id: str


class Model(pydantic.BaseModel):
    id: str


@tool(effect=Effect.IDEMPOTENT)
async def charge(order_id: str) -> Decimal: ...  # type: ignore[empty-body]


@tool
def page(who: str) -> None: ...


async def pay(order: Order) -> None:
    await charge(order.id)


async def any_handler(ctx: Context[Any], event: Any) -> None: ...


def test_an_app_compiles_to_a_graph_of_plain_data() -> None:
    app = App("shop", partitions=16)
    orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="id", type=Order, dedupe="1d")
    alerts = app.stream("alerts", type=str)

    @app.agent(on=orders.filter(lambda order: order.cents > 0), state=dict, waiting="release", on_error="block", on_doubt="park")
    async def fulfil(ctx: Context[dict[str, Any]], order: Order) -> Order | None:
        await pay(order)
        ctx.emit(alerts, "paid")
        return order

    fulfil.output.sink(jsonl("out.jsonl"))
    graph = app.graph()

    assert isinstance(graph, Graph)
    assert (graph.app, graph.partitions, graph.lifespan) == ("shop", 16, None)
    source = graph.sources["orders"]
    assert (source.connector, source.codec.name, source.raw, source.dedupe) == (
        jsonl("orders.jsonl"),
        "Order",
        True,
        86_400_000_000,
    )
    assert source.id is not None
    assert (source.key(Order("o", "c")), source.id(Order("o", "c"))) == ("c", "o")
    assert {name: (spec.op, spec.parents, spec.codec and spec.codec.name) for name, spec in graph.streams.items()} == {
        "doubts": ("emit", (), "dict[str, Any]"),
        "failures": ("emit", (), "dict[str, Any]"),
        "dead_letters": ("emit", (), "dict[str, Any]"),
        "orders": ("source", (), "Order"),
        "alerts": ("emit", (), "str"),
        "orders.filter": ("filter", ("orders",), "Order"),
        "fulfil.output": ("emit", (), "Order"),
    }
    agent = graph.agents["fulfil"]
    assert (agent.streams, agent.output, agent.event.name, agent.state.name) == (
        ("orders.filter",),
        "fulfil.output",
        "Order",
        "dict",
    )
    assert (agent.initial(), agent.waiting, agent.on_error, agent.on_doubt) == ({}, "release", "block", "park")
    (sink,) = graph.sinks.values()
    assert (sink.name, sink.stream, sink.connector) == ("fulfil.output.sink", "fulfil.output", jsonl("out.jsonl"))
    assert graph.tools == {"charge": charge.spec}  # through a function beside the handler


def test_declaring_opens_nothing_and_graphs_are_independent() -> None:
    app = App("shop")
    app.source("orders", jsonl("/nowhere/at/all.jsonl"), key="customer").sink(stdout())
    first = app.graph()
    app.stream("later")
    assert "later" not in first.streams
    assert "later" in app.graph().streams


def test_the_example_of_the_design_compiles() -> None:
    app = App("orders")
    orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="order_id")

    @app.agent(on=orders, state=dict)
    async def fulfil(ctx: Context[dict], order: dict) -> dict | None:  # type: ignore[type-arg]
        return {"order": order["order_id"], "receipt": await charge(order["order_id"])}

    fulfil.output.sink(jsonl("receipts.jsonl"))
    graph = app.graph()
    assert (graph.agents["fulfil"].event.name, graph.streams["fulfil.output"].codec.name) == ("dict", "dict")  # type: ignore[union-attr]


# --- streams


def test_names_are_made_from_the_structure_and_are_unique() -> None:
    app = App("shop")
    orders = app.stream("orders", type=Order)
    made: list[Stream[Any]] = [
        orders.filter(lambda order: True),
        orders.filter(lambda order: False),
        orders.filter(lambda order: False).map(lambda order: order.id),
        orders.filter(bool, name="paid").key_by("id"),
        orders.merge(app.stream("others", type=Order)),
        orders.flat_map(lambda order: [order]),
    ]
    assert [stream.name for stream in made] == [
        "orders.filter",
        "orders.filter:2",
        "orders.filter:3.map",
        "paid.key_by",
        "orders.merge",
        "orders.flat_map",
    ]
    orders.sink(stdout())
    orders.sink(stdout(), name="console")
    orders.sink(stdout())
    assert list(app.graph().sinks) == ["orders.sink", "console", "orders.sink:2"]


def ids(order: Order) -> str:
    return order.id


def lines(order: Order) -> Iterator[Line]:
    yield {"sku": order.id}


def plain(order: Order):  # type: ignore[no-untyped-def]
    return order


@pytest.mark.parametrize(
    ("derive", "value_type", "codec"),
    [
        (lambda orders: orders.filter(bool), Order, "Order"),
        (lambda orders: orders.key_by("customer"), Order, "Order"),
        (lambda orders: orders.map(ids), str, "str"),
        (lambda orders: orders.map(lambda order: order.id), Any, "JSON"),
        (lambda orders: orders.map(lambda order: order.id, str), str, "str"),
        (lambda orders: orders.map(plain), Any, "JSON"),
        (lambda orders: orders.map(plain).filter(bool), Any, "JSON"),
        (lambda orders: orders.flat_map(lines), Line, "Line"),
        (lambda orders: orders.flat_map(lambda order: []), Any, "JSON"),
        (lambda orders: orders.flat_map(lambda order: [1], int), int, "int"),
        (lambda orders: orders.merge(orders.filter(bool)), Order, "Order"),
        (lambda orders: orders.merge(orders.map(ids)), Order | str, "Order | str"),
        (lambda orders: orders.merge(orders.map(plain, Refund)), Any, "JSON"),
        (lambda orders: orders.merge(orders.map(plain)), Any, "JSON"),
    ],
    ids=map(str, count()),
)
def test_types_follow_the_declarations(derive: Callable[[Stream[Order]], Stream[Any]], value_type: Any, codec: str) -> None:
    app = App("shop")
    stream = derive(app.stream("orders", type=Order))
    assert stream.value_type == value_type
    assert app.graph().streams[stream.name].codec.name == codec


@pytest.mark.parametrize(
    ("annotation", "item"),
    [
        (list[int], int),
        (Iterable[Order], Order),
        (tuple[int, ...], int),
        (tuple[int, str], Any),
        (dict[str, int], Any),
        (list, Any),
        (int, Any),
    ],
    ids=map(str, count()),
)
def test_flat_map_takes_the_item_of_what_is_returned(annotation: Any, item: Any) -> None:
    def fn(value):  # type: ignore[no-untyped-def]
        return []

    fn.__annotations__["return"] = annotation
    assert App("shop").stream("orders").flat_map(fn).value_type == item


@pytest.mark.parametrize(
    ("type", "value", "field", "key"),
    [
        (dict, {"customer": "c"}, "customer", "c"),
        (dict[str, str], {"customer": "c"}, "customer", "c"),
        (Line, {"sku": "c"}, "sku", "c"),
        (Order, Order("o", "c"), "customer", "c"),
        (Order, Order("o", "shop/c"), "shop", "shop"),
        (Created | Cancelled, Cancelled("c"), "id", "c"),
        (Created, Created("c"), "id", "c"),
        (Model, Model(id="c"), "id", "c"),
        (Created | list[str], Created("c"), lambda value: value.id, "c"),
        (Any, {"id": "c"}, "id", "c"),
        (Any, Order("c", "x"), "id", "c"),
        (Order, Order("o", "c"), lambda order: order.id, "o"),
    ],
    ids=map(str, count()),
)
def test_keys_and_ids_are_a_field_or_a_function(type: Any, value: Any, field: Any, key: str) -> None:
    app = App("shop")
    stream = app.source("in", stdin(), key=field, id=field, type=type)
    emitted = app.stream("emitted", type=type, key=field)
    keyed = stream.key_by(field)
    graph = app.graph()
    functions = [graph.sources["in"].key, graph.sources["in"].id, graph.streams[emitted.name].key, graph.streams[keyed.name].fn]
    assert [fn(value) for fn in functions if fn] == [key] * 4


def test_a_missing_field_is_an_error_of_the_event() -> None:
    key = App("shop").stream("in", key="id")._key
    assert key is not None
    with pytest.raises(KeyError, match="id"):
        key({})


def test_a_source_keeps_its_lines_unless_reading_them_again_would_give_something_else() -> None:
    class Stamped(msgspec.Struct):
        id: str
        nonce: Decimal = msgspec.field(default_factory=lambda: Decimal(1))

    app = App("shop")
    app.source("raw", stdin(), key="id", type=Order)
    app.source("stamped", jsonl("stamped.jsonl"), key="id", type=Stamped)
    assert [source.raw for source in app.graph().sources.values()] == [True, False]


# --- agents


def handler_of(app: App, annotation: Any, on: Any, **options: Any) -> Graph:
    async def agent(ctx, event):  # type: ignore[no-untyped-def]
        return None

    if annotation is not None:
        agent.__annotations__["event"] = annotation
    declare: Any = app.agent(on=on, **options)
    declare(agent)
    return app.graph()


@pytest.mark.parametrize(
    ("streams", "annotation", "event"),
    [
        ([Order], None, "Order"),
        ([Order], Any, "Order"),
        ([Order], Order, "Order"),
        ([Refund], Order, "Refund"),
        ([Order, Order], None, "Order"),
        ([Order, Refund], Order, "Order"),
        ([Order, Created], None, "JSON"),
        ([Created, Cancelled], Created | Cancelled, "Created | Cancelled"),
        ([dict], dict[str, Any], "dict[str, Any]"),
        ([dict], Mapping[str, Any], "Mapping[str, Any]"),
        ([dict], dict[str, int], "dict[str, int]"),
        ([dict[str, int]], dict, "dict[str, int]"),
        ([Line], dict, "Line"),
        ([Any], Order, "Order"),
        ([], Order, "Order"),
        ([], None, "JSON"),
        ([Order | None], None, "Order | None"),
    ],
    ids=map(str, count()),
)
def test_the_event_type_is_what_handler_and_streams_agree_on(streams: list[Any], annotation: Any, event: str) -> None:
    app = App("shop")
    on = [app.stream(f"in-{number}", type=kind) for number, kind in enumerate(streams)]
    assert handler_of(app, annotation, on).agents["agent"].event.name == event


@pytest.mark.parametrize(
    ("stream", "annotation"),
    [
        (Order, Refund),
        (Order, dict),
        (dict, Order),
        (dict, Line),
        (Order, Line),
        (Line, dict[str, int]),
        (Created | Cancelled, Created),
        (dict[str, int], dict[str, str]),
        (str, int),
        (list[int], list[str]),
    ],
    ids=map(str, count()),
)
def test_a_handler_that_expects_another_type_is_refused(stream: Any, annotation: Any) -> None:
    app = App("shop")
    on = app.stream("in", type=stream)
    with pytest.raises(
        DeclarationError, match=r"agent agent expects .*, but the stream in \(.*test_app.py:\d+\) holds .*; declare"
    ):
        handler_of(app, annotation, on)


def test_agreement_looks_into_unions_and_annotations() -> None:
    assert agrees(Order, Order | None)
    assert agrees(Refund | Created, Order | Created)
    assert not agrees(Order | None, Order)
    assert agrees(list[int], list)
    assert not agrees(list, list[int])
    assert agrees(bool, int)
    assert agrees(Order, object)


def test_an_agent_listens_to_streams_by_object_or_name_declared_before_or_after() -> None:
    app = App("shop")

    @app.agent(on=["orders", "second.output"])
    async def first(ctx: Context[dict[str, Any]], event: Any) -> Order: ...  # type: ignore[empty-body]

    app.source("orders", stdin(), key="id", type=Order)

    @app.agent(on=[first.output, "failures"])
    async def second(ctx: Context[dict[str, Any]], event: Any) -> Order: ...  # type: ignore[empty-body]

    graph = app.graph()
    assert graph.agents["first"].streams == ("orders", "second.output")
    assert graph.agents["second"].streams == ("first.output", "failures")


@pytest.mark.parametrize(
    ("returned", "value_type"),
    [
        (None, Any),
        (Order, Order),
        (Order | None, Order),
        (Created | Cancelled | None, Created | Cancelled),
        (dict[str, Any], dict[str, Any]),
        (Any, Any),
    ],
    ids=map(str, count()),
)
def test_the_output_is_what_the_handler_returns_without_none(returned: Any, value_type: Any) -> None:
    async def agent(ctx, event):  # type: ignore[no-untyped-def]
        return None

    agent.__annotations__["return"] = returned
    app = App("shop")
    declare: Any = app.agent()
    output = declare(agent).output
    assert (output.name, output.value_type) == ("agent.output", value_type)
    assert "agent.output" in app.graph().streams


def test_an_agent_can_be_called_as_its_handler() -> None:
    app = App("shop")

    @app.agent()
    async def agent(ctx: Context[dict[str, Any]], event: int) -> int:
        """Doubles."""
        return event * 2

    coroutine: Any = agent(None, 4)  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == 8
    assert (agent.__doc__, agent.__name__) == ("Doubles.", "agent")


def test_the_fingerprint_follows_the_text_of_the_module(tmp_path: Any) -> None:
    def compiled(text: str) -> Graph:
        path = tmp_path / "shop.py"
        path.write_text(text)
        namespace: dict[str, Any] = {"App": App, "__name__": "shop"}
        exec(compile(text, str(path), "exec"), namespace)
        graph: Graph = namespace["app"].graph()
        return graph

    text = "app = App('shop')\n@app.agent()\nasync def act(ctx, event):\n    return helper()\ndef helper():\n    return 1\n"
    one, again, other = compiled(text), compiled(text), compiled(text.replace("return 1", "return 2"))
    assert one.agents["act"].fingerprint == again.agents["act"].fingerprint != other.agents["act"].fingerprint
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert re.fullmatch("[0-9a-f]{16}", one.agents["act"].fingerprint)


def test_the_fingerprint_follows_the_modules_beside_it_that_the_handler_uses(tmp_path: Any) -> None:
    def compiled(fee: str) -> str:
        namespace: dict[str, Any] = {"App": App, "tool": tool, "__name__": "shop"}
        for name, text in {
            "fees.py": f"def fee():\n    return {fee}\n",
            "unused.py": f"UNUSED = {fee}\n",
            "shop.py": "app = App('shop')\n@app.agent()\nasync def act(ctx, event):\n    return fee()\n",
        }.items():
            (tmp_path / name).write_text(text)
            exec(compile(text, str(tmp_path / name), "exec"), namespace)
        graph: Graph = namespace["app"].graph()
        return graph.agents["act"].fingerprint

    assert compiled("5") == compiled("5") != compiled("66")


def test_the_fingerprint_follows_the_modules_that_only_types_are_in(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = {
        "types_of_lines.py": "class Line:\n    sku: str\n",
        "types_of_orders.py": "from dataclasses import dataclass\nfrom types_of_lines import Line\n\n"
        "@dataclass\nclass Order:\n    lines: list[Line]\n",
        "types_of_totals.py": "class Total:\n    cents = 0\n",
        "types_of_answers.py": "class Answer:\n    pass\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    modules = {name: importlib.import_module(name.removesuffix(".py")) for name in texts}
    shop = "async def act(ctx: Context[Total], event):\n    helper()\ndef helper() -> 'Answer | None':\n    return None\n"
    namespace: dict[str, Any] = {"Context": Context, "__name__": "shop"}
    for module in modules.values():
        namespace.update({name: value for name, value in vars(module).items() if isinstance(value, type)})
    (tmp_path / "shop.py").write_text(shop)
    exec(compile(shop, str(tmp_path / "shop.py"), "exec"), namespace)

    def now() -> str:
        return fingerprint(namespace["act"], (dict[str, namespace["Order"]],))

    before = now()
    assert before == now()
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "# edited\n")
        assert now() != before, name
        (tmp_path / name).write_text(text)
    assert now() == before
    for module in modules.values():
        del sys.modules[module.__name__]


def test_the_graph_lists_the_tools_that_handlers_name() -> None:
    inner = tool(name="inner")(page.fn)
    table = [tool(name="listed")(page.fn)]

    app = App("shop")

    @app.agent()
    async def act(ctx: Context[dict[str, Any]], event: Any) -> None:
        def nested() -> Any:
            return inner("x")

        await nested()
        await table[0]("x")
        await pay(event)

    assert sorted(app.graph().tools) == ["charge", "inner", "listed"]


class Service:
    @staticmethod
    async def both(who: str) -> None:
        await fakes.tools.page(who)


class Proxy:
    """As of a library that makes its objects late."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("there is no request")


fakes = ModuleType("fakes")
fakes.tools = ModuleType("tools")  # type: ignore[attr-defined]
fakes.tools.page = page
proxy = Proxy()


def test_tools_are_found_in_modules_and_classes() -> None:
    app = App("shop")

    @app.agent()
    async def act(ctx: Context[dict[str, Any]], event: Any) -> None:
        await Service.both(str(proxy))

    assert list(app.graph().tools) == ["page"]


# --- what is refused


@asynccontextmanager
async def lifespan() -> AsyncIterator[int]:
    yield 1


async def bare_generator() -> AsyncIterator[int]:
    yield 1


def test_a_lifespan_is_kept_as_it_is() -> None:
    assert App("shop", lifespan).graph().lifespan is lifespan


BAD_APPS: list[tuple[Callable[[], Any], str]] = [
    (lambda: App("my shop"), "an app cannot be named 'my shop'; use ASCII letters"),
    (lambda: App(""), "an app cannot be named ''"),
    (lambda: App("../x"), "an app cannot be named"),
    (lambda: App("shop", partitions=0), "partitions=0 is no count; use a whole number from 1 to 65536"),
    (lambda: App("shop", partitions=True), "partitions=True is no count"),
    (lambda: App("shop", bare_generator), "lifespan=bare_generator is a bare generator; decorate it with @asynccontextmanager"),  # type: ignore[arg-type]
    (lambda: App("shop", lambda app: lifespan()), "is no function without parameters that gives an async context manager; use"),  # type: ignore[misc, arg-type]
]


class Keys(msgspec.Struct):
    """Fields that may be keys, and others."""

    id: str
    number: int
    maybe: int | None
    text: Annotated[str, msgspec.Meta(max_length=3)]
    either: float | str
    one: Literal["a", "b"]
    anything: Any
    flag: bool
    many: list[str]
    price: float | None


@pytest.mark.parametrize("field", ["id", "number", "maybe", "text", "either", "one", "anything"])
def test_a_field_that_may_be_a_key_is_taken_for_one(field: str) -> None:
    App("keys").source("in", stdin(), key=field, type=Keys)


# Declared as Any: a type checker refuses most of these too.
BAD: list[tuple[Callable[[Any], Any], str]] = [
    (lambda app: app.source("in", "orders.jsonl", key="id"), r"'orders.jsonl' is nothing to read from; use a source such as jsonl"),
    (lambda app: app.source("in", stdout(), key="id"), "is nothing to read from"),
    (lambda app: app.stream("out").sink(stdin()), "is nothing to write to; use a sink such as jsonl"),
    (
        lambda app: app.source("in", stdin(), key="nope", type=Order),
        "key='nope': Order has no such field; use one of id, customer, cents",
    ),
    (lambda app: app.source("in", stdin(), key="id", id="x", type=Line), "key='id': Line has no such field; use one of sku"),
    (lambda app: app.source("in", jsonl(5), key="id"), r"jsonl\(5\): the path must be a text"),
    (lambda app: app.source("in", stdin(max_line="many"), key="id"), r"stdin\(\): max_line='many' is not a size"),
    (lambda app: app.stream("out").sink(jsonl("out.jsonl", follow=True)), "follow=True is for sources; leave it out"),
    (
        lambda app: app.source("in", stdin(), key="cents", type=dict[str, float]),
        r"key='cents': dict\[str, float\] holds float there, which is no key; use text or whole numbers, or a function",
    ),
    (lambda app: app.source("in", stdin(), key="id", id="flag", type=Keys), "id='flag': Keys holds bool there, which is no key"),
    (lambda app: app.stream("out", type=Keys, key="many"), r"key='many': Keys holds list\[str\] there, which is no key"),
    (lambda app: app.stream("out", type=Keys).key_by("price"), r"key='price': Keys holds float \| None there, which is no key"),
    (lambda app: app.source("in", stdin(), key="id", type=str), "key='id': str has no such field; use a function of the value"),
    (lambda app: app.source("in", stdin(), key="customer", type=Order | Created), "key='customer': Created has no such field"),
    (lambda app: app.source("in", stdin(), key=lambda: 1), "key: <lambda> cannot be called with one value"),
    (lambda app: app.source("in", stdin(), key=3), "key: 3 is not a function"),
    (lambda app: app.source("in", stdin(), key="id", dedupe="7 days"), "dedupe: '7 days' is not a duration"),
    (lambda app: app.source("a b", stdin(), key="id"), "a source cannot be named 'a b'"),
    (lambda app: app.stream("doubts"), "the stream doubts was declared before, at .*; give one of them another name"),
    (lambda app: (app.stream("x"), app.stream("x")), r"the stream x was declared before, at tests/unit/test_app.py:\d+"),
    (lambda app: app.stream("x").filter("value > 3"), "x.filter: 'value > 3' is not a function"),
    (lambda app: app.stream("x").filter(any_handler), "an operator waits for nothing, but this is an async function; use a def"),
    (lambda app: app.stream("x").map(lambda: 1), "x.map: <lambda> cannot be called with one value"),
    (lambda app: app.stream("x").map(unresolved), "the return annotation cannot be resolved: name 'Nowhere'.*; define it above"),
    (lambda app: app.stream("x").merge(), "x.merge has nothing to merge with"),
    (lambda app: app.stream("x").merge(App("b").stream("y")), "x.merge cannot take <stream y .*; give streams of the same app"),
    (lambda app: app.stream("x").merge("y"), "x.merge cannot take 'y'"),
    (lambda app: (y := app.stream("y"), app.stream("x").merge(y, y)), "x.merge is given y twice"),
    (
        lambda app: (app.stream("x").sink(stdout(), name="s"), app.stream("y").sink(stdout(), name="s")),
        "the sink s of stream x was",
    ),
    (lambda app: app.agent(any_handler), r"@app.agent was used without options; write @app.agent\(on=...\)"),
    (lambda app: app.agent()(lambda ctx, event: None), "agent <lambda>|an agent cannot be named '<lambda>'"),
    (lambda app: app.agent(name="x")(lambda ctx, event: None), "agent x: <lambda> is no async def; use async def"),
    (lambda app: app.agent()(one_parameter), r"agent one_parameter is called with \(ctx, event\)"),
    (lambda app: app.agent(waiting="drop")(any_handler), "waiting='drop' is not known; use 'hold' or 'release'"),
    (lambda app: app.agent(on_error="x")(any_handler), "on_error='x' is not known; use 'park' or 'block'"),
    (lambda app: app.agent(on_doubt="x")(any_handler), "on_doubt='x' is not known; use 'hold' or 'park'"),
    (
        lambda app: (app.agent()(any_handler), app.agent()(any_handler)),
        "the agent any_handler was declared before, at .*; give it name=",
    ),
    (
        lambda app: app.agent(state=Spent)(wrong_state),
        r"has state=Spent, but its handler expects Context\[Order\]; use state=Order",
    ),
    (lambda app: app.agent()(unresolved_event), "the annotation of event cannot be resolved: name 'Nowhere'"),
]

BAD_GRAPHS: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda app: (app.source("a", stdin(), key="k"), app.source("b", stdin(), key="k")),
        r"the sources a \(tests/unit/test_app.py:\d+\) and b both read standard input; declare one",
    ),
    (
        lambda app: app.source("a", jsonl("x.jsonl", follow=True), key="k").sink(jsonl("folder/../x.jsonl")),
        r"the sink writes to .*x.jsonl, which the source a \(tests/unit/test_app.py:\d+\) reads; write to another file",
    ),
    (
        lambda app: (app.stream("a").sink(jsonl("x.jsonl")), app.stream("b").sink(jsonl("./x.jsonl"))),
        r"x.jsonl is written by the sink at tests/unit/test_app.py:\d+ too; merge\(\) the streams",
    ),
    (lambda app: app.agent(on="nowhere")(any_handler), "there is no stream 'nowhere'; use one of any_handler.output, dead_letters"),
    (lambda app: app.agent(on=[3])(any_handler), "3 is not a stream"),
    (lambda app: app.agent(on=App("b").stream("x"))(any_handler), "the stream x .* belongs to another app"),
    (lambda app: app.agent(on=["failures", "failures"])(any_handler), "agent any_handler listens to failures twice"),
    (
        lambda app: app.agent(state=Order)(any_handler),
        r"the state begins as Order\(\): .*missing 2 required .*; give every field a default",
    ),
    (lambda app: app.agent(state=Line)(any_handler), r"the state begins as Line\(\): .*required field `sku`"),
    (lambda app: app.agent(state=complex)(any_handler), "agent any_handler: its state: complex cannot be read back from JSON"),
    (lambda app: app.agent(state=int | None)(any_handler), r"the state begins as int | None\(\), which cannot be called"),
    (lambda app: app.stream("x", type=complex), "stream x: complex cannot be read back"),
    (
        lambda app: app.source("x", stdin(), key=str, type=Holds),
        "stream x: Holds cannot be read back from JSON: Holds.what is complex",
    ),
    (lambda app: app.source("x", stdin(), key=str, type=Lost), "stream x: a field of Lost has an unknown type: name 'Nowhere'"),
    (lambda app: app.agent()(returns_complex), "stream returns_complex.output: complex cannot be read back"),
    (lambda app: app.agent()(uses_both), "two tools are named page, the other is at .*; give one of them name="),
    (lambda app: app.agent()(uses_lost), "tool lost: an annotation cannot be resolved: name 'Nowhere'"),
]


@dataclass
class Spent:
    cents: int = 0


@dataclass
class Holds:
    what: complex


@dataclass
class Lost:
    what: Nowhere  # type: ignore[name-defined]  # noqa: F821


def unresolved(value: Any) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


async def unresolved_event(ctx: Context[Any], event: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def one_parameter(ctx: Context[Any]) -> None: ...


async def wrong_state(ctx: Context[Order], event: Any) -> None: ...


async def returns_complex(ctx: Context[Any], event: Any) -> complex: ...  # type: ignore[empty-body]


other_page = tool(name="page")(any_handler)


async def uses_both(ctx: Context[Any], event: Any) -> None:
    await page("x")
    await other_page(ctx, event)


@tool
async def lost() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


async def uses_lost(ctx: Context[Any], event: Any) -> None:
    await lost()


def refused(declare: Callable[[], Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says) as error:
        declare()
    assert re.match(r"tests/unit/test_app.py:\d+: ", str(error.value)), str(error.value)


@pytest.mark.parametrize(("declare", "says"), BAD_APPS, ids=map(str, count()))
def test_a_wrong_app_is_refused_with_place_and_fix(declare: Callable[[], Any], says: str) -> None:
    refused(declare, says)


@pytest.mark.parametrize(("declare", "says"), BAD, ids=map(str, count()))
def test_a_wrong_declaration_is_refused_where_it_stands(declare: Callable[[Any], Any], says: str) -> None:
    refused(lambda: declare(App("shop")), says)


@pytest.mark.parametrize(("declare", "says"), BAD_GRAPHS, ids=map(str, count()))
def test_what_only_the_whole_can_show_is_refused_by_graph(declare: Callable[[Any], Any], says: str) -> None:
    app = App("shop")
    declare(app)
    refused(app.graph, says)


def test_one_file_may_be_read_by_several_sources_and_standard_output_written_by_several_sinks() -> None:
    app = App("shop")
    for name in ("a", "b"):
        app.source(name, jsonl("x.jsonl"), key="k").sink(stdout())
    assert len(app.graph().sinks) == 2


def test_the_place_is_the_line_of_the_declaration() -> None:
    line = inspect.currentframe().f_lineno + 2  # type: ignore[union-attr]
    with pytest.raises(DeclarationError, match=rf"^tests/unit/test_app.py:{line}: "):
        App("shop").source("in", stdin(), key="nope", type=Order)
