"""Tests of a tool, which is a plain function outside a run, and of the app as it is run."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from app import charge

from millstream import ToolCall

HERE = Path(__file__).parent


def test_a_charge_is_made_under_the_key_of_its_call() -> None:
    call = ToolCall(idempotency_key="key-1", attempt=1, run_id="0-1-1", step_id="0-1-1/charge")
    assert asyncio.run(charge("o-1", 1_250, call=call)) == {"charged": 1_250, "key": "key-1"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the app and its input, without what runs have left."""
    for name in ("app.py", "orders.jsonl"):
        shutil.copy(HERE / name, tmp_path)
    return tmp_path


def millstream(project: Path, *arguments: str) -> None:
    """The command, on a data folder of the test's own."""
    command = [sys.executable, "-m", "millstream", *arguments, "--data", str(project / "data")]
    subprocess.run(command, cwd=project, check=True, timeout=60)


def receipts(project: Path) -> dict[str, dict[str, Any]]:
    lines = (project / "receipts.jsonl").read_text().splitlines()
    found = {receipt["order"]: receipt for receipt in map(json.loads, lines)}
    assert len(found) == len(lines), "an order has two receipts"
    return found


def test_small_orders_are_charged_and_a_large_one_waits_for_its_approval(project: Path) -> None:
    millstream(project, "run", "app.py", "--until-idle")
    assert set(receipts(project)) == {"o-1", "o-2", "o-4", "o-5"}

    millstream(project, "signal", "fulfil", "bo", "approval", '{"ok": true}', "--about", "o-3", "--by", "ann")
    millstream(project, "run", "app.py", "--until-idle")
    assert receipts(project)["o-3"]["receipt"]["charged"] == 250_000
