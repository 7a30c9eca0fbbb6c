"""A bounded file: read to its end, on from where it was, and never from the middle of another one."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.connectors import lines_source
from millstream.connectors.lines_source import LinesSource
from millstream.engine.ports import Line
from millstream.errors import SourceError


class Seen:
    """What one opening gave."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.positions: list[int | str] = []
        self.rejected: list[Line] = []
        self.position: Any = None
        self.ended = False


def read(path: Path | str, position: Any = None, *, max_line: int = 1000, limit: int = 1000, reads: int | None = None) -> Seen:
    """Read to the end, or as often as said."""

    async def main() -> Seen:
        seen = Seen()
        source = LinesSource(os.fspath(path), max_line)
        try:
            await source.open("orders", position)
            while not seen.ended and (reads is None or len(seen.data) < reads * limit):
                lines = await source.read(limit)
                seen.data += lines.data
                seen.positions += lines.positions
                seen.rejected += lines.rejected
                seen.position, seen.ended = lines.position, lines.ended
        finally:
            await source.close()
        return seen

    return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.jsonl"


def test_the_position_says_how_far_and_of_which_file(path: Path) -> None:
    path.write_bytes(b"one\ntwo\nthree")
    seen = read(path)
    assert seen.positions == [1, 2, 3]
    assert seen.position == {
        "offset": 13,
        "line": 3,
        "head": seen.position["head"],
        "inode": path.stat().st_ino,
        "mtime": path.stat().st_mtime_ns,
        "unterminated": True,
    }


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 20), st.integers(1, 7))
def test_lines_do_not_depend_on_the_chunk_or_the_limit(tmp_path_factory: Any, sizes: list[int], chunk: int, limit: int) -> None:
    path = tmp_path_factory.mktemp("chunks") / "orders.jsonl"
    items = [b"%d:" % n + b"x" * size for n, size in enumerate(sizes)]
    path.write_bytes(b"\n".join(items))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_source, "CHUNK_BYTES", chunk)
        seen = read(path, limit=limit)
    assert seen.data == items
    assert seen.position["offset"] == path.stat().st_size


def test_a_file_that_has_grown_is_read_on(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")
    ended = read(path)
    assert read(path, ended.position).data == []
    with path.open("ab") as file:
        file.write(b"three\nfour")
    grown = read(path, ended.position)
    assert (grown.data, grown.positions) == ([b"three", b"four"], [3, 4])
    assert read(path, grown.position).data == []


def test_a_last_line_that_gets_its_newline_later_is_given_once(path: Path) -> None:
    path.write_bytes(b"one\ntwo")
    ended = read(path)
    assert ended.data == [b"one", b"two"]
    with path.open("ab") as file:
        file.write(b"\nthree\n")
    grown = read(path, ended.position)
    assert (grown.data, grown.positions, grown.rejected) == ([b"three"], [3], [])


def test_a_last_line_that_goes_on_later_is_rejected_where_it_goes_on(path: Path) -> None:
    path.write_bytes(b'{"n":1')
    ended = read(path)
    with path.open("ab") as file:
        file.write(b'2}\n{"n":3}\n')
    grown = read(path, ended.position)
    assert (grown.data, grown.positions) == ([b'{"n":3}'], [2])
    ((position, data, reason),) = [(line.position, line.data, line.reason) for line in grown.rejected]
    assert (position, data) == (1, b"2}")
    assert "no newline when the input ended" in reason


@pytest.mark.parametrize("size", [10, 5000])
def test_a_file_with_the_same_content_in_another_place_is_the_same_file(tmp_path: Path, path: Path, size: int) -> None:
    path.write_bytes(b"x" * size + b"\ntwo\nthree\n")
    first = read(path, limit=2, reads=1, max_line=10_000)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes() + b"four\n")
    assert read(copy, first.position).data == [b"three", b"four"]


def test_a_file_that_is_shorter_than_consumed_is_an_error_with_both_sizes(path: Path) -> None:
    path.write_bytes(b"one\n" * 500)
    position = read(path).position
    path.write_bytes(b"one\n" * 300)
    with pytest.raises(SourceError, match=r"has 1,200 bytes, but 2,000 bytes \(500 lines\) of it were consumed.*Put the file back"):
        read(path, position)


@pytest.mark.parametrize("size", [10, 4096, 10_000])
def test_another_file_in_its_place_is_an_error_with_both_fingerprints(path: Path, size: int) -> None:
    path.write_bytes(b"a" * size + b"\n")
    position = read(path, max_line=20_000).position
    path.write_bytes(b"b" + b"a" * (size - 1) + b"\nmore\n")
    with pytest.raises(SourceError, match=rf"another file.*recorded is {position['head']}.*another source name"):
        read(path, position)


def test_a_file_whose_lines_have_moved_is_an_error(path: Path) -> None:
    path.write_bytes(b"x" * 5000 + b"\none\ntwo\n")
    position = read(path, limit=2, reads=1, max_line=10_000).position
    path.write_bytes(b"x" * 5000 + b"\n...one\ntwo\n")
    with pytest.raises(SourceError, match="line 2 ended at byte 5,005, where b'o' stands now"):
        read(path, position, max_line=10_000)


def test_a_file_that_is_cut_while_it_is_read_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_source, "CHUNK_BYTES", 4)
    path.write_bytes(b"one\ntwo\nfour\n")

    async def main() -> None:
        source = LinesSource(str(path), 100)
        await source.open("orders", None)
        await source.read(1)
        path.write_bytes(b"")
        try:
            while True:
                await source.read(1)
        finally:
            await source.close()

    with pytest.raises(SourceError, match=r"was cut while it was read.*follow=True"):
        asyncio.run(main())


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path, path: Path) -> None:
    with pytest.raises(SourceError, match=f"'orders': {path} does not exist.*follow=True"):
        read(path)
    with pytest.raises(SourceError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(SourceError, match="cannot be opened: Not a directory"):
        read(Path(os.devnull) / "orders.jsonl")


def test_what_is_no_regular_file_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    for place in (path, Path(os.devnull)):
        with pytest.raises(SourceError, match=r"not a regular file.*stdin\(\)"):
            read(place)


@pytest.mark.parametrize("position", [{"line": 3, "generation": 0}, 17, "x", []])
def test_a_position_of_another_connector_is_an_error(path: Path, position: Any) -> None:
    path.write_bytes(b"one\n")
    with pytest.raises(SourceError, match="not one of a file"):
        read(path, position)


def test_a_read_error_of_the_disk_is_named_with_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one\n")

    def pread(fd: int, size: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(SourceError, match=r"cannot be read at byte 0: Input/output error \(errno 5\)"):
        read(path)


def test_binary_garbage_is_given_as_it_is(path: Path) -> None:
    garbage = bytes(byte for byte in range(256) if byte != 10)
    path.write_bytes(b"\0\0\n" + garbage + b"\n\xff\xfe\n")
    assert read(path).data == [b"\0\0", garbage, b"\xff\xfe"]


@pytest.mark.parametrize(("max_line", "bound"), [(1_000_000, 3_000_000), (16_000_000, 18_000_000)])
def test_a_line_of_100_mb_is_rejected_in_bounded_memory(path: Path, max_line: int, bound: int) -> None:
    with path.open("wb") as file:
        file.write(b"before\n")
        file.truncate(100_000_000)  # sparse: NUL bytes that take no disk
        file.seek(0, os.SEEK_END)
        file.write(b"\nafter\n")
    tracemalloc.start()
    try:
        seen = read(path, max_line=max_line)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (seen.data, seen.positions) == ([b"before", b"after"], [1, 3])
    assert [(line.position, line.data, line.size) for line in seen.rejected] == [(2, bytes(4096), 99_999_993)]
    assert f"at most {max_line:,}" in seen.rejected[0].reason
    assert seen.position["offset"] == 100_000_007
    assert peak < bound


def test_a_large_file_is_not_held(path: Path) -> None:
    path.write_bytes(b'{"n":1}\n' * 1_000_000)

    async def main() -> int:
        source = LinesSource(str(path), 1000)
        await source.open("orders", None)
        await source.read(10)
        _, held = tracemalloc.get_traced_memory()
        await source.close()
        return held

    tracemalloc.start()
    try:
        held = asyncio.run(main())
    finally:
        tracemalloc.stop()
    assert held < 8_000_000  # two chunks, one of them as lines of 41 bytes each
