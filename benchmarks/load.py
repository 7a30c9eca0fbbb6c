"""F1, F2, F3: the agent request in a closed loop, with 64, 256 and 1 in flight."""

from __future__ import annotations

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


def _line(bench: Bench, row: str, in_flight: int, field: str, what: str, unit: str) -> Line:
    found = closed_loop(bench, in_flight)
    bare, millstream, relaxed = found["bare"], found["millstream"], found["bare, relaxed"]
    ratio = paired(millstream, bare, field)
    note = f"bare relaxed {median(relaxed, field):,.4g}"
    return Line(row, what, median(bare, field), median(millstream, field), unit, ratio, "", None, note)


def f1(bench: Bench) -> list[Line]:
    line = _line(bench, "F1", 64, "cpu_s_per_1000", "CPU of 1,000 agent requests, 64 in flight", "s")
    line.budget = f"<= {CPU_S} s and <= 3x; stretch 2x"
    line.reached = line.millstream <= CPU_S and line.ratio <= 3.0
    return [line]


def f2(bench: Bench) -> list[Line]:
    lines = [_line(bench, "F2", count, "rate", f"agent requests, {count} in flight", "/s") for count in (64, 256)]
    for line in lines:
        line.budget = ">= 0.4x; stretch 0.6x"
        line.reached = line.ratio >= 0.4
    return lines


def f3(bench: Bench) -> list[Line]:
    half = _line(bench, "F3", 1, "p50_ms", "latency p50, 1 in flight", "ms")
    half.budget = "<= 1.5x"
    half.reached = half.ratio <= 1.5
    tail = _line(bench, "F3", 1, "p99_ms", "latency p99, 1 in flight", "ms")
    return [half, tail]


def millstream_rate(bench: Bench) -> float:
    """The rate of F2 at 64 in flight, /s."""
    return median(closed_loop(bench, 64)["millstream"], "rate")


def millstream_p50_ms(bench: Bench) -> float:
    """The p50 of F3."""
    return median(closed_loop(bench, 1)["millstream"], "p50_ms")
