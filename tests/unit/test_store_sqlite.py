"""The SQLite store: the suite of all stores, how a file is made and opened, and what each failure of a write means."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from millstream.core.tables import EVENTS, MAIL, META, OUTPUTS, RUNS, STATES, Commit, MetaRow
from millstream.engine.ports import Store
from millstream.errors import CommitFailed, CommitRefused, StoreError, StoreVersion
from millstream.stores import sqlite, sqlite_schema
from millstream.stores.sqlite import SqliteStore
from millstream.testing.conformance.stores import StoreSuite, commit, contents, event, mail, output, run, sample, state
from millstream.testing.faults import FaultyVFS

NAME = "millstream.db"


class TestSqliteStore(StoreSuite):
    def open(self, folder: Path) -> Store:
        return SqliteStore(folder / NAME, app="suite", partitions=64)


def opened(folder: Path, **options: Any) -> SqliteStore:
    return SqliteStore(folder / NAME, **{"app": "suite", "partitions": 64, **options})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = opened(tmp_path)
    yield store
    store.close()


def left_by_a_kill(folder: Path) -> Path:
    """The files as a SIGKILL at this moment leaves them, in a folder of their own."""
    copy = folder / "killed"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file() and not path.name.endswith("-shm"):
            shutil.copy(path, copy)
    return copy


def rows_of(folder: Path, sql: str) -> list[Any]:
    """As anybody with a SQL shell sees it."""
    with sqlite3.connect(folder / NAME) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


# -- making and opening ---------------------------------------------------------------------------------------------------


def test_a_new_file_is_a_millstream_store_in_wal_mode(store: SqliteStore, tmp_path: Path) -> None:
    pragmas = ("journal_mode", "page_size", "auto_vacuum", "application_id", "user_version")
    found = [rows_of(tmp_path, f"PRAGMA {name}")[0][0] for name in pragmas]
    assert found == ["wal", sqlite_schema.PAGE_BYTES, 2, sqlite_schema.APPLICATION, sqlite_schema.SCHEMA]
    assert store._writer is not None
    assert store._writer.pragma("synchronous") == 2


def test_each_store_has_an_identity_of_its_own(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / name, app="suite", partitions=64) for name in ("a", "b")]
    identities = {store.meta()["store_id"] for store in stores}
    for store in stores:
        store.close()
    assert len(identities) == 2


def test_people_can_read_the_store_with_plain_sql(store: SqliteStore, tmp_path: Path) -> None:
    number = (2 << 32) | 7
    store.write(sample())
    store.write(commit((RUNS, run(number, created=1_760_000_000_123_456))))
    assert rows_of(tmp_path, f"SELECT id FROM runs WHERE run = {number}") == [("3-2-7",)]
    assert rows_of(tmp_path, "SELECT created FROM runs_view WHERE id = '3-2-7'") == [("2025-10-09T08:53:20.123Z",)]
    assert rows_of(tmp_path, "SELECT id, kind, step FROM records_view LIMIT 1") == [("3-0-1", "resulted", "charge#1")]


def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write(sample())
    store.close()
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert len(rows_of(tmp_path, "SELECT * FROM runs")) == 2


def test_a_killed_engine_loses_nothing(store: SqliteStore, tmp_path: Path) -> None:
    store.write(sample())
    again = opened(left_by_a_kill(tmp_path))
    assert contents(again) == contents(store)
    again.close()


def test_a_store_that_died_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    store = opened(tmp_path)
    store.write(sample())
    assert store.meta()["app"] == '"suite"'
    store.close()


def test_a_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    opened(tmp_path).close()
    rows_of(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(StoreVersion, match=r"schema 99, this Millstream knows schema 1; install that version or a later one"):
        opened(tmp_path)


def test_tables_that_differ_are_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    rows_of(tmp_path, "ALTER TABLE mail ADD COLUMN extra TEXT")
    with pytest.raises(StoreVersion, match="mail is not as in schema 1"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"), [({"app": "other"}, "app 'suite'.*app 'other'"), ({"partitions": 8}, "partitions 64.*partitions 8")]
)
def test_another_app_or_partition_count_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    opened(tmp_path).close()
    with pytest.raises(StoreVersion, match=message):
        opened(tmp_path, **options)
    opened(tmp_path, app=None, partitions=None).close()


def test_a_store_is_not_made_without_a_name(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store yet"):
        opened(tmp_path, app=None)


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as the header of one" * 99, b"x"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(StoreError, match=f"{NAME}: .*not a SQLite file.*restore a backup"):
        opened(tmp_path)
    assert (tmp_path / NAME).read_bytes() == content


def test_a_wal_without_its_file_is_refused_and_kept(store: SqliteStore, tmp_path: Path) -> None:
    store.write(sample())
    copy = left_by_a_kill(tmp_path)
    (copy / NAME).unlink()
    with pytest.raises(StoreError, match=r"missing or empty, but \d+ bytes"):
        opened(copy)
    assert (copy / f"{NAME}-wal").stat().st_size > 0


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    rows_of(tmp_path, "CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="not a Millstream store"):
        opened(tmp_path)
    assert rows_of(tmp_path, "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_a_damaged_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write(commit(*((STATES, state(f"k{number}", payload="x" * 2000)) for number in range(300))))
    store.close()
    content = bytearray((tmp_path / NAME).read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*restore a backup"):
        opened(tmp_path).state("fulfil", "k7")


def test_a_folder_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        opened(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_another_user_is_an_error_that_says_so(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / NAME).chmod(0)
    with pytest.raises(StoreError, match="check that this user"):
        opened(tmp_path)
    (tmp_path / NAME).chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.50.4")
    with pytest.raises(StoreError, match=r"SQLite 3\.50\.4, and 3\.51\.3 is needed"):
        opened(tmp_path)


# -- looking while an engine runs -----------------------------------------------------------------------------------------


def test_a_store_that_is_only_read_sees_every_commit(store: SqliteStore, tmp_path: Path) -> None:
    looking = opened(tmp_path, app=None, partitions=None, read_only=True)
    store.write(sample())
    assert contents(looking) == contents(store)
    with pytest.raises(StoreError, match="read only"):
        looking.write(sample())
    looking.close()
    store.write(commit((RUNS, run(3))))


def test_there_is_nothing_to_look_at_before_an_engine_ran(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        opened(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_looking_at_what_a_killed_engine_left_finds_it_all(store: SqliteStore, tmp_path: Path) -> None:
    store.write(sample())
    looking = opened(left_by_a_kill(tmp_path), read_only=True)
    assert contents(looking) == contents(store)
    looking.close()


def test_a_reader_in_the_middle_of_a_read_does_not_hold_up_a_write(store: SqliteStore, tmp_path: Path) -> None:
    store.write(sample())
    looking = apsw.Connection(str(tmp_path / NAME), flags=apsw.SQLITE_OPEN_READONLY)
    looking.execute("BEGIN; SELECT * FROM runs LIMIT 1").fetchall()
    store.write(commit((RUNS, run(3))))
    assert len(looking.execute("SELECT * FROM runs").fetchall()) == 2
    looking.execute("COMMIT")
    assert len(looking.execute("SELECT * FROM runs").fetchall()) == 3
    looking.close()


def test_a_closed_store_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.close()
    for use in (store.meta, store.doubts, lambda: store.lines([("a", "b")], 1), lambda: store.write(sample())):
        with pytest.raises(StoreError, match="closed"):
            use()


# -- refused cleanly ------------------------------------------------------------------------------------------------------


def wide() -> Commit:
    """A commit of many pages."""
    return commit(*((STATES, state(f"k{number}", version=2, payload="y" * 3000)) for number in range(40)), (RUNS, run(7)))


@pytest.mark.parametrize("short", [False, True])
def test_a_disk_that_fills_at_any_write_refuses_the_commit_whole(tmp_path: Path, short: bool) -> None:
    refused = 0
    with FaultyVFS() as disk:
        store = opened(tmp_path, vfs=disk.name)
        store.write(sample())
        while True:
            before = contents(store)
            writes = disk.counts["xWrite"]
            disk.fail("xWrite", apsw.SQLITE_FULL, nth=refused + 1, times=1_000, short=short)
            try:
                store.write(wide())
            except CommitRefused:
                refused += 1
            else:
                break
            finally:
                disk.heal()
            assert disk.counts["xWrite"] - writes >= refused
            assert contents(store) == before
            if refused % 20 == 1:  # nor is any of it there after a crash
                again = opened(left_by_a_kill(tmp_path))
                assert contents(again) == before
                again.close()
        assert store.state("fulfil", "k39") == state("k39", version=2, payload="y" * 3000)
        assert refused > 80, "each page is two writes"
        assert disk.failed["xWrite"] >= refused
        store.close()
    assert rows_of(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_a_refused_commit_may_be_written_again(tmp_path: Path) -> None:
    with FaultyVFS() as disk:
        store = opened(tmp_path, vfs=disk.name)
        made = sample()
        disk.fail("xWrite", apsw.SQLITE_FULL, nth=5)
        with pytest.raises(CommitRefused, match=r"FullError.*bytes free"):
            store.write(made)
        store.write(made)
        assert len(list(store.runs())) == 2
        store.close()


def test_a_file_that_may_not_grow_refuses_and_goes_on_when_it_may(store: SqliteStore) -> None:
    """SQLite's own SQLITE_FULL, before COMMIT."""
    assert store._writer is not None
    store._writer.pragma("max_page_count", store._writer.pragma("page_count") + 5)
    before = contents(store)
    with pytest.raises(CommitRefused, match="nothing of it was written; free some space"):
        store.write(wide())
    assert contents(store) == before
    store._writer.pragma("max_page_count", 1_000_000)
    store.write(wide())
    assert store.run(7) == run(7)


def test_another_writer_refuses_the_commit_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MS", 20)
    store = opened(tmp_path)
    other = apsw.Connection(str(tmp_path / NAME))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CommitRefused, match="another process has been writing"):
        store.write(sample())
    other.execute("ROLLBACK")
    other.close()
    store.write(sample())
    assert len(list(store.runs())) == 2
    store.close()


def test_a_commit_larger_than_the_cache_is_rolled_back_whole(store: SqliteStore) -> None:
    """Pages that spilled into the WAL before the error are nothing without a commit frame."""
    assert store._writer is not None
    store._writer.pragma("cache_size", 10)
    before = contents(store)
    rows = [(STATES, state(f"k{number}", payload="z" * 3000)) for number in range(500)]
    with pytest.raises(StoreError, match="bug") as caught:
        store.write(commit(*rows, (RUNS, run(8, status=None))))
    assert not isinstance(caught.value, CommitRefused | CommitFailed)
    assert contents(store) == before


# -- failed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "code", "nth"),
    [
        ("xSync", apsw.SQLITE_IOERR_FSYNC, 1),
        ("xWrite", apsw.SQLITE_IOERR_WRITE, 1),
        ("xWrite", apsw.SQLITE_IOERR_WRITE, 9),
        ("xRead", apsw.SQLITE_IOERR_READ, 1),
        ("xRead", apsw.SQLITE_CORRUPT, 1),
    ],
)
def test_an_io_error_ends_the_process_and_nothing_is_synced_again(tmp_path: Path, operation: Any, code: int, nth: int) -> None:
    with FaultyVFS() as disk:
        opened(tmp_path, vfs=disk.name).close()
        store = opened(tmp_path, vfs=disk.name)
        store.write(sample())
        if operation == "xRead":
            assert store._writer is not None
            store._writer.release_memory()
            store._writer.pragma("shrink_memory")
        disk.fail(operation, code, nth=nth)
        with pytest.raises(CommitFailed, match=r"unknown.*start again"):
            store.write(wide())
        assert disk.failed == {operation: 1}
        disk.heal()
        syncs, writes = disk.counts["xSync"], disk.counts["xWrite"]
        with pytest.raises(CommitFailed):
            store.write(wide())
        store.close()
        assert (disk.counts["xSync"], disk.counts["xWrite"]) == (syncs, writes)
    again = opened(tmp_path)
    found = again.state("fulfil", "k0"), again.run(7)
    assert found in [(None, None), (state("k0", version=2, payload="y" * 3000), run(7))], "all of it or nothing"
    assert again.run(1) is not None
    again.close()


def test_a_failed_sync_leaves_the_commit_to_the_next_process(tmp_path: Path) -> None:
    """The frames are in the file although COMMIT failed: that is why it is not refused."""
    with FaultyVFS() as disk:
        store = opened(tmp_path, vfs=disk.name)
        disk.fail("xSync", apsw.SQLITE_IOERR_FSYNC, on="wal")
        with pytest.raises(CommitFailed, match="IOError"):
            store.write(sample())
        assert list(store.runs()) == []
        store.close()
    again = opened(tmp_path)
    assert len(list(again.runs())) == 2
    again.close()


# -- checkpoints ----------------------------------------------------------------------------------------------------------


def big(version: int) -> Commit:
    return commit(*((STATES, state(f"k{number}", version=version, payload="p" * 3500)) for number in range(500)))


def test_the_wal_is_kept_short(store: SqliteStore, tmp_path: Path) -> None:
    for version in range(40):
        store.write(big(version))
    wal = (tmp_path / f"{NAME}-wal").stat().st_size
    assert wal < (sqlite.WAL_PAGES + 1_500) * sqlite_schema.PAGE_BYTES * 1.1
    assert store.size() == wal + (tmp_path / NAME).stat().st_size


@pytest.mark.parametrize(("operation", "code"), [("xSync", apsw.SQLITE_IOERR_FSYNC), ("xWrite", apsw.SQLITE_IOERR_WRITE)])
def test_an_io_error_in_a_checkpoint_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: Any, code: int
) -> None:
    monkeypatch.setattr(sqlite, "WAL_PAGES", 100)
    with FaultyVFS() as disk:
        store = opened(tmp_path, vfs=disk.name)
        store.write(big(1))
        disk.fail(operation, code, on="db")
        with pytest.raises(CommitFailed, match="checkpoint"):
            store.write(big(2))
        assert disk.failed == {operation: 1}
        store.close()
    again = opened(tmp_path)
    assert again.state("fulfil", "k9") == state("k9", version=1, payload="p" * 3500)
    again.close()


def test_a_disk_too_full_for_a_checkpoint_still_takes_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAL_PAGES", 100)
    with FaultyVFS() as disk:
        store = opened(tmp_path, vfs=disk.name)
        disk.fail("xWrite", apsw.SQLITE_FULL, on="db", times=1_000_000)
        for version in (1, 2, 3):
            store.write(big(version))
        assert disk.failed["xWrite"] == 2
        assert store.state("fulfil", "k9") == state("k9", version=3, payload="p" * 3500)
        disk.heal()
        store.close()
    assert rows_of(tmp_path, "SELECT DISTINCT version FROM states") == [(3,)]


def test_closing_beside_a_reader_keeps_the_wal(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write(sample())
    looking = apsw.Connection(str(tmp_path / NAME))
    looking.execute("BEGIN; SELECT * FROM runs LIMIT 1").fetchall()
    store.write(commit((RUNS, run(3))))
    store.close()
    assert (tmp_path / f"{NAME}-wal").stat().st_size > 0
    again = opened(left_by_a_kill(tmp_path))
    assert len(list(again.runs())) == 3
    again.close()
    looking.close()


# -- details --------------------------------------------------------------------------------------------------------------


def test_a_put_may_follow_an_append_of_the_same_row(store: SqliteStore) -> None:
    made = commit((EVENTS, event(1)))
    made.put(EVENTS, event(1, payload=None))
    store.write(made)
    assert store.events([1]) == [event(1, payload=None)]


def test_rows_of_several_tables_in_one_commit_are_all_there(store: SqliteStore) -> None:
    made = commit((MAIL, mail(1)), (OUTPUTS, output(1)), (META, MetaRow("x", "1")))
    store.write(made)
    assert (len(store.mail(0, 9_999)), store.last_output("receipts"), store.meta()["x"]) == (1, 1, "1")
