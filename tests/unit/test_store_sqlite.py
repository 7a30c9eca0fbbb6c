from __future__ import annotations

from pathlib import Path

from millstream.engine.ports import Store
from millstream.stores.sqlite import SqliteStore
from millstream.testing.conformance.stores import StoreSuite


class TestSqliteStore(StoreSuite):
    def open(self, folder: Path) -> Store:
        return SqliteStore(folder / "millstream.db", app="suite", partitions=64)
