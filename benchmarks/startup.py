"""F7: the time to start: ``import millstream``, its names, and ``millstream --help``.

With the bytecode of everything at hand, as after an installation: where the environment forbids Python to keep it, or the code
stands in a folder that nobody has run, it is kept in a folder of the measurement's own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from benchmarks.measure import ROOT, Bench, Line, median, paired

NAMES = "from millstream import App, Context, Effect, tool, jsonl"
HELP = "import sys; sys.argv = ['millstream', '--help']; from millstream.cli.main import main; main()"
LIBRARIES = "import apsw, msgspec"
ASYNC_LIBRARIES = "import apsw, msgspec, asyncio"  # what a program of ``async def`` agents stands on
CLI_LIBRARY = "import apsw, msgspec, typer"
TIMES = 5  # more rounds than elsewhere: they are short


def f7(bench: Bench) -> list[Line]:
    bench.say("start-up")
    pairs = [
        ("import millstream", LIBRARIES, "import millstream"),
        ("import millstream and what a program uses of it", ASYNC_LIBRARIES, NAMES),
    ]
    if importlib.util.find_spec("millstream.cli.main") is not None:
        pairs.append(("millstream --help", CLI_LIBRARY, HELP))
    rounds = bench.rounds
    bench.rounds *= TIMES
    quiet, bench.say = bench.say, lambda text: None
    with tempfile.TemporaryDirectory() as bytecode:
        lines = [_line(bench, bytecode, *pair) for pair in pairs]
    bench.rounds, bench.say = rounds, quiet
    return lines


def _line(bench: Bench, bytecode: str, what: str, bare: str, millstream: str) -> Line:
    sides = {"bare": _started(bare, bytecode), "millstream": _started(millstream, bytecode)}
    for side in sides.values():
        side()  # writes the bytecode
    found = bench.alternate(sides)
    ratio = paired(found["millstream"], found["bare"], "cpu_ms")
    return Line(
        "F7",
        f"{what} (bare: {bare})",
        median(found["bare"], "cpu_ms"),
        median(found["millstream"], "cpu_ms"),
        "ms CPU",
        ratio,
        "<= 1.5x",
        ratio <= 1.5,
        "with the start of Python",
    )


def _started(code: str, bytecode: str) -> Callable[[], dict[str, float]]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def measure() -> dict[str, float]:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{code!r} ended with {process.returncode}; see above")
        return {"cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3}

    return measure
