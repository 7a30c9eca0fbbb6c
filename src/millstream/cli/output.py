"""What every command prints, and how: results, errors, tables, times.

Rules:

* results go to stdout, everything that is said about them (errors, hints, progress) to stderr: a pipe gets results only;
* ``--json`` prints one object a line;
* data that users gave may hold terminal control characters. Text for people has them escaped wherever it goes (``less -R``
  believes them too); JSON has them as ``\\u`` escapes, which are the same value;
* what is for people fits a terminal: broken between words, continued under an indent, ids and times whole. Elsewhere nothing is
  broken: programs and ``less -S`` read lines;
* an error is one block: what happened, where, what was found, what to do; a traceback only of the user's own code;
* exit codes: 0 done, 1 the engine or the named thing failed, 2 usage.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TextIO

import typer

from millstream.core import times
from millstream.errors import MillstreamError

FAILED, USAGE = 1, 2

# C0 but newline, DEL and C1 (terminals obey them); separators that are newlines to some; what changes the direction of text,
# so that a line reads otherwise than it is (unicode.org/reports/tr36, "bidirectional text spoofing"); lone surrogates.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


# --- text -----------------------------------------------------------------------------------------------------------------


def printable(text: str, *, lines: bool = False) -> str:
    """The text with every character escaped that a terminal would act upon; newlines too, unless ``lines``."""
    text = _UNSAFE.sub(_escape, text)
    return text if lines else text.replace("\n", "\\n")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {9: "\\t", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def cut(text: str, limit: int, hint: str = "") -> str:
    """The beginning of a long text, and how much of it is missing; ``hint``: how to see it. Never longer than what it cuts."""
    note = f"… (cut: {len(text) - limit:,} of {len(text):,} characters{hint})"
    return text if len(text) <= limit + len(note) else text[:limit] + note


def jsonl(value: Any) -> str:
    """A value as JSON on one line, safe for a terminal."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``2,000 runs``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# --- times ----------------------------------------------------------------------------------------------------------------


def rfc3339(us: int) -> str:
    """Microseconds since the epoch as ``2026-01-02T03:04:05.123456Z``."""
    try:
        return times.rfc3339(us)
    except OverflowError:  # an event time that its sender made up
        return f"{us} us"


def rfc3339_or_none(us: int | None) -> str | None:
    return None if us is None else rfc3339(us)


def brief_time(us: int) -> str:
    """To the second: ``2026-01-02T03:04:05Z``."""
    text = rfc3339(us)
    return text[:-8] + "Z" if text.endswith("Z") else text


def short_time(us: int, now: int) -> str:
    """For narrow terminals: the time of day, ``03:04:05Z``; the date, if that is another one than that of ``now``."""
    text = brief_time(us)
    return text[11:] if text[:10] == brief_time(now)[:10] and text.endswith("Z") else text[:10]


def span(us: int) -> str:
    """A length of time with two figures or two units: ``1.5 ms``, ``42 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if us < 0:
        return f"-{span(-us)}"
    if us < 999_500:
        ms = us / 1000
        return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"
    if us < 59_950_000:
        return f"{us / 1e6:.1f} s"
    seconds = round(us / 1e6)
    for unit, smaller, size, fine in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if seconds < size * (24 if unit == "h" else 60 if unit == "min" else 1 << 60):
            rest = seconds % size // fine
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError


# --- saying it ------------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A result, to stdout. The caller has made it printable."""
    _write(sys.stdout, text + "\n")


def tell(text: str, *, hang: int | None = 2) -> None:
    """About the result, to stderr, fitted to it (see ``fitted``; None: it is). The caller has made it printable.

    Where it cannot be written (the log's disk is full, the terminal is gone), there is nobody to tell: nothing else may fail of it.
    """
    try:
        sys.stdout.flush()  # so that both are in order where they go to one terminal
    except OSError:  # what is left of it is flushed at the end, and its failure reported then
        pass
    try:
        _write(sys.stderr, (text if hang is None else fitted(text, sys.stderr, hang)) + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with an error."""
    first, *others = printable(message, lines=True).split("\n")
    text = "\n".join([f"error: {first}", *(f"       {line}" for line in others)])
    columns = width(sys.stderr)
    if columns is not None:
        text = "\n".join(piece for line in text.split("\n") for piece in wrapped(line, columns, " " * 7))
    tell(text.replace("error:", "\x1b[1;31merror:\x1b[0m", 1) if is_coloured(sys.stderr) else text, hang=None)
    raise typer.Exit(code)


def usage(message: str) -> NoReturn:
    """End the command with an error in how it was called."""
    fail(message, USAGE)


@contextlib.contextmanager
def errors(code: int = FAILED) -> Iterator[None]:
    """Errors of Millstream end the command with their message."""
    try:
        yield
    except MillstreamError as error:
        fail(str(error) or type(error).__name__, code)
    except UnicodeEncodeError:  # an argument that is not UTF-8 (or a lone surrogate) on its way into the store
        usage("an argument is not valid UTF-8; keys, names and values are text")


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def is_coloured(stream: TextIO) -> bool:
    """A terminal whose user does not object (no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    """A heading on stdout."""
    return f"\x1b[1m{text}\x1b[0m" if text and is_coloured(sys.stdout) else text


# --- fitting it -----------------------------------------------------------------------------------------------------------

WIDE = 100  # columns of a terminal from which on a table has room for dates and notes
PROSE = 100  # columns of a paragraph, at most


def width(stream: TextIO) -> int | None:
    """Columns of a terminal; None: it is none, and lines there are as long as they are."""
    if not is_terminal(stream):
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(int(columns), 20)
    try:
        return max(os.get_terminal_size(stream.fileno()).columns or 80, 20)
    except (OSError, ValueError):  # it has no descriptor, or one that only claims to be a terminal
        return 80


def is_wide(stream: TextIO) -> bool:
    columns = width(stream)
    return columns is None or columns >= WIDE


def cells(text: str) -> int:
    """Columns that a text takes: East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text
    )


def fitted(text: str, stream: TextIO, hang: int = 2) -> str:
    """The text broken between words to the width of a terminal; a line goes on under its own indent and ``hang`` more."""
    columns = width(stream)
    if columns is None:
        return text
    lines = text.split("\n")
    indents = (" " * (len(line) - len(line.lstrip(" ")) + hang) for line in lines)
    return "\n".join(piece for line, indent in zip(lines, indents, strict=True) for piece in wrapped(line, columns, indent))


def prose(*paragraphs: str) -> str:
    """Paragraphs for stdout, narrow enough to be read; in a pipe too."""
    columns = min(width(sys.stdout) or PROSE, PROSE)
    return "\n".join("\n".join(wrapped(paragraph, columns, "")) for paragraph in paragraphs)


def wrapped(line: str, columns: int, indent: str) -> list[str]:
    """One line in pieces of at most so many columns, all but the first indented. Words are broken only if they fit no line."""
    if cells(line) <= columns:
        return [line]
    indent = indent[: columns // 2]
    pieces, piece = [], ""
    for word in re.findall(r" *[^ ]+", line):
        if piece.strip() and cells(piece) + cells(word) > columns:
            pieces.append(piece)
            piece = indent + word.lstrip(" ")
        else:
            piece += word
        while cells(piece) > columns:
            head = _head(piece, columns)
            pieces.append(head)
            piece = indent + piece[len(head) :]
    return [*pieces, piece]


def _head(text: str, columns: int) -> str:
    """As much of a long word as fits; up to a comma, if one is near the end."""
    used = 0
    for place, character in enumerate(text):
        used += cells(character)
        if used > columns and place:
            comma = text.rfind(",", place // 2, place)
            return text[: place if comma < 0 else comma + 1]
    return text


def command(line: str, stream: TextIO, indent: str = "  ") -> str:
    """A command to be pasted: where it does not fit, broken between its words as a shell takes it."""
    columns, text = width(stream), indent + line
    if columns is None or cells(text) <= columns:
        return text
    try:
        first, *others = map(shlex.quote, shlex.split(line))
    except ValueError:  # a quote without its other half
        return text
    lines, text = [], indent + first
    for word in others:
        if cells(text) + 1 + cells(word) + 2 > columns:
            lines.append(text + " \\")
            text = " " * (len(indent) + 4) + word
        else:
            text += f" {word}"
    return "\n".join([*lines, text])


def choices(rows: Sequence[tuple[str, str]], stream: TextIO, indent: str = "  ") -> str:
    """Commands and what each is for: beside each other where that fits, else below."""
    columns = width(stream)
    longest = max(cells(line) for line, _ in rows)
    if columns is None or all(len(indent) + longest + 3 + cells(meaning) <= columns for _, meaning in rows):
        return "\n".join(f"{indent}{line.ljust(longest)}   {meaning}".rstrip() for line, meaning in rows)
    lines = []
    for line, meaning in rows:
        lines.append(command(line, stream, indent))
        if meaning:
            lines.append(fitted(f"{indent}    {meaning}", stream))
    return "\n".join(lines)


# --- tables ---------------------------------------------------------------------------------------------------------------

WHOLE = ("RUN", "STEP", "STATUS", "CLASS", "CREATED", "SENT", "AT", "TOOK", "POSITION")  # never broken
IDS = ("AGENT", "KEY")  # are pasted into the next command: broken last
NARROW, NOTE = 8, 30  # columns of a broken column, and of a long one beside the others, at least
NO_NOTES: Mapping[str, str] = {}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], below: Mapping[str, str] = NO_NOTES) -> None:
    """Print a table: fitted to a terminal, aligned and in full elsewhere.

    Args:
        below: the last columns, those with long text: on a terminal without room beside the others each is a line of its own
            below the row, behind this label.
    """
    texts = [[printable(cell) for cell in row] for row in rows]
    room = width(sys.stdout)
    if room is None:
        widths = [max(map(cells, column)) for column in zip(columns, *texts, strict=True)]
        for row in (columns, *texts):
            say(_row(row, widths))
        return
    for line in _drawn(list(columns), texts, room, below):
        say(line)


def _drawn(columns: list[str], rows: list[list[str]], room: int, below: Mapping[str, str]) -> Iterator[str]:
    widths = [max(map(cells, column)) for column in zip(columns, *rows, strict=True)]
    first = len(columns) - len(below)  # of those that may be below
    beside = _beside(widths, first, room) if below and room >= WIDE else None
    if beside is None:
        columns, widths = columns[:first], _shrunk(columns[:first], widths[:first], room)
    else:
        first, widths = len(columns), beside
    colour = is_coloured(sys.stdout)
    yield bold(_row(columns, widths))
    for row in rows:
        parts = [wrapped(text, size, "") for text, size in zip(row[:first], widths, strict=True)]
        for number in range(max(map(len, parts))):
            texts = [part[number] if number < len(part) else "" for part in parts]
            yield _row(texts, widths, colour=colour)
        for label, text in zip(below.values(), row[first:], strict=False):
            if text:
                yield from wrapped(f"    {label}{text}", room, " " * 6)


def _row(texts: Sequence[str], widths: Sequence[int], *, colour: bool = False) -> str:
    padded = []
    for text, size in zip(texts, widths, strict=True):
        style = STYLES.get(text) if colour else None
        padded.append((text if style is None else f"\x1b[{style}m{text}\x1b[0m") + " " * (size - cells(text)))
    return "  ".join(padded).rstrip()


def _beside(widths: list[int], first: int, room: int) -> list[int] | None:
    """Widths with all columns beside each other; None: those from ``first`` on would be too narrow to read."""
    spare = room - sum(widths[:first]) - 2 * (len(widths) - 1)
    least = [min(size, NOTE) for size in widths[first:]]
    spare -= sum(least)
    if spare < 0:
        return None
    for place, size in enumerate(widths[first:]):
        more = min(size - least[place], spare)
        least[place] += more
        spare -= more
    return widths[:first] + least


def _shrunk(columns: list[str], widths: list[int], room: int) -> list[int]:
    """Widths that fit, if it can be done: the widest of those columns that may be broken gives way first."""
    widths = list(widths)
    for may_give in ((name not in WHOLE and name not in IDS for name in columns), (name not in WHOLE for name in columns)):
        giving = [place for place, gives in enumerate(may_give) if gives]
        while sum(widths) + 2 * (len(widths) - 1) > room:
            widest = max(giving, key=widths.__getitem__, default=None)
            if widest is None or widths[widest] <= NARROW:
                break
            widths[widest] -= 1
    return widths


STYLES = {
    "done": "32",
    "running": "36",
    "waiting": "34",
    "in_doubt": "1;33",
    "failed": "1;31",
    "diverged": "1;31",
    "cancelled": "2",
}
