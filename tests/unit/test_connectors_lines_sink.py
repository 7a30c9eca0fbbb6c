"""A file as a sink: what the disk, the kernel and other programs can do to it. (Recovery: also in the conformance suite.)"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.connectors import lines_sink
from millstream.connectors.lines_sink import LinesSink
from millstream.errors import SinkError

CHUNKS = [b'{"n":1}\n', b'{"n":2}\n{"n":3}\n', b'{"n":4}\n']
WHOLE = b"".join(CHUNKS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.jsonl"


@pytest.fixture
def sink(path: Path) -> LinesSink:
    return LinesSink(str(path))


def retryable(error: pytest.ExceptionInfo[SinkError]) -> bool:
    found = error.value.retryable  # type: ignore[attr-defined]
    assert isinstance(found, bool)
    return found


def write(path: Path, position: Any, pending: Sequence[bytes]) -> Any:
    sink = LinesSink(str(path))
    sink.open(position, iter(pending))
    try:
        return sink.append(pending)
    finally:
        sink.close()


lines = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"") + b"\n"), max_size=5).map(b"".join)


@given(st.lists(lines, max_size=8), st.data(), st.integers(1, 20))
def test_recovery_completes_what_any_crash_left(
    tmp_path_factory: Any, chunks: list[bytes], data: st.DataObject, block: int
) -> None:
    """Recorded somewhere, written further, torn by a power failure that lost some blocks, and recovered, perhaps again."""
    path = tmp_path_factory.mktemp("sink") / "out.jsonl"
    whole = b"".join(chunks)
    begin = write(path, None, [])
    recorded = data.draw(st.integers(0, len(chunks)), "chunks recorded")
    position = write(path, begin, chunks[:recorded])
    offset = position["offset"]
    for _ in range(2):
        size = data.draw(st.integers(offset, len(whole)), "bytes in the file")
        torn = bytearray(whole[:size])
        for start in range(offset, size, block):
            if data.draw(st.booleans(), "block lost"):
                torn[start : start + block] = bytes(len(torn[start : start + block]))
        with path.open("r+b") as file:
            file.truncate(0)
            file.write(torn)
        sink = LinesSink(str(path))
        sink.open(position, chunks[recorded:])
        kept = path.read_bytes()
        assert whole.startswith(kept)
        assert torn.startswith(kept)
        assert kept == torn or torn[len(kept)] != whole[len(kept)]  # nothing that is right was taken back
        sink.close()
    border = data.draw(st.integers(recorded, len(chunks)), "appended in two parts")
    sink = LinesSink(str(path))
    sink.open(position, chunks[recorded:])
    sink.append(chunks[recorded:border])
    assert sink.append(chunks[border:])["offset"] == len(whole)
    sink.close()
    assert path.read_bytes() == whole


@given(st.lists(lines, min_size=1, max_size=6), st.data())
def test_nothing_of_another_program_is_ever_cut(tmp_path_factory: Any, chunks: list[bytes], data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("sink") / "out.jsonl"
    begin = write(path, None, [])
    whole = b"".join(chunks)
    written = whole[: data.draw(st.integers(0, len(whole)))]
    found = written + b"foreign line\n"
    path.write_bytes(found)
    with pytest.raises(SinkError, match="another program"):
        LinesSink(str(path)).open(begin, chunks)
    assert path.read_bytes() == found


CHILD = """
import os, signal, sys
from millstream.connectors.lines_sink import LinesSink

path, left = sys.argv[1], int(sys.argv[2])
write = os.write

def tear(fd, data):
    global left
    written = write(fd, data[:left])
    left -= written
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return written

os.write = tear
sink = LinesSink(path)
sink.open(None, [])
for chunk in [b'{"n":1}\\n', b'{"n":2}\\n{"n":3}\\n', b'{"n":4}\\n']:
    sink.append([chunk])
"""


@pytest.mark.parametrize("size", [1, 8, 13, 24, 32])
def test_a_killed_process_leaves_a_beginning_that_is_completed(path: Path, size: int) -> None:
    begin = write(path, None, [])
    child = subprocess.run([sys.executable, "-c", CHILD, str(path), str(size)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == WHOLE[:size]
    write(path, begin, CHUNKS)
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("room", range(10))
def test_a_full_disk_is_refused_and_the_same_append_goes_on_later(
    path: Path, sink: LinesSink, monkeypatch: pytest.MonkeyPatch, number: int, room: int
) -> None:
    real = os.write
    left = len(CHUNKS[0]) + room

    def full(fd: int, data: memoryview) -> int:
        nonlocal left
        if not left:
            raise OSError(number, os.strerror(number))
        written = real(fd, data[:left])
        left -= written
        return written

    monkeypatch.setattr(os, "write", full)
    sink.open(None, [])
    position = sink.append(CHUNKS[:1])
    for _ in range(3):
        with pytest.raises(SinkError, match=rf"{os.strerror(number)}.*{room if _ == 0 else 0} bytes were written") as caught:
            sink.append(CHUNKS[1:])
        assert retryable(caught)
        assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == WHOLE[: len(CHUNKS[0]) + room]
    left = 1000
    after = sink.append(CHUNKS[1:2])  # a part of it: the same bytes
    assert after["offset"] == len(CHUNKS[0] + CHUNKS[1])
    assert sink.append(CHUNKS[2:])["offset"] == len(WHOLE)
    sink.close()
    assert path.read_bytes() == WHOLE
    assert position["offset"] == len(CHUNKS[0])


def test_short_writes_are_gone_on_with(path: Path, sink: LinesSink, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    sink.open(None, [])
    sink.append(CHUNKS)
    sink.close()
    assert path.read_bytes() == WHOLE


def test_other_outputs_after_a_refused_append_are_an_error(path: Path, sink: LinesSink, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    sink.open(None, [])
    with monkeypatch.context() as patch:
        answers: list[Callable[[int, memoryview], int]] = [lambda fd, data: real(fd, data[:5]), _fails(errno.ENOSPC)]
        patch.setattr(os, "write", lambda fd, data: answers.pop(0)(fd, data))
        with pytest.raises(SinkError):
            sink.append(CHUNKS)
    with pytest.raises(SinkError, match="not the outputs to write there") as caught:
        sink.append([b"other outputs\n"])
    assert not retryable(caught)
    assert path.read_bytes() == WHOLE[:5]
    sink.close()


def test_a_write_that_fails_otherwise_is_not_retried(sink: LinesSink, monkeypatch: pytest.MonkeyPatch) -> None:
    sink.open(None, [])
    monkeypatch.setattr(os, "write", _fails(errno.EIO))
    with pytest.raises(SinkError, match="Input/output error") as caught:
        sink.append(CHUNKS)
    assert not retryable(caught)
    sink.close()


def test_a_failed_sync_is_never_tried_again(path: Path, sink: LinesSink, monkeypatch: pytest.MonkeyPatch) -> None:
    position = sink.open(None, [])
    syncs: list[int] = []

    def fail(fd: int) -> None:
        syncs.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        for _ in range(2):
            with pytest.raises(SinkError, match=r"could not be synced: Input/output error.*unknown") as caught:
                sink.append(CHUNKS[:1])
            assert not retryable(caught)
        with pytest.raises(SinkError, match="could not be synced"):
            sink.append(CHUNKS[1:])
    assert len(syncs) == 1
    sink.close()
    again: list[tuple[bytes, int]] = []
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        again.append((bytes(data), offset))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    sink.open(position, CHUNKS)
    assert again == [(CHUNKS[0], 0)]  # a later sync has it to write, whatever became of the first
    sink.append(CHUNKS)
    sink.close()
    assert path.read_bytes() == WHOLE


def test_every_append_is_synced_also_of_what_is_already_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = write(path, None, [])
    path.write_bytes(WHOLE)
    synced: list[bytes] = []
    real = os.fdatasync

    def sync(fd: int) -> None:
        real(fd)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fdatasync", sync)
    assert write(path, begin, CHUNKS)["offset"] == len(WHOLE)
    assert synced == [WHOLE]


def test_the_name_of_a_new_file_is_synced(path: Path, sink: LinesSink, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    sink.open(None, [])
    sink.close()
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]


def test_pending_is_compared_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_sink, "COMPARE_BYTES", 3)
    begin = write(path, None, [])
    for found in (WHOLE[:20], WHOLE[:9] + bytes(11), WHOLE[:9] + bytes(3) + WHOLE[12:20], WHOLE[:20] + b"???"):
        path.write_bytes(found)
        write(path, begin, CHUNKS)
        assert path.read_bytes() == WHOLE


def test_what_cannot_be_written_says_what_to_do(tmp_path: Path, path: Path) -> None:
    with pytest.raises(SinkError, match=r"the folder .*missing does not exist, for the output .*Create it"):
        LinesSink(str(tmp_path / "missing" / "out.jsonl")).open(None, [])
    with pytest.raises(SinkError, match="is a directory"):
        LinesSink(str(tmp_path)).open(None, [])
    with pytest.raises(SinkError, match="cannot be opened: Not a directory"):
        LinesSink(os.path.join(os.devnull, "out.jsonl")).open(None, [])
    os.mkfifo(path)
    for place in (str(path), os.devnull):
        with pytest.raises(SinkError, match=r"not a regular file.*stdout\(\)"):
            LinesSink(place).open(None, [])


def test_the_errors_of_recovery_give_both_numbers(path: Path) -> None:
    position = write(path, None, CHUNKS)
    inode = path.stat().st_ino
    path.write_bytes(WHOLE + b"more\n")
    with pytest.raises(
        SinkError, match=r"has 5 bytes behind the 32 .*only 0 bytes of output are still to be written.*truncate -s 32 "
    ):
        LinesSink(str(path)).open(position, [])
    with pytest.raises(
        SinkError, match=r"has 5 bytes behind the 32 .*, 0 of which are outputs.*whole lines that another program wrote"
    ):
        LinesSink(str(path)).open(position, CHUNKS)
    path.write_bytes(WHOLE[:7])
    with pytest.raises(SinkError, match="has 7 bytes, but 32 were written and synced"):
        LinesSink(str(path)).open(position, [])
    path.rename(path.parent / "moved")
    with pytest.raises(SinkError, match=rf"does not exist, but 32 bytes were written to it \(inode {inode}\).*Put that file back"):
        LinesSink(str(path)).open(position, [])
    assert not path.exists()
    path.write_bytes(WHOLE)
    with pytest.raises(SinkError, match=rf"inode {path.stat().st_ino} with 32 bytes; recorded is {path}, inode {inode}, with 32"):
        LinesSink(str(path)).open(position, [])


def test_a_file_that_was_moved_is_gone_on_with_under_its_new_path(path: Path) -> None:
    position = write(path, None, CHUNKS[:1])
    moved = path.parent / "moved.jsonl"
    path.rename(moved)
    assert write(moved, position, CHUNKS[1:])["path"] == str(moved)
    assert moved.read_bytes() == WHOLE


@pytest.mark.parametrize("position", [{"offset": 3}, 17, "x", []])
def test_a_position_of_another_connector_is_an_error(sink: LinesSink, position: Any) -> None:
    with pytest.raises(SinkError, match="not one of a file"):
        sink.open(position, [])


def test_a_second_process_is_refused(path: Path, sink: LinesSink) -> None:
    sink.open(None, [])
    code = "import sys; from millstream.connectors.lines_sink import LinesSink; LinesSink(sys.argv[1]).open(None, [])"
    second = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    sink.close()
    assert second.returncode == 1
    assert "is being written by another process" in second.stderr


def test_a_sink_that_is_not_open_appends_nothing(path: Path, sink: LinesSink) -> None:
    with pytest.raises(SinkError, match="not open"):
        sink.append(CHUNKS)
    assert not path.exists()


def _fails(number: int) -> Callable[..., int]:
    def fail(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    return fail
