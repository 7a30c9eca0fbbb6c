"""``python -m millstream.testing.simulator``: many seeds, or one with everything that happens in it."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from millstream.testing.simulator import Failed, World
from millstream.testing.simulator.world import simulate_many

CHUNK = 50


def main(arguments: list[str] | None = None) -> int:
    """Run. Returns 1 if an invariant was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m millstream.testing.simulator", description="Deterministic simulation of the core."
    )
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every event, fact and command")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return _one(given.seed, given.trace)
    return _many(given.start, given.seeds, given.jobs)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _one(seed: int, trace: bool) -> int:
    world = World(seed, trace=trace)
    try:
        world.run()
    except Failed as failed:
        if trace:
            _say("\n".join(world.told()))
        _say(str(failed))
        return 1
    if trace:
        _say("\n".join(world.told()))
        _say(f"trace {world.hash}")
    _say(f"seed {seed}: {dict(world.counts)}")
    return 0


def _many(start: int, seeds: int, jobs: int) -> int:
    began = time.perf_counter()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    chunks = [range(first, min(first + CHUNK, start + seeds)) for first in range(start, start + seeds, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for done, (counted, failed) in enumerate(pool.imap_unordered(simulate_many, chunks), 1):
            counts += counted
            failures += failed
            if failed:
                _say("\n\n".join(failed))
            if done % 20 == 0:
                _say(f"{done * CHUNK:,} seeds, {len(failures)} failed")
    took = time.perf_counter() - began
    for what, number in sorted(counts.items()):
        _say(f"{number:>12,}  {what}")
    _say(f"{seeds:,} seeds, {len(failures)} failed, {took:.1f} s, {seeds / took:.0f} seeds/s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
