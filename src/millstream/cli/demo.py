"""``millstream demo``: an app with a tool of each effect class is killed in the middle, and nothing is lost or done twice.

The app is a template beside this file, written into a folder for the user to look at. It runs as a child process, as a user would
run it; what happened is told from the ledger that the far sides keep, and not from Millstream's own record.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.folders import HOME, VARIABLE, looking
from millstream.cli.output import bold, command, count, fail, prose, say, span, table, usage
from millstream.cli.rows import doubt_json

if TYPE_CHECKING:
    import subprocess

TEMPLATE = Path(__file__).parent / "templates" / "demo"
ORDERS = 24
EFFECTS = ORDERS * 4
KILLS = (0.1, 0.35, 0.6, 0.8)  # when so many of the effects have happened
DOUBTS_SHOWN = 6
PATIENCE_S = 60.0  # of one run; it takes about two seconds

TOOLS = (
    ("READ", "quote", "one answer stands"),
    ("IDEMPOTENT", "charge", "once"),
    ("TRANSACTIONAL", "reserve", "once"),
    ("VERIFIED", "book", "once"),
    ("AT_MOST_ONCE", "post_letter", "at most once"),
)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write it; must not exist yet.")] = Path(
        "millstream-demo"
    ),
) -> None:
    """Kill an app again and again, and count what happened.

    It writes an example app with a tool of each effect class into FOLDER, runs it, kills it with SIGKILL four times on the way,
    and shows from a ledger that the far sides of the tools keep (bank, warehouse, courier, letter box) that everything happened
    as often as its class promises. Takes about ten seconds.

    \b
    millstream demo
    millstream demo /tmp/demo

    Exit code 1: a promise was broken. Delete FOLDER when you have seen enough.
    """
    _write(folder)
    say(bold(f"{ORDERS} orders, an agent, five tools: one of each effect class"))
    say(
        prose(
            "For each order a price is asked, the money charged, the goods reserved, a courier booked and a letter posted.",
            f"All of it is in {folder}: app.py is the app, far_side.py the world outside with its ledger, receipts.jsonl the "
            "output.",
        )
        + "\n"
    )
    Demo(folder).play()


def _write(folder: Path) -> None:
    import shutil

    if folder.exists():
        usage(f"{folder} exists already; name a folder that does not, or delete it: the demo overwrites nothing")
    try:
        folder.mkdir(parents=True)
        for name in ("app.py", "far_side.py"):
            shutil.copyfile(TEMPLATE / name, folder / name)
        lines = [json.dumps({"order": f"o-{number:02d}"}) + "\n" for number in range(1, ORDERS + 1)]
        (folder / "orders.jsonl").write_text("".join(lines))
        (folder / "ledger.jsonl").touch()
    except OSError as error:
        fail(f"the demo cannot be written into {folder}: {error}; check the path and who may write there")


class Demo:
    """The play, in its order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder)
        self.environment = {name: value for name, value in os.environ.items() if name != VARIABLE}

    def play(self) -> None:
        kills = self._killed_runs()
        say(f"\nKilled {count(kills, 'time')}. The same command once more, to its end:")
        self._last_run()
        kept = self._account()
        settled = self._settle()
        say("\nLook around:")
        looks = ["millstream runs", f"millstream show {settled or 'RUN'}", "millstream doubts", "less ledger.jsonl"]
        for line in (f"cd {shlex.quote(str(self.folder))}", *looks):
            say(f"  $ {line}")
        if kills < 2:
            fail("the app was at its end before it could be killed twice, so nothing is proven; try again, into another folder")
        if not kept:
            fail(f"a promise was broken; please report it, with the folder {self.folder}")

    # --- running and killing --------------------------------------------------------------------------------------

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "millstream", *arguments]

    def _start(self) -> subprocess.Popen[bytes]:
        import subprocess

        say("  $ millstream run app.py --until-idle")
        with (self.folder / "engine.log").open("ab") as log:
            return subprocess.Popen(
                self._command("run", "app.py", "--until-idle"),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _killed_runs(self) -> int:
        kills = 0
        for share in KILLS:
            if not self._kill_at(round(share * EFFECTS)):
                break
            kills += 1
        return kills

    def _kill_at(self, effects: int) -> bool:
        """Run until so many effects have happened, and kill it then. False: it ended before."""
        began = time.monotonic()
        child = self._start()
        try:
            while child.poll() is None and self.ledger.effects() < effects:
                self._check_time(began)
                time.sleep(0.005)
            if child.poll() is not None:
                self._check(child)
                return False
        finally:
            child.kill()
            child.wait()
        took = span(round((time.monotonic() - began) * 1e6))
        say(f"  killed with SIGKILL after {took}: {self.ledger.effects()} of {EFFECTS} effects have happened")
        return True

    def _last_run(self) -> None:
        began = time.monotonic()
        child = self._start()
        try:
            while child.poll() is None:
                self._check_time(began)
                time.sleep(0.01)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        self._check(child)
        say(f"  idle after {span(round((time.monotonic() - began) * 1e6))}")

    def _check_time(self, began: float) -> None:
        if time.monotonic() - began > PATIENCE_S:
            fail(f"the app has not ended after {PATIENCE_S:g} s; see {self.folder / 'engine.log'}")

    def _check(self, child: subprocess.Popen[bytes]) -> None:
        if child.returncode != 0:
            fail(f"the app ended with exit code {child.returncode}; see {self.folder / 'engine.log'}")

    # --- what happened --------------------------------------------------------------------------------------------

    def _doubts(self) -> list[dict[str, Any]]:
        with looking(self.folder / HOME / "demo") as store:
            return [doubt_json(row) for row in store.doubts()]

    def _receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "receipts.jsonl").read_text().splitlines()]

    def _account(self) -> bool:
        """Print what happened outside, class by class. Returns whether every promise was kept."""
        ledger, receipts = self.ledger, self._receipts()
        doubts = {doubt["args"][0] for doubt in self._doubts()}
        done = Counter(receipt["order"] for receipt in receipts)
        orders = {f"o-{number:02d}" for number in range(1, ORDERS + 1)}
        charged = {line["order"]: line["cents"] for line in ledger.lines("charge", "done")}
        rows, all_kept = [], True
        for effect, tool, promise in TOOLS:
            happened = ledger.happened(tool)
            if effect == "READ":
                kept = all(receipt["cents"] == charged.get(receipt["order"]) for receipt in receipts)
                counted = "-"
            else:
                counted = _often(happened, orders)
                least = 0 if effect == "AT_MOST_ONCE" else 1
                kept = all(least <= happened[order] <= 1 for order in orders)
            if effect == "AT_MOST_ONCE":
                kept = kept and done.keys() | doubts == orders and all(happened[order] == 1 for order in done)
            asked = len(ledger.lines(tool, "asked"))
            rows.append((effect, tool, str(asked), counted, promise, "yes" if kept else "NO"))
            all_kept = all_kept and kept
        say("")
        say(bold(f"What happened outside for {ORDERS} orders, by the ledger"))
        table(("CLASS", "TOOL", "CALLS", "HAPPENED", "PROMISED", "KEPT"), rows)
        once = done.keys() | doubts == orders and not done.keys() & doubts and all(number == 1 for number in done.values())
        say(
            f"Receipts: {len(receipts)} orders done, {len(doubts)} in doubt, {ORDERS - len(done.keys() | doubts)} lost; "
            f"{'no receipt is there twice' if all(number == 1 for number in done.values()) else 'A RECEIPT IS THERE TWICE'}."
        )
        return all_kept and once

    # --- settling a doubt -----------------------------------------------------------------------------------------

    def _settle(self) -> str | None:
        """List what is in doubt, and settle one of it as a person would. Returns the run that has ended by it."""
        import subprocess

        doubts = self._doubts()
        if not doubts:
            say("\n" + prose("Nothing is in doubt: no kill came while a letter was on its way. (Another time one will.)"))
            return None
        say("")
        say(bold(f"{count(len(doubts), 'letter')} in doubt"))
        say(
            prose(
                "The process died while they were being posted, and a letter box cannot be asked. Millstream does not guess, and "
                "does not post them again: they wait in `millstream doubts` for a person, who looks and says what happened. Here "
                "one can look into the ledger:"
            )
        )
        posted = self.ledger.happened("post_letter")
        commands = []
        for doubt in doubts:
            is_posted = posted[doubt["args"][0]] > 0
            how = ("--result", '"posted"') if is_posted else ("--retry",)
            commands.append(["resolve", doubt["step"], *how])
            if len(commands) <= DOUBTS_SHOWN:
                say(f"  {doubt['args'][0]} is {'' if is_posted else 'not '}in the box")
                say(command(f"millstream {shlex.join(commands[-1])}", sys.stdout, "    $ "))
        if len(commands) > DOUBTS_SHOWN:
            say(f"  and {len(commands) - DOUBTS_SHOWN} more")
        step = doubts[0]["step"]
        say("\n" + prose("The first one is settled for you, with the command above; then the app runs again:"))
        say(command(f"millstream {shlex.join(commands[0])}", sys.stdout, "  $ "))
        outcome = subprocess.run(
            self._command(*commands[0]), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if outcome.returncode != 0:
            fail(f"it could not be settled: {outcome.stderr.strip()}")
        before = len(self._receipts())
        self._last_run()
        more = len(self._receipts()) - before
        twice = [order for order, number in self.ledger.happened("post_letter").items() if number > 1]
        run: str = step.partition("/")[0]
        if more != 1 or twice or any(doubt["step"] == step for doubt in self._doubts()):
            fail(f"run {run} should be done, with one receipt and one letter; please report it, with the folder {self.folder}")
        say(f"  run {run} is done: one more receipt, one letter")
        return run


def _often(happened: Counter[str], orders: set[str]) -> str:
    often = Counter(happened[order] for order in orders)
    words = [f"{often[1]} once"]
    words += [f"{often[0]} never"] if often[0] else []
    more = sum(number for times, number in often.items() if times > 1)
    words += [f"{more} MORE THAN ONCE"] if more else []
    return ", ".join(words)


class Ledger:
    """What the far sides have written down. It is read anew each time: a child process writes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _all(self) -> list[dict[str, Any]]:
        found = []
        for line in (self._folder / "ledger.jsonl").read_text().splitlines():
            with suppress(ValueError):  # one that a kill has cut, or that is being written, did not happen (yet)
                found.append(json.loads(line))
        return found

    def lines(self, tool: str, what: str) -> list[dict[str, Any]]:
        """The lines of a tool."""
        return [line for line in self._all() if line["tool"] == tool and line["what"] == what]

    def happened(self, tool: str) -> Counter[str]:
        """How often it happened for each order. Of the warehouse, its own database tells."""
        if tool == "reserve":
            return Counter(order for (order,) in self._reserved())
        return Counter(line["order"] for line in self.lines(tool, "done"))

    def _reserved(self) -> list[tuple[str]]:
        import sqlite3

        path = self._folder / "warehouse.db"
        if not path.exists():
            return []
        database = sqlite3.connect(path, timeout=10)
        try:
            rows: list[tuple[str]] = database.execute("SELECT order_id FROM reserved").fetchall()
            return rows
        except sqlite3.OperationalError:  # the table is not there yet
            return []
        finally:
            database.close()

    def effects(self) -> int:
        """How many effects there were, all in all."""
        return len([line for line in self._all() if line["what"] == "done"]) + len(self._reserved())
