"""The store in memory: the suite of all stores, and its snapshots."""

from __future__ import annotations

import threading
from pathlib import Path

from millstream.core.tables import RUNS, STATES, StateRow
from millstream.engine.ports import Store
from millstream.stores.memory import MemoryStore
from millstream.testing.conformance.stores import StoreSuite, commit, contents, run, sample, state


class TestMemoryStore(StoreSuite):
    def open(self, folder: Path) -> Store:
        return MemoryStore(app="suite")

    def reopen(self, store: Store, folder: Path) -> Store:
        assert isinstance(store, MemoryStore)
        return store.snapshot()


def test_a_snapshot_does_not_see_what_happens_later() -> None:
    store = MemoryStore()
    store.write(sample())
    before = contents(store)
    snapshot = store.snapshot()
    store.write(commit((RUNS, run(9)), (STATES, state(version=7))))
    assert contents(snapshot) == before
    assert contents(store) != before


def test_the_store_does_not_see_what_happens_to_a_snapshot() -> None:
    store = MemoryStore()
    store.write(sample())
    before = contents(store)
    store.snapshot().write(commit((RUNS, run(1, status="done", turn=None))))
    assert contents(store) == before


def test_the_same_commits_make_equal_stores() -> None:
    stores = [MemoryStore(store_id="1" * 32, created=5) for _ in range(2)]
    for store in stores:
        store.write(sample())
    assert contents(stores[0]) == contents(stores[1])
    assert stores[0].commits == 1


def test_all_rows_can_be_looked_at_by_table() -> None:
    store = MemoryStore()
    store.write(sample())
    assert store.tables()["states"] == {("fulfil", "ada"): state()}


def test_a_commit_waits_for_a_read_that_is_under_way() -> None:
    class Beside(MemoryStore):
        """Another thread writes in the middle of ``lines``: the line was read, and the state was not."""

        def state(self, agent: str, key: str) -> StateRow | None:
            writer.start()
            writer.join(0.1)
            return super().state(agent, key)

    store = Beside()
    store.write(commit((RUNS, run(1, generation=1)), (STATES, state(version=1))))
    newer = commit((RUNS, run(1, generation=2)), (STATES, state(version=2)))
    writer = threading.Thread(target=store.write, args=(newer,))
    (found,) = store.lines([("fulfil", "ada")], 1)
    writer.join()
    assert found.state is not None
    assert (found.line[0].generation, found.state.version) == (1, 1)
    assert store.commits == 2
