"""The faulty disks themselves: that they forget what was not synced, and nothing else, and fail where they were told to."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from millstream.testing.faults import FaultyVFS, ForgetfulVFS, Loss, PowerLost, kind_of


def write(disk: ForgetfulVFS | FaultyVFS, path: Path, synchronous: str, values: int = 3) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=disk.name)
    connection.execute(f"PRAGMA synchronous = {synchronous}; CREATE TABLE t (value)")
    for value in range(values):
        connection.execute("INSERT INTO t VALUES (?)", (value,))
    return connection


def rows(path: Path) -> list[int]:
    connection = apsw.Connection(str(path))
    found = [value for (value,) in connection.execute("SELECT value FROM t")]
    connection.close()
    return found


def lose(folder: Path, seed: int, synchronous: str, keep: float | None) -> Loss:
    folder.mkdir()
    with ForgetfulVFS(seed) as disk:
        connection = write(disk, folder / "db", synchronous)
        loss = disk.power_loss(folder / "left", keep=keep)
        connection.close(force=True)
    return loss


def test_what_was_synced_is_kept(tmp_path: Path) -> None:
    for seed in range(20):
        loss = lose(tmp_path / str(seed), seed, "EXTRA", None)
        assert (loss.unsynced, loss.missing, loss.returned) == (0, [], [])
        assert rows(tmp_path / str(seed) / "left" / "db") == [0, 1, 2]


def test_what_was_not_synced_is_forgotten(tmp_path: Path) -> None:
    loss = lose(tmp_path / "case", 1, "OFF", 0.0)
    assert loss.missing == ["db"]
    assert not (tmp_path / "case" / "left" / "db").exists()


def test_a_disk_that_keeps_everything_is_one_whose_process_was_killed(tmp_path: Path) -> None:
    loss = lose(tmp_path / "case", 1, "OFF", 1.0)
    assert loss.unsynced > 0
    assert (loss.forgotten, loss.torn, loss.cut_short, loss.missing) == (0, 0, 0, [])
    assert rows(tmp_path / "case" / "left" / "db") == [0, 1, 2]


def test_a_deletion_without_a_sync_of_the_folder_can_come_back(tmp_path: Path) -> None:
    """With synchronous=FULL a rollback journal may return and undo the commit (sqlite.org/pragma.html#pragma_synchronous)."""
    returned = 0
    for seed in range(40):
        loss = lose(tmp_path / str(seed), seed, "FULL", None)
        if loss.returned:
            returned += 1
            assert rows(tmp_path / str(seed) / "left" / "db") == [0, 1]
        else:
            assert rows(tmp_path / str(seed) / "left" / "db") == [0, 1, 2]
    assert returned > 5


def test_pages_are_torn_at_sectors(tmp_path: Path) -> None:
    with ForgetfulVFS(3) as disk:
        connection = write(disk, tmp_path / "db", "EXTRA")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany("INSERT INTO t VALUES (randomblob(?))", [(3000,)] * 50)
        loss = disk.power_loss(tmp_path / "left", keep=0.5)
        connection.close(force=True)
    assert loss.torn > 10
    assert 0 < loss.forgotten < loss.unsynced


def test_after_the_cut_nothing_works_and_everything_is_counted(tmp_path: Path) -> None:
    with ForgetfulVFS(1) as disk:
        connection = write(disk, tmp_path / "db", "EXTRA")
        before = disk.operations
        disk.cut_after(3)
        with pytest.raises(PowerLost):
            connection.execute("INSERT INTO t VALUES (9)")
        assert disk.dark
        assert disk.operations == before + 3
        assert disk.counts["cut"] == 1
        with pytest.raises(apsw.Error):
            connection.execute("INSERT INTO t VALUES (9)")
        assert disk.counts["lost"] > 0
        connection.close(force=True)


@pytest.mark.parametrize(
    ("operation", "code", "error"),
    [
        ("xWrite", apsw.SQLITE_FULL, apsw.FullError),
        ("xWrite", apsw.SQLITE_IOERR_WRITE, apsw.IOError),
        ("xSync", apsw.SQLITE_IOERR_FSYNC, apsw.IOError),
        ("xFileSize", apsw.SQLITE_IOERR_FSTAT, apsw.IOError),
    ],
)
def test_an_operation_fails_as_told_and_then_no_more(tmp_path: Path, operation: str, code: int, error: type[apsw.Error]) -> None:
    with FaultyVFS() as disk:
        connection = write(disk, tmp_path / "db", "FULL")
        disk.fail(operation, code)  # type: ignore[arg-type]
        with pytest.raises(error):
            connection.execute("INSERT INTO t VALUES (9)")
        assert disk.failed == {operation: 1}
        connection.execute("INSERT INTO t VALUES (10)")
        connection.close()
    assert rows(tmp_path / "db") == [0, 1, 2, 10]


def test_a_fault_waits_for_its_turn_and_its_file(tmp_path: Path) -> None:
    with FaultyVFS() as disk:
        connection = write(disk, tmp_path / "db", "FULL")
        disk.fail("xSync", apsw.SQLITE_IOERR_FSYNC, on="wal")
        disk.fail("xSync", apsw.SQLITE_IOERR_FSYNC, on="db", nth=2)
        connection.execute("INSERT INTO t VALUES (9)")
        with pytest.raises(apsw.IOError):
            connection.execute("INSERT INTO t VALUES (10)")
        assert disk.failed == {"xSync": 1}
        disk.heal()
        connection.close()


def test_files_are_told_apart_by_their_names() -> None:
    assert [kind_of(path) for path in ("/a/x.db", "/a/x.db-wal", "/a/x.db-journal")] == ["db", "wal", "journal"]
