"""Real processes, real SIGKILLs, and a ledger that the tools write themselves: what happened, whatever the store says."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

APPS = Path(__file__).parent / "apps"
ORDERS = 160
CUSTOMERS = 32
KILLS = 8
DEADLINE_S = 120
# A soak: MILLSTREAM_KILL_SEEDS=50 python -m pytest tests/crash/test_kill.py
SEEDS = int(os.environ.get("MILLSTREAM_KILL_SEEDS", "1"))


class Program:
    """The CLI on an app in a folder."""

    def __init__(self, folder: Path, app: str) -> None:
        self.folder = folder
        self.app = app
        shutil.copy(APPS / app, folder / app)

    def start(self) -> subprocess.Popen[bytes]:
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(self._command("run", self.app, "--until-idle"), cwd=self.folder, stdout=log, stderr=log)

    def say(self, *words: str) -> list[dict[str, object]]:
        """The JSON lines that a command prints."""
        done = subprocess.run(self._command(*words), cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()] if "--json" in words else []

    def finish(self) -> None:
        assert self.start().wait(DEADLINE_S) == 0, (self.folder / "log").read_text()[-2000:]

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "millstream", *words]


def ledger(folder: Path) -> list[list[str]]:
    path = folder / "ledger"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[:-1] for line in lines if line.endswith(" .")]  # what a kill has cut did not happen


def kill_when_it_has_got_further(program: Program, dice: random.Random) -> bool:
    """Start, wait until the ledger has grown a little, SIGKILL. False: it had finished before."""
    process = program.start()
    before = len(ledger(program.folder))
    further = before + dice.randint(0, 100)
    until = time.monotonic() + DEADLINE_S
    while process.poll() is None and len(ledger(program.folder)) <= further:
        assert time.monotonic() < until, "it got no further"
        time.sleep(0.002)  # how often the ledger is looked at; nothing depends on it
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", range(1, 1 + SEEDS))
def test_every_effect_keeps_the_promise_of_its_class_under_sigkill(tmp_path: Path, seed: int) -> None:
    orders = [{"order_id": f"o{n}", "customer": f"c{n % CUSTOMERS}", "cents": n} for n in range(ORDERS)]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    program = Program(tmp_path, "five_classes.py")
    dice = random.Random(seed)
    kills = sum(kill_when_it_has_got_further(program, dice) for _ in range(KILLS))
    assert kills >= KILLS // 2
    program.finish()

    # Whoever is asked knows from the ledger what happened to a text that is in doubt.
    while doubts := program.say("doubts", "--json"):
        sent = {entry[2] for entry in ledger(tmp_path) if entry[0] == "at_most_once"}
        for doubt in doubts:
            assert doubt["tool"] == "text_customer"
            step = str(doubt["step"])
            program.say("resolve", step, *(("--result", '"sent"') if step in sent else ("--retry",)))
        program.finish()

    done = Counter((effect, order) for effect, order, _ in ledger(tmp_path))
    everything = {order["order_id"] for order in orders}
    for effect in ("verified", "at_most_once"):
        assert {order: done[effect, order] for order in everything} == dict.fromkeys(everything, 1), effect
    keys = {(order, key) for effect, order, key in ledger(tmp_path) if effect == "idempotent"}
    assert len(keys) == ORDERS  # performed again or not, always under one key
    assert all(done["read", order] >= 1 for order in everything)
    booked = [order for (order,) in sqlite3.connect(tmp_path / "bank.db").execute("SELECT order_id FROM bookings")]
    assert sorted(booked) == sorted(everything)

    receipts = [json.loads(line) for line in (tmp_path / "receipts.jsonl").read_text().splitlines()]
    assert sorted(receipt["order"] for receipt in receipts) == sorted(everything)
    for customer in range(CUSTOMERS):  # a key is handled one run at a time, in order, and no update is lost
        mine = [order["order_id"] for order in orders if order["customer"] == f"c{customer}"]
        assert [receipt["so_far"] for receipt in receipts if receipt["order"] in mine] == [mine[: n + 1] for n in range(len(mine))]
    statuses = Counter(run["status"] for run in program.say("runs", "--json"))
    assert statuses == {"done": ORDERS}
