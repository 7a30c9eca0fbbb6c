"""The control socket: what is asked of an engine that cannot answer yet, and of one that ends meanwhile."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from millstream.runtime import control
from millstream.runtime.control import ControlServer, ask


class Full:
    """Operations of an engine whose store takes no commit: none is answered."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def do(self, request: dict[str, Any]) -> Any:
        self.asked.set()
        await asyncio.Event().wait()


def test_who_waits_for_a_commit_is_told_and_an_engine_that_ends_says_so_without_a_word_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SLOW_S", 0.01)
    slow = threading.Event()
    problems: list[Any] = []

    async def serve() -> BaseException | None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        operations: Any = Full()
        server = ControlServer(tmp_path / "control", operations)
        await server.start()
        answer = asyncio.ensure_future(asyncio.to_thread(ask, tmp_path / "control", {"op": "cancel"}, slow=slow.set))
        await operations.asked.wait()
        assert await asyncio.to_thread(slow.wait, 20.0)
        await server.close()
        (raised,) = await asyncio.gather(answer, return_exceptions=True)
        return raised

    raised = asyncio.run(serve())
    assert isinstance(raised, ConnectionResetError)
    assert "ended before it answered" in str(raised)
    assert problems == []
