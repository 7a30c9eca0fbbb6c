"""I/O in a handler is an error: it would observe, or do, what no replay can repeat. (asyncio's own is refused by ``runloop``.)

One audit hook (PEP 578; docs.python.org/3/library/audit_events.html) sees every file that is opened, socket connected, process or
thread started in this process. The rules:

* it refuses only while the current thread drives a run. The bodies of tools, probes and
  lifespans run on the engine's loop or in threads, so nothing of them is ever refused;
* what the handler did not ask for is let through: a lazy import with all that it does, the source lines of a traceback, a log file,
  a breakpoint. Told by the modules on the stack between the call and the run's loop (`LET_THROUGH`);
* what is read from among Python's and the installed packages' files is code, like what is imported, and let through;
* what the garbage collector finalizes is not the handler's doing either.

The alternatives lost: replaced functions (``builtins.open``) miss C extensions and whoever imported them before; a
thread or process of its own would cost every run what the hook costs none.

What it cannot see, since Python does not tell: reading and writing what is open already (a connection made in a tool), ``os.stat``,
the clock, C extensions that call the system themselves.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import zoneinfo
from collections.abc import Callable
from types import FrameType
from typing import Any

from millstream.engine import runloop
from millstream.engine.places import place, theirs
from millstream.engine.refusing import NO_IO
from millstream.engine.runloop import RunLoop, driven
from millstream.errors import IoInRun

LET_THROUGH = frozenset(
    {
        # Imports.
        *("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "pkgutil"),
        # Lines of source, in tracebacks and warnings; data of Python's own (time zones, languages, types of files, the machine).
        *("linecache", "traceback", "inspect", "warnings", "_py_warnings"),
        *("zoneinfo", "encodings", "locale", "gettext", "mimetypes", "platform", "sysconfig", "uuid", "ctypes"),
        # What is told about a run is no part of it: a log may be opened late, sent, or rotated.
        *("logging", "loguru", "structlog", "opentelemetry", "sentry_sdk", "logfire"),
        # Looking into a run.
        *("pdb", "bdb", "faulthandler", "coverage", "pytest", "_pytest", "pydevd", "_pydevd_bundle", "debugpy"),
    }
)
"""Modules, by the first part of their names: what is done below one of them was not asked for by the handler."""

SHOWN = 100  # characters of an argument, in a message

_installed = False


def install() -> None:
    """Begin to watch, for the life of the process (an audit hook cannot be taken out); does nothing the second time."""
    global _installed
    if not _installed:
        _installed = True
        if sys.version_info < (3, 12):
            _tell_of_threads()
        sys.addaudithook(_hook)


def _tell_of_threads() -> None:
    """Python 3.11 has no event for the start of a thread."""
    start: Any = vars(threading)["_start_new_thread"]

    def start_new_thread(function: Any, *args: Any) -> Any:
        sys.audit("_thread.start_new_thread", function, *args)
        return start(function, *args)

    vars(threading)["_start_new_thread"] = start_new_thread


# --- what is refused ------------------------------------------------------------------------------------------------------


def _called(name: str, *arguments: int) -> Callable[[tuple[Any, ...]], str]:
    """Describes a call by the arguments of its event at these places."""

    def describe(args: tuple[Any, ...]) -> str:
        return f"{name}({', '.join(_shown(args[place]) for place in arguments if place < len(args))}) was called"

    return describe


def _opened(args: tuple[Any, ...]) -> str:
    path, mode = args[0], args[1] if args[1] is not None else "r" if _only_reads(args) else "w"
    return f"open({_shown(path)}, {mode!r}) was called"


def _thread_started(args: tuple[Any, ...]) -> str:
    thread = getattr(args[0], "__self__", None)
    name = getattr(thread, "name", None) or getattr(args[0], "__qualname__", None)
    return f"thread {_shown(name)} was started"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # the class is the user's
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


_ON_ONE_THING = (
    *("chdir", "chmod", "chown", "lchmod", "lchown", "listdir", "mkdir", "posix_spawn", "remove", "removexattr", "rmdir"),
    *("scandir", "setxattr", "system", "truncate", "utime"),
)

EVENTS: dict[str, Callable[[tuple[Any, ...]], str]] = {
    "open": _opened,
    **{f"os.{name}": _called(f"os.{name}", 0) for name in _ON_ONE_THING},
    **{f"os.{name}": _called(f"os.{name}", 0, 1) for name in ("rename", "link", "symlink", "exec")},
    **{f"os.{name}": _called(f"os.{name}") for name in ("fork", "forkpty")},
    "os.spawn": _called("os.spawn", 1, 2),
    "pty.spawn": _called("pty.spawn", 0),
    "subprocess.Popen": _called("subprocess.Popen", 1),
    "_thread.start_new_thread": _thread_started,
    "_thread.start_joinable_thread": _thread_started,  # from 3.13 on
    **{f"socket.{name}": _called(f"socket.{name}", 1) for name in ("connect", "bind", "sendto", "sendmsg")},
    "socket.getaddrinfo": _called("socket.getaddrinfo", 0, 1),
    **{f"socket.{name}": _called(f"socket.{name}", 0) for name in ("gethostbyname", "gethostbyaddr", "getnameinfo")},
    # These come before those of their sockets, and say more; http.client.send is seen on a connection that is open already.
    "urllib.Request": _called("urllib.request", 0),
    "http.client.connect": _called("http.client.connect", 1, 2),
    "http.client.send": _called("http.client.send"),
    **{f"{name}.connect": _called(f"{name}.connect", 1, 2) for name in ("ftplib", "poplib", "smtplib", "nntplib")},
    "smtplib.send": _called("smtplib.send"),
    "imaplib.open": _called("imaplib.open", 1, 2),
    "telnetlib.Telnet.open": _called("telnetlib.Telnet.open", 1, 2),
    "sqlite3.connect": _called("sqlite3.connect", 0),
    "webbrowser.open": _called("webbrowser.open", 0),
    "builtins.input": _called("input"),
}
"""How what is refused is described, by the name of its event; events that a version of Python does not have never come."""


# --- when -----------------------------------------------------------------------------------------------------------------


def _hook(
    event: str,
    args: tuple[Any, ...],
    # Bound here: it is called for every event in the process, also when modules have been emptied at its end.
    find: Callable[[str], Callable[[tuple[Any, ...]], str] | None] = EVENTS.get,
    running: Callable[[], RunLoop | None] = driven,
) -> None:
    describe = find(event)
    if describe is None:
        return
    loop = running()
    if loop is not None:
        _refuse(loop, describe, event, args)


def _refuse(loop: RunLoop, describe: Callable[[tuple[Any, ...]], str], event: str, args: tuple[Any, ...]) -> None:
    """Raise, if this is the handler's doing."""
    if runloop._collecting_in == threading.get_ident():
        return
    if _is_code(event, args):
        return
    where = ""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == runloop.__name__:  # what lies below it, which may be an import too, is the engine's
            break
        if isinstance(module, str) and module.partition(".")[0] in LET_THROUGH:
            return
        if not where and theirs(frame.f_code.co_filename):
            where = f" at {place(frame.f_code.co_filename, frame.f_lineno)}"
        frame = frame.f_back
    raise IoInRun(f"run {loop.name}: {describe(args)} in a handler{where}. {NO_IO}")


def _is_code(event: str, args: tuple[Any, ...]) -> bool:
    """Is it reading among the files of Python and of installed packages?"""
    if not ((event == "open" and _only_reads(args)) or event in ("os.listdir", "os.scandir")):
        return False
    try:
        path = os.path.abspath(os.fsdecode(args[0]))
    except (TypeError, ValueError):  # a number of a file that is open, or none
        return False
    return path.startswith(_CODE) or f"{os.sep}site-packages{os.sep}" in path


def _only_reads(args: tuple[Any, ...]) -> bool:
    return isinstance(args[2], int) and args[2] & os.O_ACCMODE == os.O_RDONLY


_CODE = tuple(
    os.path.abspath(folder) + os.sep
    for folder in {*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")), *zoneinfo.TZPATH}
    if folder
)
