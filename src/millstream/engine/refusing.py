"""All of asyncio's loop that a run cannot have: I/O, threads and signals, and driving the loop, which is the engine's to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from millstream.errors import IoInRun, UsageError

if TYPE_CHECKING:
    from millstream.engine.runloop import RunLoop

NO_IO = "A run cannot do I/O itself, because a replay could not repeat it: do this in a tool, or record it with ctx.step(name, fn)."


def _no_io(method: str, *also: str) -> Any:
    """Make the loop method that stands in for I/O; ``also`` names the public functions that end there."""
    call = f"loop.{method}()" + (f" (by {' or '.join(also)})" if also else "")

    def refuse(self: RunLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise IoInRun(f"run {self.name}: {call} was called in a handler. {NO_IO}")

    refuse.__name__ = method
    return refuse


def _not_yours(method: str, instead: str) -> Any:
    """Make the loop method that belongs to whoever drives an ordinary loop, and so to the engine alone."""

    def refuse(self: RunLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise UsageError(f"run {self.name}: loop.{method}() was called on the loop of a run, which the engine drives: {instead}.")

    refuse.__name__ = method
    return refuse


class Refusing(asyncio.AbstractEventLoop):
    """See the module."""

    create_connection: Any = _no_io("create_connection", "asyncio.open_connection")
    create_server: Any = _no_io("create_server", "asyncio.start_server")
    create_unix_connection: Any = _no_io("create_unix_connection", "asyncio.open_unix_connection")
    create_unix_server: Any = _no_io("create_unix_server", "asyncio.start_unix_server")
    create_datagram_endpoint: Any = _no_io("create_datagram_endpoint")
    connect_accepted_socket: Any = _no_io("connect_accepted_socket")
    connect_read_pipe: Any = _no_io("connect_read_pipe")
    connect_write_pipe: Any = _no_io("connect_write_pipe")
    subprocess_exec: Any = _no_io("subprocess_exec", "asyncio.create_subprocess_exec")
    subprocess_shell: Any = _no_io("subprocess_shell", "asyncio.create_subprocess_shell")
    start_tls: Any = _no_io("start_tls")
    sendfile: Any = _no_io("sendfile")
    getaddrinfo: Any = _no_io("getaddrinfo")
    getnameinfo: Any = _no_io("getnameinfo")
    add_reader: Any = _no_io("add_reader")
    remove_reader: Any = _no_io("remove_reader")
    add_writer: Any = _no_io("add_writer")
    remove_writer: Any = _no_io("remove_writer")
    sock_recv: Any = _no_io("sock_recv")
    sock_recv_into: Any = _no_io("sock_recv_into")
    sock_recvfrom: Any = _no_io("sock_recvfrom")
    sock_recvfrom_into: Any = _no_io("sock_recvfrom_into")
    sock_sendall: Any = _no_io("sock_sendall")
    sock_sendto: Any = _no_io("sock_sendto")
    sock_connect: Any = _no_io("sock_connect")
    sock_accept: Any = _no_io("sock_accept")
    sock_sendfile: Any = _no_io("sock_sendfile")
    add_signal_handler: Any = _no_io("add_signal_handler")
    remove_signal_handler: Any = _no_io("remove_signal_handler")
    run_in_executor: Any = _no_io("run_in_executor", "asyncio.to_thread")
    set_default_executor: Any = _no_io("set_default_executor")

    run_forever: Any = _not_yours("run_forever", "await what you wait for")
    run_until_complete: Any = _not_yours("run_until_complete", "await the coroutine")
    stop: Any = _not_yours("stop", "return from the handler")
    close: Any = _not_yours("close", "return from the handler")
    shutdown_asyncgens: Any = _not_yours("shutdown_asyncgens", "close a generator with contextlib.aclosing")
    shutdown_default_executor: Any = _not_yours("shutdown_default_executor", "a run has no executor")
    set_exception_handler: Any = _not_yours("set_exception_handler", "it collects the problems of the run itself")
    set_debug: Any = _not_yours("set_debug", "debug the handler in a test")
