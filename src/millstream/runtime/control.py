"""The control socket: other commands reach a running engine through a Unix socket in its data folder (mode 0600).

One request a line, one answer a line, JSON: ``{"op": "cancel", "run": "42-1-17"}`` and ``{"value": null}`` or
``{"error": "...", "kind": "NotFound"}``. An answer is given after the commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millstream import errors
from millstream.errors import MillstreamError, UsageError
from millstream.runtime.operations import Operations

LIMIT = 64 << 20  # the longest request, bytes
TIMEOUT_S = 60.0
SLOW_S = 3.0


class ControlServer:
    """Serves the operations of one engine."""

    def __init__(self, path: Path, operations: Operations) -> None:
        self._path = path
        self._operations = operations
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. The folder's lock is held, so a socket that is there already was left by a dead engine."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with _short(self._path) as short:
                self._server = await asyncio.start_unix_server(self._serve, short, limit=LIMIT)
        finally:
            os.umask(before)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # it has gone, or its request is longer than LIMIT
        except asyncio.CancelledError:
            pass  # the engine ends: Python 3.11 would report a connection that was cancelled as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise UsageError("a request is a JSON object")
            return {"value": await self._operations.do(request)}
        except (MillstreamError, ValueError, TypeError) as error:
            return {"error": str(error), "kind": type(error).__name__}


def ask(path: Path, request: dict[str, Any], *, timeout_s: float = TIMEOUT_S, slow: Callable[[], None] = lambda: None) -> Any:
    """Ask a running engine. Blocking. ``slow`` is called when it has not answered for some seconds.

    Raises:
        ConnectionRefusedError: nobody listens there; nothing was asked.
        ConnectionResetError: it ended before it answered; what it had committed is kept.
        TimeoutError: it has not answered for ``timeout_s``.
        MillstreamError: what the operation raised.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        _connect(connection, path)
        connection.settimeout(timeout_s)
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            if not select.select([connection], [], [], min(SLOW_S, timeout_s))[0]:
                slow()
            with connection.makefile("rb") as lines:
                answer = lines.readline()
        except ConnectionError:
            answer = b""
    if not answer.endswith(b"\n"):
        raise ConnectionResetError(f"the engine at {path} ended before it answered; what it had committed is kept")
    reply = json.loads(answer)
    if "error" in reply:
        kind = getattr(errors, reply.get("kind", ""), UsageError)
        raise (kind if issubclass(kind, MillstreamError) else UsageError)(reply["error"])
    return reply["value"]


def answers(path: Path) -> bool:
    """Does an engine listen there?"""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            _connect(connection, path)
        except ConnectionRefusedError:
            return False
    return True


def _connect(connection: socket.socket, path: Path) -> None:
    connection.settimeout(TIMEOUT_S)
    try:
        with _short(path) as short:
            connection.connect(short)
    except OSError as error:
        raise ConnectionRefusedError(f"no engine answers at {path}: {error}") from error


class _short:
    """A path for a socket: AF_UNIX takes 107 bytes, so a longer one is reached through the folder's descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < 100:
            return str(self._path)
        self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *exc: object) -> None:
        if self._fd is not None:
            os.close(self._fd)
