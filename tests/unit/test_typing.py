"""What a type checker knows of a user's program: types are inferred from declarations, and wrong programs are refused.

Each line of the programs below says in a comment what ``mypy --strict`` must say of it; of the others it must say nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

SOURCE = Path(__file__).parents[2] / "src"

BEGIN = """
from __future__ import annotations
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypedDict
import millstream
from millstream import (
    INJECTED, App, Connection, Context, Done, Effect, NotDone, Retry, ToolCall, Unknown, jsonl, stdin, stdout, tool,
)

@dataclass
class Order:
    id: str
    customer: str
    cents: int

@dataclass
class Receipt:
    id: str

@dataclass
class Spent:
    total: Decimal = Decimal(0)

class Line(TypedDict):
    sku: str

@asynccontextmanager
async def lifespan() -> AsyncIterator[int]:
    yield 1

app = App("shop", lifespan, partitions=16)
orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id=lambda order: order.id, type=Order)
events = app.source("events", stdin(), key="customer", dedupe="1d")
alerts = app.stream("alerts", type=str, key=lambda alert: alert.upper())

async def probe(call: ToolCall, order_id: str, cents: int = 0) -> Done[Receipt] | NotDone | Unknown:
    return Unknown()

@tool(effect=Effect.VERIFIED, verify=probe, timeout="30s", retry=Retry(attempts=5, backoff="1s"), raises=[KeyError])
async def charge(order_id: str, cents: int = 0, call: ToolCall = INJECTED) -> Receipt:
    return Receipt(call.idempotency_key)

@tool
def look(name: str) -> tuple[int, ...]:
    return (1,)

@tool(effect=Effect.TRANSACTIONAL, database=list)
def transfer(cents: int, conn: Connection = INJECTED) -> None:
    conn.execute("SELECT 1")

def is_large(order: Order) -> bool:
    return order.cents > 100

def fetch(url: str, tries: int = 1) -> bytes:
    return b""

async def fetch_later(url: str) -> str:
    return ""
"""

GOOD = """
reveal_type(orders)  # Stream[Order]
reveal_type(events)  # Stream[dict[str, Any]]
reveal_type(alerts)  # Stream[str]
reveal_type(app.stream("lines", type=Line))  # Stream[Line]
reveal_type(app.stream("any"))  # Stream[dict[str, Any]]
reveal_type(app.failures)  # Stream[dict[str, Any]]
reveal_type(orders.filter(is_large).filter(lambda order: order.cents))  # Stream[Order]
reveal_type(orders.map(lambda order: order.cents))  # Stream[int]
reveal_type(orders.map(lambda order: {"sku": order.id}, type=Line))  # Stream[Line]
reveal_type(orders.flat_map(lambda order: [order.id]))  # Stream[str]
reveal_type(orders.key_by(lambda order: order.id).key_by("customer"))  # Stream[Order]
reveal_type(orders.merge(orders.filter(is_large)))  # Stream[Order]
reveal_type(orders.merge(alerts))  # Stream[Order | str]
reveal_type(charge)  # Tool[[order_id: str, cents: int =, call: ToolCall =], Receipt]
reveal_type(look)  # Tool[[name: str], tuple[int, ...]]
reveal_type(transfer)  # Tool[[cents: int, conn: Connection =], None]
reveal_type(charge.using(timeout="5s", name="again"))  # Tool[[order_id: str, cents: int =, call: ToolCall =], Receipt]

@app.agent(on=orders, state=Spent, waiting="release", on_error="block", on_doubt="park")
async def fulfil(ctx: Context[Spent], order: Order) -> Receipt | None:
    reveal_type(ctx.state.total)  # Decimal
    reveal_type(await charge(order.id, cents=order.cents))  # Receipt
    reveal_type(await look.using(timeout="1s")("x"))  # tuple[int, ...]
    reveal_type(await ctx.step("fetch", fetch, "http://x", 3))  # bytes
    reveal_type(await ctx.step("fetch", fetch_later, "http://x"))  # str
    reveal_type(await ctx.step("n", lambda n: n + 1, 3, effect=Effect.AT_MOST_ONCE))  # int
    reveal_type(await ctx.receive("approval", about=order.id, timeout="24h"))  # Signal[Any]
    reveal_type((await ctx.receive("approval", type=Order)).value)  # Order
    reveal_type((ctx.key, ctx.run_id, ctx.event.id, ctx.random()))  # tuple[str, str, str, float]
    reveal_type((ctx.now(), ctx.event.time, ctx.uuid()))  # tuple[datetime, datetime, UUID]
    reveal_type(await ctx.ask(answer, "k", order))  # int | None
    reveal_type(await ctx.ask("answer", "k", order))  # Any
    for done in ctx.as_completed([charge("a"), charge("b")]):
        reveal_type(await done)  # Receipt
    ctx.emit(alerts, "x", key="k")
    ctx.emit("alerts", "x")
    ctx.send(answer, order.customer, order)
    ctx.state = Spent()
    with ctx.scope("x"):
        await ctx.sleep("10s")
    async with ctx.timeout("10s"):
        await transfer(3)
    return Receipt("x")

reveal_type(fulfil)  # Agent[Spent, Order, Receipt]
reveal_type(fulfil.output)  # Stream[Receipt]
fulfil.output.sink(jsonl("receipts.jsonl"))
app.doubts.sink(stdout())

@app.agent(on=[orders, orders.filter(is_large)])
async def answer(ctx: Context[dict[str, Any]], order: Order) -> int:
    reveal_type(ctx.state)  # dict[str, Any]
    return 1

@app.agent(on="orders", state=dict)
async def by_name(ctx: Context[dict[str, Any]], order: Order) -> None:
    pass

@app.agent(on=[orders, events])
async def of_both(ctx: Context[dict[str, Any]], event: Any) -> None:
    pass

@app.agent(state=Spent)
async def only_sent(ctx: Context[Spent], event: Line) -> Line | None:
    return event

either = app.stream("either", type=Order | Receipt)
coming = app.source("coming", stdin(), key=lambda value: value.id, type=Order | Receipt)
orders.map(lambda order: order, type=Order | Receipt).filter(lambda value: value.id)

@app.agent(on=[either, coming])
async def of_a_union(ctx: Context[dict[str, Any]], event: Order | Receipt) -> Order | Receipt | None:
    ctx.emit(either, Receipt("x"))
    return (await ctx.receive("x", type=Order | Receipt)).value

@app.agent(on=events.map(lambda event: event["order"]))
async def of_untyped(ctx: Context[dict[str, Any]], event: Order) -> Receipt:
    return Receipt("x")

reveal_type(of_untyped)  # Agent[dict[str, Any], Any, Receipt]
reveal_type(by_name)  # Agent[dict[Any, Any], Order, Never]
reveal_type(only_sent)  # Agent[Spent, Line, Line]

async def in_a_test() -> None:
    reveal_type(await charge("o", call=ToolCall("key", 1, "run", "step")))  # Receipt
"""

BAD = """
@app.agent(on=orders, state=Spent)  # error: arg-type
async def wrong_state(ctx: Context[Order], order: Order) -> None:
    pass

@app.agent(on=orders)  # error: arg-type
async def wrong_event(ctx: Context[dict[str, Any]], order: Line) -> None:
    pass

@app.agent(on=orders)  # error: arg-type
def no_coroutine(ctx: Context[dict[str, Any]], order: Order) -> None:
    pass

@app.agent(on=orders)  # error: arg-type
async def no_event(ctx: Context[dict[str, Any]]) -> None:
    pass

app.agent(on=orders, waiting="drop")  # error: call-overload
app.source("a", jsonl("a.jsonl"))  # error: call-overload
app.source("b", stdout(), key="x")  # error: call-overload
app.source("c", "c.jsonl", key="x")  # error: call-overload
orders.filter(lambda order: order.nothing)  # error: attr-defined
orders.map(fetch)  # error: arg-type
orders.sink(stdin())  # error: arg-type
tool(effect="read")  # error: call-overload
tool(in_doubt="ask")  # error: call-overload
tool(tiemout="3s")  # error: call-overload
Retry(times=3)  # error: call-arg
millstream.Ap  # error: attr-defined
from millstream import aap  # error: attr-defined

@app.agent(on=orders, state=Spent)
async def calls(ctx: Context[Spent], order: Order) -> str:
    charge(order.id)  # error: unused-coroutine
    await charge()  # error: call-arg
    await charge(3)  # error: arg-type
    await charge("o", nothing=3)  # error: call-arg
    await charge.using(tiemout="3s")("o")  # error: call-arg
    receipt: str = await charge("o")  # error: assignment
    ctx.state.nothing  # error: attr-defined
    ctx.state = Order("a", "b", 3)  # error: assignment
    ctx.key = "other"  # error: misc
    ctx.emit(alerts, 3)  # error: misc
    ctx.send(calls, "k", 3)  # error: misc
    ctx.send("calls", 1.5, 3)  # error: call-overload
    await ctx.ask(calls, "k", 3)  # error: misc
    await ctx.step("x", fetch, 3)  # error: arg-type
    await ctx.step("x", fetch_later)  # error: arg-type call-arg
    await ctx.receive("x", timeout=3)  # error: call-overload
    await ctx.sleep(3)  # error: arg-type
    await ctx.receive("x", type=Order, about=[])  # error: call-overload
    return 3  # error: return-value
"""

SEAM = """
from millstream.agents.ports import Handle as Asked
from millstream.engine.handle import Handle as Given

def the_engine_gives_what_a_context_asks_for(handle: Given) -> Asked:
    return handle
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, list[str]]]:
    """What mypy says of each line of each program, in one run of it."""
    folder = tmp_path_factory.mktemp("typing")
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", str(SOURCE))
        options = ["--strict", "--config-file=", "--hide-error-context", "--no-error-summary", f"--cache-dir={folder / 'cache'}"]
        output, failure, _ = api.run([*options, *(str(folder / f"{name}.py") for name in PROGRAMS)])
    assert failure == ""
    lines: dict[str, dict[int, list[str]]] = {name: {} for name in PROGRAMS}
    for path, line, message in re.findall(r"^(.+?):(\d+): (.*)$", output, re.MULTILINE):
        if Path(path).parent == folder:
            lines[Path(path).stem].setdefault(int(line), []).append(message)
        else:
            lines.setdefault(path, {}).setdefault(int(line), []).append(message)
    return lines


PROGRAMS = {"good": BEGIN + GOOD, "bad": BEGIN + BAD, "seam": SEAM}


def expected_of(name: str) -> dict[int, str]:
    comments = {number: line.partition("  # ")[2] for number, line in enumerate(PROGRAMS[name].splitlines(), 1)}
    return {number: comment for number, comment in comments.items() if comment}


def test_tools_state_and_outputs_are_inferred(said: dict[str, dict[int, list[str]]]) -> None:
    revealed: dict[int, str] = {}
    for number, messages in said["good"].items():
        (message,) = messages
        match = re.fullmatch(r'note: Revealed type is "(.*)"', message)
        assert match is not None, f"line {number}: {message}"
        short = re.sub(r"\b[a-z_]+\.(?=[\w.]*[A-Z]|[a-z_.]*[a-z]+\b)", "", match[1])  # without modules
        revealed[number] = re.sub(r"TypedDict\((\w+), \{.*?\}\)", r"\1", short)
    assert revealed == expected_of("good")


def test_wrong_programs_are_refused(said: dict[str, dict[int, list[str]]]) -> None:
    found: dict[int, str] = {}
    for number, messages in said["bad"].items():
        codes = {code for message in messages for code in re.findall(r"^error: .*\[([a-z-]+)\]$", message)}
        if codes:
            found[number] = f"error: {' '.join(sorted(codes))}"
    assert found == expected_of("bad")


def test_the_engines_handle_is_what_a_context_asks_for(said: dict[str, dict[int, list[str]]]) -> None:
    assert said["seam"] == {}
