"""What every command prints, and how: results, errors, tables, times.

Rules:

* results go to stdout, everything that is said about them (errors, hints, progress) to stderr: a pipe gets results only;
* ``--json`` prints one object a line;
* data that users gave may hold terminal control characters. Text for people has them escaped wherever it goes (``less -R``
  believes them too); JSON has them as ``\\u`` escapes, which are the same value;
* an error is one block: what happened, where, what was found, what to do; a traceback only of the user's own code;
* exit codes: 0 done, 1 the engine or the named thing failed, 2 usage.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
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


def cut(text: str, limit: int) -> str:
    """The beginning of a long text, and how much of it is missing."""
    missing = len(text) - limit
    return text if missing <= 0 else f"{text[:limit]}… (cut: {missing:,} of {len(text):,} characters)"


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


def tell(text: str) -> None:
    """About the result, to stderr. The caller has made it printable.

    Where it cannot be written (the log's disk is full, the terminal is gone), there is nobody to tell: nothing else may fail of it.
    """
    try:
        sys.stdout.flush()  # so that both are in order where they go to one terminal
    except OSError:  # what is left of it is flushed at the end, and its failure reported then
        pass
    try:
        _write(sys.stderr, text + "\n")
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
    text = printable(message, lines=True)
    label = "\x1b[1;31merror:\x1b[0m" if is_coloured(sys.stderr) else "error:"
    first, *others = text.split("\n")
    tell("\n".join([f"{label} {first}", *(f"       {line}" for line in others)]))
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


# --- tables ---------------------------------------------------------------------------------------------------------------

IDS = ("RUN", "STEP", "KEY")  # are pasted into the next command: never cut, never wrapped if it can be helped


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: drawn to fit on a terminal, aligned and in full elsewhere."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _drawn(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        if name in IDS:
            drawn.add_column(name, overflow="fold", no_wrap=name != "KEY")
        else:
            drawn.add_column(name, overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console(highlight=False, soft_wrap=False).print(drawn)


STYLES = {
    "done": "green",
    "running": "cyan",
    "waiting": "blue",
    "in_doubt": "bold yellow",
    "failed": "bold red",
    "diverged": "bold red",
    "cancelled": "dim",
}
