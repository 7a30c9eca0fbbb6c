"""The power goes at any moment, hundreds of times: what was acknowledged is there, and each commit is there whole or not at all.

SIGKILL proves nothing about syncs, so the disk here is one that forgets what was not synced (``testing.faults``). Each case is
a seed: it draws the commits, the moment of the cut among all writes, syncs and deletions (making the store is among them, and
checkpoints are, since they come early here), and what the disk has kept. The ablation is the same with ``synchronous=OFF``: a
test of power loss that does not fail then would prove nothing.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.core.tables import EVENTS, MAIL, META, RECORDS, RUNS, STATES, Commit, MetaRow
from millstream.errors import CommitFailed, StoreError
from millstream.stores import sqlite
from millstream.stores.memory import MemoryStore
from millstream.stores.sqlite import SqliteStore
from millstream.testing.conformance.stores import contents, event, mail, record, run, state
from millstream.testing.faults import ForgetfulVFS, Loss

NAME = "millstream.db"
COMMITS = 25
SEEDS = 400
BATCHES = 8  # in which the seeds are run, so that they spread over the workers of pytest

Prepare = Callable[[SqliteStore], None]


class Case(msgspec.Struct):
    """What became of one seed."""

    acknowledged: int
    found: int
    died_while_made: bool
    checkpointed: bool
    failed_as: str
    counts: dict[str, int]
    loss: Loss
    fault: str | None  # what must not be


def commits(seed: int) -> list[Commit]:
    """Rows of all kinds, new and changed, small and over many pages; ``META`` names the last commit."""
    chance = random.Random(f"{seed} commits")
    made = []
    for number in range(1, COMMITS + 1):
        one = Commit(number)
        for index in range(chance.choice([1, 1, 3, 12])):
            row = number * 100 + index
            text = '"' + "x" * chance.choice([10, 300, 3_000, 9_000]) + '"'
            one.append(EVENTS, event(row, payload=text))
            one.append(RECORDS, record(row, row))
            one.put(RUNS, run(row, event=row, key=f"k{chance.randrange(30)}", turn=chance.choice([None, row])))
            one.put(STATES, state(f"k{chance.randrange(30)}", version=number, payload=text))
            one.put(MAIL, mail(row, key=f"k{chance.randrange(30)}"))
            if chance.random() < 0.5 and number > 1:
                one.delete(MAIL, ((number - 1) * 100,))
        one.put(META, MetaRow("last", str(number)))
        made.append(one)
    return made


def states_after(made: list[Commit], meta: dict[str, str]) -> list[dict[str, Any]]:
    """What must be readable after none, one, two ... of the commits."""
    memory = MemoryStore(app="suite")
    first = Commit(0)
    for name in ("schema", "store_id", "created"):
        first.put(META, MetaRow(name, meta[name]))
    memory.write(first)
    found = [contents(memory)]
    for one in made:
        memory.write(one)
        found.append(contents(memory))
    return found


def lose_power(seed: int, folder: Path, *, prepare: Prepare | None = None) -> Case:
    """Write commits until the power goes at a drawn moment, and look at what is left."""
    chance = random.Random(f"{seed} cut")
    made = commits(seed)
    acknowledged, failed_as, store = 0, "", None
    folder.mkdir()
    with ForgetfulVFS(seed, sector=chance.choice([512, 4096])) as disk:
        disk.cut_after(chance.randrange(1, chance.choice([60, 300, 1_500])))
        try:
            store = SqliteStore(folder / NAME, app="suite", partitions=64, vfs=disk.name)
            if prepare is not None:
                prepare(store)
            for one in made:
                store.write(one)
                acknowledged += 1
        except StoreError as error:
            failed_as = type(error).__name__
        if store is not None:
            store.close()
        loss = disk.power_loss(folder / "left")
        counts = dict(disk.counts)
    checkpointed = store is not None and store._flushed > 0
    found, fault = -1, None
    try:
        again = SqliteStore(folder / "left" / NAME, app="suite", partitions=64)
        meta = again.meta()
        found = int(meta.get("last", "0"))
        if found < acknowledged:
            fault = f"lost: {acknowledged} commits were acknowledged, and {found} are there"
        elif contents(again) != states_after(made[:found], meta)[-1]:
            fault = f"torn: not what {found} commits make"
        elif again._rows("PRAGMA integrity_check") != [("ok",)]:
            fault = "damaged: the integrity check fails"
        else:
            after = Commit(99)
            after.put(META, MetaRow("last", "99"))
            again.write(after)
        again.close()
    except StoreError as error:
        fault = f"unreadable: {error}"
    return Case(acknowledged, found, store is None, checkpointed, failed_as, counts, loss, fault)


@pytest.fixture(autouse=True)
def early_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAL_PAGES", 150)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_what_was_acknowledged_survives_a_power_loss_at_any_moment(tmp_path: Path, batch: int) -> None:
    seen: collections.Counter[str] = collections.Counter()
    for seed in range(batch, SEEDS, BATCHES):
        case = lose_power(seed, tmp_path / str(seed))
        assert case.fault is None, f"seed {seed}: {case.fault}\n{case}"
        seen["cut"] += case.counts.get("cut", 0)
        seen["made"] += case.died_while_made
        seen["failed"] += case.failed_as == CommitFailed.__name__
        seen["forgot"] += case.loss.forgotten > 0
        seen["torn"] += case.loss.torn > 0
        seen["short"] += case.loss.cut_short > 0
        seen["acknowledged"] += case.acknowledged > 0
        seen["checkpointed"] += case.checkpointed
    # The faults happened, and at moments of every kind.
    least = {"cut": 40, "made": 5, "failed": 10, "forgot": 20, "torn": 3, "short": 5, "acknowledged": 10}
    least["checkpointed"] = 3
    assert {name: seen[name] for name, number in least.items() if seen[name] < number} == {}, seen


def test_a_commit_that_was_cut_in_its_sync_may_be_there_and_then_whole(tmp_path: Path) -> None:
    """A process death at each operation of one commit: the disk keeps all that it was given."""
    acknowledged: list[str | None] = []
    cut_off: list[str | None] = []
    for cut in range(1, 100):
        folder = tmp_path / str(cut)
        folder.mkdir()
        with ForgetfulVFS(cut) as disk:
            store = SqliteStore(folder / NAME, app="suite", partitions=64, vfs=disk.name)
            disk.cut_after(cut)
            try:
                store.write(commits(1)[0])
                found = acknowledged
            except CommitFailed:
                found = cut_off
            store.close()
            disk.power_loss(folder / "left", keep=1.0)
            if not disk.counts["cut"]:
                break
        again = SqliteStore(folder / "left" / NAME, app="suite", partitions=64)
        assert contents(again) in states_after(commits(1)[:1], again.meta())
        found.append(again.meta().get("last"))
        again.close()
    assert len(cut_off) > 20
    assert cut_off == [None] * (len(cut_off) - 2) + ["1", "1"], "the last two operations write the commit's last page and sync it"
    assert set(acknowledged) == {"1"}, "of cuts while it was closed"


def test_without_syncs_the_same_cases_lose_commits(tmp_path: Path) -> None:
    """The ablation."""

    def off(store: SqliteStore) -> None:
        assert store._writer is not None
        store._writer.execute("PRAGMA synchronous = OFF")

    cases = [lose_power(seed, tmp_path / str(seed), prepare=off) for seed in range(40)]
    faults = [case.fault for case in cases if case.fault is not None]
    assert len(faults) >= 5
    assert any(fault.startswith("lost") for fault in faults)


def test_with_syncs_at_checkpoints_only_acknowledged_commits_are_lost(tmp_path: Path) -> None:
    """Another ablation: synchronous=NORMAL keeps the file whole, and loses what was acknowledged."""

    def normal(store: SqliteStore) -> None:
        assert store._writer is not None
        store._writer.execute("PRAGMA synchronous = NORMAL")

    cases = [lose_power(seed, tmp_path / str(seed), prepare=normal) for seed in range(40)]
    faults = [case.fault for case in cases if case.fault is not None]
    assert len(faults) >= 5
    assert all(fault.startswith("lost") for fault in faults)


def test_a_kill_without_a_power_loss_keeps_every_whole_commit(tmp_path: Path) -> None:
    """The disk keeps all that it was given, synced or not."""
    with ForgetfulVFS(1) as disk:
        store = SqliteStore(tmp_path / NAME, app="suite", partitions=64, vfs=disk.name)
        for one in commits(1)[:5]:
            store.write(one)
        loss = disk.power_loss(tmp_path / "left", keep=1.0)
        store.close()
    assert (loss.forgotten, loss.missing, loss.cut_short) == (0, [], 0)
    again = SqliteStore(tmp_path / "left" / NAME, app="suite", partitions=64)
    assert again.meta()["last"] == "5"
    again.close()


def test_the_same_seed_loses_the_same(tmp_path: Path) -> None:
    cases = [lose_power(7, tmp_path / name) for name in ("a", "b")]
    assert cases[0] == cases[1]
