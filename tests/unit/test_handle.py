"""The engine's face of a run: what it refuses, and what it says then."""

from __future__ import annotations

from typing import Any

import pytest

from millstream import App, Context
from millstream.core.identity import KeyMaker
from millstream.core.tables import JSON, EventRow
from millstream.engine.handle import Handle, HandledLoop
from millstream.errors import NotFound


def handle(*agents: str) -> Handle:
    app = App("shop")

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None: ...

    for name in agents:
        app.agent(name=name)(handler)
    event = EventRow(1, 0, "in", "k", "1", 0, 0, None, None, None, JSON, "{}")
    return Handle("0-1-1", "a", "k", event, None, 0, HandledLoop(1, 0), app.graph(), KeyMaker("shop", ""), None)


def test_what_is_not_there_is_an_error_that_lists_what_is() -> None:
    with pytest.raises(NotFound, match=r"run 0-1-1: there is no agent 'c'; there are: a, b$"):
        handle("b", "a").send("c", "k", {})
    with pytest.raises(NotFound, match=r"there is no agent 'c'; there are: none$"):
        handle().ask("c", "k", "{}")
    with pytest.raises(
        NotFound, match=r"no stream 'alerts' to emit to; app.stream\(\) declares one. There are: a.output, b.output, "
    ):
        handle("b", "a").emit("alerts", {}, None)
