"""stdin() and stdout(): what can be promised of a pipe."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from millstream.connectors import standard
from millstream.connectors.standard import StdinSource, StdoutSink, stdin, stdout
from millstream.engine.ports import Lines, SinkConnector, SourceConnector
from millstream.errors import DeclarationError, SinkError, SourceError
from millstream.testing.conformance.sinks import SinkSuite
from millstream.testing.conformance.sources import SourceSuite


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # the test has closed it


class TestStdin(SourceSuite):
    @pytest.fixture(autouse=True)
    def _close(self) -> Iterator[None]:
        self.opened: list[int] = []
        yield
        for fd in self.opened:
            os.close(fd)

    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        reader, writer = os.pipe()
        os.write(writer, b"\n".join(items))
        os.close(writer)
        self.opened.append(reader)
        return lambda: StdinSource(1000, reader)

    def unreadable(self) -> bytes:
        return b"x" * 1001


class TestStdout(SinkSuite):
    def sink(self, folder: Path) -> SinkConnector:
        fd = os.open(folder / "output", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.opened.append(fd)
        return StdoutSink(fd)

    @pytest.fixture(autouse=True)
    def _close(self) -> Iterator[None]:
        self.opened: list[int] = []
        yield
        for fd in self.opened:
            os.close(fd)

    def content(self, folder: Path) -> bytes:
        return (folder / "output").read_bytes()


async def read_all(source: SourceConnector, position: Any = None) -> list[Lines]:
    await source.open("orders", position)
    reads: list[Lines] = []
    while not reads or not reads[-1].ended:
        reads.append(await source.read(1000))
    await source.close()
    return reads


def test_the_declarations_are_plain_data() -> None:
    assert stdin() == stdin(max_line="16MB")
    assert stdout() == stdout()
    source = stdin(max_line="1KB").as_source()
    assert (source.redelivers, source.bounded) == (False, True)
    assert stdout().as_sink().paths() == []  # several streams may go there
    with pytest.raises(DeclarationError, match="max_line"):
        stdin(max_line=0)


def test_each_opening_names_its_lines_anew(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one\n\ntwo")
    position = None
    named: list[list[int | str]] = []
    for _ in range(3):
        with path.open("rb") as file:
            reads = asyncio.run(read_all(StdinSource(1000, file.fileno()), position))
        named.append([position for lines in reads for position in lines.positions])
        position = reads[-1].position
    assert named == [[1, 3], ["1:1", "1:3"], ["2:1", "2:3"]]


def test_a_position_of_another_connector_is_an_error(pipe: tuple[int, int]) -> None:
    with pytest.raises(SourceError, match="not one of stdin"):
        asyncio.run(read_all(StdinSource(1000, pipe[0]), {"offset": 7, "line": 1}))


def test_an_input_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SourceError, match="standard input cannot be read: Is a directory"):
        asyncio.run(read_all(StdinSource(1000, fd)))
    os.close(fd)


def test_no_more_is_read_than_one_chunk_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard, "CHUNK_BYTES", 100)
    path = tmp_path / "input"
    path.write_bytes(b"123456789\n" * 100)

    async def main(fd: int) -> None:
        source = StdinSource(1000, fd)
        await source.open("orders", None)
        for count in range(1, 100):
            lines = await source.read(1)
            assert lines.data == [b"123456789"]
            await source._worker.submit(lambda: None)  # the read ahead has been made
            assert os.lseek(fd, 0, os.SEEK_CUR) <= min(((count - 1) // 10 + 2) * 100, 1000)
        await source.close()

    with path.open("rb") as file:
        asyncio.run(main(file.fileno()))


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(reader, False)

    async def main() -> list[bytes]:
        source = StdinSource(1000, reader)
        await source.open("orders", None)
        task = asyncio.ensure_future(source.read(10))
        await asyncio.sleep(0)
        os.write(writer, b"one\n")
        lines = await task
        await source.close()
        return lines.data

    assert asyncio.run(main()) == [b"one"]
    os.close(writer)


def test_waiting_for_input_does_not_keep_the_process_from_ending() -> None:
    code = """
import asyncio
from millstream.connectors.standard import stdin
async def main():
    source = stdin().as_source()
    await source.open("orders", None)
    task = asyncio.ensure_future(source.read(10))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    await source.close()
    print("ended", task.cancelled())
asyncio.run(main())
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        assert child.wait(30) == 0  # its standard input is still open
        assert child.stdout.read() == b"ended True\n"


def test_outputs_follow_what_the_app_printed_before() -> None:
    code = """
from millstream.connectors.standard import stdout
sink = stdout().as_sink()
sink.open(None, [])
print("printed")
sink.append([b"output\\n"])
print("printed")
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert child.stdout == b"printed\noutput\nprinted\n"


def test_a_reader_that_is_gone_is_an_error_that_is_not_retried(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = StdoutSink(writer)
    sink.open(None, [])
    os.close(reader)
    with pytest.raises(SinkError, match=r"closed by its reader.*7 bytes of output were not written") as caught:
        sink.append([b"output\n"])
    assert caught.value.retryable is False  # type: ignore[attr-defined]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_behind_it_may_be_tried_again() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(SinkError, match="No space left on device") as caught:
        StdoutSink(fd).append([b"output\n"])
    assert caught.value.retryable is True  # type: ignore[attr-defined]
    os.close(fd)


def test_what_a_refused_append_has_written_is_not_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "output"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    sink = StdoutSink(fd)
    real, room = os.write, 4

    def write(fd: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = real(fd, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write)
    for more in (0, 3, 100):
        room += more
        try:
            sink.append([b"one\n", b"two\nthree\n"])
        except SinkError:
            pass
    sink.append([b"four\n"])
    os.close(fd)
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_a_position_of_another_sink_is_an_error() -> None:
    with pytest.raises(SinkError, match="not one of standard output"):
        StdoutSink().open({"path": "out.jsonl", "inode": 1, "offset": 2}, [])


def test_the_appends_of_two_sinks_do_not_mix(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)  # so that writes are cut short, and waiting for room is tested too
    big = 300_000

    def work(letter: bytes) -> None:
        StdoutSink(writer).append([letter * big + b"\n"])

    threads = [threading.Thread(target=work, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    found = b""
    while len(found) < 3 * (big + 1):
        found += os.read(reader, 1 << 16)
    for thread in threads:
        thread.join()
    assert sorted(found.splitlines()) == [letter * big for letter in (b"a", b"b", b"c")]
