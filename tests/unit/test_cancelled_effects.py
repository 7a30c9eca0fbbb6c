"""Cancelling an effect that was started: the tool is told, and the handler goes on when the outcome is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.runtime.local import engine

said: list[str] = []


@tool(effect=Effect.IDEMPOTENT)
async def slow() -> str:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        said.append("told")
        return "done after all"
    return "done"


async def asyncio_timeout() -> None:
    async with asyncio.timeout(0.05):
        await slow()


async def wait_for() -> None:
    await asyncio.wait_for(slow(), 0.05)


async def anyio_fail_after() -> None:
    with anyio.fail_after(0.05):
        await slow()


async def sibling_fails() -> None:
    async def failing() -> None:
        await asyncio.sleep(0.05)
        raise TimeoutError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow())
            group.create_task(failing())
    except* TimeoutError:
        raise TimeoutError from None


@pytest.mark.parametrize("way", [asyncio_timeout, wait_for, anyio_fail_after, sibling_fails])
def test_the_handler_goes_on_when_the_outcome_is_recorded(
    way: Callable[[], Coroutine[Any, Any, None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"k": "a"}\n')
    said.clear()
    app = App("cancelling")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> dict[str, Any]:
        try:
            await way()
        except TimeoutError:
            said.append("timed out")
        return {"said": list(said)}

    app.agent(on=source, name="a")(handler).output.sink(jsonl("out.jsonl"))

    async def main() -> list[str | None]:
        async with engine(app.graph(), tmp_path / "data") as running:
            running.start()
            await asyncio.wait_for(running.run(until_idle=True), 20)
            row = next(iter(running.store.runs()))
            assert row.status == "done", row.error
            records = running.store.histories([row.run])[0].records
            return [record.result for record in records if record.kind == "resulted"]

    assert asyncio.run(main()) == ['"done after all"']
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [{"said": ["told", "timed out"]}]
