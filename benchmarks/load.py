"""F1, F2, F3: the agent request in a closed loop, with 64, 256 and 1 in flight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.measure import Bench, Line, median, paired

CPU_S = 0.45


def closed_loop(bench: Bench, in_flight: int) -> dict[str, list[Any]]:
    """The figures of each round, of both sides; measured once for all rows that want them."""
    seconds = bench.size(5, 2)

    def measure() -> dict[str, list[Any]]:
        bench.say(f"the agent request, {in_flight} in flight")
        return bench.alternate(
            {
                "bare": lambda: bench.child("benchmarks.bare:load", in_flight=in_flight, seconds=seconds, strict=True),
                "bare, relaxed": lambda: bench.child("benchmarks.bare:load", in_flight=in_flight, seconds=seconds, strict=False),
                "millstream": lambda: bench.child("benchmarks.agent:load", in_flight=in_flight, seconds=seconds),
            }
        )

    found: dict[str, list[Any]] = bench.once(("load", in_flight), measure)
    return found


def f1(bench: Bench) -> list[Line]:
    what, budget = "CPU of 1,000 agent requests, 64 in flight", f"<= {CPU_S} s and <= 3x; stretch 2x"
    return [_line(bench, "F1", 64, "cpu_s_per_1000", what, "s", budget, lambda mine, ratio: mine <= CPU_S and ratio <= 3.0)]


def f2(bench: Bench) -> list[Line]:
    budget = ">= 0.4x; stretch 0.6x"
    return [
        _line(bench, "F2", count, "rate", f"agent requests, {count} in flight", "/s", budget, lambda mine, ratio: ratio >= 0.4)
        for count in (64, 256)
    ]


def f3(bench: Bench) -> list[Line]:
    return [
        _line(bench, "F3", 1, "p50_ms", "latency p50, 1 in flight", "ms", "<= 1.5x", lambda mine, ratio: ratio <= 1.5),
        _line(bench, "F3", 1, "p99_ms", "latency p99, 1 in flight", "ms", "", lambda mine, ratio: None),
    ]


def _line(
    bench: Bench,
    row: str,
    in_flight: int,
    field: str,
    what: str,
    unit: str,
    budget: str,
    reached: Callable[[float, float], bool | None],
) -> Line:
    found = closed_loop(bench, in_flight)
    bare, millstream, relaxed = found["bare"], found["millstream"], found["bare, relaxed"]
    mine, ratio = median(millstream, field), paired(millstream, bare, field)
    note = f"bare relaxed {median(relaxed, field):,.4g}"
    return Line(row, what, median(bare, field), mine, unit, ratio, budget, reached(mine, ratio), note)


def millstream_rate(bench: Bench) -> float:
    """The rate of F2 at 64 in flight, /s."""
    return median(closed_loop(bench, 64)["millstream"], "rate")


def millstream_p50_ms(bench: Bench) -> float:
    """The p50 of F3."""
    return median(closed_loop(bench, 1)["millstream"], "p50_ms")
