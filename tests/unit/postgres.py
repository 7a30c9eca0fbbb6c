"""A private PostgreSQL server for tests: found, started in a folder of its own, stopped by its process id.

Nothing is downloaded and no server that runs already is touched. PostgreSQL refuses to run as root: then it runs as ``postgres``
or ``nobody``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WAIT = 30.0  # seconds


class NoPostgres(Exception):
    """There is no server to start here; the message says why."""


def programs() -> Path:
    """The folder with ``initdb`` and ``postgres``.

    Raises:
        NoPostgres: they are neither on PATH nor where Debian puts them.
    """
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgres("no initdb and postgres on PATH or in /usr/lib/postgresql/*/bin")


def user() -> str | None:
    """Whom to run it as; None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NoPostgres("this is root, and there is no user postgres or nobody to run the server as")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server; gives its connection string (``host=... port=... user=... dbname=...``).

    Raises:
        NoPostgres: it is not installed, or did not start; the message holds its log.
    """
    folder, owner = programs(), user()
    data = Path(tempfile.mkdtemp(prefix="millstream-postgres-"))  # not pytest's folder: another user cannot enter that
    try:
        if owner is not None:
            account = pwd.getpwnam(owner)
            os.chown(data, account.pw_uid, account.pw_gid)
        _run(
            [str(folder / "initdb"), "-D", str(data / "db"), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"], data, owner
        )
        port = _free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": data, "fsync": "off"}
        command = [str(folder / "postgres"), "-D", str(data / "db"), *(f"--{name}={value}" for name, value in options.items())]
        log = data / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=data, user=owner, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            _await_port(port, process, log)
            yield f"host=127.0.0.1 port={port} user=tester dbname=postgres"
        finally:
            process.send_signal(signal.SIGINT)  # "fast": open connections are ended
            try:
                process.wait(WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _run(command: list[str], folder: Path, owner: str | None) -> None:
    ended = subprocess.run(command, cwd=folder, user=owner, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise NoPostgres(f"{command[0]} failed: {ended.stderr.strip() or ended.stdout.strip()}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it takes connections (a port that opens before the server is ready answers with an error, not with a refusal)."""
    end = time.monotonic() + WAIT
    while "ready to accept connections" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > end:
            raise NoPostgres(f"postgres did not start on port {port}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)
