"""jsonl(path): declarations, and both of its connectors in the suites that every connector passes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from millstream.connectors.files import JsonLines, jsonl
from millstream.engine.ports import SinkConnector, SourceConnector
from millstream.errors import DeclarationError
from millstream.testing.conformance.sinks import FileSinkSuite
from millstream.testing.conformance.sources import SourceSuite


def written(folder: Path, items: Sequence[bytes]) -> Path:
    path = folder / "input.jsonl"
    path.write_bytes(b"".join(item + b"\n" for item in items))
    return path


class TestBoundedFile(SourceSuite):
    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        return jsonl(written(folder, items), max_line=1000).as_source

    def unreadable(self) -> bytes:
        return b"x" * 1001


class TestFollowedFile(SourceSuite):
    def source(self, folder: Path, items: Sequence[bytes]) -> Callable[[], SourceConnector]:
        return jsonl(written(folder, items), follow=True, max_line=1000).as_source

    def unreadable(self) -> bytes:
        return b"x" * 1001


class TestFile(FileSinkSuite):
    def sink(self, folder: Path) -> SinkConnector:
        return jsonl(folder / "output.jsonl").as_sink()

    def content(self, folder: Path) -> bytes:
        return (folder / "output.jsonl").read_bytes()

    def put(self, folder: Path, content: bytes) -> None:
        with (folder / "output.jsonl").open("r+b") as file:
            file.truncate(0)
            file.write(content)

    def exchange(self, folder: Path, content: bytes | None) -> None:
        path = folder / "output.jsonl"
        path.rename(folder / "moved")  # kept, so that its inode is not given away
        if content is not None:
            path.write_bytes(content)


def test_a_declaration_is_plain_data_and_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "orders.jsonl"
    declared = jsonl(path)
    assert declared == jsonl(str(path)) == JsonLines(str(path))
    assert declared.max_line == 16_000_000
    assert declared.as_source() is not declared.as_source()
    declared.as_sink()
    assert not path.parent.exists()
    with pytest.raises(AttributeError):
        declared.path = "other"  # type: ignore[misc]


def test_a_followed_file_never_ends_and_is_no_sink() -> None:
    followed = jsonl("orders.jsonl", follow=True)
    assert not followed.as_source().bounded
    assert jsonl("orders.jsonl").as_source().bounded
    with pytest.raises(DeclarationError, match="follow=True is for sources"):
        followed.as_sink()


@pytest.mark.parametrize("path", ["", "a\0b", b"orders.jsonl", None, 7, "folder/"])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^tests/unit/test_connectors_files.py:\d+: jsonl"):
        jsonl(path)


@pytest.mark.parametrize("options", [{"follow": "yes"}, {"follow": 1}, {"max_line": 0}, {"max_line": "16"}])
def test_an_option_that_is_wrong_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=rf"^tests/unit/test_connectors_files.py:\d+: .*{next(iter(options))}"):
        jsonl("orders.jsonl", **options)


def test_a_relative_path_is_relative_to_where_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = jsonl(os.path.join("out", "lines.jsonl")).as_sink()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    position = sink.open(None, [])
    sink.append([b"1\n"])
    sink.close()
    assert (tmp_path / "out" / "lines.jsonl").read_bytes() == b"1\n"
    assert position is not None
    assert position["path"] == str(tmp_path / "out" / "lines.jsonl")
    assert list(sink.paths()) == [os.path.realpath(tmp_path / "out" / "lines.jsonl")]
