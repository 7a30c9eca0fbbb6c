"""The engine around the core: what it commits, when it looks at the clock, and how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.core.intake import Intake
from millstream.core.mail import SIGNALS
from millstream.core.steps import Steps
from millstream.core.tables import SEEN, Commit, SeenRow
from millstream.engine import engine as module
from millstream.engine.clock import SystemClock
from millstream.engine.engine import Engine
from millstream.errors import CommitRefused
from millstream.stores.memory import MemoryStore
from millstream.testing import AppRun, MemorySource

PATIENCE_S = 20.0  # what should come does so at once; without its safeguard it never would
MINUTE = 60_000_000

Ctx = Context[dict[str, Any]]


@tool(effect=Effect.READ)
async def look(n: int) -> int:
    return n


# ------------------------------------------------------------------------------------------------------------ torn entries


class Bug(Exception):
    pass


def raises_once(monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, nth: int) -> None:
    """The core has a bug: the nth call of this method raises."""
    method, calls = getattr(owner, name), 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise Bug
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, broken)


@pytest.mark.parametrize(
    ("owner", "name", "nth"),
    [
        (Intake, "_new_run", 7),  # behind three of ``busy``: of six events three have their run
        (Intake, "emit", 3),  # the state of the third is changed, and nothing emitted
        (Intake, "_to_sink", 5),  # its output has its place in the line of outputs, and is not in it
    ],
)
def test_an_entry_that_the_core_has_half_made_is_never_committed(
    monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, nth: int
) -> None:
    app = App("shop")
    others = app.source("others", jsonl("others.jsonl"), key="k")
    orders = app.source("orders", jsonl("orders.jsonl"), key="k")  # without an id: only its position says what was read

    @app.agent(on=orders, state=dict)
    async def count(ctx: Ctx, event: dict[str, Any]) -> dict[str, Any]:
        await look(1)
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return {"id": event["id"], "n": ctx.state["n"]}

    @app.agent(on=others, state=dict)
    async def busy(ctx: Ctx, event: dict[str, Any]) -> None:
        """There is always something to commit."""
        for n in range(100):
            await look(n)

    with AppRun(app) as world:
        raises_once(monkeypatch, owner, name, nth)
        world.send(others, *[{"k": f"k{n}"} for n in range(3)])
        world.send(orders, *[{"k": "one", "id": n} for n in range(6)])
        with pytest.raises(Bug):
            world.settle()
        (read,) = [row.events for row in world._store.sources() if row.source == "orders"] or [0]
        assert len(world.runs(count)) == read, "what was read and what is handled are one entry"
        assert world.state(count, "one").get("n", 0) == len(world.runs(count, status="done")), "so are a change and its run's end"
        world.crash()
        world.settle()
        assert [run.status for run in world.runs(count)] == ["done"] * 6
        assert world.state(count, "one") == {"n": 6}
        assert world.outputs(count.output) == [{"id": n, "n": n + 1} for n in range(6)]
