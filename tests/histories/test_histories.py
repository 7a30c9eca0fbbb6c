"""What an older version has written still opens, and goes on: the histories that README.md tells of."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = script("make")


class History:
    """A data folder as a version left it, with its app and what that has read and written."""

    def __init__(self, version: str, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(HERE / version, folder, dirs_exist_ok=True)
        database = folder / make.STORE
        database.parent.mkdir(parents=True)
        connection = sqlite3.connect(database)
        connection.executescript((folder / "store.sql").read_text())
        # Copied files are other files, and a sink sees that: what a restore tells it, is told here.
        for sink, position in connection.execute("SELECT sink, position FROM sinks").fetchall():
            place = json.loads(position)
            path = folder / Path(place["path"]).name
            place.update(path=str(path), inode=path.stat().st_ino)
            connection.execute("UPDATE sinks SET position = ? WHERE sink = ?", (json.dumps(place), sink))
        connection.commit()
        connection.close()

    def run(self) -> None:
        """As the app was meant to be, on the clock of today: what was written may be years old."""
        make.millstream(self.folder, "run", "app.py", "--until-idle", "--max-clock-jump", "36500d", REPAIRED="1")

    def say(self, *words: str) -> list[Any]:
        done = make.millstream(self.folder, *words)
        return [json.loads(line) for line in done.stdout.splitlines()] if "--json" in words else []

    def statuses(self) -> dict[str, str]:
        """Of the runs of orders, by order; of the others, by agent."""
        return {
            run["event"] if run["agent"] == "fulfil" else f"{run['agent']} {run['event']}": run["status"]
            for run in self.say("runs", "--json")
        }

    def lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def ledger(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "ledger").read_text().splitlines()]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History("v0_1_0", tmp_path)


UNFINISHED = {
    "broken-1": "failed",
    "broken-2": "failed",
    "doubtful-1": "in_doubt",
    "behind-a-doubt": "queued",
    "waiting-1": "waiting",
    "behind-a-wait": "queued",
    "cancelled-1": "cancelled",
    "asking-1": "waiting",
    "edited-1": "diverged",
    "struck-1": "running",
}


def test_it_is_read_as_it_was_left(history: History) -> None:
    statuses = history.statuses()
    assert {order: status for order, status in statuses.items() if status != "done" and " " not in order} == UNFINISHED
    assert Counter(status for name, status in statuses.items() if name.startswith(("watch", "desk"))) == {"done": 9, "waiting": 2}
    (doubt,) = history.say("doubts", "--json")
    assert (doubt["tool"], doubt["args"], doubt["attempts"]) == ("text", ["doubtful-1", "doubtful"], 1)
    assert [letter["position"] for letter in history.say("dead-letters", "--json")] == [22, 23, 24]
    (account,) = history.say("state", "fulfil", "c1", "--json")
    assert account["state"] == {"orders": ["plain-1", "plain-4", "plain-7"], "spent": "12.75"}
    one_of_each = {run["status"]: run["run"] for run in history.say("runs", "--json")}
    assert len(one_of_each) == 8, "there is a run of every status there is"
    for status, run in one_of_each.items():
        assert history.say("show", run, "--json")[0]["status"] == status


def test_it_goes_on_to_its_end(history: History) -> None:
    before = history.ledger()
    with open(history.folder / "orders.jsonl", "a") as orders:
        for order, customer, kind in (
            ("plain-1", "c1", "plain"),  # a duplicate of what the older version has seen
            ("plain-10", "c1", "plain"),
            ("noted-1", "nora", "noted"),  # a signal to its key is in the mail
        ):
            orders.write(json.dumps({"order": order, "customer": customer, "kind": kind, "price": "10.00"}) + "\n")
    history.run()

    doubts = {doubt["tool"]: doubt["step"] for doubt in history.say("doubts", "--json")}
    assert set(doubts) == {"text", "strike"}, "it was killed while strike was performed"
    history.say("resolve", doubts["text"], "--retry", "--by", "carol")
    history.say("resolve", doubts["strike"], "--result", '"struck"', "--by", "carol")
    runs = {run["event"]: run["run"] for run in history.say("runs", "--json")}
    for order in ("broken-1", "broken-2", "edited-1", "cancelled-1"):
        history.say("retry", runs[order])
    for name, order, value in (("approval", "waiting-1", '"yes"'), ("approval", "cancelled-1", '"after all"')):
        history.say("signal", runs[order], name, value, "--about", order, "--by", "carol")
    history.say("signal", "desk", "anna", "answer", "42", "--about", "asking-1")
    history.say("signal", "watch", "c1", "seen", "true")
    history.run()

    assert set(history.statuses().values()) == {"done"}
    receipts = {receipt["order"]: receipt for receipt in history.lines("receipts.jsonl")}
    assert len(receipts) == len(history.lines("receipts.jsonl")), "each of them once"
    assert set(receipts) == {order for order in history.statuses() if " " not in order}
    assert receipts["plain-10"]["so_far"] == ["plain-1", "plain-4", "plain-7", "plain-10"]
    assert receipts["noted-1"]["said"] == "nobody waits for it yet"
    assert receipts["waiting-1"]["said"] == ["yes", "carol"]
    assert receipts["cancelled-1"]["said"] == ["after all", "carol"]
    assert receipts["asking-1"]["said"] == "42"
    assert receipts["edited-1"]["said"] == 1, "the signal that its diverged run did not get to"
    assert history.lines("large.jsonl") == [*(f"plain-{n}" for n in range(5, 10)), "plain-10", "noted-1"]
    assert history.say("state", "watch", "c1", "--json")[0]["state"] == {"alerts": 4, "seen": True}

    since = history.ledger()[len(before) :]
    again = {(what, order) for what, order, key in since if [what, order, key] in before and what != "look_up"}
    assert again == {
        ("charge", "broken-1"),  # it had failed, and was retried
        ("charge", "broken-2"),
        ("charge", "struck-1"),  # it was cut off: IDEMPOTENT, under the same key
        ("text", "doubtful-1"),  # a person said that it had not been sent
    }
    assert Counter(order for what, order, _ in history.ledger() if what == "ship") == dict.fromkeys(
        set(receipts) - {"declined-1"}, 1
    )
