"""Bytes to lines: what a line is, what it is called, and how far was taken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.connectors.lines import HEAD_BYTES, Splitter, declared_size
from millstream.errors import DeclarationError

BOM = b"\xef\xbb\xbf"


def split(pieces: list[bytes], *, max_line: int = 1000, limit: int = 1000, finish: bool = True, **state: Any) -> dict[str, Any]:
    """Feed the pieces, take after each, and say all that was given."""
    splitter = Splitter(max_line, **state)
    data, positions, rejected = [], [], []
    for piece in [*pieces, None]:
        if piece is not None:
            splitter.feed(piece)
        elif finish:
            splitter.finish()
        while (batch := splitter.take(limit)) is not None:
            assert len(batch.data) == len(batch.positions)
            assert len(batch.data) <= limit
            data += batch.data
            positions += batch.positions
            rejected += [(line.position, line.data, line.size) for line in batch.rejected]
    return {"data": data, "positions": positions, "rejected": rejected, "offset": splitter.offset, "line": splitter.line}


def naive(content: bytes, max_line: int) -> dict[str, Any]:
    """The rules, on the whole content at once."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    data, positions, rejected = [], [], []
    for number, raw in enumerate(lines, 1):
        if len(raw) > max_line:
            rejected.append((number, raw[:HEAD_BYTES], len(raw)))
            continue
        line = raw.removeprefix(BOM) if number == 1 else raw
        line = line.removesuffix(b"\r")
        if line.strip():
            data.append(line)
            positions.append(number)
    return {"data": data, "positions": positions, "rejected": rejected, "offset": len(content), "line": len(lines)}


contents = st.one_of(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b" ", b"a", b"bcd", b"\0", b"\xff", b"x" * 9, BOM, b"\x85", b"\x1c"])).map(
        b"".join
    ),
    st.binary(max_size=60),
)


@given(contents, st.lists(st.integers(0, 80), max_size=6), st.integers(1, 5), st.integers(1, 12))
def test_lines_do_not_depend_on_where_the_input_is_cut_into_pieces(
    content: bytes, cuts: list[int], limit: int, max_line: int
) -> None:
    borders = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[begin:end] for begin, end in pairwise(borders)]
    assert split(pieces, max_line=max_line, limit=limit) == naive(content, max_line)


@given(contents, st.integers(1, 4))
def test_every_position_begins_the_rest(content: bytes, limit: int) -> None:
    whole = naive(content, 1000)
    splitter = Splitter(1000)
    splitter.feed(content)
    taken = 0
    while (batch := splitter.take(limit)) is not None:
        taken += len(batch.data)
        rest = split([content[splitter.offset :]], offset=splitter.offset, line=splitter.line)
        assert rest["data"] == whole["data"][taken:]
        assert rest["positions"] == whole["positions"][taken:]
        assert rest["offset"] == len(content)


def test_only_a_newline_ends_a_line() -> None:
    content = b"a\x0bb\x0cc\x1cd\x85e\rf\xe2\x80\xa8g\nh"
    assert split([content])["data"] == [b"a\x0bb\x0cc\x1cd\x85e\rf\xe2\x80\xa8g", b"h"]


def test_one_carriage_return_before_the_newline_is_dropped() -> None:
    assert split([b"a\r\nb\r\r\n", b"c\r", b"\nd\r"])["data"] == [b"a", b"b\r", b"c", b"d"]


def test_blank_lines_are_counted_and_not_given() -> None:
    assert split([b"\n\n  \na\n\t\r\n\r\nb\n\n"]) == {
        "data": [b"a", b"b"],
        "positions": [4, 7],
        "rejected": [],
        "offset": 15,
        "line": 8,
    }


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert split([BOM[:1], BOM[1:] + b"a\n" + BOM + b"b\n"])["data"] == [b"a", BOM + b"b"]
    assert split([BOM])["data"] == []
    assert split([BOM + b"b\n"], offset=2, line=1)["data"] == [BOM + b"b"]


def test_a_last_line_without_newline_waits_for_the_end_of_the_input() -> None:
    assert split([b"a\nb"], finish=False) == {"data": [b"a"], "positions": [1], "rejected": [], "offset": 2, "line": 1}
    assert split([b"a\nb"]) == {"data": [b"a", b"b"], "positions": [1, 2], "rejected": [], "offset": 3, "line": 2}


@pytest.mark.parametrize("size", [1, 4, 5, 6, 1000])
def test_a_line_that_is_too_long_is_rejected_with_its_head_and_its_size(size: int) -> None:
    content = b"ab\n" + b"x" * 10_000 + b"\ncd\n" + b"y" * 9_000 + b"\n\nef"
    pieces = [content[begin : begin + size] for begin in range(0, len(content), size)]
    assert split(pieces, max_line=5) == {
        "data": [b"ab", b"cd", b"ef"],
        "positions": [1, 3, 6],
        "rejected": [(2, b"x" * HEAD_BYTES, 10_000), (4, b"y" * HEAD_BYTES, 9_000)],
        "offset": len(content),
        "line": 6,
    }


def test_a_line_of_just_max_line_is_read() -> None:
    assert split([b"12345\n", b"123456\n"], max_line=5)["data"] == [b"12345"]


def test_a_long_last_line_is_rejected_to_the_byte() -> None:
    found = split([b"a\n123", b"456"], max_line=5)
    assert found["rejected"] == [(2, b"123456", 6)]
    assert found["offset"] == 8


def test_a_line_that_is_not_held_takes_no_memory() -> None:
    splitter = Splitter(1000)
    for _ in range(100):
        splitter.feed(b"x" * 500)
    assert splitter.partial == 50_000
    assert sum(map(len, splitter._pieces)) <= HEAD_BYTES


def test_later_generations_are_named_in_the_positions() -> None:
    found = split([b"a\n\nb\n" + b"c" * 20 + b"\n"], generation=2, max_line=10)
    assert found["positions"] == ["2:1", "2:3"]
    assert found["rejected"][0][0] == "2:4"


@pytest.mark.parametrize(
    ("grown", "rejected"), [(b"\n", []), (b"\r\n", []), (b"cd\n", [(1, b"cd", 2)]), (b"cdefgh\n", [(1, b"cdefgh", 6)])]
)
def test_the_rest_of_a_line_that_was_taken_half_written_is_rejected(grown: bytes, rejected: list[Any]) -> None:
    found = split([grown, b"next\n"], offset=2, line=1, unterminated=True, max_line=5)
    assert found == {"data": [b"next"], "positions": [2], "rejected": rejected, "offset": 2 + len(grown) + 5, "line": 2}


def test_an_input_that_ended_without_newline_says_so_until_it_grows() -> None:
    splitter = Splitter(100)
    splitter.feed(b"ab")
    splitter.finish()
    splitter.take(10)
    assert splitter.unterminated
    again = Splitter(100, offset=2, line=1, unterminated=True)
    again.finish()
    assert again.take(10) is None
    assert again.unterminated
    again.feed(b"cd")
    again.finish()
    batch = again.take(10)
    assert batch is not None
    assert [line.data for line in batch.rejected] == [b"cd"]
    assert again.unterminated
    assert again.offset == 4


@pytest.mark.parametrize(
    ("size", "found"), [(1, 1), (4096, 4096), ("64KB", 64_000), ("16 mb", 16_000_000), ("1MiB", 1 << 20), ("7B", 7)]
)
def test_sizes_are_numbers_of_bytes_or_text_with_a_unit(size: int | str, found: int) -> None:
    assert declared_size(size, "max_line") == found


@pytest.mark.parametrize("size", [0, -1, True, 1.5, None, "", "16", "MB", "0KB", "-1MB", "1.5MB", b"1MB"])
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(DeclarationError, match="max_line"):
        declared_size(size, "max_line")
