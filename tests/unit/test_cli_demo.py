"""``millstream demo``: it kills for certain, counts for certain, and sees a promise that is broken."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.cli.demo import ORDERS, Demo
from millstream.cli.folders import stores_in


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a demo, and what it said. Its data folder is its own, whatever the environment names."""
    folder = tmp_path_factory.mktemp("demo") / "shop"
    environment = {**os.environ, "MILLSTREAM_DATA": str(folder.parent / "not used")}
    command = [sys.executable, "-m", "millstream", "demo", str(folder)]
    return folder, subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


Played = tuple[Path, subprocess.CompletedProcess[str]]


def test_every_promise_is_kept_though_the_app_was_killed_at_least_twice(played: Played) -> None:
    folder, told = played
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("killed with SIGKILL") >= 2
    processes = set(re.findall(r'"process": (\d+)[,}]', (folder / "ledger.jsonl").read_text()))
    assert len(processes) >= 3
    rows = re.findall(r"^(READ|IDEMPOTENT|TRANSACTIONAL|VERIFIED|AT_MOST_ONCE)\b.*\byes$", told.stdout, re.MULTILINE)
    assert rows == ["READ", "IDEMPOTENT", "TRANSACTIONAL", "VERIFIED", "AT_MOST_ONCE"]
    assert " 0 lost; no receipt is there twice" in told.stdout


def test_each_kill_comes_behind_some_progress(played: Played) -> None:
    _, told = played
    kills = [int(number) for number in re.findall(r"killed with SIGKILL after .*: (\d+) of 96 effects", told.stdout)]
    assert kills == sorted(set(kills))
    assert kills[0] > 0


def test_the_folder_is_left_to_be_looked_at(played: Played) -> None:
    folder, _ = played
    assert {"app.py", "far_side.py", "orders.jsonl", "receipts.jsonl", "ledger.jsonl"} <= {path.name for path in folder.iterdir()}
    assert stores_in(folder / ".millstream") == [folder / ".millstream/demo"]
    assert not (folder.parent / "not used").exists()


@pytest.mark.parametrize("tool", ["charge", "book", "post_letter"])
def test_an_effect_that_happened_twice_is_a_broken_promise(played: Played, tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = played
    ledger = folder / "ledger.jsonl"
    before = ledger.read_text()
    done = next(line for line in before.splitlines(keepends=True) if f'"{tool}"' in line and '"done"' in line)
    ledger.write_text(before + done)
    try:
        assert not Demo(folder)._account()
    finally:
        ledger.write_text(before)
    assert re.search(rf"{tool} .*1 MORE THAN ONCE.* NO$", capsys.readouterr().out, re.MULTILINE)


def test_a_line_of_the_ledger_that_a_kill_has_cut_did_not_happen(
    played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel writes a line that lies on two pages in two."""
    folder, _ = played
    ledger = folder / "ledger.jsonl"
    before = ledger.read_text()
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location("far_side", folder / "far_side.py")
    assert spec is not None
    assert spec.loader is not None
    far_side = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(far_side)
    asked = len(far_side.entries("book", "asked"))
    ledger.write_text(before + '{"tool": "book", "order": "o-1", "what": "do')
    try:
        assert Demo(folder)._account()
        far_side.write("book", "o-1", "asked")
        assert len(far_side.entries("book", "asked")) == asked + 1
    finally:
        ledger.write_text(before)


def test_an_order_that_is_neither_done_nor_in_doubt_is_a_broken_promise(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = played
    receipts = folder / "receipts.jsonl"
    before = receipts.read_text()
    receipts.write_text("".join(before.splitlines(keepends=True)[1:]))
    try:
        assert not Demo(folder)._account()
    finally:
        receipts.write_text(before)
    assert " 1 lost;" in capsys.readouterr().out


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "millstream", "demo", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_the_account_is_of_every_order(played: Played) -> None:
    folder, _ = played
    assert len((folder / "orders.jsonl").read_text().splitlines()) == ORDERS
