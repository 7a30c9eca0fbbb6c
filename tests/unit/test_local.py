"""One process, one data folder: what an operation on a folder that no engine holds answers."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from millstream import App, Context, jsonl
from millstream.core.identity import run_id
from millstream.core.tables import Commit
from millstream.errors import CommitFailed, CommitRefused, StoreError
from millstream.runtime import local
from millstream.stores.sqlite import SqliteStore

PATIENCE_S = 20.0  # what is tested answers in a moment; without its safeguard it never would


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"k": "a"}\n')
    app = App("shop")

    @app.agent(on=app.source("in", jsonl("in.jsonl"), key="k"), state=dict)
    async def waits(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await ctx.receive("go")

    return app


def waiting_run(app: App) -> str:
    async def main() -> str:
        async with local.engine(app.graph(), Path("data")) as engine:
            engine.start()
            await engine.run(until_idle=True)
            (row,) = engine.store.runs()
            return run_id(row.partition, row.run)

    return asyncio.run(main())


def refusing(error: Exception) -> Callable[[SqliteStore, Commit], None]:
    """A store that takes what an engine writes when it starts, and nothing then."""
    write = SqliteStore.write

    def refuse(self: SqliteStore, commit: Commit) -> None:
        if commit.number:
            raise error
        write(self, commit)

    return refuse


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CommitFailed("fsync failed"), "^fsync failed$"),
        (CommitRefused("the disk is full"), "^nothing was changed: the disk is full$"),
    ],
)
def test_a_command_without_an_engine_says_that_it_could_not_be_committed(
    app: App, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = waiting_run(app)

    async def cancel() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await local.visit(Path("data"), {"op": "cancel", "run": run})

    with monkeypatch.context() as broken:
        if isinstance(error, CommitRefused):
            broken.setattr(local, "VISIT_S", 2.0)  # it is tried again for so long
        broken.setattr(SqliteStore, "write", refusing(error))
        with pytest.raises(type(error), match=said):
            asyncio.run(cancel())
    store = SqliteStore(Path("data/millstream.db"), app="shop", partitions=None, read_only=True)
    assert [row.status for row in store.runs()] == ["waiting"]
    store.close()
    asyncio.run(cancel())  # and now that the disk has room again


def test_a_start_on_a_full_disk_tells_what_the_store_says(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that is not there yet, so that the text of the lock file is what cannot be written first."""

    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(self: SqliteStore, flags: int) -> apsw.Connection:
        raise apsw.FullError("database or disk is full")

    async def start() -> None:
        async with local.engine(app.graph(), Path("data")):
            pass

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        broken.setattr(SqliteStore, "_connect", refuse)
        with pytest.raises(StoreError, match=r"millstream\.db: the store cannot be opened.*the disk is full.*free some space"):
            asyncio.run(start())
    asyncio.run(start())
