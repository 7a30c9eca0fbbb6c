"""What every source connector must pass. Inherit the suite in a test class and say how to make an input:

    class TestMySource(SourceSuite):
        def source(self, folder, items):
            path = folder / "input"
            path.write_bytes(b"".join(item + b"\\n" for item in items))
            return lambda: MySource(path)

Which tests apply follows from what the connector says of itself (``redelivers``, ``bounded``). No plugin is needed: every test
runs an event loop of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from millstream.engine.ports import Lines, SourceConnector

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0  # a source that waits for what will not come fails instead of hanging


class SourceSuite:
    """Tests of one source connector."""

    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        """Make an input in the (empty) folder that holds these items; return what makes a new connector that reads it."""
        raise NotImplementedError

    def unreadable(self) -> bytes | None:
        """An item that this source cannot read and must reject; None: there is none."""
        return None

    def items(self, count: int = 7) -> list[bytes]:
        """Items to read, all different."""
        return [b'{"n":%d,"text":"%s"}' % (n, b"x" * (n * 5)) for n in range(count)]

    def test_every_item_is_given_once_and_in_order(self, tmp_path: Path) -> None:
        items = self.items(50)
        make = self.source(tmp_path, items)
        for limit in (1, 3, 1000):
            if limit == 1 or make().redelivers:
                assert _run(_all(make(), None, len(items), limit)).data == items

    def test_every_item_has_a_position_of_its_own(self, tmp_path: Path) -> None:
        seen = _run(_all(self.source(tmp_path, self.items())(), None, 7, 3))
        assert len(seen.positions) == len(seen.data) == len(set(seen.positions))
        assert all(type(position) in (int, str) for position in seen.positions)

    def test_the_recorded_position_survives_json(self, tmp_path: Path) -> None:
        for lines in _run(_all(self.source(tmp_path, self.items())(), None, 7, 1)).reads:
            assert json.loads(json.dumps(lines.position)) == lines.position

    def test_a_read_gives_about_the_limit_at_most(self, tmp_path: Path) -> None:
        for lines in _run(_all(self.source(tmp_path, self.items(50))(), None, 50, 5)).reads:
            assert len(lines.data) + len(lines.rejected) <= 10

    def test_an_empty_input_ends(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, [])()
        if not source.bounded:
            pytest.skip("an unbounded source never ends")
        seen = _run(_all(source, None, 0, 10))
        assert seen.reads[-1].ended
        assert seen.data == []

    def test_a_bounded_source_ends_behind_its_last_item(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, self.items())()
        if not source.bounded:
            pytest.skip("an unbounded source never ends")
        reads = _run(_all(source, None, 7, 2)).reads
        assert [lines.ended for lines in reads] == [False] * (len(reads) - 1) + [True]

    def test_a_source_has_caught_up_when_all_that_is_there_was_given_and_not_before(self, tmp_path: Path) -> None:
        async def read(source: SourceConnector, count: int) -> list[bytes]:
            data: list[bytes] = []
            await source.open("source", None)
            try:
                while not source.caught_up:
                    assert len(data) <= count
                    lines = await source.read(3)  # returns when it has caught up, and does not wait for more
                    data += lines.data
                    assert not source.caught_up or len(data) == count
                    if source.bounded:
                        assert source.caught_up == lines.ended
            finally:
                await source.close()
            return data

        for number, count in enumerate((0, 1, 20)):
            folder = tmp_path / str(number)
            folder.mkdir()
            items = self.items(count)
            assert _run(read(self.source(folder, items)(), count)) == items

    def test_reading_goes_on_from_every_position(self, tmp_path: Path) -> None:
        items = self.items()
        make = self.source(tmp_path, items)
        if not make().redelivers:
            pytest.skip("a source that does not redeliver")
        whole = _run(_all(make(), None, len(items), 1))
        count = 0
        for lines in whole.reads:
            count += len(lines.data)
            rest = _run(_all(make(), _recorded(lines.position), len(items) - count, 3))
            assert rest.data == items[count:]
            assert rest.positions == whole.positions[count:]

    def test_what_was_read_and_not_recorded_is_given_again(self, tmp_path: Path) -> None:
        items = self.items()
        make = self.source(tmp_path, items)
        if not make().redelivers:
            pytest.skip("a source that does not redeliver")
        first = _run(_some(make(), None, 3))
        _run(_some(make(), _recorded(first.reads[0].position), 2))  # its position is lost in a crash
        again = _run(_all(make(), _recorded(first.reads[0].position), len(items) - len(first.reads[0].data), 10))
        assert first.reads[0].data + again.data == items

    def test_a_source_that_does_not_redeliver_gives_no_position_twice(self, tmp_path: Path) -> None:
        inputs = [tmp_path / "first", tmp_path / "second"]
        for folder in inputs:
            folder.mkdir()
        source = self.source(inputs[0], self.items())()
        if source.redelivers:
            pytest.skip("a source that redelivers")
        first = _run(_all(source, None, 7, 3))
        second = _run(_all(self.source(inputs[1], self.items())(), _recorded(first.reads[-1].position), 7, 3))
        assert second.data == self.items()
        assert not set(first.positions) & set(second.positions)

    def test_an_unreadable_item_is_rejected_and_stops_nothing(self, tmp_path: Path) -> None:
        bad = self.unreadable()
        if bad is None:
            pytest.skip("nothing that this source could not read")
        items = self.items()
        make = self.source(tmp_path, [*items[:3], bad, *items[3:]])
        seen = _run(_all(make(), None, len(items), 2))
        assert seen.data == items
        (line,) = [line for lines in seen.reads for line in lines.rejected]
        assert line.reason
        assert line.size == len(bad)
        assert bad.startswith(line.data)
        assert line.position not in seen.positions
        if make().redelivers:
            behind = next(lines.position for lines in seen.reads if lines.rejected)
            rest = _run(_all(make(), _recorded(behind), 1, 100))
            assert not any(lines.rejected for lines in rest.reads)
            assert rest.data == items[-len(rest.data) :]

    def test_a_cancelled_read_loses_nothing(self, tmp_path: Path) -> None:
        items = self.items(20)
        seen, cancelled = _run(_cancelling(self.source(tmp_path, items)(), len(items)))
        assert seen == items
        assert cancelled, "no read was cancelled while it waited"

    def test_a_connector_that_was_closed_can_be_opened_again(self, tmp_path: Path) -> None:
        items = self.items()
        source = self.source(tmp_path, items)()
        if not source.redelivers:
            pytest.skip("a source that does not redeliver")
        for _ in range(2):
            first = _run(_all(source, None, len(items), 3))
            assert first.data == items
        assert _run(_all(source, _recorded(first.reads[0].position), len(items) - 3, 3)).data == items[len(first.reads[0].data) :]

    def test_a_source_can_be_closed_at_any_time(self, tmp_path: Path) -> None:
        make = self.source(tmp_path, self.items())

        async def close(reads: int) -> None:
            source = make()
            await source.open("source", None)
            for _ in range(reads):
                await source.read(2)
            await source.close()

        async def close_unopened() -> None:
            await make().close()

        _run(close_unopened())
        for reads in range(3) if make().redelivers else [1]:
            _run(close(reads))


class _Seen:
    """What was read."""

    def __init__(self) -> None:
        self.reads: list[Lines] = []

    @property
    def data(self) -> list[bytes]:
        return [item for lines in self.reads for item in lines.data]

    @property
    def positions(self) -> list[int | str]:
        return [position for lines in self.reads for position in lines.positions]


async def _all(source: SourceConnector, position: Any, count: int, limit: int) -> _Seen:
    """Read to the end; of an unbounded source, ``count`` items."""
    seen = _Seen()
    await source.open("source", position)
    try:
        while source.bounded or len(seen.data) < count:
            seen.reads.append(await source.read(limit))
            if seen.reads[-1].ended:
                break
    finally:
        await source.close()
    return seen


async def _some(source: SourceConnector, position: Any, limit: int) -> _Seen:
    """One read that gives something."""
    seen = _Seen()
    await source.open("source", position)
    try:
        while not seen.data:
            seen.reads = [await source.read(limit)]
    finally:
        await source.close()
    return seen


async def _cancelling(source: SourceConnector, count: int) -> tuple[list[bytes], int]:
    """Read all, and cancel every read that does not return within a few turns of the loop, a few times each."""
    data: list[bytes] = []
    cancelled = 0
    await source.open("source", None)
    try:
        while len(data) < count:
            for turns in (0, 1, 2, 3, None):
                task = asyncio.ensure_future(source.read(3))
                if turns is not None:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                try:
                    lines = await task
                except asyncio.CancelledError:
                    cancelled += 1
                    continue
                data += lines.data
                if lines.ended:
                    return data, cancelled
                break
    finally:
        await source.close()
    return data, cancelled


def _recorded(position: Any) -> Any:
    """As it comes back from the store."""
    return json.loads(json.dumps(position))


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, TIMEOUT_SECONDS))
