"""The data folder: who may use it, and who does."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.errors import StoreError, StoreLocked
from millstream.stores import folder
from millstream.stores.folder import DataFolder, file_system

HOLD = """
import sys
from millstream.stores.folder import DataFolder
lock = DataFolder(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""


FORK = """
import os, sys
from millstream.errors import StoreLocked
from millstream.stores.folder import DataFolder
data = DataFolder(sys.argv[1])
lock = data.lock()
(read, write), (wait, go) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:  # its copy was closed at the fork; to release it again must not free the parent's
    lock.release()
    os.write(write, b"x")
    os.read(wait, 1)
    os._exit(0)
os.read(read, 1)
try:
    data.lock()
except StoreLocked:
    print("held by the parent")
lock.release()
data.lock().release()
print("free beside the child")
os.write(go, b"x")
sys.exit(os.waitpid(child, 0)[1])
"""


def holder_process(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


def test_a_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "a" / "b" / "app")
    data.create()
    data.create()
    assert stat.S_IMODE(data.path.stat().st_mode) == 0o700


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    DataFolder(tmp_path).create()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_naming_a_folder_makes_nothing(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "app")
    assert (data.database, data.socket) == (tmp_path / "app" / "millstream.db", tmp_path / "app" / "control.sock")
    assert data.holder() is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "app").touch()
    with pytest.raises(StoreError, match=r"cannot be made.*check the path"):
        DataFolder(tmp_path / "app").lock()


def test_a_held_folder_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "app")
    process = holder_process(data.path)
    with pytest.raises(
        StoreLocked, match=rf"held by process {process.pid} on {socket.gethostname()}, since 20\d\d-.*Z; stop that engine"
    ):
        data.lock()
    assert ended(process) == 0
    data.lock().release()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    process = holder_process(tmp_path)
    process.send_signal(signal.SIGKILL)
    assert ended(process) == -signal.SIGKILL
    with DataFolder(tmp_path).lock():
        holder = DataFolder(tmp_path).holder()
        assert holder is not None
        assert holder.pid == os.getpid()


def test_a_second_lock_in_one_process_is_refused(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    with data.lock() as lock:
        with pytest.raises(StoreLocked, match=str(os.getpid())):
            data.lock()
        lock.release()
        lock.release()
        data.lock().release()


def test_a_lock_file_with_other_text_says_another_process(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    with data.lock():
        data.lock_file.write_text("garbage")
        with pytest.raises(StoreLocked, match="held by another process"):
            data.lock()


def test_the_text_of_a_stale_lock_file_holds_nobody_up(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.lock_file.write_text('{"pid":1,"host":"elsewhere","since":"2020-01-01T00:00:00Z"}' * 9)
    with data.lock():
        assert data.lock_file.read_text().count("\n") == 1


def test_a_forked_child_neither_keeps_nor_frees_the_lock(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("held by the parent\nfree beside the child\n", 0), done.stderr


def test_a_started_program_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with DataFolder(tmp_path).lock() as lock:
        assert lock._descriptor is not None
        assert fcntl.fcntl(lock._descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


# -- network file systems -------------------------------------------------------------------------------------------------

MOUNTS = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:40 / /mnt/share rw,relatime shared:7 master:1 - nfs4 server:/export rw,vers=4.2
31 21 0:41 / /mnt/with\040space rw - fuse.sshfs me@host: rw
32 30 0:42 / /mnt/share/local rw - tmpfs tmpfs rw
33 21 0:43 / /twice rw - nfs server:/a rw
34 21 0:44 / /twice rw - ext4 /dev/vdb rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/ada/data", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with space/data", "fuse.sshfs"),
        ("/mnt/share/local/x", "tmpfs"),
        ("/twice/x", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_the_file_system_of_this_folder_is_known(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        pytest.skip("only Linux tells")
    assert file_system(tmp_path.resolve(), mounts.read_text()) is not None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.ceph", "fuse.sshfs", "fuse.glusterfs", "lustre", "fuse.s3fs"]
)
def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(folder, "file_system", lambda path, mounts: kind)
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*local disk"):
        DataFolder(tmp_path / "app").lock()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.ext4", "fuseblk", "s3fs"])
def test_local_file_systems_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(folder, "file_system", lambda path, mounts: kind)
    DataFolder(tmp_path).lock().release()


def test_a_folder_shared_with_the_host_is_let_in_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folder, "file_system", lambda path, mounts: "9p")
    DataFolder(tmp_path).lock().release()
    assert "shared with the host" in caplog.text


def test_a_folder_on_a_full_disk_is_held_although_nobody_can_be_told_by_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with DataFolder(tmp_path).lock(), pytest.raises(StoreLocked, match="held by another process"):
        DataFolder(tmp_path).lock()
    DataFolder(tmp_path).lock().release()
