"""The tasks, futures and timers of a run: asyncio's own, with what replay needs.

They are hashed by numbers that come from the run and never by their addresses, so that a set of them iterates the same live and
replayed; a step's future can be held, and a timer has an identity.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from millstream.engine.scopes import Scope

if TYPE_CHECKING:
    from millstream.engine.runloop import RunLoop


class RunTask(asyncio.Task[Any]):
    """A task of a run. It is hashed by its number, so that sets of tasks iterate alike, live and replayed.

    Equality stays identity. The numbers of one run follow each other in the hash too, so that a set of a few tasks does not
    depend on the order in which they were put in (``asyncio.all_tasks`` puts them in as the whole process made them).
    """

    __slots__ = ("number", "scope", "context", "_hash")

    def __init__(
        self, coro: Any, loop: RunLoop, number: int, scope: Scope, name: str | None, context: Context, **options: Any
    ) -> None:
        self.number = number  # 1 is the handler itself
        self.scope = scope
        self.context = context  # 3.11 has no get_context()
        self._hash = loop._salt + number  # asyncio hashes a task while it makes it
        super().__init__(coro, loop=loop, name=name if name is not None else f"Task-{number}", context=context, **options)

    def __hash__(self) -> int:
        return self._hash

    def cancel(self, msg: Any | None = None) -> bool:
        if sys._getframe(1).f_code.co_name == "_deliver_cancellation":  # anyio's CancelScope
            loop: Any = self.get_loop()
            return bool(loop._cancel_in_order(self, msg))
        return super().cancel(msg)


class RunFuture(asyncio.Future[Any]):
    """A future of a run, hashed by number like `RunTask`; `RunLoop.create_future` makes them."""

    __slots__ = ("_hash",)

    def __init__(self, loop: RunLoop) -> None:
        super().__init__(loop=loop)
        loop._futures_made += 1
        self._hash = loop._salt - loop._futures_made

    def __hash__(self) -> int:
        return self._hash


class HeldFuture(RunFuture):
    """The future of a step that a cancellation does not abandon: whoever awaits it goes on when its outcome is recorded.

    It takes the cancellation without ending, and keeps its message: anyio knows its own cancellations by it. A coroutine that
    catches CancelledError and awaits anew would not do: it takes a step each time, and anyio cancels it again in every turn.

    Attributes:
        asked: whether its cancellation was asked for.
    """

    __slots__ = ("asked", "_message", "_on_cancel")

    def __init__(self, loop: RunLoop, on_cancel: Callable[[], object]) -> None:
        """``on_cancel`` is called once, when a cancellation is first asked for (not by a run on its way out)."""
        super().__init__(loop)
        self.asked = False
        self._message: Any | None = None
        self._on_cancel: Callable[[], object] | None = on_cancel

    def cancel(self, msg: Any | None = None) -> bool:
        loop: Any = self.get_loop()
        on_cancel, self._on_cancel = self._on_cancel, None
        if self.done() or loop.closed:
            return super().cancel(msg)
        self._message = msg
        if on_cancel is not None:
            self.asked = True
            on_cancel()
        return True

    def end(self) -> None:
        """Its outcome is recorded: the cancellation that was asked for takes place now."""
        super().cancel(self._message)


class RunTimer(asyncio.TimerHandle):
    """A timer with its identity. ``_scheduled`` (asyncio's own flag) says that it was neither fired nor cancelled."""

    __slots__ = ("identity",)

    identity: str
    _scheduled: bool
