"""Writes the history of the version at hand: ``python tests/histories/make.py``. See README.md for when that may be done.

Several lives of one process, through the command line: some that end when nothing can go on by itself, one that is killed in the
middle of two effects. Then the store is dumped as text, and what the app read and wrote is kept beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

HISTORY = Path(__file__).parent / "v0_1_0"
KEPT = ("orders.jsonl", "ledger", "receipts.jsonl", "doubts.jsonl", "letters.jsonl", "large.jsonl")
STORE = Path(".millstream", "history", "millstream.db")
PRAGMAS = ("application_id", "user_version", "page_size", "auto_vacuum")

FIRST = [
    *[{"order": f"plain-{n}", "customer": f"c{n % 3}", "kind": "plain", "price": f"{n}.25"} for n in range(1, 10)],
    {"order": "plain-1", "customer": "c1", "kind": "plain"},  # a duplicate
    {"order": "declined-1", "customer": "dora", "kind": "declined"},
    {"order": "broken-1", "customer": "bert", "kind": "broken"},
    {"order": "broken-2", "customer": "bert", "kind": "broken"},
    {"order": "doubtful-1", "customer": "dick", "kind": "doubtful"},
    {"order": "behind-a-doubt", "customer": "dick", "kind": "plain"},
    {"order": "waiting-1", "customer": "wanda", "kind": "waiting"},
    {"order": "waiting-2", "customer": "willy", "kind": "waiting"},
    {"order": "behind-a-wait", "customer": "wanda", "kind": "plain"},
    {"order": "cancelled-1", "customer": "cora", "kind": "cancelled"},
    {"order": "asking-1", "customer": "anna", "kind": "asking"},
    {"order": "edited-1", "customer": "ed", "kind": "edited"},
    {"order": "broken price", "customer": "x", "kind": "plain", "price": "much"},
    {"customer": "x", "kind": "plain"},
]
LAST = [{"order": "struck-1", "customer": "sue", "kind": "struck"}]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(HISTORY / "app.py", folder)
        live(folder)
        for kept in KEPT:
            shutil.copy(folder / kept, HISTORY)
        (HISTORY / "store.sql").write_text(without_paths(dump(folder / STORE), folder))


def live(folder: Path) -> None:
    """All that happens, until the process is killed and nobody starts it again."""
    with open(folder / "orders.jsonl", "w") as orders:
        orders.writelines(json.dumps(order) + "\n" for order in FIRST)
        orders.write('{"order": "torn-1", "cust\n')
    millstream(folder, "run", "app.py", "--until-idle")
    listed = [json.loads(line) for line in millstream(folder, "runs", "--json").stdout.splitlines()]
    runs = {run["event"]: run["run"] for run in listed}  # by the event's id, which is that of the order
    millstream(folder, "signal", "fulfil", "nora", "note", '"nobody waits for it yet"', "--id", "n1", "--by", "alice")
    millstream(folder, "signal", runs["waiting-2"], "approval", '{"ok": true}', "--about", "waiting-2", "--by", "alice")
    millstream(folder, "signal", runs["edited-1"], "go", "1", "--by", "alice")
    millstream(folder, "cancel", runs["cancelled-1"])
    millstream(folder, "retry", runs["broken-2"])
    millstream(folder, "run", "app.py", "--until-idle", EDITED="1")
    with open(folder / "orders.jsonl", "a") as orders:
        orders.writelines(json.dumps(order) + "\n" for order in LAST)
    killed = millstream(folder, "run", "app.py", "--until-idle", expected=-9, KILL="1")
    assert killed.returncode == -9


def millstream(folder: Path, *words: str, expected: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "millstream", *words],
        cwd=folder,
        env={**os.environ, "LOGNAME": "bob", **environment},  # who cancels and retries
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == expected, f"millstream {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def dump(database: Path) -> str:
    """A SQLite file as SQL text that makes the same one."""
    connection = sqlite3.connect(database)
    try:
        pragmas = [f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};" for name in PRAGMAS]
        return "\n".join([*pragmas, *connection.iterdump()]) + "\n"
    finally:
        connection.close()


def without_paths(text: str, folder: Path) -> str:
    """The same, of any machine: tracebacks and positions of sinks name files."""
    source = Path(__file__).parents[2] / "src"
    for path, name in ((folder, "/history"), (folder.resolve(), "/history"), (source, "/src"), (sys.base_prefix, "/python")):
        text = text.replace(str(path), name)
    return text


if __name__ == "__main__":
    main()
