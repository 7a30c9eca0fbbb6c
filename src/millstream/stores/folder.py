"""The data folder: what lies in it, who may use it, and who does.

One engine a folder. The lock is ``flock`` on ``engine.lock``, a file that nothing else uses and nobody deletes (two engines
could otherwise lock two files of one name). The kernel gives it up when the process ends, however it ends, so there is no
stale lock; the pid, host and time in the file are for people only and are never read to decide anything.

``flock`` belongs to the open file and not to the process: a child shares it after a fork. So the descriptor is not inherited by
programs that are started (O_CLOEXEC), a forked child closes its copy (which leaves the parent's lock alone), and the lock is
given up by closing, never by LOCK_UN (which would take it from the other one too).

Network file systems are refused: their locks may be local to one machine, and the WAL's index is memory shared through the file,
which two machines do not share. 9p and virtiofs, the folders that a virtual machine gets from its host, are let in with a
warning: they are used from one side as a rule, and where they cannot map a file SQLite says so when it is opened.
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import logging
import os
import re
import socket
from pathlib import Path
from types import TracebackType

import msgspec

from millstream.errors import StoreError, StoreLocked

DATABASE = "millstream.db"
SOCKET = "control.sock"
LOCK = "engine.lock"

NETWORK = re.compile(
    r"(fuse\.)?(afp_?fs|afs|beegfs|ceph|cifs|coda|davfs2?|gfs2?|glusterfs|gpfs|lustre|mfs|ncpfs|nfs\d?|ocfs2|orangefs|panfs|pvfs2"
    r"|smb\d?|smbfs|sshfs|webdav)"
    r"|fuse\.(blobfuse2?|cosfs|curlftpfs|curvefs|gcsfuse|goofys|juicefs|moosefs|mount-s3|ossfs|rclone|s3fs|seaweedfs|weed)"
)
"""Types of file systems that other machines write to, as in ``/proc/self/mountinfo``."""

SHARED_WITH_HOST = frozenset(("9p", "virtiofs", "vboxsf", "prl_fs", "fuse.vmhgfs-fuse", "vmhgfs", "fakeowner", "drvfs"))

_log = logging.getLogger(__name__)


class Holder(msgspec.Struct, frozen=True, gc=False):
    """Who holds a folder, as its lock file says: for people."""

    pid: int
    host: str
    since: str  # RFC 3339, UTC


class DataFolder:
    """A data folder. Making one of these touches nothing.

    Attributes:
        path: the folder.
        database: the store's file in it.
        socket: where a running engine listens for commands.
        lock_file: what a running engine holds.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.database = self.path / DATABASE
        self.socket = self.path / SOCKET
        self.lock_file = self.path / LOCK

    def create(self) -> None:
        """Make the folder, readable for this user alone, unless it is there; its entry is durable on return.

        Raises:
            StoreError: it cannot be made, is not a folder, or lies on a network file system.
        """
        _refuse_network(self.path)
        if self.path.is_dir():
            return
        try:
            missing = [folder for folder in (self.path, *self.path.absolute().parents) if not folder.exists()]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            for folder in missing:
                _sync_folder(folder.absolute().parent)
        except OSError as error:
            raise StoreError(
                f"{self.path}: the data folder cannot be made: {error}; check the path and who may write there"
            ) from error

    def lock(self) -> FolderLock:
        """Make the folder if need be, and take hold of it until the lock is released or this process ends.

        Raises:
            StoreLocked: another engine holds it; names its pid, host and since when.
            StoreError: as ``create``, or the file system knows no locks.
        """
        self.create()
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{self.lock_file}: cannot be opened: {error}; check that this user may write there") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreLocked(self._held()) from None
            raise StoreError(f"{self.lock_file}: this file system cannot lock a file: {error}; use a local disk") from error
        return FolderLock(descriptor)

    def holder(self) -> Holder | None:
        """What the lock file says, or None. It may be of an engine that has ended: only ``lock`` can tell."""
        try:
            return msgspec.json.decode(self.lock_file.read_bytes(), type=Holder)
        except (OSError, msgspec.MsgspecError):
            return None

    def _held(self) -> str:
        holder = self.holder()
        who = "another process"
        if holder is not None:
            who = f"process {holder.pid} on {holder.host}, since {holder.since}"
        return f"{self.path}: the data folder is held by {who}; stop that engine first, or use another data folder"


class FolderLock:
    """The hold on a data folder; a context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        text = msgspec.json.encode(Holder(os.getpid(), socket.gethostname(), now))
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text + b"\n", 0)
        except OSError:
            pass  # a full disk: the text only tells people who holds it, the store says what is wrong
        _locks.add(self)

    def release(self) -> None:
        """Give the folder up. Again is harmless. In a forked child: close the child's copy, the parent keeps its hold."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _locks.discard(self)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.release()


_locks: set[FolderLock] = set()


def _release_in_child() -> None:
    for lock in list(_locks):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_system(path: Path, mounts: str) -> str | None:
    """The type of the file system that ``path`` (resolved) lies on.

    Args:
        mounts: text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)): in the order of mounting, so that of two mounts
            on one point the later is seen.
    """
    best, kind = -1, None
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(_unescaped(fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    """Space, tab, newline and backslash stand as octal there."""
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, plain)
    return text


def _refuse_network(path: Path) -> None:
    """Raises StoreError. Where there is no /proc (macOS) nothing is known, and nothing refused."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return
    kind = file_system(path.resolve(), mounts)
    if kind is None:
        return
    if NETWORK.fullmatch(kind):
        raise StoreError(
            f"{path}: the data folder lies on a network file system ({kind}), where neither locks nor SQLite's WAL can be trusted; "
            "put it on a local disk"
        )
    if kind in SHARED_WITH_HOST:
        _log.warning("%s: the data folder is shared with the host of this machine (%s); let only one side use it", path, kind)
