"""Structural identity: every task of a run has a `Scope`, which names its steps and timers by path, name and occurrence.

A name does not depend on how tasks interleave, so a replay, and another version of Python, gives the same ones:

* a task's scope is named by its coroutine, below that of its maker;
* a task that ``asyncio.wait_for`` makes shares its parent's scope: Python 3.11 makes one, and later versions do not;
* anyio's wrappers are looked through.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from types import CodeType
from typing import Any


class Scope:
    """A place in the structure of a run, which names the steps, timers and scopes inside it."""

    __slots__ = ("path", "_seen")

    def __init__(self, path: str) -> None:
        self.path = path  # "" at the root
        self._seen: dict[str, int] | None = None  # made late: most scopes name nothing

    def identity(self, name: str) -> str:
        """Name the next occurrence of ``name`` here: ``charge``, ``charge:2``; in a scope ``worker:3/charge``."""
        if self._seen is None:
            self._seen = {}
        occurrence = self._seen[name] = self._seen.get(name, 0) + 1
        if occurrence > 1:
            name = f"{name}:{occurrence}"
        return f"{self.path}/{name}" if self.path else name

    def child(self, name: str) -> Scope:
        """Make the scope of the next occurrence of ``name``; it is counted together with the steps of that name."""
        return Scope(self.identity(name))

    def __repr__(self) -> str:
        return f"<Scope {self.path or '(root)'}>"


@functools.lru_cache(maxsize=1024)
def shell_safe(name: str) -> str:
    """Give ``name`` as it may stand in an identity: without ``.<locals>``, and ``_`` for all but ``A-Za-z0-9_.-``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name.replace(".<locals>", "")) or "_"


def name_of(coro: Any) -> str:
    """Name the scope of a task by its coroutine.

    anyio (4.14 on) wraps what it is given into a coroutine of its own, so that all its tasks would have one name, and
    another one than with earlier versions: the wrapped coroutine is what counts.
    """
    name: str = getattr(coro, "__qualname__", None) or type(coro).__name__
    if name == "TaskHandle._run_coro":
        frame = getattr(coro, "cr_frame", None)
        inner = getattr(frame.f_locals.get("self"), "_coro", None) if frame is not None else None
        name = getattr(inner, "__qualname__", None) or name
    return shell_safe(name)


_WAIT_FOR: CodeType = asyncio.wait_for.__code__
_ENSURE: tuple[CodeType, ...] = tuple(
    function.__code__
    for function in (asyncio.ensure_future, getattr(asyncio.tasks, "_ensure_future", None))
    if function is not None
)


def made_by_wait_for() -> bool:
    """Whether the caller of ``RunLoop.create_task`` is ``asyncio.wait_for``.

    3.11 makes a task for what it waits for; 3.12 and later await it in place, and make a task (that never starts) only
    where the time is already up. In both cases it is no place of its own in the structure of the run.
    """
    frame = sys._getframe(2)
    code = frame.f_code
    while code is _ENSURE[0] or code is _ENSURE[-1]:
        if frame.f_back is None:
            return False
        frame = frame.f_back
        code = frame.f_code
    return code is _WAIT_FOR
