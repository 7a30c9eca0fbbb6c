"""Tracebacks as people want them: their own frames, and those of libraries below, without the frames of Millstream.

Those of an exception that ends a command, and those that are recorded of a run that failed: text, perhaps of another machine.
"""

from __future__ import annotations

import os
import re
import sysconfig
import traceback

from millstream.cli.output import printable, tell

_FRAME = re.compile(r'(?P<margin>[ |]*)File "(?P<path>.+)", line (?P<line>\d+), in (?P<name>.+)')
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python3\.\d+/")  # of another machine, too
_GROUP = re.compile(r" *\+-\+-+ \d+ -+")  # where the exceptions of a group begin


def owner(filename: str) -> str:
    """Whose code a frame is of: ``user``, ``millstream`` (with the importing machinery), or ``library``."""
    from millstream.agents.places import PACKAGE

    if filename.startswith((PACKAGE, "<frozen")) or "/importlib/" in filename or "/site-packages/millstream/" in filename:
        return "millstream"
    if not os.path.isabs(filename) or filename.startswith(sysconfig.get_path("stdlib")) or _LIBRARY.search(filename):
        return "library"
    return "user"


def tell_traceback(error: BaseException) -> bool:
    """The user's error from their first frame on, to stderr. False: no frame is theirs, and nothing was told."""
    told = traceback.TracebackException.from_exception(error)
    kinds = [owner(frame.filename) for frame in told.stack]
    if "user" in kinds:
        first = kinds.index("user")
        told.stack = traceback.StackSummary.from_list(
            [frame for frame, kind in zip(told.stack[first:], kinds[first:], strict=True) if kind != "millstream"]
        )
    elif isinstance(error, SyntaxError):
        told.stack = traceback.StackSummary()
    else:
        return False
    tell(printable("".join(told.format(chain=False)).rstrip("\n"), lines=True), hang=None)
    return True


def place(text: str) -> str | None:
    """Where a recorded error was raised: ``app.py:7 in helper``. In the user's code, or that of a library, but not in ours."""
    from millstream.agents import places

    found: dict[str, str] = {}
    for line in text.split("\n"):
        frame = _FRAME.match(line)
        if frame is not None:
            found[owner(frame["path"])] = f"{places.place(frame['path'], int(frame['line']))} in {frame['name']}"
        elif _GROUP.match(line) and found:
            break  # it was the group that was raised here
    return found.get("user") or found.get("library")  # an app may be installed as a library


def without_ours(text: str) -> list[str]:
    """The lines of a recorded traceback without the frames of Millstream."""
    kept, skipping = [], ""
    for line in text.rstrip("\n").split("\n"):
        frame = _FRAME.match(line)
        if frame is not None:
            skipping = frame["margin"] + "  " if owner(frame["path"]) == "millstream" else ""
        elif not line.startswith(skipping or "\0"):
            skipping = ""
        if not skipping:
            kept.append(line)
    return kept
