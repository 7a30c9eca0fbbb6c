"""The loop of one run. That replay equals live is shown in tests/properties/test_runloop_replay.py."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
import uvloop
from anyio._backends import _asyncio as anyio_backend
from hypothesis import given
from hypothesis import strategies as st

from millstream.engine import runloop
from millstream.engine.refusing import Refusing
from millstream.engine.runloop import RunLoop
from millstream.engine.scopes import Scope, shell_safe
from millstream.engine.tasks import HeldFuture, RunTask
from millstream.engine.unwinding import THROWS
from millstream.errors import HandlerStuck, IoInRun, RunPutAway, UsageError

NOW = 1_790_000_000_000_000
AWAY = RunPutAway("put away", 7)


def started(coro: Any, *, run: int = 7, at: int = NOW) -> tuple[RunLoop, RunTask]:
    loop = RunLoop(run, at)
    task = loop.start(coro)
    loop.drain()
    return loop, task


def outcome(coro: Any, loop: RunLoop | None = None) -> Any:
    """What a handler returns or raises that needs no facts, timers apart: they fire as soon as they are due."""
    loop = loop or RunLoop(7, NOW)
    task = loop.start(coro)
    loop.drain()
    while not task.done():
        wake = loop.wake
        assert wake is not None, "the handler waits for what never comes"
        loop.at = wake
        assert loop.fire(loop.due(wake) or "")
        loop.drain()
    loop.put_away(AWAY)
    return task.result()


def this() -> RunLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, RunLoop)
    return loop


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# ---------------------------------------------------------------------------------------------------------------- scopes


def test_the_first_occurrence_has_the_bare_name_and_later_ones_a_number() -> None:
    scope = Scope("")
    assert [scope.identity(name) for name in ("charge", "ship", "charge", "charge")] == ["charge", "ship", "charge:2", "charge:3"]


def test_a_name_inside_a_scope_begins_with_its_path() -> None:
    scope = Scope("worker:3")
    assert scope.identity("charge") == "worker:3/charge"
    assert scope.child("inner").identity("charge") == "worker:3/inner/charge"
    assert scope.child("inner").path == "worker:3/inner:2"


def test_scopes_and_steps_of_one_name_are_counted_together() -> None:
    scope = Scope("")
    assert (scope.identity("x"), scope.child("x").path, scope.identity("x")) == ("x", "x:2", "x:3")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("main.<locals>.worker", "main.worker"),
        ("f.<locals>.<lambda>", "f._lambda_"),
        ("by hand/2:$(rm)", "by_hand_2___rm_"),
        ("größe", "gr__e"),
        ("a-b_c.9", "a-b_c.9"),
        ("", "_"),
    ],
)
def test_names_are_made_safe_for_a_shell(name: str, safe: str) -> None:
    assert shell_safe(name) == safe


def test_a_task_has_a_scope_of_its_own_below_that_of_its_maker() -> None:
    paths: list[str] = []

    async def leaf() -> None:
        paths.append(this().scope.path)

    async def branch() -> None:
        paths.append(this().scope.path)
        await asyncio.gather(leaf(), leaf())

    async def handler() -> None:
        paths.append(this().scope.path)
        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
            group.create_task(branch(), name="a name does not count")

    outcome(handler())
    here = shell_safe("test_a_task_has_a_scope_of_its_own_below_that_of_its_maker")
    assert paths == [
        "",
        f"{here}.branch",
        f"{here}.branch:2",
        f"{here}.branch/{here}.leaf",
        f"{here}.branch/{here}.leaf:2",
        f"{here}.branch:2/{here}.leaf",
        f"{here}.branch:2/{here}.leaf:2",
    ]


def test_what_is_no_coroutine_of_python_still_has_a_name() -> None:
    class Call:
        def __await__(self) -> Iterator[Any]:
            async def scope() -> str:
                return this().scope.path

            return scope().__await__()

    async def handler() -> str:
        return await asyncio.ensure_future(Call())

    assert outcome(handler()).endswith("_wrap_awaitable")


def test_tasks_of_anyio_are_named_by_what_they_run() -> None:
    paths: list[str] = []

    async def worker() -> None:
        paths.append(this().scope.path)

    async def handler() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(worker)
            group.start_soon(worker)

    outcome(handler())
    name = "test_tasks_of_anyio_are_named_by_what_they_run.worker"
    assert paths == [name, f"{name}:2"]


def test_a_scope_named_by_hand_holds_for_the_task_and_the_tasks_it_makes_inside() -> None:
    async def child() -> str:
        await asyncio.sleep(0)
        return this().scope.identity("step")

    async def handler() -> list[str]:
        loop = this()
        with loop.scoped("a b") as scope:
            assert loop.scope is scope
            with loop.scoped("inner"):
                inner = asyncio.create_task(child())
                deep = loop.scope.path
            names = [scope.path, deep, await inner, await child(), loop.scope.identity("step")]
        with loop.scoped("a b"):
            return [*names, loop.scope.path]

    name = "test_a_scope_named_by_hand_holds_for_the_task_and_the_tasks_it_makes_inside.child"
    assert outcome(handler()) == ["a_b", "a_b/inner", f"a_b/inner/{name}/step", "a_b/step", "a_b/step:2", "a_b:2"]


def test_a_scope_named_by_hand_is_left_by_an_exception_too() -> None:
    async def handler() -> str:
        with contextlib.suppress(ValueError), this().scoped("x"):
            raise ValueError
        return this().scope.path

    assert outcome(handler()) == ""


def test_a_scope_named_by_hand_in_one_task_does_not_show_in_another() -> None:
    async def other() -> str:
        return this().scope.path

    async def handler() -> str:
        task = asyncio.create_task(other())
        with this().scoped("x"):
            return await task

    assert not outcome(handler()).startswith("x")


def test_a_scope_cannot_be_named_outside_the_tasks_of_the_run() -> None:
    loop = RunLoop(7, NOW)
    with pytest.raises(UsageError, match="run 7: scope 'x'"), loop.scoped("x"):
        pass


@pytest.mark.parametrize("timeout", [0, 0.5, None])
def test_wait_for_adds_no_scope_in_any_version_of_python(timeout: float | None) -> None:
    async def inner() -> list[str]:
        loop = this()
        with loop.scoped("by-hand"):
            return [loop.scope.path, loop.scope.identity("charge")]

    async def handler() -> list[str]:
        loop = this()
        names = [loop.scope.identity("charge")]
        with contextlib.suppress(TimeoutError):
            names += await asyncio.wait_for(inner(), timeout)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(forever(), 0.5)
        names += [loop.scope.identity("charge"), loop.scope.identity("timer")]
        return [*names, asyncio.create_task(inner()).scope.path.rpartition(".")[2], asyncio.create_task(forever()).scope.path]

    inside = [] if timeout == 0 else ["by-hand", "by-hand/charge"]
    timers = "timer:3" if timeout else "timer:2"
    assert outcome(handler()) == ["charge", *inside, "charge:2", timers, "inner", "forever"]


# ------------------------------------------------------------------------------------------------------------- tasks, futures


def test_tasks_are_hashed_by_run_and_number_so_that_a_set_of_them_iterates_alike_everywhere() -> None:
    def order(run: int) -> list[str]:
        async def handler() -> list[str]:
            tasks = {asyncio.create_task(forever()) for _ in range(40)}
            return [task.get_name() for task in tasks]

        return list(outcome(handler(), RunLoop(run, NOW)))

    assert order(7) == order(7)
    assert len({tuple(order(run)) for run in range(9)}) > 1  # the run is part of it


def test_a_task_equals_only_itself() -> None:
    _, one = started(forever())
    _, two = started(forever())
    assert hash(one) == hash(two)
    assert one != two
    one.get_loop().put_away(AWAY)  # type: ignore[attr-defined]
    two.get_loop().put_away(AWAY)  # type: ignore[attr-defined]


def test_names_of_tasks_count_within_the_run() -> None:
    async def handler() -> list[str]:
        first, second = asyncio.create_task(forever()), asyncio.create_task(forever(), name="mine")
        third = asyncio.create_task(forever())
        return [task.get_name() for task in (asyncio.current_task(), first, second, third) if task]

    assert outcome(handler()) == outcome(handler()) == ["Task-1", "Task-2", "mine", "Task-4"]


def test_a_handler_is_started_once() -> None:
    loop, _ = started(forever())
    again = forever()
    with pytest.raises(UsageError, match="run 7 was started twice"):
        loop.start(again)
    again.close()
    loop.put_away(AWAY)


def test_starting_does_not_run_anything_yet() -> None:
    seen: list[str] = []

    async def handler() -> None:
        seen.append("ran")

    loop = RunLoop(7, NOW)
    task = loop.start(handler())
    assert (seen, task.done(), task.scope.path) == ([], False, "")
    loop.drain()
    assert seen == ["ran"]
    assert task.done()


def test_unfinished_tasks_are_listed_in_the_order_they_were_made() -> None:
    async def handler() -> None:
        for _ in range(20):
            asyncio.create_task(forever())  # noqa: RUF006
        asyncio.create_task(asyncio.sleep(0))  # noqa: RUF006
        await forever()

    loop, root = started(handler())
    assert [task.number for task in loop.tasks] == list(range(1, 22))
    assert loop.tasks[0] is root
    loop.put_away(AWAY)
    assert loop.tasks == []


def test_a_forgotten_task_is_not_lost_to_the_garbage_collector() -> None:
    async def waits_for_itself() -> None:
        await asyncio.get_running_loop().create_future()

    async def handler() -> None:
        asyncio.create_task(waits_for_itself())  # noqa: RUF006

    loop, _ = started(handler())
    gc.collect()
    assert [task.number for task in loop.tasks] == [2]
    loop.put_away(AWAY)


def test_cancel_rest_cancels_all_but_the_handler() -> None:
    async def handler() -> None:
        asyncio.create_task(forever())  # noqa: RUF006
        asyncio.create_task(forever())  # noqa: RUF006
        await forever()

    loop, root = started(handler())
    rest = loop.tasks[1:]
    loop.cancel_rest()
    loop.drain()
    assert [task.cancelled() for task in rest] == [True, True]
    assert loop.tasks == [root]
    loop.put_away(AWAY)


def test_a_task_factory_is_refused() -> None:
    loop = RunLoop(7, NOW)
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    with pytest.raises(UsageError, match="eager_start=True"):
        loop.set_task_factory(lambda loop, coro: asyncio.Task(coro, loop=loop))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks since 3.12")
def test_a_task_can_be_started_eagerly_in_its_own_scope() -> None:
    async def child() -> str:
        return this().scope.path

    async def handler() -> list[Any]:
        task = this().create_task(child(), eager_start=True)
        waiting = this().create_task(forever(), eager_start=True)
        return [task.done(), task.result(), waiting.done(), this().scope.path, len(this().tasks)]

    name = "test_a_task_can_be_started_eagerly_in_its_own_scope.child"
    assert outcome(handler()) == [True, name, False, "", 3]  # a done task is listed until the next turn


def test_contexts_are_honoured() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="default")
    seen: list[str] = []

    def note() -> None:
        seen.append(var.get())

    async def child() -> None:
        note()
        var.set("child")

    async def handler() -> None:
        loop, own = this(), contextvars.copy_context()
        own.run(var.set, "own")
        var.set("handler")
        loop.call_soon(note)
        loop.call_soon(note, context=own)
        loop.call_later(1, note, context=own)
        await loop.create_task(child())
        await loop.create_task(child(), context=own)
        seen.append(own[var])
        note()
        await asyncio.sleep(1)

    outcome(handler())
    assert seen == ["handler", "own", "handler", "own", "child", "handler", "child"]


@pytest.mark.parametrize(
    "bound", [lambda what: asyncio.wait_for(what, 1), lambda what: in_timeout(what)], ids=["wait_for", "timeout"]
)
def test_a_held_future_ends_a_cancellation_only_when_told_to(bound: Callable[[Any], Awaitable[Any]]) -> None:
    asked: list[str] = []

    async def handler() -> Any:
        try:
            return await bound(held)
        except TimeoutError:
            return "timed out"

    loop = RunLoop(7, NOW)
    held = HeldFuture(loop, lambda: asked.append("once"))
    task = loop.start(handler())
    loop.drain()
    loop.fire("timer")
    loop.drain()
    held.cancel("once more, by somebody else")
    loop.drain()
    assert (asked, held.asked, task.done()) == (["once"], True, False)
    held.end()
    loop.drain()
    assert task.result() == "timed out"
    assert not held.cancel()
    loop.put_away(AWAY)


async def in_timeout(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(1):
        return await what


def test_a_held_future_asks_for_nothing_when_the_run_is_put_away() -> None:
    loop = RunLoop(7, NOW)
    held = HeldFuture(loop, lambda: pytest.fail("asked"))

    async def handler() -> None:
        try:
            await asyncio.shield(held)
        finally:
            held.cancel()

    loop.start(handler())
    loop.drain()
    loop.put_away(AWAY)
    assert held.cancelled()


# ------------------------------------------------------------------------------------------------------------------- drain


def test_callbacks_run_in_the_order_in_which_asyncio_runs_them() -> None:
    async def handler() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        event, queue, lock = asyncio.Event(), asyncio.Queue[int](1), asyncio.Lock()

        async def one(n: int) -> None:
            seen.append(f"start {n}")
            loop.call_soon(seen.append, f"soon {n}")
            async with lock:
                await queue.put(n)
                seen.append(f"put {n}")
            await event.wait()
            seen.append(f"woken {n}")
            if n == 2:
                raise ValueError

        async def drain() -> None:
            for _ in range(4):
                seen.append(f"got {await queue.get()}")
                await asyncio.sleep(0)
            event.set()

        results = await asyncio.gather(*(one(n) for n in range(4)), drain(), return_exceptions=True)
        return [*seen, repr(results)]

    assert outcome(handler()) == asyncio.run(handler())


def in_no_loop(call: Callable[[], Any]) -> Any:
    return call()


def in_a_callback_of(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[Callable[[], Any]], Any]:
    def drive(call: Callable[[], Any]) -> Any:
        results: list[Any] = []
        outer = new_loop()

        def callback() -> None:
            results.append(call())
            results.append(asyncio.get_running_loop() is outer)
            outer.stop()

        outer.call_soon(callback)
        outer.run_forever()
        outer.close()
        assert results[1], "the outer loop was not restored"
        return results[0]

    return drive


def in_a_task(call: Callable[[], Any]) -> Any:
    async def main() -> Any:
        result = call()
        await asyncio.sleep(0)
        return result

    return asyncio.run(main())


everywhere = pytest.mark.parametrize(
    "drive",
    [in_no_loop, in_a_callback_of(asyncio.new_event_loop), in_a_callback_of(uvloop.new_event_loop), in_a_task],
    ids=["no loop", "asyncio", "uvloop", "task"],
)


async def all_sorts() -> Any:
    async with asyncio.timeout(5):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(1, "slept"))
        with anyio.move_on_after(1):
            await anyio.sleep_forever()
        return await asyncio.wait_for(task, 1), asyncio.current_task(), asyncio.get_running_loop()


@everywhere
def test_a_run_works_wherever_it_is_driven_from(drive: Callable[[Callable[[], Any]], Any]) -> None:
    result, task, loop = drive(lambda: outcome(all_sorts()))
    assert (result, task.get_name(), loop.run) == ("slept", "Task-1", 7)


@everywhere
def test_a_run_is_put_away_wherever_it_is_driven_from(drive: Callable[[Callable[[], Any]], Any]) -> None:
    seen: list[Any] = []

    async def handler() -> None:
        try:
            async with asyncio.timeout(1):
                await forever()
        finally:
            seen.append(asyncio.current_task())

    def call() -> RunTask:
        loop, task = started(handler())
        loop.put_away(AWAY)
        return task

    assert seen == [drive(call)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="_swap_current_task is new in 3.12")
def test_a_current_task_of_the_outer_loop_is_set_aside_where_a_thread_has_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runloop, "_ONE_CURRENT_TASK", True)
    outside: list[Any] = []

    async def handler(outer: asyncio.AbstractEventLoop) -> None:
        outside.append(asyncio.current_task(outer))

    async def main() -> None:
        outcome(handler(asyncio.get_running_loop()))
        assert asyncio.current_task() is not None

    asyncio.run(main())
    assert outside == [None]


def test_one_run_may_be_driven_from_within_another_loop_of_a_run() -> None:
    async def inner() -> str:
        return this().scope.identity("step")

    async def handler() -> Any:
        mine = this()
        other = RunLoop(8, NOW)
        mine.call_soon(lambda: seen.append(outcome(inner(), other)))
        await asyncio.sleep(0)
        return mine is this()

    seen: list[str] = []
    assert outcome(handler())
    assert seen == ["step"]


def test_the_hooks_of_async_generators_are_restored() -> None:
    before = sys.get_asyncgen_hooks()
    started(forever())[0].put_away(AWAY)
    assert sys.get_asyncgen_hooks() == before


@pytest.mark.parametrize("told", [True, False], ids=["told which loop runs outside", "not told"])
def test_whichever_loop_ran_before_runs_again(told: bool) -> None:
    async def engine() -> None:
        outside = asyncio.get_running_loop()
        loop = RunLoop(7, NOW)
        loop.outer = outside if told else None
        seen: list[Any] = []

        async def handler() -> None:
            seen.extend((asyncio.get_running_loop(), runloop.driven()))

        loop.start(handler())
        loop.drain()
        assert seen == [loop, loop]
        assert (asyncio.get_running_loop(), runloop.driven()) == (outside, None)
        loop.put_away(AWAY)

    asyncio.run(engine())


def test_a_run_that_is_driven_in_the_midst_of_another_hands_back_to_that_one() -> None:
    async def engine() -> None:
        outside = asyncio.get_running_loop()
        seen: list[Any] = []

        async def handler() -> None:
            inner = RunLoop(8, NOW)
            inner.outer = outside
            inner.start(asyncio.sleep(0))
            inner.drain()
            seen.extend((asyncio.get_running_loop(), runloop.driven()))
            inner.put_away(AWAY)

        loop = RunLoop(7, NOW)
        loop.outer = outside
        loop.start(handler())
        loop.drain()
        assert seen == [loop, loop]
        assert asyncio.get_running_loop() is outside
        loop.put_away(AWAY)

    asyncio.run(engine())


def test_a_loop_that_is_said_to_run_outside_and_does_not_is_not_set_running() -> None:
    loop = RunLoop(7, NOW)
    loop.outer = asyncio.new_event_loop()
    loop.start(asyncio.sleep(0))
    loop.drain()
    assert asyncio._get_running_loop() is None
    loop.put_away(AWAY)
    loop.outer.close()


def test_a_loop_cannot_be_driven_from_within_its_run() -> None:
    async def handler() -> None:
        for drive in (this().drain, lambda: this().put_away(AWAY)):
            with pytest.raises(UsageError, match="already running"):
                drive()

    outcome(handler())


def test_it_says_whether_it_runs() -> None:
    async def handler() -> tuple[bool, bool, bool]:
        return this().is_running(), this().is_closed(), this().get_debug()

    loop = RunLoop(7, NOW)
    assert not loop.is_running()
    assert outcome(handler(), loop) == (True, False, False)
    assert not loop.is_running()
    assert loop.is_closed()


def test_an_endless_loop_is_an_error_that_names_the_task_and_the_place() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def handler() -> None:
        await asyncio.create_task(spin())

    loop = RunLoop(7, NOW)
    loop.start(handler())
    with pytest.raises(HandlerStuck, match=r"run 7: .* Task-2 \(test_an_endless_loop_.*spin\) at .*test_runloop.py:\d+\..*Event"):
        loop.drain()
    assert asyncio._get_running_loop() is None
    loop.put_away(AWAY)
    assert loop.tasks == []


def test_a_wide_handler_is_not_taken_for_an_endless_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runloop, "STUCK", 1_000)

    async def child(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def handler() -> int:
        return sum(await asyncio.gather(*(child(n) for n in range(2_000))))

    assert outcome(handler()) == 1_999_000


def test_a_drain_ends_when_only_anyio_polls_for_a_cancellation_to_be_obeyed() -> None:
    asked: list[str] = []

    async def handler() -> str:
        with anyio.move_on_after(1) as scope:
            await effect
        return "moved on" if scope.cancelled_caught else "done"

    loop = RunLoop(7, NOW)
    effect = HeldFuture(loop, lambda: asked.append("once"))
    task = loop.start(handler())
    loop.drain()
    loop.at = loop.wake or 0
    loop.fire("timer")
    loop.drain()  # would not end: anyio asks again in every turn
    assert not task.done()
    loop.drain()
    assert (asked, effect.asked, effect.done()) == (["once"], True, False)
    effect.end()
    loop.drain()
    assert task.result() == "moved on"
    loop.put_away(AWAY)


def test_what_goes_wrong_in_a_callback_is_a_problem_and_the_next_one_runs() -> None:
    async def failing() -> None:
        raise ValueError("lost")

    async def handler() -> str:
        this().call_soon(int, "x")
        task = asyncio.create_task(failing())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        return "fine"

    loop = RunLoop(7, NOW)
    assert outcome(handler(), loop) == "fine"
    assert [(problem["message"][:21], type(problem["exception"])) for problem in loop.problems] == [
        ("Exception in callback", ValueError),
        ("RunTask exception was", ValueError),
    ]
    assert loop.problems[1]["future"].startswith("<RunTask finished")  # a text: the task itself would hold the run


def test_an_interrupt_leaves_what_was_ready_for_the_next_drain() -> None:
    seen: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    loop = RunLoop(7, NOW)
    for callback in (lambda: seen.append(1), interrupt, lambda: seen.append(2)):
        loop.call_soon(callback)
    with pytest.raises(KeyboardInterrupt):
        loop.drain()
    assert seen == [1]
    loop.drain()
    assert seen == [1, 2]


def test_a_handler_that_exits_ends_its_run_and_not_the_process() -> None:
    async def child() -> None:
        raise SystemExit("nothing to do")

    async def handler() -> None:
        await asyncio.create_task(child())

    loop, task = started(handler())
    assert isinstance(task.exception(), SystemExit)
    assert (loop.tasks, loop.problems) == ([], [])
    loop.put_away(AWAY)


def test_a_callback_that_exits_is_a_problem_of_its_run() -> None:
    loop = RunLoop(7, NOW)
    loop.call_soon(sys.exit, "nothing to do")
    loop.drain()
    assert [type(problem["exception"]) for problem in loop.problems] == [SystemExit]


def test_a_run_whose_handler_was_interrupted_can_be_put_away() -> None:
    async def handler() -> None:
        raise KeyboardInterrupt

    loop = RunLoop(7, NOW)
    task = loop.start(handler())
    with pytest.raises(KeyboardInterrupt):
        loop.drain()
    loop.put_away(AWAY)
    assert (loop.closed, loop.tasks) == (True, [])
    assert isinstance(task.exception(), KeyboardInterrupt)


def test_a_cancelled_callback_does_not_run() -> None:
    seen: list[int] = []
    loop = RunLoop(7, NOW)
    handle = loop.call_soon(seen.append, 1)
    loop.call_soon(seen.append, 2)
    handle.cancel()
    loop.drain()
    assert seen == [2]


# ------------------------------------------------------------------------------------------------------------------ timers


def test_time_is_the_time_of_the_last_fact() -> None:
    loop = RunLoop(7, 1_500_000)
    assert loop.time() == 1.5
    loop.at = 2_000_001
    assert loop.time() == 2.000001


def test_timers_fire_only_when_told_to() -> None:
    loop, task = started(asyncio.sleep(1, "slept"))
    loop.at += 5_000_000
    loop.drain()
    assert not task.done()
    assert loop.has_timer("timer")
    assert loop.fire("timer")
    assert not task.done()
    loop.drain()
    assert task.result() == "slept"
    assert not loop.has_timer("timer")
    assert not loop.fire("timer")
    assert not loop.fire("never set")
    loop.put_away(AWAY)


def test_timers_come_due_by_time_and_then_in_the_order_they_were_set() -> None:
    async def handler() -> None:
        loop = this()
        for delay in (3, 1, 2, 1):
            loop.call_later(delay, seen.append, delay)
        await forever()

    seen: list[int] = []
    loop, _ = started(handler())
    fired = []
    while (wake := loop.wake) is not None:
        assert loop.due(wake - 1) is None
        loop.at, identity = wake, loop.due(wake)
        assert identity is not None
        fired.append((identity, wake - NOW))
        loop.fire(identity)
        loop.drain()
    assert fired == [("timer:2", 1_000_000), ("timer:4", 1_000_000), ("timer:3", 2_000_000), ("timer", 3_000_000)]
    assert seen == [1, 1, 2, 3]
    loop.put_away(AWAY)


def test_a_cancelled_timer_is_gone() -> None:
    loop = RunLoop(7, NOW)
    first, second = loop.call_later(1, print), loop.call_later(2, print)
    first.cancel()
    first.cancel()
    assert loop.wake == NOW + 2_000_000
    assert not loop.has_timer("timer")
    assert not loop.fire("timer")
    second.cancel()
    assert loop.wake is None
    assert loop.due(NOW * 2) is None


def test_a_timer_cancelled_between_its_firing_and_the_drain_does_not_run() -> None:
    seen: list[int] = []
    loop = RunLoop(7, NOW)
    timer = loop.call_later(1, seen.append, 1)
    loop.fire("timer")
    timer.cancel()
    loop.drain()
    assert seen == []


def test_cancelled_timers_do_not_pile_up() -> None:
    loop = RunLoop(7, NOW)
    for _ in range(10_000):
        loop.call_later(3600, print).cancel()
    assert len(loop._heap) <= 100
    assert loop.wake is None


@pytest.mark.parametrize("when", [-float("inf"), -1.0, 0.0, NOW / 1e6 - 1, NOW / 1e6])
def test_a_timer_in_the_past_is_due_now(when: float) -> None:
    loop = RunLoop(7, NOW)
    loop.call_at(when, print)
    assert loop.wake == NOW
    assert loop.due(NOW) == "timer"


@pytest.mark.parametrize("delay", [float("inf"), 1e300, 2**62])
def test_a_timer_beyond_all_time_is_never_due_but_can_be_fired(delay: float) -> None:
    loop = RunLoop(7, NOW)
    loop.call_later(delay, print)
    assert loop.wake is None
    assert loop.has_timer("timer")


@given(at=st.integers(0, 2**52), delay=st.floats(0, 1e8) | st.integers(0, 10**9).map(lambda us: us / 1e6))
def test_a_timer_is_due_at_the_first_microsecond_at_which_asyncio_would_agree(at: int, delay: float) -> None:
    loop = RunLoop(7, at)
    when = loop.time() + delay
    loop.call_at(when, print)
    wake = loop.wake
    assert wake is not None
    assert wake >= at
    loop.at = wake
    assert loop.time() >= when
    if wake > at:
        loop.at = wake - 1
        assert loop.time() < when


def test_timers_are_named_in_the_scope_of_the_task_that_set_them() -> None:
    async def child() -> None:
        await asyncio.sleep(1)

    async def handler() -> None:
        with this().scoped("hand"):
            async with asyncio.timeout(9) as scope:
                scope.reschedule(this().time() + 8)
                await asyncio.gather(child(), asyncio.wait_for(forever(), 5))

    loop, _ = started(handler())
    name = "test_timers_are_named_in_the_scope_of_the_task_that_set_them.child"
    assert not loop.has_timer("hand/timer")  # rescheduled
    assert loop.has_timer("hand/timer:2")
    assert loop.has_timer(f"hand/{name}/timer")
    assert loop.has_timer("hand/wait_for/timer")
    loop.put_away(AWAY)


# --------------------------------------------------------------------------------------------------------------------- I/O

IO = sorted(name for name, value in vars(Refusing).items() if callable(value) and value.__qualname__.startswith("_no_io"))
OTHERS = sorted(name for name, value in vars(Refusing).items() if callable(value) and name not in IO)


def test_nothing_of_an_asyncio_loop_is_left_open() -> None:
    base = asyncio.AbstractEventLoop
    assert [name for name in dir(base) if not name.startswith("__") and getattr(RunLoop, name) is getattr(base, name)] == []
    assert {"run_in_executor", "sock_recv", "add_signal_handler", "connect_read_pipe", "subprocess_shell"} <= set(IO)


@pytest.mark.parametrize("name", IO)
def test_io_is_an_error_that_names_the_call_and_the_way_out(name: str) -> None:
    with pytest.raises(IoInRun, match=rf"run 7: loop\.{name}\(\).*do this in a tool, or record it with ctx\.step\(name, fn\)"):
        getattr(RunLoop(7, NOW), name)(1, 2, ssl=None)


@pytest.mark.parametrize("name", OTHERS)
def test_what_drives_a_loop_is_the_engines_alone(name: str) -> None:
    with pytest.raises(UsageError, match=rf"run 7: loop\.{name}\(\)"):
        getattr(RunLoop(7, NOW), name)()


@pytest.mark.parametrize(
    ("call", "method"),
    [
        (lambda: asyncio.to_thread(print), r"run_in_executor\(\) \(by asyncio.to_thread\)"),
        (lambda: asyncio.open_connection("localhost", 1), r"create_connection\(\) \(by asyncio.open_connection\)"),
        (lambda: asyncio.start_server(print, "localhost", 1), "create_server"),
        (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec"),
        (lambda: asyncio.create_subprocess_shell("true"), "subprocess_shell"),
        (lambda: asyncio.open_unix_connection("/nowhere"), "create_unix_connection"),
        (lambda: anyio.connect_tcp("127.0.0.1", 1), "create_connection"),
        (lambda: anyio.getaddrinfo("localhost", 1), "getaddrinfo"),
        (lambda: anyio.run_process("true"), "subprocess_"),
    ],
)
def test_io_of_asyncio_and_anyio_ends_there(call: Callable[[], Awaitable[Any]], method: str) -> None:
    async def handler() -> None:
        try:
            await call()
        except ExceptionGroup as group:  # anyio tries the addresses of a host in a task group
            raise group.exceptions[0] from None

    with pytest.raises(IoInRun, match=method):
        outcome(handler())
    gc.collect()  # what asyncio left half made is complained about here, where that is ignored


def test_call_soon_threadsafe_is_call_soon_in_the_same_thread() -> None:
    seen: list[int] = []
    loop = RunLoop(7, NOW)
    loop.call_soon_threadsafe(seen.append, 1)
    loop.drain()
    assert seen == [1]


def test_another_thread_that_calls_in_is_refused_and_raises_the_alarm() -> None:
    async def handler() -> None:
        await asyncio.Event().wait()

    loop = RunLoop(7, NOW)
    alarms: list[tuple[int, IoInRun]] = []
    refused: list[IoInRun] = []
    loop.alarm = lambda run, error: alarms.append((run, error))
    loop.start(handler())
    loop.drain()

    def call_in() -> None:
        with pytest.raises(IoInRun) as error:
            loop.call_soon_threadsafe(print)
        refused.append(error.value)

    thread = threading.Thread(target=call_in)
    thread.start()
    thread.join()
    assert alarms == [(7, refused[0])]
    assert "ctx.step(name, fn)" in str(refused[0])
    assert loop.problems[0]["exception"] is refused[0]
    loop.put_away(AWAY)


# -------------------------------------------------------------------------------------------------------- async generators


def test_a_dropped_generator_is_closed_at_once_in_a_scope_below_that_of_its_dropper() -> None:
    seen: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            seen.append(this().scope.identity("release"))

    async def handler() -> list[str]:
        with this().scoped("hand"):
            async for _ in numbers():
                break
            await asyncio.sleep(0)
        return list(seen)

    name = "test_a_dropped_generator_is_closed_at_once_in_a_scope_below_that_of_its_dropper.numbers.aclose"
    assert outcome(handler()) == [f"hand/{name}/release"]


def test_a_generator_that_only_a_collection_finds_is_closed_by_put_away() -> None:
    seen: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async def handler() -> None:
        cycle: list[Any] = [numbers()]
        cycle.append(cycle)
        await anext(cycle[0])
        del cycle
        gc.collect()
        await forever()

    loop, _ = started(handler())
    gc.collect()
    loop.drain()
    assert seen == []
    loop.put_away(AWAY)
    assert seen == ["RunPutAway"]


# ---------------------------------------------------------------------------------------------------------------- put away


def put_away(coro: Any) -> RunLoop:
    loop, _ = started(coro)
    loop.put_away(AWAY)
    assert loop.tasks == []
    assert loop.problems == []
    return loop


def test_putting_away_unwinds_the_youngest_first_and_tells_them_why() -> None:
    seen: list[Any] = []

    async def child(n: int) -> None:
        try:
            await forever()
        except BaseException as error:
            seen.append((n, type(error), error.args, this().closed, asyncio.current_task() in this().tasks))
            raise

    async def handler() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(3):
                    group.create_task(child(n))
        except BaseException as error:
            seen.append(("handler", type(error), error.args))
            raise

    put_away(handler())
    assert seen == [*((n, RunPutAway, AWAY.args, True, True) for n in (2, 1, 0)), ("handler", RunPutAway, AWAY.args)]


def test_putting_away_is_no_cancellation() -> None:
    async def handler() -> None:
        async def child() -> None:
            try:
                await forever()
            except asyncio.CancelledError:
                compensated.append("child")

        try:
            await asyncio.gather(child(), child(), asyncio.shield(child()))
        except asyncio.CancelledError:
            compensated.append("handler")

    compensated: list[str] = []
    put_away(handler())
    assert compensated == []


def test_whatever_is_awaited_on_the_way_out_is_refused_too() -> None:
    seen: list[Any] = []

    async def handler() -> None:
        try:
            await forever()
        finally:
            for what in (asyncio.sleep(0), asyncio.sleep(1), forever(), asyncio.gather(forever(), forever())):
                try:
                    await what
                except RunPutAway as error:
                    seen.append(error.args)

    put_away(handler())
    assert seen == [AWAY.args] * 4


def test_a_handler_that_swallows_it_and_returns_is_let_go() -> None:
    async def handler() -> str:
        try:
            await forever()
        except BaseException:
            return "stubborn"
        return "never"

    loop, task = started(handler())
    loop.put_away(AWAY)
    assert task.done()
    assert isinstance(task.exception(), RunPutAway)


def test_a_handler_that_never_gives_up_is_left_behind_and_told_of() -> None:
    thrown = 0

    async def handler() -> None:
        nonlocal thrown
        while True:
            try:
                await forever()
            except BaseException:
                thrown += 1

    loop, task = started(handler())
    loop.put_away(AWAY)
    assert task.done()
    assert thrown == THROWS + 1  # the last one is the GeneratorExit of close()
    assert "handler catches BaseException and goes on" in loop.problems[0]["message"]
    del loop, task
    gc.collect()  # it would hang here, in the end of the coroutine
    assert thrown == THROWS + 1


def test_timeouts_and_cancel_scopes_work_on_the_way_out() -> None:
    seen: list[str] = []

    async def handler() -> None:
        try:
            async with asyncio.timeout(1), anyio.create_task_group() as group:
                group.start_soon(forever)
                with anyio.fail_after(2):
                    await forever()
        finally:
            try:
                async with asyncio.timeout(1):
                    with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                        seen.append("in")
                        await forever()
            finally:
                seen.append("out")

    loop = put_away(handler())
    assert seen == ["in", "out"]
    assert loop.wake is None


def test_tasks_that_never_started_and_tasks_made_on_the_way_out_end_without_a_step(recwarn: pytest.WarningsRecorder) -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append("started")

    async def handler() -> None:
        try:
            await forever()
        finally:
            loop = this()
            late.append(loop.create_task(child(), **({"eager_start": True} if sys.version_info >= (3, 12) else {})))
            await asyncio.gather(child(), child())

    late: list[RunTask] = []
    loop, _ = started(handler())
    early = loop.create_task(child())
    loop.put_away(AWAY)
    never = RunLoop(8, NOW)
    never.start(child())
    never.put_away(AWAY)
    gc.collect()
    assert seen == []
    assert early.done()
    assert late[0].done()
    assert not recwarn.list


def test_generators_still_open_are_closed(recwarn: pytest.WarningsRecorder) -> None:
    seen: list[str] = []
    kept: list[Any] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            seen.append(name)
            with contextlib.suppress(RunPutAway):
                await forever()
            seen.append(f"{name} refused")

    async def handler() -> None:
        kept.append(numbers("kept"))
        await anext(kept[0])
        async for _ in numbers("used"):
            await forever()

    put_away(handler())
    gc.collect()
    assert seen == ["used", "used refused", "kept", "kept refused"]
    assert not recwarn.list


def test_done_callbacks_are_told_after_everything_has_ended() -> None:
    seen: list[Any] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            seen.append("child")

    async def handler() -> None:
        asyncio.create_task(child()).add_done_callback(lambda task: seen.append(type(task.exception())))
        try:
            await forever()
        finally:
            seen.append("handler")

    put_away(handler())
    assert seen == ["child", "handler", RunPutAway]


def test_nothing_of_the_run_stays_in_anyio() -> None:
    async def handler() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(forever)
            async with anyio.create_task_group() as inner:
                inner.start_soon(forever)
                await anyio.sleep_forever()

    gc.collect()
    before = len(anyio_backend._task_states)
    put_away(handler())
    assert len(anyio_backend._task_states) == before


def test_the_context_of_a_task_is_there_on_its_way_out() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")
    seen: list[str] = []

    async def handler() -> None:
        token = var.set("mine")
        try:
            await forever()
        finally:
            seen.append(var.get())
            var.reset(token)

    put_away(handler())
    assert seen == ["mine"]


def test_an_interrupt_on_the_way_out_is_raised_when_all_is_put_away() -> None:
    seen: list[str] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            raise KeyboardInterrupt

    async def handler() -> None:
        asyncio.create_task(child())  # noqa: RUF006
        try:
            await forever()
        finally:
            seen.append("handler")

    loop, _ = started(handler())
    with pytest.raises(KeyboardInterrupt):
        loop.put_away(AWAY)
    assert seen == ["handler"]
    assert loop.tasks == []


def test_a_handler_that_exits_on_the_way_out_is_put_away_as_any_other() -> None:
    async def handler() -> None:
        asyncio.current_task().add_done_callback(lambda _: sys.exit("from a callback"))  # type: ignore[union-attr]
        try:
            await forever()
        finally:
            sys.exit("from the handler")

    loop, _ = started(handler())
    loop.put_away(AWAY)
    assert (loop.closed, loop.tasks) == (True, [])


def test_a_run_put_away_does_nothing_any_more() -> None:
    loop, task = started(forever())
    future = loop.create_future()
    future.add_done_callback(lambda _: pytest.fail("called back"))
    loop.put_away(AWAY)
    loop.put_away(AWAY)
    future.set_result(None)
    loop.call_soon(pytest.fail, "called")
    loop.call_later(0, pytest.fail, "called")
    loop.call_exception_handler({"message": "late"})
    loop.drain()
    assert loop.wake is None
    assert not loop.fire("timer")
    assert loop.problems == []
    assert task.done()


def test_a_run_put_away_is_freed_without_the_garbage_collector(caplog: pytest.LogCaptureFixture) -> None:
    async def child() -> None:
        try:
            async with asyncio.timeout(60):
                await asyncio.sleep(5)
        finally:
            await asyncio.sleep(1)

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await forever()

    async def handler() -> None:
        this().call_later(9, print)
        task = asyncio.create_task(child())
        with anyio.move_on_after(60):
            async for _ in numbers():
                await asyncio.gather(asyncio.shield(task), child(), asyncio.wait_for(child(), 7))

    gc.collect()
    gc.disable()
    try:
        loop, task = started(handler())
        loop.put_away(AWAY)
        gone = [weakref.ref(loop), weakref.ref(task)]
        del loop, task
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()
    assert not caplog.records


def test_a_run_that_ended_is_freed_by_being_put_away() -> None:
    async def handler() -> str:
        this().call_later(60, this().stop)
        return "done"

    gc.collect()
    gc.disable()
    try:
        loop, task = started(handler())
        assert task.result() == "done"
        loop.put_away(AWAY)
        gone = weakref.ref(loop)
        del loop, task
        assert gone() is None
    finally:
        gc.enable()
