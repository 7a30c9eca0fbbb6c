"""The app that is simulated: agents whose events hold the program that they are to play, and tools of every class.

A program is a list of steps, each a list: its name and its arguments (``PLAYS`` below). So one handler can be made to do anything
that a handler can do, by nothing but events, and a seed is a whole new application. The tools' bodies are never executed: the
simulated far side (``farside``) does in their place whatever the seed says.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from millstream.agents.app import App
from millstream.agents.context import Context
from millstream.agents.options import Retry
from millstream.agents.tools import tool
from millstream.core.calls import INJECTED, Unknown
from millstream.core.effects import Effect
from millstream.core.graph import Graph
from millstream.engine.connection import Connection
from millstream.errors import Deadlock, RunError

Program = list[list[Any]]


class Edition(msgspec.Struct):
    """Which of two versions of the agents' code runs; the app's resources."""

    number: int = 0


# --- tools ----------------------------------------------------------------------------------------------------------


@tool(effect=Effect.READ, timeout="30s", retry=Retry(attempts=2, backoff="1s"))
async def read(n: int) -> dict[str, Any]:
    raise NotImplementedError


@tool(
    effect=Effect.IDEMPOTENT, timeout="30s", key_ttl="1h", retry=Retry(attempts=3, backoff="2s", on=[ValueError]), max_concurrency=2
)
async def pay(n: int) -> dict[str, Any]:
    raise NotImplementedError


@tool(effect=Effect.IDEMPOTENT, timeout="30s", key=lambda n: f"refund:{n}", retry=Retry(attempts=2, backoff="1s"))
async def refund(n: int) -> dict[str, Any]:
    raise NotImplementedError


def _no_database() -> Any:
    raise NotImplementedError


@tool(effect=Effect.TRANSACTIONAL, timeout="30s", database=_no_database)
def book(n: int, conn: Connection = INJECTED) -> dict[str, Any]:
    raise NotImplementedError


async def _probe(call: Any, n: int) -> Any:
    return Unknown()


@tool(effect=Effect.VERIFIED, timeout="30s", verify=_probe, settle="10s", retry=Retry(attempts=2, backoff="1s"))
async def ship(n: int) -> dict[str, Any]:
    raise NotImplementedError


@tool(timeout="30s", max_concurrency=1)
async def page(n: int) -> dict[str, Any]:
    raise NotImplementedError


@tool(timeout="30s", in_doubt="retry", in_doubt_after="10m")
async def page_again(n: int) -> dict[str, Any]:
    raise NotImplementedError


@tool(timeout="30s", in_doubt="fail", in_doubt_after="5m")
async def page_once(n: int) -> dict[str, Any]:
    raise NotImplementedError


TOOLS = {tool.name: tool for tool in (read, pay, refund, book, ship, page, page_again, page_once)}


# --- the handler ----------------------------------------------------------------------------------------------------


async def play(ctx: Context[Any], seen: list[Any], program: Program) -> None:
    """Do what a program says; ``seen`` gathers what came back."""
    for name, *arguments in program:
        await PLAYS[name](ctx, seen, *arguments)


async def _tool(ctx: Context[Any], seen: list[Any], name: str, n: int) -> None:
    result = await TOOLS[name](n)
    seen.append([name, result["ref"]])


async def _touch(ctx: Context[Any], seen: list[Any]) -> None:
    ctx.state.setdefault("by", []).append(ctx.run_id)


async def _sleep(ctx: Context[Any], seen: list[Any], duration: str) -> None:
    await ctx.sleep(duration)


async def _receive(ctx: Context[Any], seen: list[Any], name: str, about: str | None, timeout: str | None) -> None:
    try:
        signal = await ctx.receive(name, about=about, timeout=timeout)
        seen.append([name, signal.value, signal.by])
    except TimeoutError:
        seen.append([name, "late"])


async def _ask(ctx: Context[Any], seen: list[Any], agent: str, key: str, value: Any, timeout: str | None) -> None:
    try:
        seen.append(["answer", await ctx.ask(agent, key, value, timeout=timeout)])
    except (Deadlock, TimeoutError) as error:
        seen.append(["answer", type(error).__name__])


async def _send(ctx: Context[Any], seen: list[Any], agent: str, key: str, value: Any) -> None:
    ctx.send(agent, key, value)


async def _emit(ctx: Context[Any], seen: list[Any], value: Any) -> None:
    ctx.emit("alerts", value)


async def _all(ctx: Context[Any], seen: list[Any], *branches: Program) -> None:
    lists: list[list[Any]] = [[] for _ in branches]
    async with asyncio.TaskGroup() as group:
        for branch, own in zip(branches, lists, strict=True):
            group.create_task(play(ctx, own, branch))
    seen.append(lists)


async def _race(ctx: Context[Any], seen: list[Any], *branches: Program) -> None:
    lists: list[list[Any]] = [[] for _ in branches]
    tasks = [asyncio.create_task(play(ctx, own, branch)) for branch, own in zip(branches, lists, strict=True)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task in pending:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    seen.append([[n for n, task in enumerate(tasks) if task in done], lists])


async def _within(ctx: Context[Any], seen: list[Any], duration: str, program: Program) -> None:
    try:
        async with ctx.timeout(duration):
            await play(ctx, seen, program)
        seen.append("in time")
    except TimeoutError:
        seen.append("late")


async def _finally(ctx: Context[Any], seen: list[Any], program: Program, last: Program) -> None:
    try:
        await play(ctx, seen, program)
    finally:
        await play(ctx, seen, last)


async def _catch(ctx: Context[Any], seen: list[Any], program: Program) -> None:
    try:
        await play(ctx, seen, program)
    except (RunError, ValueError, ExceptionGroup) as error:
        seen.append(["caught", type(error).__name__, str(error)])


async def _raise(ctx: Context[Any], seen: list[Any]) -> None:
    raise ValueError("the handler raises")


async def _orphan(ctx: Context[Any], seen: list[Any], program: Program) -> None:
    _orphans.add(task := asyncio.create_task(play(ctx, [], program)))
    task.add_done_callback(_orphans.discard)


_orphans: set[asyncio.Task[None]] = set()


async def _stuck(ctx: Context[Any], seen: list[Any]) -> None:
    await asyncio.get_running_loop().create_future()


async def _edited(ctx: Context[Any], seen: list[Any], before: Program, after: Program) -> None:
    await play(ctx, seen, after if ctx.resources.number % 2 else before)


PLAYS: dict[str, Callable[..., Awaitable[None]]] = {
    "tool": _tool,
    "touch": _touch,
    "sleep": _sleep,
    "receive": _receive,
    "ask": _ask,
    "send": _send,
    "emit": _emit,
    "all": _all,
    "race": _race,
    "within": _within,
    "finally": _finally,
    "catch": _catch,
    "raise": _raise,
    "orphan": _orphan,
    "stuck": _stuck,
    "edited": _edited,
}


async def handle(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> dict[str, Any] | None:
    """Every agent's handler."""
    seen: list[Any] = []
    await play(ctx, seen, event["do"])
    if event.get("quiet"):
        return None
    return {"id": event["id"], "run": ctx.run_id, "seen": seen, "chance": ctx.random(), "at": ctx.now().timestamp()}


def key_of(edition: int, event: dict[str, Any]) -> Any:
    """The key of an event; that of some is found by the second edition only: until then they are dead letters."""
    return event["late_key"] if edition and "late_key" in event else event["key"]


# --- the app --------------------------------------------------------------------------------------------------------


class _Nowhere:
    """Stands for a connector: the simulated shell delivers and takes away in its place."""

    def as_source(self) -> Any:
        raise NotImplementedError

    def as_sink(self) -> Any:
        raise NotImplementedError


AGENTS: dict[str, dict[str, Any]] = {
    "steady": {},
    "loose": {"waiting": "release"},
    "strict": {"on_error": "block"},
    "parking": {"on_doubt": "park"},
    "loose_parking": {"waiting": "release", "on_doubt": "park", "on_error": "block"},
}
SOURCES = ("orders", "ticks", "calls")  # read again from a position, with ids; without ids; pushed, with ids
SIGNALS = ("go", "halt")


def app() -> App:
    """All that the simulator's programs can reach."""
    made = App("simulated", partitions=8)
    nowhere = _Nowhere()
    orders = made.source("orders", nowhere, key="key", id="id")
    ticks = made.source("ticks", nowhere, key="key")
    calls = made.source("calls", nowhere, key="key", id="id")
    everything = orders.merge(ticks, calls, name="everything")
    outputs = []
    for name, options in AGENTS.items():
        mine = everything.filter(functools.partial(_is_for, name), name=f"for_{name}")
        outputs.append(made.agent(on=mine, state=dict, name=name, **options)(handle).output)
    alerts = made.stream("alerts", key="key")
    outputs.append(made.agent(on=alerts, state=dict, name="watcher")(handle).output)
    outputs[0].merge(*outputs[1:], name="all_outputs").sink(nowhere, name="out")
    alerts.sink(nowhere, name="alerts_out")
    summaries = everything.map(functools.partial(_summary, 0), dict, name="summaries")
    summaries.flat_map(_twice, dict, name="doubled").sink(nowhere, name="log")
    made.doubts.sink(nowhere, name="doubts_out")
    made.failures.sink(nowhere, name="failures_out")
    made.dead_letters.sink(nowhere, name="letters_out")
    return made


def _is_for(name: str, event: dict[str, Any]) -> bool:
    return bool(event["to"] == name)


def _summary(edition: int, event: dict[str, Any]) -> dict[str, Any]:
    """An event without a size is a dead letter of this operator, until the second edition takes it for one."""
    return {"id": event["id"], "size": event.get("size", 1) if edition else event["size"]}


def _twice(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": summary["id"], "half": half} for half in range(summary["size"])]


@functools.cache
def graph(edition: int) -> Graph:
    """The compiled app; an agent's fingerprint tells the edition of its code."""
    compiled = app().graph()
    sources = {
        name: msgspec.structs.replace(spec, key=functools.partial(key_of, edition)) for name, spec in compiled.sources.items()
    }
    agents = {name: msgspec.structs.replace(spec, fingerprint=f"edition-{edition}") for name, spec in compiled.agents.items()}
    summaries = msgspec.structs.replace(compiled.streams["summaries"], fn=functools.partial(_summary, edition))
    streams = {**compiled.streams, "summaries": summaries}
    return msgspec.structs.replace(compiled, agents=agents, sources=sources, streams=streams)


# --- programs -------------------------------------------------------------------------------------------------------


class Taste(msgspec.Struct):
    """What a seed's programs are made of: a different part of all that there is for each seed, so that each is tried alone too."""

    tools: list[str]
    plays: dict[str, int]  # weights
    keys: list[str]
    agents: list[str]
    length: int


def taste(chance: random.Random) -> Taste:
    """Draw one."""
    weights = {
        "tool": 10, "touch": 5, "sleep": 2, "receive": 3, "ask": 3, "send": 2, "emit": 2, "all": 2, "race": 2, "within": 2,
        "finally": 2, "catch": 2, "raise": 1, "orphan": 1, "stuck": 1, "edited": 1,
    }  # fmt: skip
    kept = {name: weight for name, weight in weights.items() if name in ("tool", "touch") or chance.random() < 0.6}
    if chance.random() < 0.7:
        kept.pop("stuck", None)
    if chance.random() < 0.7:
        kept.pop("edited", None)
    return Taste(
        chance.sample(sorted(TOOLS), chance.randint(1, len(TOOLS))),
        kept,
        [f"k{n}" for n in range(chance.choice((1, 1, 2, 3, 5)))],
        chance.sample(sorted(AGENTS), chance.randint(1, len(AGENTS))),
        chance.choice((1, 2, 3, 4)),
    )


def program(chance: random.Random, taste: Taste, depth: int = 0) -> Program:
    """Draw a program."""
    names, weights = list(taste.plays), list(taste.plays.values())
    made: Program = []
    for name in chance.choices(names, weights, k=chance.randint(1, taste.length) if depth else taste.length):
        if depth >= 2 and name in _NESTED:
            name = "tool"
        made.append([name, *_arguments(name, chance, taste, depth + 1)])
    return made


_NESTED = frozenset(("ask", "send", "emit", "all", "race", "within", "finally", "catch", "orphan", "edited"))


def _arguments(name: str, chance: random.Random, taste: Taste, depth: int) -> list[Any]:
    match name:
        case "tool":
            return [chance.choice(taste.tools), chance.randrange(100)]
        case "sleep":
            return [chance.choice(("100ms", "3s", "2m", "2h"))]
        case "receive":
            return [chance.choice(SIGNALS), chance.choice((None, "x")), chance.choice((None, "5s", "10m", "24h"))]
        case "ask":
            timeout = chance.choice((None, None, "30s", "1h"))
            return [chance.choice(taste.agents), chance.choice(taste.keys), event(chance, taste, depth, "asked"), timeout]
        case "send":
            return [chance.choice(taste.agents), chance.choice(taste.keys), event(chance, taste, depth, "sent")]
        case "emit":
            return [event(chance, taste, depth, "emitted")]
        case "all" | "race":
            return [program(chance, taste, depth) for _ in range(chance.randint(1, 3))]
        case "within":
            return [chance.choice(("1s", "20s", "2m")), program(chance, taste, depth)]
        case "catch" | "orphan":
            return [program(chance, taste, depth)]
        case "finally" | "edited":
            return [program(chance, taste, depth), program(chance, taste, depth)]
        case _:
            return []


def event(chance: random.Random, taste: Taste, depth: int, id: str) -> dict[str, Any]:
    """Draw the value of an event, with the program that its handler is to play."""
    value: dict[str, Any] = {
        "id": id,
        "key": chance.choice(taste.keys),
        "to": chance.choice(taste.agents),
        "do": program(chance, taste, depth),
        "quiet": chance.random() < 0.2,
    }
    if chance.random() < 0.9:
        value["size"] = chance.randint(0, 3)
    return value
