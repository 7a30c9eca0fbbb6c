"""An event that kills the process whenever it is handled: the process comes up in the end, and the others are handled."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.core.suspects import POISONED

APP = Path(__file__).parent / "apps" / "poison.py"
INNOCENT = 100
DEADLINE_S = 120


@pytest.mark.parametrize("how", ["handler", "read", "idempotent"])
def test_a_run_that_takes_the_process_with_it_at_once_is_failed_as_poisoned(tmp_path: Path, how: str) -> None:
    shutil.copy(APP, tmp_path / "app.py")
    events = [{"k": f"k{n}", "how": how if n == INNOCENT // 2 else "fine"} for n in range(INNOCENT)]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    run = [sys.executable, "-m", "millstream", "run", "app.py", "--until-idle"]
    codes = []
    while 0 not in codes:
        codes.append(subprocess.run(run, cwd=tmp_path, capture_output=True, timeout=DEADLINE_S).returncode)
        assert len(codes) <= POISONED + 3, "it is started again and again"
    assert set(codes[:-1]) == {-signal.SIGKILL}
    listed = subprocess.run(
        [sys.executable, "-m", "millstream", "runs", "--json", "--status", "failed"], cwd=tmp_path, capture_output=True, text=True
    )
    assert [(row["key"], row["error"]["type"]) for row in map(json.loads, listed.stdout.splitlines())] == [
        (f"k{INNOCENT // 2}", "Poisoned")
    ]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == INNOCENT - 1
