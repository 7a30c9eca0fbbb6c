"""Run worlds: ``python -m millstream.testing.simulator --seeds 100000``, or one again with ``--seed N --trace``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from millstream.testing.simulator.violation import INVARIANTS, Violation
from millstream.testing.simulator.world import World


def report(world: World, violation: Violation) -> str:
    """What a failure prints: the seed, the command that replays it, the invariant, the last events."""
    events = "\n".join(f"  step {step} life {life} at {at}: {what}" for step, life, at, what in world.events)
    return (
        f"seed {world.seed}: {violation}\n"
        f"the invariant: {INVARIANTS[violation.invariant]}\n"
        f"again: python -m millstream.testing.simulator --seed {world.seed} --trace\n{events}"
    )


def run(seed: int, *, trace: bool = False) -> World:
    """One seed.

    Raises:
        AssertionError: an invariant does not hold; the text is ``report``'s.
    """
    world = World(seed, trace=trace)
    try:
        world.run()
    except Violation as violation:
        raise AssertionError(report(world, violation)) from violation
    return world


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m millstream.testing.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one world only")
    parser.add_argument("--trace", action="store_true", help="print all that happens, and a hash of it")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.start, options.start + options.seeds)
    counts: Counter[str] = Counter()
    failed = 0
    began = time.monotonic()
    for done, seed in enumerate(seeds, 1):
        try:
            world = run(seed, trace=options.trace)
        except AssertionError as failure:
            failed += 1
            print(failure, flush=True)
            continue
        counts += world.counts
        if options.trace:
            print(*(f"step {step} life {life} at {at}: {what}" for step, life, at, what in world.events), sep="\n")
            print("hash", world.hash)
        if done % 1000 == 0:
            print(f"{done} seeds, {failed} failed, {done / (time.monotonic() - began):.0f} a second", file=sys.stderr, flush=True)
    print(f"{len(seeds)} seeds, {failed} failed")
    print(", ".join(f"{what} {count:,}" for what, count in counts.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
