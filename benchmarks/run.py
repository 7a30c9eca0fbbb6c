"""``python -m benchmarks``: measures rows F1 to F9 and prints the table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

if __name__ == "__main__":  # python benchmarks/run.py
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import burst, disk, load, recovery, signals, startup, stream
from benchmarks.measure import Bench, Line

ROWS: dict[str, Callable[[Bench], list[Line]]] = {
    "F1": load.f1,
    "F2": load.f2,
    "F3": load.f3,
    "F4": burst.f4,
    "F5": signals.f5,
    "F6": recovery.f6,
    "F7": startup.f7,
    "F8": stream.f8,
    "F9": disk.f9,
}
COLUMNS = ("row", "what", "bare", "millstream", "ratio", "budget", "reached?", "note")


def main() -> None:
    options = _options()
    bench = Bench(options.rounds, options.quick, options.folder, _say)
    lines = []
    for row in options.rows:
        lines += ROWS[row](bench)
    if options.json:
        print(json.dumps(msgspec.to_builtins(lines), indent=1))
    else:
        print(table(lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help="which, as in F1,F2 (default: all)")
    parser.add_argument("--quick", action="store_true", help="short and small: to see that it works, not what it costs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, help="of which the medians are taken (default: 3, --quick: 1)")
    parser.add_argument("--folder", help="where the data folders are made (default: the system's place for temporary files)")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.quick else 3
    return options


def _rows(text: str) -> list[str]:
    rows = text.upper().split(",")
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    return rows


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(lines: list[Line]) -> str:
    """The lines in columns."""
    cells = [COLUMNS, *map(_cells, lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    rows = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:]])


def _cells(line: Line) -> tuple[str, ...]:
    reached = "" if line.reached is None else "yes" if line.reached else "NO"
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}x"
    return (
        line.row,
        line.what,
        _figure(line.bare, line.unit),
        _figure(line.millstream, line.unit),
        ratio,
        line.budget,
        reached,
        line.note,
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}{'' if unit.startswith('/') else ' '}{unit}"


if __name__ == "__main__":
    main()
