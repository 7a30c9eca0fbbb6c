"""Where in the user's code something was said or done: ``file:line``, for messages."""

from __future__ import annotations

import os
import sys
import types

LIBRARY = os.path.dirname(os.__file__) + os.sep
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def here() -> str:
    """``file:line`` of the innermost frame outside Millstream: of who called into it."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return "<unknown>:0" if frame is None else place(frame.f_code.co_filename, frame.f_lineno)


def theirs(path: str) -> bool:
    """Is this a file of the user's own code, and not of Millstream, Python or another library?"""
    return not path.startswith((PACKAGE, LIBRARY, "<frozen")) and f"{os.sep}site-packages{os.sep}" not in path


def place(path: str, line: int) -> str:
    """``file:line``, relative where the file is below the working directory."""
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # another drive; the working directory is gone
        return f"{path}:{line}"
    return f"{path if relative.startswith(os.pardir) else relative}:{line}"
