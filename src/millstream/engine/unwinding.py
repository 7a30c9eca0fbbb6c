"""Ending the tasks of a run that is put away: each where it waits, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import sys
from contextvars import Context
from typing import TYPE_CHECKING, Any

from millstream.engine.scopes import name_of
from millstream.engine.tasks import RunTask
from millstream.errors import RunPutAway

if TYPE_CHECKING:
    from millstream.engine.runloop import RunLoop

THROWS = 100
"""How often a task that goes on awaiting is told that it is put away, before its coroutine is closed."""


def unwind(loop: RunLoop, task: RunTask, error: RunPutAway, interrupts: list[BaseException]) -> None:
    """Drive one coroutine to its end by hand, as the current task and in its context.

    Not through the loop: a `TaskGroup` or a ``gather`` would turn the end of one task into the cancellation of others,
    whose ``except CancelledError`` would then compensate for something that did not happen.
    """
    coro: Any = task.get_coro()
    asyncio.tasks._enter_task(loop, task)
    try:
        for _ in range(THROWS):
            task.context.run(coro.throw, RunPutAway(*error.args))  # a new one each time: it gathers traceback and context
        task.context.run(coro.close)
    except KeyboardInterrupt as end:
        interrupts.append(end)
    except BaseException as end:  # StopIteration: it returned; anything else: how it left, of interest to nobody now
        end.__traceback__ = None  # it holds this frame
    finally:
        asyncio.tasks._leave_task(loop, task)
    if getattr(coro, "cr_frame", None) is not None:
        _let_be(loop, coro)
    loop._unfinished.pop(task, None)
    waiter: Any = task._fut_waiter  # type: ignore[attr-defined]
    if waiter is not None:  # task -> future -> wake-up -> task would be a cycle, and no callback of this loop runs any more
        for callback, _ in waiter._callbacks or ():
            waiter.remove_done_callback(callback)
        if sys.version_info >= (3, 14):
            asyncio.future_discard_from_awaited_by(waiter, task)


def _let_be(loop: RunLoop, coro: Any) -> None:
    """Leak a coroutine that catches even the GeneratorExit of ``close()`` and goes on.

    When it was freed, Python would close it once more, without a loop: what it awaits then fails at once, it catches that
    too, and the process hangs in it for ever.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coro))
    message = f"{name_of(coro)} catches BaseException and goes on: it cannot be put away, and stays in memory"
    loop.problems.append({"message": message})


def finish(tasks: list[RunTask], error: RunPutAway, interrupts: list[BaseException]) -> None:
    """Mark the unwound tasks done and tell those who want to know: anyio frees a task's state in a done-callback."""
    callbacks: list[tuple[RunTask, Any, Context]] = []
    for task in tasks:
        if task.done():
            continue  # it had just ended when an interrupt came
        callbacks += [(task, *entry) for entry in task._callbacks or ()]
        asyncio.Future.set_exception(task, RunPutAway(*error.args))  # a task refuses this; its base does not
        task._log_traceback = False
    for task, callback, context in callbacks:
        try:
            context.run(callback, task)
        except KeyboardInterrupt as end:
            interrupts.append(end)
        except BaseException as end:
            end.__traceback__ = None
