"""A followed file: what is appended is read once and in order, whatever happens to the file.

No clock: what happens to the file is a list of actions, one of which is done whenever the source finds nothing new.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millstream.connectors import lines_follow, lines_source
from millstream.connectors.files import jsonl
from millstream.connectors.lines_follow import FollowSource
from millstream.engine.ports import Line
from millstream.errors import SourceError

Action = Callable[[], object]


class Quiet(Exception):
    """Nothing is new, and nothing more happens."""


class Seen:
    """What one opening gave until nothing was new."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.positions: list[int | str] = []
        self.rejected: list[Line] = []
        self.position: Any = None


def follow(path: Path, *actions: Action, position: Any = None, max_line: int = 10_000, limit: int = 2) -> Seen:
    left = list(actions)

    async def pause() -> None:
        if not left:
            raise Quiet
        left.pop(0)()

    async def main() -> Seen:
        seen = Seen()
        seen.position = position
        source = FollowSource(os.fspath(path), max_line, pause)
        try:
            await source.open("orders", position)
            while True:
                lines = await source.read(limit)
                assert source.caught_up == (not lines.data and not lines.rejected)
                assert not lines.ended
                seen.data += lines.data
                seen.positions += lines.positions
                seen.rejected += lines.rejected
                seen.position = lines.position
        except Quiet:
            return seen
        finally:
            await source.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.jsonl"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def rotate(path: Path) -> None:
    """As logrotate does: orders.jsonl.1 becomes .2, orders.jsonl becomes .1; no new file yet."""
    numbers = sorted((int(other.suffix[1:]) for other in path.parent.glob(path.name + ".*")), reverse=True)
    for number in numbers:
        Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
    path.rename(f"{path}.1")


def test_lines_are_given_as_their_newlines_arrive(path: Path) -> None:
    path.write_bytes(b"one\ntw")
    seen = follow(path, lambda: append(path, b"o"), lambda: append(path, b"\nthree\nfour"), lambda: append(path, b"\n"))
    assert seen.data == [b"one", b"two", b"three", b"four"]
    assert seen.positions == [1, 2, 3, 4]


def test_a_missing_file_is_waited_for(path: Path) -> None:
    assert follow(path, lambda: None, lambda: path.write_bytes(b""), lambda: append(path, b"one\n")).data == [b"one"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the folder .*missing does not exist"):
        follow(tmp_path / "missing" / "orders.jsonl")


def test_what_is_no_regular_file_is_an_error_at_start_or_later(tmp_path: Path, path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory"):
        follow(tmp_path)
    with pytest.raises(SourceError, match=r"not a regular file.*stdin\(\)"):
        follow(path, lambda: os.mkfifo(path))


def test_reading_goes_on_at_the_line_that_was_not_finished(path: Path) -> None:
    path.write_bytes(b"one\ntw")
    first = follow(path)
    append(path, b"o\nthree\n")
    again = follow(path, position=first.position)
    assert (again.data, again.positions) == ([b"two", b"three"], [2, 3])


def test_a_renamed_file_is_read_to_its_end_and_then_the_new_one(path: Path) -> None:
    path.write_bytes(b"one\n")

    def renamed() -> None:
        append(path, b"two\nthree\n")
        rotate(path)
        path.write_bytes(b"four\n")

    seen = follow(path, renamed)
    assert seen.data == [b"one", b"two", b"three", b"four"]
    assert seen.positions == [1, 2, 3, "1:1"]
    assert seen.rejected == []


def test_a_writer_may_go_on_with_the_old_file_until_it_begins_the_new_one(path: Path) -> None:
    path.write_bytes(b"one\n")
    old = Path(f"{path}.1")
    seen = follow(
        path,
        lambda: rotate(path),
        lambda: append(old, b"two\n"),
        lambda: path.write_bytes(b""),
        lambda: append(old, b"three\n"),
        lambda: append(path, b"four\n"),
    )
    assert seen.data == [b"one", b"two", b"three", b"four"]


def test_the_last_line_of_a_finished_file_needs_no_newline(path: Path) -> None:
    path.write_bytes(b"one\ntwo")

    def renamed() -> None:
        rotate(path)
        path.write_bytes(b"three\n")

    seen = follow(path, renamed)
    assert seen.data == [b"one", b"two", b"three"]
    assert seen.positions == [1, 2, "1:1"]


def test_files_that_were_rotated_between_two_looks_are_all_read(path: Path) -> None:
    path.write_bytes(b"one\n")

    def rotations() -> None:
        for content in (b"two\n", b"three\n", b"four\n"):
            rotate(path)
            path.write_bytes(content)

    seen = follow(path, rotations)
    assert seen.data == [b"one", b"two", b"three", b"four"]
    assert seen.positions == [1, "1:1", "2:1", "3:1"]


def test_after_a_restart_the_rotated_file_is_finished_first(path: Path) -> None:
    path.write_bytes(b"one\n")
    first = follow(path)
    append(path, b"two\n")
    rotate(path)
    path.write_bytes(b"three\n")
    rotate(path)
    path.write_bytes(b"four\n")
    again = follow(path, position=first.position)
    assert again.data == [b"two", b"three", b"four"]
    assert again.positions == [2, "1:1", "2:1"]
    assert again.rejected == []


def test_after_a_restart_a_rotated_file_is_finished_while_no_new_one_is_there(path: Path) -> None:
    path.write_bytes(b"one\n")
    first = follow(path)
    append(path, b"two\n")
    rotate(path)
    again = follow(path, lambda: path.write_bytes(b"three\n"), position=first.position)
    assert again.data == [b"two", b"three"]


@pytest.mark.parametrize(
    "suffixes", [["-20260131", "-20260201"], [".2026-01-31_23-59", ".2026-02-01_00-10"], [".20260131.1", ".20260131.2"]]
)
def test_files_rotated_by_date_are_read_in_the_order_of_their_dates(path: Path, suffixes: list[str]) -> None:
    path.write_bytes(b"one\n")
    first = follow(path)
    for number, suffix in enumerate(suffixes):
        path.rename(f"{path}{suffix}")
        path.write_bytes(b"%d\n" % number)
    assert follow(path, position=first.position).data == [b"0", b"1"]


def test_siblings_that_are_no_rotated_files_are_never_read(path: Path) -> None:
    path.write_bytes(b"one\n")
    first = follow(path)

    def renamed() -> None:
        for suffix in (".bak", ".gz", ".1.gz", "~", ".2x", ".99999"):
            Path(f"{path}{suffix}").write_bytes(b"never\n")
        Path(f"{path}.1").mkdir()
        path.rename(f"{path}.2")
        path.write_bytes(b"two\n")

    renamed()
    assert follow(path, position=first.position).data == [b"two"]


def test_a_file_that_is_gone_leaves_evidence_and_reading_goes_on(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")
    first = follow(path)
    old = path.stat().st_ino
    path.rename(path.parent / "elsewhere")
    path.write_bytes(b"three\n")
    again = follow(path, position=first.position)
    assert again.data == [b"three"]
    assert again.positions == ["1:1"]
    (line,) = again.rejected
    assert (line.position, line.data) == ("1:0", b"")
    assert f"inode {old}" in line.reason
    assert "8 bytes (2 lines) of it were read" in line.reason
    assert follow(path, position=again.position).rejected == []


def test_of_a_file_that_is_gone_the_rotated_files_behind_it_are_still_read(path: Path) -> None:
    path.write_bytes(b"one\n")
    rotate(path)
    os.utime(f"{path}.1", ns=(1, 1))  # read long ago
    path.write_bytes(b"two\n")
    first = follow(path)
    assert first.data == [b"two"]
    path.rename(path.parent / "elsewhere")
    for content in (b"three\n", b"four\n"):
        path.write_bytes(content)
        rotate(path)
    path.write_bytes(b"five\n")
    again = follow(path, position=first.position)
    assert again.data == [b"three", b"four", b"five"]
    assert len(again.rejected) == 1


def test_a_file_that_is_deleted_while_it_is_read_is_finished_and_no_older_one_is_read(path: Path) -> None:
    path.write_bytes(b"zero\n")
    rotate(path)
    os.utime(f"{path}.1", ns=(1, 1))
    path.write_bytes(b"one\n")

    def deleted() -> None:
        append(path, b"two\n")
        path.unlink()

    seen = follow(path, deleted, lambda: None, lambda: path.write_bytes(b"three\n"))
    assert seen.data == [b"one", b"two", b"three"]
    assert seen.rejected == []


def test_another_file_that_got_the_inode_is_not_read_in_its_middle(path: Path) -> None:
    path.write_bytes(b"one\n")
    first = follow(path)
    path.rename(path.parent / "elsewhere")
    path.write_bytes(b"another\n")
    rotate(path)
    path.write_bytes(b"last\n")
    position = {**first.position, "inode": Path(f"{path}.1").stat().st_ino}
    again = follow(path, position=position)
    assert again.data == [b"another", b"last"]
    assert len(again.rejected) == 1


@pytest.mark.parametrize("content", [b"", b"new\n", b"much longer than what was there before\n"])
def test_a_file_that_is_cut_is_begun_again_with_evidence(path: Path, content: bytes) -> None:
    path.write_bytes(b"one\ntwo\npart")
    seen = follow(path, lambda: path.write_bytes(content), lambda: append(path, b"last\n"))
    assert seen.data == [b"one", b"two", *content.splitlines(), b"last"]
    (line,) = seen.rejected
    assert (line.position, line.data, line.size) == ("1:0", b"part", 4)
    assert f"was cut (copytruncate?) after 12 bytes of it had been read, and has {len(content)} now" in line.reason
    assert seen.positions[2] == "1:1"
    assert follow(path, position=seen.position).data == []


@pytest.mark.parametrize("content", [b"new\n", b"much longer than what was there before\n"])
def test_a_file_that_was_cut_while_nobody_looked_is_begun_again_with_evidence(path: Path, content: bytes) -> None:
    path.write_bytes(b"one\ntwo\n")
    first = follow(path)
    path.write_bytes(content)
    again = follow(path, position=first.position)
    assert again.data == content.splitlines()
    (line,) = again.rejected
    assert "was cut or exchanged while it was not watched" in line.reason
    assert "8 bytes (2 lines)" in line.reason


def test_a_restored_copy_is_known_by_its_content(path: Path) -> None:
    path.write_bytes(b"x" * 5000 + b"\none\ntwo\n")
    first = follow(path)
    copy = path.parent / "copy"
    shutil.copy(path, copy)
    path.rename(path.parent / "elsewhere")
    copy.rename(path)
    append(path, b"three\n")
    again = follow(path, position=first.position)
    assert (again.data, again.positions, again.rejected) == ([b"three"], [4], [])


def test_a_file_that_was_read_to_its_end_can_be_followed_from_there(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")

    async def main() -> Any:
        source = jsonl(path).as_source()
        await source.open("orders", None)
        lines = await source.read(10)
        await source.close()
        return lines.position

    position = asyncio.run(main())
    append(path, b"three\n")
    assert follow(path, position=position).data == [b"three"]


def test_the_file_is_looked_at_a_few_times_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        path.write_bytes(b"one\n")

    monkeypatch.setattr(lines_follow.asyncio, "sleep", sleep)

    async def main() -> list[bytes]:
        source = jsonl(path, follow=True).as_source()
        await source.open("orders", None)
        assert not (await source.read(10)).data
        assert source.caught_up  # said before it is waited for more
        lines = await source.read(10)
        assert not source.caught_up
        await source.close()
        return lines.data

    assert asyncio.run(main()) == [b"one"]
    assert slept
    assert all(0.1 <= seconds <= 0.25 for seconds in slept)


operations = st.sampled_from(["append", "append", "half", "finish", "rename", "create", "restart", "look"])


@given(st.lists(operations, max_size=40), st.integers(1, 9))
@example(["append", "rename", "append", "rename", "append", "restart", "append"], 3)
@example(["half", "restart", "rename", "create", "restart", "append", "restart"], 3)
def test_every_line_is_given_once_and_in_order(tmp_path_factory: Any, history: list[str], chunk: int) -> None:
    path = tmp_path_factory.mktemp("follow") / "orders.jsonl"
    path.write_bytes(b"begin\n")  # with the first line read, there is a position to go on from
    written = [b"begin"]
    half = False
    runs: list[list[Action]] = [[]]
    together: list[Action] = []  # happen between two looks

    def do(action: Action) -> None:
        together.append(action)

    def write(content: bytes) -> Action:
        return lambda: append(path, content)

    for operation in history:
        match operation:
            case "append" if not half:
                written.append(b"line %d" % len(written))
                do(write(written[-1] + b"\n"))
            case "half" if not half:
                written.append(b"line %d" % len(written))
                do(write(written[-1][:4]))
                half = True
            case "finish" if half:
                do(write(written[-1][4:] + b"\n"))
                half = False
            case "rename" if not half:
                do(lambda: rotate(path) if path.exists() else None)
            case "create":
                do(lambda: path.touch())
            case "look" | "restart":
                runs[-1].append(lambda together=tuple(together): [action() for action in together])
                together.clear()
                if operation == "restart":
                    runs.append([])
    if half:
        do(write(written[-1][4:] + b"\n"))
    do(write(b"end\n"))
    runs[-1].append(lambda: [action() for action in together])

    first = follow(path)
    data, positions, position = first.data, first.positions, first.position
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_source, "CHUNK_BYTES", chunk)
        for number, actions in enumerate(runs):
            if number + 1 < len(runs) and actions:
                *actions, unseen = actions  # happens while nobody looks
            else:
                unseen = None
            seen = follow(path, *actions, position=position)
            assert seen.rejected == []
            data += seen.data
            positions += seen.positions
            position = seen.position
            if unseen is not None:
                unseen()
    assert data == [*written, b"end"]
    assert len(positions) == len(set(positions))
