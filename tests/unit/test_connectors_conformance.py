"""The conformance suites find what they are for: with one safeguard of a connector switched off, a named test fails."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from millstream.connectors import lines_sink
from millstream.connectors.files import jsonl
from millstream.connectors.lines import Batch, Splitter
from millstream.connectors.lines_sink import LinesSink
from millstream.connectors.workers import Ahead
from millstream.engine.ports import SinkConnector, SourceConnector
from millstream.testing.conformance.sinks import FileSinkSuite
from millstream.testing.conformance.sources import SourceSuite

Patch = pytest.MonkeyPatch


class Source(SourceSuite):
    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        (folder / "input").write_bytes(b"".join(item + b"\n" for item in items))
        return jsonl(folder / "input", max_line=1000).as_source

    def unreadable(self) -> bytes:
        return b"x" * 1001


class Sink(FileSinkSuite):
    def sink(self, folder: Path) -> SinkConnector:
        return jsonl(folder / "output").as_sink()

    def content(self, folder: Path) -> bytes:
        return (folder / "output").read_bytes()

    def put(self, folder: Path, content: bytes) -> None:
        (folder / "output").write_bytes(content)

    def exchange(self, folder: Path, content: bytes | None) -> None:
        (folder / "output").rename(folder / "moved")
        if content is not None:
            (folder / "output").write_bytes(content)


def positions_are_a_byte_off(patch: Patch) -> None:
    take = Splitter.take

    def off(self: Splitter, limit: int) -> Batch | None:
        batch = take(self, limit)
        self.offset += self.line == 3
        return batch

    patch.setattr(Splitter, "take", off)


def cancelled_reads_forget(patch: Patch) -> None:
    async def take(self: Ahead[Any]) -> Any:
        self.start()
        pending, self._pending = self._pending, None
        assert pending is not None
        await asyncio.wait([pending])
        return pending.result()

    patch.setattr(Ahead, "take", take)


def long_lines_vanish(patch: Patch) -> None:
    long = Splitter._long
    patch.setattr(Splitter, "_long", lambda self, entry: (long(self, entry), Batch([], [], []))[1])


def generations_are_forgotten(patch: Patch) -> None:
    patch.setattr(Splitter, "_positions", lambda self, numbers: [1 for _ in numbers])


@pytest.mark.parametrize(
    ("ablation", "test"),
    [
        (positions_are_a_byte_off, "test_reading_goes_on_from_every_position"),
        (cancelled_reads_forget, "test_a_cancelled_read_loses_nothing"),
        (long_lines_vanish, "test_an_unreadable_item_is_rejected_and_stops_nothing"),
        (generations_are_forgotten, "test_every_item_has_a_position_of_its_own"),
    ],
)
def test_a_broken_source_is_found(tmp_path: Path, monkeypatch: Patch, ablation: Callable[[Patch], None], test: str) -> None:
    sound, broken = tmp_path / "sound", tmp_path / "broken"
    sound.mkdir()
    broken.mkdir()
    getattr(Source(), test)(sound)
    ablation(monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception)):
        getattr(Source(), test)(broken)


def two_writers_are_welcome(patch: Patch) -> None:
    patch.setattr(fcntl, "flock", lambda fd, operation: None)


def nothing_is_foreign(patch: Patch) -> None:
    compare = lines_sink._compare
    patch.setattr(lines_sink, "_compare", lambda *args: (*compare(*args)[:2], True))


def the_tail_is_cut_to_what_is_recorded(patch: Patch) -> None:
    patch.setattr(lines_sink, "_compare", lambda fd, offset, extra, pending: (0, extra, True))


def nobody_looks_before_appending(patch: Patch) -> None:
    patch.setattr(LinesSink, "_unchanged", lambda self, fd: None)


def what_is_there_is_written_again(patch: Patch) -> None:
    recover = LinesSink._recover
    patch.setattr(LinesSink, "_recover", lambda *args: recover(*args) * 0)
    nobody_looks_before_appending(patch)


def all_of_pending_is_taken(patch: Patch) -> None:
    compare = lines_sink._compare
    patch.setattr(
        lines_sink, "_compare", lambda fd, offset, extra, pending: compare(fd, offset, extra, [next(pending) for _ in range(9)])
    )


@pytest.mark.parametrize(
    ("ablation", "test"),
    [
        (two_writers_are_welcome, "test_a_second_writer_is_refused_while_the_first_is_open"),
        (nothing_is_foreign, "test_a_foreign_line_behind_unrecorded_output_is_an_error"),
        (the_tail_is_cut_to_what_is_recorded, "test_opening_takes_back_nothing_that_is_right"),
        (what_is_there_is_written_again, "test_a_crash_at_every_byte_leaves_every_line_once"),
        (what_is_there_is_written_again, "test_what_was_written_and_not_recorded_is_not_written_twice"),
        (all_of_pending_is_taken, "test_only_as_much_of_pending_is_taken_as_is_needed"),
    ],
)
def test_a_broken_sink_is_found(tmp_path: Path, monkeypatch: Patch, ablation: Callable[[Patch], None], test: str) -> None:
    sound, broken = tmp_path / "sound", tmp_path / "broken"
    sound.mkdir()
    broken.mkdir()
    getattr(Sink(), test)(sound)
    ablation(monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception)):
        getattr(Sink(), test)(broken)


@pytest.mark.parametrize("change", ["appended", "cut", "exchanged", "gone"])
def test_a_sink_that_does_not_look_before_appending_is_found(tmp_path: Path, monkeypatch: Patch, change: str) -> None:
    nobody_looks_before_appending(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        Sink().test_a_change_while_it_is_open_is_an_error(tmp_path, change)
