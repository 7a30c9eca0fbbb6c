"""What every sink connector must pass. Inherit a suite in a test class and say how to make the sink and how to look at it:

    class TestMySink(SinkSuite):
        def sink(self, folder):
            return MySink(folder / "output")

        def content(self, folder):
            return (folder / "output").read_bytes()

``SinkSuite`` is for every sink; ``FileSinkSuite`` also for one whose target is a sequence of bytes that a crash can tear, that
others can write to, cut or exchange. A crash is simulated by closing the sink and putting into the target what the crash would
have left there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from millstream.engine.ports import SinkConnector
from millstream.errors import SinkError

CHUNKS = [b'{"n":1}\n', b'{"n":2,"text":"two"}\n{"n":3}\n', b'{"n":4}\n']
WHOLE = b"".join(CHUNKS)


class SinkSuite:
    """Tests of one sink connector."""

    def sink(self, folder: Path) -> SinkConnector:
        """A new connector; the same folder is the same target."""
        raise NotImplementedError

    def content(self, folder: Path) -> bytes:
        """What the target holds."""
        raise NotImplementedError

    def test_chunks_are_appended_in_order(self, tmp_path: Path) -> None:
        sink = self.sink(tmp_path)
        sink.open(None, [])
        for chunk in CHUNKS:
            sink.append([chunk])
        sink.append(CHUNKS)
        sink.append([])
        sink.close()
        assert self.content(tmp_path) == WHOLE + WHOLE

    def test_the_positions_survive_json(self, tmp_path: Path) -> None:
        sink = self.sink(tmp_path)
        first = sink.open(None, [])
        for position in (first, sink.append(CHUNKS)):
            assert json.loads(json.dumps(position)) == position
            assert (position is None) == (first is None)
        sink.close()

    def test_a_sink_that_is_opened_again_goes_on(self, tmp_path: Path) -> None:
        position = self.write(tmp_path, None, CHUNKS)
        self.write(tmp_path, position, CHUNKS)
        assert self.content(tmp_path) == WHOLE + WHOLE

    def test_opening_writes_nothing(self, tmp_path: Path) -> None:
        position = self.write(tmp_path, None, CHUNKS)
        sink = self.sink(tmp_path)
        assert sink.open(_recorded(position), CHUNKS) == position
        sink.close()
        assert self.content(tmp_path) == WHOLE

    def test_what_was_written_and_not_recorded_is_not_written_twice(self, tmp_path: Path) -> None:
        begin = self.taken(tmp_path)
        position = self.write(tmp_path, begin, CHUNKS[:1])
        for recorded, count in ((begin, 0), (position, 1)):
            for upto in range(count, 4):
                self.write(tmp_path, recorded, CHUNKS[count:], upto - count)
        self.write(tmp_path, recorded, CHUNKS[1:])
        assert self.content(tmp_path) == WHOLE

    def test_only_as_much_of_pending_is_taken_as_is_needed(self, tmp_path: Path) -> None:
        begin = self.taken(tmp_path)
        self.write(tmp_path, begin, CHUNKS)
        taken = 0

        def endless() -> Iterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield CHUNKS[taken - 1] if taken <= len(CHUNKS) else b'{"more":true}\n'

        sink = self.sink(tmp_path)
        sink.open(_recorded(begin), endless())
        sink.close()
        assert taken <= len(CHUNKS) + 1

    def test_closing_twice_or_unopened_is_nothing(self, tmp_path: Path) -> None:
        sink = self.sink(tmp_path)
        sink.close()
        sink.open(None, [])
        sink.close()
        sink.close()

    def write(self, folder: Path, position: Any, pending: Sequence[bytes], count: int | None = None) -> Any:
        """Open, append the first ``count`` of what is pending (None: all) one by one, close; the position to record."""
        sink = self.sink(folder)
        position = sink.open(_recorded(position), iter(pending))
        for chunk in pending[:count]:
            position = sink.append([chunk])
        sink.close()
        return position

    def taken(self, folder: Path) -> Any:
        """The position to record before the first append."""
        position = self.write(folder, None, [])
        if position is None:
            pytest.skip("a sink without positions")
        return position


class FileSinkSuite(SinkSuite):
    """Tests of a sink whose target is bytes."""

    def put(self, folder: Path, content: bytes) -> None:
        """Set what the target holds, without making it another one."""
        raise NotImplementedError

    def exchange(self, folder: Path, content: bytes | None) -> None:
        """Put another target with this content in the place of the target; None: remove it."""
        raise NotImplementedError

    def test_what_was_there_before_is_kept(self, tmp_path: Path) -> None:
        begin = self.taken(tmp_path)
        self.put(tmp_path, b"before\n")
        self.write(tmp_path, None, CHUNKS)
        assert begin != self.write(tmp_path, None, [])
        assert self.content(tmp_path) == b"before\n" + WHOLE

    def test_an_unfinished_line_that_was_there_before_is_an_error(self, tmp_path: Path) -> None:
        self.taken(tmp_path)
        self.put(tmp_path, b"before")
        self.refused(tmp_path, None, CHUNKS)

    def test_a_crash_at_every_byte_leaves_every_line_once(self, tmp_path: Path) -> None:
        begin = self.taken(tmp_path)
        middle = self.write(tmp_path, begin, CHUNKS[:1])
        for position, count in ((begin, 0), (middle, 1)):
            recorded = len(b"".join(CHUNKS[:count]))
            for written in range(recorded, len(WHOLE) + 1):
                self.put(tmp_path, WHOLE[:written])
                self.write(tmp_path, position, CHUNKS[count:])
                assert self.content(tmp_path) == WHOLE

    def test_opening_takes_back_nothing_that_is_right(self, tmp_path: Path) -> None:
        begin = self.taken(tmp_path)
        for written in range(len(WHOLE) + 1):
            self.put(tmp_path, WHOLE[:written])
            sink = self.sink(tmp_path)
            sink.open(begin, CHUNKS)
            sink.close()
            assert self.content(tmp_path) == WHOLE[:written]

    def test_what_a_power_failure_tears_is_written_again(self, tmp_path: Path) -> None:
        position = self.write(tmp_path, self.taken(tmp_path), CHUNKS[:1])
        begin = len(CHUNKS[0])
        for first in range(begin, len(WHOLE)):
            for last in (first + 1, first + 5, len(WHOLE)):
                zeroed = WHOLE[:first] + bytes(min(last, len(WHOLE)) - first) + WHOLE[last:]
                garbled = WHOLE[:first] + b"?" * (min(last, len(WHOLE)) - first)  # not followed by anything
                for torn in (zeroed, garbled):
                    self.put(tmp_path, torn)
                    self.write(tmp_path, position, CHUNKS[1:])
                    assert self.content(tmp_path) == WHOLE

    @pytest.mark.parametrize("foreign", [b"x", b"foreign\n", b"foreign\n" * 20])
    def test_what_another_program_appended_is_an_error(self, tmp_path: Path, foreign: bytes) -> None:
        position = self.write(tmp_path, self.taken(tmp_path), CHUNKS)
        self.put(tmp_path, WHOLE + foreign)
        self.refused(tmp_path, position, [])
        if b"\n" in foreign:  # a whole line may have been read by others, also where output would cover it
            self.refused(tmp_path, position, [b'{"n":%d}\n' % n for n in range(5, 50)])

    def test_a_foreign_line_behind_unrecorded_output_is_an_error(self, tmp_path: Path) -> None:
        begin = self.taken(tmp_path)
        for written in range(len(WHOLE)):
            self.put(tmp_path, WHOLE[:written] + b"!\n")
            self.refused(tmp_path, begin, CHUNKS)

    def test_a_target_that_was_cut_is_an_error(self, tmp_path: Path) -> None:
        position = self.write(tmp_path, self.taken(tmp_path), CHUNKS)
        for size in (0, 1, len(WHOLE) - 1):
            self.put(tmp_path, WHOLE[:size])
            self.refused(tmp_path, position, CHUNKS)

    def test_another_target_in_its_place_is_an_error(self, tmp_path: Path) -> None:
        position = self.write(tmp_path, self.taken(tmp_path), CHUNKS)
        self.exchange(tmp_path, WHOLE)
        self.refused(tmp_path, position, [])

    def test_a_target_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        position = self.write(tmp_path, self.taken(tmp_path), CHUNKS)
        self.exchange(tmp_path, None)
        with pytest.raises(SinkError):
            self.sink(tmp_path).open(position, CHUNKS)

    @pytest.mark.parametrize("change", ["appended", "cut", "exchanged", "gone"])
    def test_a_change_while_it_is_open_is_an_error(self, tmp_path: Path, change: str) -> None:
        sink = self.sink(tmp_path)
        sink.open(None, [])
        sink.append(CHUNKS)
        match change:
            case "appended":
                self.put(tmp_path, WHOLE + b"foreign\n")
            case "cut":
                self.put(tmp_path, WHOLE[:-1])
            case "exchanged":
                self.exchange(tmp_path, WHOLE)
            case _:
                self.exchange(tmp_path, None)
        with pytest.raises(SinkError) as caught:
            sink.append(CHUNKS)
        assert getattr(caught.value, "retryable", None) is False
        if change == "appended":
            assert self.content(tmp_path) == WHOLE + b"foreign\n"
        sink.close()

    def test_a_second_writer_is_refused_while_the_first_is_open(self, tmp_path: Path) -> None:
        first, second = self.sink(tmp_path), self.sink(tmp_path)
        position = first.open(None, [])
        assert list(first.paths()) == list(second.paths()) != []
        for recorded in (None, position):
            with pytest.raises(SinkError):
                second.open(recorded, [])
        first.append(CHUNKS)
        first.close()
        second.open(position, CHUNKS)
        second.append(CHUNKS)
        second.close()
        assert self.content(tmp_path) == WHOLE

    def refused(self, folder: Path, position: Any, pending: Iterable[bytes]) -> None:
        """Opening is an error and touches nothing."""
        before = self.content(folder)
        with pytest.raises(SinkError):
            self.sink(folder).open(_recorded(position), pending)
        assert self.content(folder) == before


def _recorded(position: Any) -> Any:
    """As it comes back from the store."""
    return json.loads(json.dumps(position))
