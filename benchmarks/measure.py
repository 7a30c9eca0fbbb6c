"""Child processes, alternating rounds, medians, and a line of the table."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

LONGEST_S = 600  # a child that takes longer hangs
ROOT = Path(__file__).resolve().parent.parent


class Line(msgspec.Struct):
    """A line of the table. ``better`` says which way the figures and the ratio are good."""

    row: str
    what: str
    bare: float | None
    millstream: float
    unit: str
    ratio: float | None
    budget: str
    reached: bool | None
    note: str = ""


class Bench(msgspec.Struct):
    """One call of the command: how long, how often, where; and measurements that several rows share."""

    rounds: int
    quick: bool
    folder: str | None  # where the data folders are made; None: the system's place for temporary files
    say: Callable[[str], None]
    shared: dict[Any, Any] = msgspec.field(default_factory=dict)

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def alternate(self, sides: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
        """Each side once a round, in turn, so that a drift of the machine meets all of them."""
        results: dict[str, list[Any]] = {name: [] for name in sides}
        for number in range(self.rounds):
            for name, measure in sides.items():
                self.say(f"  round {number + 1} of {self.rounds}: {name}")
                results[name].append(measure())
        return results

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What several rows need is measured once."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def child(self, function: str, **arguments: Any) -> Any:
        """Call ``module:function`` in a process of its own, with a fresh ``folder`` where it takes one."""
        with self.place() as folder:
            return run_child(function, folder=folder, **arguments)

    @contextmanager
    def place(self) -> Iterator[str]:
        folder = tempfile.mkdtemp(prefix="millstream-bench-", dir=self.folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def start_child(function: str, **arguments: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.child", function, json.dumps(arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def run_child(function: str, **arguments: Any) -> Any:
    process = start_child(function, **arguments)
    try:
        output, _ = process.communicate(timeout=LONGEST_S)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{function} ended with {process.returncode}; see above")
    return json.loads(output.splitlines()[-1])


def median(results: list[Any], field: str) -> float:
    return float(statistics.median(result[field] for result in results))


def paired(mine: list[Any], theirs: list[Any], field: str) -> float:
    """The median of the ratios of each round."""
    return float(statistics.median(a[field] / b[field] for a, b in zip(mine, theirs, strict=True)))


def percentile(sorted_values: list[float], part: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * part))]


def resident_bytes() -> int:
    """RSS of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
