"""F4: 5,000 and 20,000 agent requests at once, with a model that takes 2 s."""

from __future__ import annotations

from typing import Any

from benchmarks.measure import Bench, Line, median, paired

LATENCY_S = 2.0
IDEAL_S = 2 * LATENCY_S  # two model calls
RUN_KB = 15.0


def f4(bench: Bench) -> list[Line]:
    lines = []
    for count in (bench.size(5_000, 1_000), bench.size(20_000, 4_000)):
        found = _measured(bench, count)
        bare, millstream = found["bare"], found["millstream"]
        took_s, ratio = median(millstream, "took_s"), paired(millstream, bare, "took_s")
        took = Line(
            "F4",
            f"{count:,} at once, 2 s a model call: all done",
            median(bare, "took_s"),
            took_s,
            "s",
            ratio,
            f"<= 1.3x; 5,000: <= {1.25 * IDEAL_S:g} s",
            ratio <= 1.3 and (count > 5_000 or took_s <= 1.25 * IDEAL_S),
            f"CPU {median(bare, 'cpu_s'):.1f} and {median(millstream, 'cpu_s'):.1f} s",
        )
        memory = Line(
            "F4",
            f"{count:,} at once: memory of a run, at most",
            median(bare, "run_kb"),
            median(millstream, "run_kb"),
            "KB",
            paired(millstream, bare, "run_kb"),
            f"<= {RUN_KB:g} KB",
            median(millstream, "run_kb") <= RUN_KB,
        )
        lines += [took, memory]
    return lines


def _measured(bench: Bench, count: int) -> dict[str, list[Any]]:
    bench.say(f"{count:,} agent requests at once")
    return bench.alternate(
        {
            "bare": lambda: bench.child("benchmarks.bare:burst", count=count, latency_s=LATENCY_S),
            "millstream": lambda: bench.child("benchmarks.agent:burst", count=count, latency_s=LATENCY_S),
        }
    )
