"""``jsonl(path)``: a file of JSON lines, as a source or as a sink.

A declaration does no I/O, and may be opened many times; a relative path is relative to the current directory at that time.
How such a file is read: ``lines_source`` (to its end) and ``lines_follow`` (for ever); how it is written: ``lines_sink``.
"""

from __future__ import annotations

import os

import msgspec

from millstream.connectors.lines import MAX_LINE, declared_size
from millstream.connectors.lines_follow import FollowSource
from millstream.connectors.lines_sink import LinesSink
from millstream.connectors.lines_source import LinesSource
from millstream.engine.places import here
from millstream.engine.ports import SinkConnector, SourceConnector
from millstream.errors import DeclarationError


class JsonLines(msgspec.Struct, frozen=True):
    """A file of JSON lines; made by ``jsonl``."""

    path: str
    follow: bool = False
    max_line: int = declared_size(MAX_LINE, "max_line")  # bytes

    def as_source(self) -> SourceConnector:
        """A new connector that reads the file."""
        return FollowSource(self.path, self.max_line) if self.follow else LinesSource(self.path, self.max_line)

    def as_sink(self) -> SinkConnector:
        """A new connector that appends to the file.

        Raises:
            DeclarationError: it is declared to be followed, which is a thing of sources.
        """
        if self.unfit_as_sink is not None:
            raise DeclarationError(self.unfit_as_sink)
        return LinesSink(self.path)

    @property
    def target(self) -> str:
        """The file, by the name that is the same for every spelling of it: it is not read and written by one app."""
        return os.path.realpath(self.path)

    @property
    def unfit_as_sink(self) -> str | None:
        """Why nothing can be written to it; None: it can be."""
        return f"jsonl({self.path!r}, follow=True) is a sink: follow=True is for sources; leave it out" if self.follow else None


def jsonl(path: str | os.PathLike[str], *, follow: bool = False, max_line: int | str = MAX_LINE) -> JsonLines:
    """A file of JSON lines (jsonlines.org): one JSON value (RFC 8259) a line, UTF-8.

    As a source it is read to its end and, after a restart, on from there; blank lines are skipped, and lines that are longer
    than ``max_line`` go to the dead letters. As a sink it is appended to, synced, by one writer.

    Args:
        path: of the file. As a source it must exist, unless it is followed.
        follow: the source never ends: new lines are read as they are written, through rotations of the file.
        max_line: the longest line to read: bytes, or text with a unit (``"64KB"``, ``"16MB"``, ``"1GiB"``).

    Raises:
        DeclarationError: an option is not what it must be.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise DeclarationError(f"{here()}: jsonl({path!r}): the path must be a text that is not empty, or a pathlib.Path")
    if text.endswith(os.sep):
        raise DeclarationError(f"{here()}: jsonl({path!r}): the path is a directory's; name a file in it")
    if not isinstance(follow, bool):
        raise DeclarationError(f"{here()}: jsonl({text!r}): follow={follow!r} must be True or False")
    return JsonLines(text, follow, declared_size(max_line, f"jsonl({text!r}): max_line"))
