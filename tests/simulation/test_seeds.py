"""The core under a seeded world: 2,000 seeds of crashes, lost commits, duplicates, faulty tools, impatient people."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from millstream.testing.simulator import simulate

CHUNK = 250
SEEDS = 2_000
HAPPENED = (
    "crash",
    "commits lost",
    "commits that were durable, unknown to the process that died",
    "replayed",
    "put away",
    "probe fails",
    "a thread calls",
    "starts of an unclean life",
    "retry",
    "signal",
    "letters retried at a mended operator",
)


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_every_invariant_holds_in_every_world(start: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(start, start + CHUNK):
        counts += simulate(seed)
    missing = [what for what in HAPPENED if not counts[what]]
    assert not missing, f"these never happened, so nothing was proved of them: {missing}"


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_a_seed_is_the_same_world_in_another_process(seed: int) -> None:
    hashes = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "millstream.testing.simulator", "--seed", str(seed), "--trace"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
        hashes.update(line for line in done.stdout.splitlines() if line.startswith("trace "))
    assert len(hashes) == 1
