"""Sources and sinks in memory pass the suites that files pass, and an engine can be run on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream.engine.ports import SinkConnector, SourceConnector
from millstream.errors import SinkError, SourceError, UsageError
from millstream.testing import MemorySink, MemorySource, VirtualClock, VirtualLoop
from millstream.testing.clock import ThreadGate
from millstream.testing.conformance.sinks import SinkSuite
from millstream.testing.conformance.sources import SourceSuite


class TestMemorySource(SourceSuite):
    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        source = MemorySource(items)
        source.end()
        return source.as_source


class TestEndlessMemorySource(SourceSuite):
    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        return MemorySource(items).as_source


class TestMemorySink(SinkSuite):
    def sink(self, folder: Path) -> SinkConnector:
        return self.target(folder).as_sink()

    def content(self, folder: Path) -> bytes:
        return self.target(folder).data

    def target(self, folder: Path) -> MemorySink:
        targets: dict[Path, MemorySink] = self.__dict__.setdefault("targets", {})
        return targets.setdefault(folder, MemorySink())


@dataclass
class Order:
    id: str


def test_a_source_takes_lines_and_whatever_has_a_json_form() -> None:
    source = MemorySource([b"{", {"a": 1}, Order("o1"), [1], "text", None])
    assert source.items == [b"{", b'{"a":1}', b'{"id":"o1"}', b"[1]", b'"text"', b"null"]
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        source.put(object())
    source.end()
    with pytest.raises(UsageError, match="was ended"):
        source.put(1)


def test_a_reader_waits_for_what_is_put_and_for_the_end() -> None:
    async def read() -> list[bytes]:
        source = MemorySource([1])
        reader = source.as_source()
        await reader.open("source", None)
        assert not reader.bounded
        lines = await reader.read(10)
        assert not (await reader.read(10)).data
        assert reader.caught_up  # said before it is waited for more
        waiting = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        assert not waiting.done()
        source.put(2, 3)
        lines.data.extend((await waiting).data)
        assert not (await reader.read(10)).data
        last = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        source.end()
        assert (await last).ended
        assert reader.bounded
        with pytest.raises(SourceError, match="position 7 is none of this MemorySource, which has 3 items"):
            await source.as_source().open("source", 7)
        return lines.data

    assert asyncio.run(read()) == [b"1", b"2", b"3"]


def test_a_sink_refuses_what_it_did_not_write_and_who_does_not_hold_it() -> None:
    sink = MemorySink()
    first = sink.as_sink()
    position = first.open(None, [])
    first.append([b'{"n":1}\n', b"2\n"])
    assert sink.values() == [{"n": 1}, 2]
    second = sink.as_sink()  # the process of the first one has died
    with pytest.raises(SinkError, match=r"holds b'.*' behind position 0, which this app has not written"):
        second.open(position, [b"3\n"])
    with pytest.raises(SinkError, match="position 99 is none of this MemorySink"):
        second.open(99, [])
    second.open(position, [b'{"n":1}\n', b"2\n", b"3\n"])
    with pytest.raises(SinkError, match="does not hold") as refused:
        first.append([b"4\n"])
    assert not refused.value.retryable
    second.append([b'{"n":1}\n', b"2\n", b"3\n"])
    assert sink.lines() == [b'{"n":1}', b"2", b"3"]
    assert list(first.paths()) == list(second.paths()) != list(MemorySink().as_sink().paths())


# --- the loop of a test of one's own --------------------------------------------------------------------------------------------


def test_the_clock_stands_still_until_it_is_moved_and_never_goes_back() -> None:
    clock = VirtualClock(datetime(2030, 1, 1, tzinfo=UTC))
    assert clock.start(5) == clock.now()
    assert clock.time == datetime(2030, 1, 1, tzinfo=UTC)
    at = clock.now() + 1_500_000
    assert clock.seconds_until(at) == 1.5
    clock.move_to(at)
    clock.move_to(at - 1)
    assert clock.now() == at
    assert clock.seconds_until(at - 1) == 0
    assert clock.time - datetime(2030, 1, 1, tzinfo=UTC) == timedelta(seconds=1.5)


def test_a_loop_jumps_to_its_next_timer_when_its_owner_lets_it() -> None:
    clock = VirtualClock()

    def jump(timer: float | None, waited: float) -> float:
        assert timer is not None
        clock.move_to(loop.clock_time(timer))
        return 0.0

    loop = VirtualLoop(clock, jump, ThreadGate())
    order: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(f"{name} at {loop.time():.6f}")

    async def main() -> None:
        await asyncio.gather(sleeper("day", 86_400.000001), sleeper("third", 1 / 3), sleeper("zero", 0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100 * 86_400):
                await asyncio.Event().wait()

    loop.run_until_complete(main())
    loop.close()
    assert order == ["zero at 0.000000", "third at 0.333334", "day at 86400.000001"]
    assert clock.now() - clock.origin == 86_400_000_001 + 100 * 86_400_000_000


def test_a_loop_that_died_runs_nothing_of_what_was_ready() -> None:
    loop = VirtualLoop(VirtualClock(), lambda timer, waited: 0.0, ThreadGate())
    ran = []
    loop.call_soon(ran.append, 1)
    loop.call_soon(loop.die)
    loop.call_soon(ran.append, 2)
    loop.run_forever()
    loop.close()
    assert ran == [1]


def test_nothing_begins_in_a_thread_once_the_gate_is_shut() -> None:
    gate = ThreadGate()
    gate.kill(0.0)
    assert gate.enter("late") is None
