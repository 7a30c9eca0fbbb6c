"""The resident runs: drives their loops. Told by the core what to hand over, it says what the handlers ask for.

Everything here is synchronous: a run is handed one thing and driven until nothing in it is ready.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from millstream.core import runs as r
from millstream.core.commands import Deliver, Start
from millstream.core.facts import Advanced, Emitted, Raised, Refused, Returned
from millstream.core.graph import AgentSpec, Graph
from millstream.core.identity import KeyMaker
from millstream.core.text import clean, text_of
from millstream.engine import guard
from millstream.engine.handle import Handle, HandledLoop, failure
from millstream.errors import HandlerStuck, IoInRun, RunPutAway


class Runs:
    """See the module.

    Args:
        log: told (level, text) of what asyncio reported of handlers (a task's exception that nobody saw).
        loop: the one that all runs are driven inside of; None: whichever runs then.
        alarm: called with the number of a run and the error, in another thread, when that thread called into the run's loop:
            ``fail`` the run.
    """

    def __init__(
        self,
        graph: Graph,
        keys: KeyMaker,
        resources: Any,
        log: Callable[[str, str], None] = lambda level, text: None,
        alarm: Callable[[int, IoInRun], None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        guard.install()
        self._graph = graph
        self._keys = keys
        self._resources = resources
        self._handles: dict[int, Handle] = {}
        self._log = log
        self._alarm = alarm
        self._loop = loop

    def __len__(self) -> int:
        return len(self._handles)

    def start(self, command: Start) -> Advanced:
        """Begin a handler from the top and drive it as far as it goes."""
        loop = HandledLoop(command.run, command.at, command.id)
        loop.outer, loop.alarm = self._loop, self._alarm
        handle = Handle(
            command.id,
            command.agent,
            command.key,
            command.event,
            command.state,
            command.seen,
            loop,
            self._graph,
            self._keys,
            self._resources,
        )
        loop.handle = handle
        handle.replayed = command.replayed
        self._handles[command.run] = handle
        spec = self._graph.agents[command.agent]
        handle.root = loop.start(spec.handler(handle))
        return self._drive(command.run, handle, command.at)

    def deliver(self, command: Deliver) -> Advanced | None:
        """Hand one observation over and drive the run; None: the run has ended meanwhile."""
        handle = self._handles.get(command.run)
        if handle is None:
            return None
        loop = handle.loop
        loop.at, handle.seen, handle.replayed = command.at, command.seen, command.replayed
        handle.delivered += 1
        kind = command.kind
        if kind == r.RESULTED:
            handle.hand(command.step, (command.value, command.error))
        elif kind == r.FIRED:
            if not loop.fire(command.step):
                handle.delivered -= 1
                return Advanced(command.at, command.run, [], [], self._timer(handle), None, True)
        elif kind == r.RECEIVED:
            handle.hand(command.step, (command.value or "null", command.by, command.sent, command.id or ""))
        elif kind == r.CANCEL:
            handle.was_cancelled, handle.cancelled_by = True, command.by
            for task in loop.tasks if handle.ending else [handle.root]:
                if task is not None:
                    task.cancel()
        else:
            handle.replace_state(command.value)
        return self._drive(command.run, handle, command.at)

    def fail(self, run: int, error: Exception, at: int) -> Advanced | None:
        """End a run from outside; None: it has ended meanwhile."""
        handle = self._handles.pop(run, None)
        if handle is None:
            return None
        self._close(handle)
        return Advanced(at, run, [], [], None, Raised(failure(error)))

    def put_away(self, run: int) -> None:
        """Close a run's Context and forget its tasks."""
        handle = self._handles.pop(run, None)
        if handle is not None:
            self._close(handle)

    def close(self) -> None:
        """Put all away."""
        for run in list(self._handles):
            self.put_away(run)

    def _drive(self, run: int, handle: Handle, at: int) -> Advanced:
        loop = handle.loop
        end: Returned | Raised | None = None
        try:
            loop.drain()
            root = handle.root
            assert root is not None
            if handle.divergence is not None:
                end = Raised({"type": "Diverged", "message": handle.divergence, "data": None}, diverged=True)
            elif root.done():
                if not handle.ending:
                    handle.ending = True
                    if loop.has_tasks:
                        loop.cancel_rest()
                        loop.drain()
                if not loop.has_tasks:
                    end = self._end(handle, root)
        except HandlerStuck as stuck:
            end = Raised(failure(stuck))
        if loop.problems:
            self._tell(handle)
        calls, handle.calls = handle.calls, []
        cancels, handle.cancels = handle.cancels, []
        if handle.divergence is not None:
            calls, cancels = [], []  # beside what it stumbled over, or in an ``except`` behind it: nothing of that is done
        refused: tuple[Refused, ...] = ()
        if handle.refused:
            refused = tuple(handle.refused)
            handle.refused = []
        if end is not None:
            del self._handles[run]
            self._close(handle)
            return Advanced(at, run, calls, cancels, None, end, refused=refused)
        spec = self._graph.agents[handle.agent]
        state = None
        if spec.waiting == "release" and handle.dump_state is not None:
            try:
                state = handle.dump_state()
            except Exception as error:
                end = Raised(failure(error))
                del self._handles[run]
                self._close(handle)
        return Advanced(at, run, calls, cancels, None if end else self._timer(handle), end, False, state, refused)

    @staticmethod
    def _timer(handle: Handle) -> tuple[int, str] | None:
        wake = handle.loop.wake
        if wake is None:
            return None
        identity = handle.loop.due(wake)
        return None if identity is None else (wake, identity)

    def _end(self, handle: Handle, root: asyncio.Task[Any]) -> Returned | Raised:
        if root.cancelled():
            if not handle.was_cancelled:
                return Raised({"type": "CancelledError", "message": "the handler cancelled itself", "data": None})
            by = f" by {handle.cancelled_by}" if handle.cancelled_by else ""
            return Raised({"type": "Cancelled", "message": f"cancelled{by}", "data": None}, cancelled=True)
        raised = root.exception()
        if raised is not None:
            return Raised(failure(raised))
        try:
            return self._returned(handle, self._graph.agents[handle.agent], root.result())
        except Exception as error:  # what it returned, or its state, cannot be encoded
            return Raised(failure(error))

    def _returned(self, handle: Handle, spec: AgentSpec, value: Any) -> Returned:
        output: Emitted | None = None
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # or Python warns of it, and names our lines
            what = f"{type(value).__name__} {getattr(value, '__qualname__', '')}".rstrip()
            raise TypeError(f"agent {spec.name} returned the {what}, which nobody has awaited: add the await")
        if value is not None:
            output = handle.encoded(spec.output, value, None)
        state = handle.dump_state() if handle.dump_state is not None else None
        return Returned(output, "null" if output is None else output.payload, handle.emitted, state)

    def _tell(self, handle: Handle) -> None:
        problems, handle.loop.problems = handle.loop.problems, []
        if handle.replayed:
            return  # that was said when it happened
        for problem in problems:
            error = problem.get("exception")
            said = "" if error is None else f": {type(error).__name__}: {text_of(error)}"
            self._log(
                "warning", clean(f"run {handle.run_id} of {handle.agent} {handle.key!r}: {problem.get('message')}{said}", 1000)
            )

    def _close(self, handle: Handle) -> None:
        loop = handle.loop
        handle.replayed = False  # what comes to light on the way out is of now
        loop.put_away(RunPutAway(f"run {handle.run_id} was put away"))
        if loop.problems:
            self._tell(handle)
        handle.root = None
        handle.dump_state = None
        loop.handle = None
