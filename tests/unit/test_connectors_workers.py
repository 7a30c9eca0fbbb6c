"""Blocking calls beside the loop: nothing that was read is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from millstream.connectors.workers import Ahead, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("test")
    yield worker
    worker.stop()


def test_the_result_of_a_cancelled_wait_goes_to_the_next(worker: Worker) -> None:
    gate, calls = threading.Event(), iter([b"first", b"second"])

    def call() -> bytes:
        gate.wait()
        return next(calls)

    async def main() -> None:
        ahead = Ahead(worker, call)
        for _ in range(3):
            task = asyncio.ensure_future(ahead.take())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        gate.set()
        assert [await ahead.take(), await ahead.take()] == [b"first", b"second"]

    asyncio.run(main())


def test_an_error_is_raised_where_the_result_is_taken_and_the_next_call_is_made_anew(worker: Worker) -> None:
    def call() -> bytes:
        results.append(None)
        if len(results) == 1:
            raise OSError("once")
        return b"then"

    results: list[None] = []

    async def main() -> None:
        ahead = Ahead(worker, call)
        ahead.start()
        ahead.start()
        with pytest.raises(OSError, match="once"):
            await ahead.take()
        assert await ahead.take() == b"then"

    asyncio.run(main())


def test_a_result_that_nobody_wants_is_dropped_without_complaint(worker: Worker) -> None:
    def fail() -> bytes:
        raise OSError("nobody looks")

    complaints: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        ahead = Ahead(worker, fail)
        ahead.start()
        await worker.submit(lambda: None)
        ahead.drop()
        ahead.drop()

    asyncio.run(main())
    assert complaints == []


def test_a_call_that_returns_after_its_loop_has_ended_harms_nobody(worker: Worker) -> None:
    gate, done = threading.Event(), threading.Event()

    async def leave() -> None:
        worker.submit(gate.wait)
        worker.submit(done.set)

    asyncio.run(leave())
    gate.set()
    assert done.wait(10)

    async def again() -> int:
        return await worker.submit(lambda: 7)

    assert asyncio.run(again()) == 7


def test_the_thread_is_a_daemon_that_ends_when_stopped() -> None:
    worker = Worker("test ends")

    async def main() -> threading.Thread:
        return await worker.submit(threading.current_thread)

    thread = asyncio.run(main())
    assert thread.daemon
    worker.stop()
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert asyncio.run(main()) is not thread
    worker.stop()
