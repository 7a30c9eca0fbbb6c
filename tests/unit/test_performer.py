"""Attempts and probes: run once when told to, cancelled, timed out, bounded, and reported exactly once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sqlite3
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import uvloop

from millstream.core.calls import Done, NotDone, ToolCall, Unknown
from millstream.core.effects import Effect, Ended, Policy, Retry
from millstream.core.graph import Codec, ToolSpec
from millstream.engine.outcomes import Outcome
from millstream.engine.performer import Call, Performer
from millstream.engine.threads import Job, Threads
from millstream.errors import NotSent

WAIT = 10.0  # seconds until a test gives up; none of them waits for it
SOON = 20_000  # us: a time-out that is meant to pass
LATE = 60_000_000  # us: one that is not
VALUE = Codec("int", lambda value: msgspec.json.encode(msgspec.convert(value, int)).decode(), msgspec.json.Decoder(int).decode)

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


@pytest.fixture
def threads() -> Iterator[Threads]:
    pool = Threads()
    yield pool
    pool.close()


def tool(fn: Callable[..., Any], *, timeout: int = LATE, effect: Effect = Effect.AT_MOST_ONCE, **options: Any) -> ToolSpec:
    policy = Policy(effect, Retry(on=options.pop("on", ())), timeout=timeout)
    return ToolSpec(options.pop("name", "charge"), fn, asyncio.iscoroutinefunction(fn), policy, VALUE, **options)


class Bench:
    """A performer, and its reports as they come."""

    def __init__(self, threads: Threads | None = None, overdue_after: float = 5.0) -> None:
        self.reports: list[tuple[str, int, Ended]] = []
        self._queue: asyncio.Queue[Outcome] = asyncio.Queue()
        self.performer = Performer(
            self._report, "resources", asyncio.get_running_loop(), threads=threads, overdue_after=overdue_after
        )
        self.inside = False
        self.bugs: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, details: self.bugs.append(details))

    def perform(self, spec: ToolSpec, *args: Any, step: str = "s", attempt: int = 1, **kwargs: Any) -> None:
        self._from_inside(self.performer.perform, 7, "7-run", step, attempt, f"key-{step}", Call(spec, args, kwargs))

    def probe(self, spec: ToolSpec, *args: Any, step: str = "s", attempt: int = 1, **kwargs: Any) -> None:
        self._from_inside(self.performer.probe, 7, "7-run", step, attempt, f"key-{step}", Call(spec, args, kwargs))

    def cancel(self, step: str = "s") -> None:
        self._from_inside(self.performer.cancel, 7, step)

    async def ended(self) -> Outcome:
        """The next report."""
        return await asyncio.wait_for(self._queue.get(), WAIT)

    async def outcome(self, spec: ToolSpec, *args: Any, **kwargs: Any) -> Outcome:
        """That of one attempt."""
        self.perform(spec, *args, **kwargs)
        return await self.ended()

    def _from_inside(self, command: Callable[..., None], *args: Any) -> None:
        self.inside = True
        command(*args)
        self.inside = False

    def _report(self, run: int, step: str, attempt: int, outcome: Outcome) -> None:
        assert not self.inside, "a report must not be made from inside a command"
        assert run == 7
        if outcome.ended is not Ended.OVERDUE:
            assert not self.performer.busy(run, step), "its end must be complete when it is reported"
        self.reports.append((step, attempt, outcome.ended))
        self._queue.put_nowait(outcome)

    async def nothing_more(self) -> None:
        """All is over, and nothing else is reported."""
        assert await self.performer.drain(WAIT) == 0
        await asyncio.sleep(0)
        assert self._queue.empty()
        assert self.bugs == []
        assert self.performer.running == 0


class Gate:
    """A coroutine tool that begins, says so, and goes on when it is let."""

    def __init__(self, result: Any = 1) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.result = result

    async def __call__(self) -> Any:
        self.began.set()
        await self.go.wait()
        return self.result


class Block:
    """A thread tool that begins, says so, and goes on when it is let."""

    def __init__(self, result: Any = 1) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.result = result

    def __call__(self) -> Any:
        self.began.set()
        assert self.go.wait(WAIT)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.began.wait, WAIT)


def gated(gate: Gate, **options: Any) -> ToolSpec:
    async def body() -> Any:
        return await gate()

    return tool(body, **options)


# --- one attempt ------------------------------------------------------------------------------------------------------------


def test_a_coroutine_s_result_is_encoded_and_reported_once(run: Run) -> None:
    async def add(a: int, *, b: int) -> int:
        return a + b

    async def main() -> None:
        bench = Bench()
        assert await bench.outcome(tool(add), 1, b=2) == Outcome(Ended.SUCCEEDED, "3")
        await bench.nothing_more()
        assert bench.reports == [("s", 1, Ended.SUCCEEDED)]

    run(main())


def test_a_function_runs_in_a_thread_that_bears_its_name(run: Run, threads: Threads) -> None:
    seen: list[str] = []

    def add(a: int, *, b: int) -> int:
        seen.append(threading.current_thread().name)
        return a + b

    async def main() -> None:
        bench = Bench(threads)
        assert await bench.outcome(tool(add, name="adder"), 1, b=2) == Outcome(Ended.SUCCEEDED, "3")
        await bench.nothing_more()

    run(main())
    assert seen == ["millstream adder"]


def test_the_tool_call_is_injected_where_it_is_asked_for(run: Run, threads: Threads) -> None:
    seen: list[Any] = []

    async def ask(a: int, call: Any = None) -> int:
        seen.append(call)
        return a

    def ask_in_thread(a: int, call: Any = None) -> int:
        seen.append(call)
        return a

    async def main() -> None:
        bench = Bench(threads)
        await bench.outcome(tool(ask, call_parameter="call"), 1, attempt=2)
        await bench.outcome(tool(ask_in_thread, call_parameter="call"), 1)
        await bench.outcome(tool(ask), 1)

    run(main())
    assert seen == [
        ToolCall("key-s", 2, "7-run", "7-run/s", "resources"),
        ToolCall("key-s", 1, "7-run", "7-run/s", "resources"),
        None,
    ]


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (ValueError("no such order"), Ended.FAILED),
        (NotSent("queue is full"), Ended.NOT_SENT),
        (ConnectionResetError("reset"), Ended.AMBIGUOUS),
        (asyncio.CancelledError("by its own hand"), Ended.AMBIGUOUS),
        (SystemExit("leave"), Ended.AMBIGUOUS),
        (KeyboardInterrupt("stop"), Ended.AMBIGUOUS),
        (GeneratorExit("close"), Ended.AMBIGUOUS),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_tool_raises_is_classified_and_stops_nothing_else(
    run: Run, threads: Threads, error: BaseException, ended: Ended
) -> None:
    async def fail() -> int:
        await asyncio.sleep(0)
        raise error

    def fail_in_thread() -> int:
        raise error

    async def main() -> None:
        bench = Bench(threads)
        for body in (fail, fail_in_thread):
            outcome = await bench.outcome(tool(body))
            assert (outcome.ended, outcome.result) == (ended, None)
            assert outcome.error == {"type": type(error).__name__, "message": str(error), "data": None}
        await bench.nothing_more()

    run(main())


def test_a_result_that_cannot_be_recorded_was_done_and_is_not_lost(run: Run, threads: Threads) -> None:
    async def text() -> str:
        return "seven"

    def text_in_thread() -> str:
        return "seven"

    async def main() -> None:
        bench = Bench(threads)
        for body in (text, text_in_thread):
            assert (await bench.outcome(tool(body))).ended is Ended.AMBIGUOUS
            assert (await bench.outcome(tool(body, effect=Effect.READ))).ended is Ended.FAILED

    run(main())


def test_a_named_failure_is_retryable(run: Run) -> None:
    async def busy() -> int:
        raise KeyError("busy")

    async def main() -> None:
        outcome = await Bench().outcome(tool(busy, on=(LookupError,)))
        assert (outcome.ended, outcome.retryable) == (Ended.FAILED, True)

    run(main())


def test_an_engine_started_while_an_exception_is_handled_does_not_take_it_for_the_tool_s(run: Run) -> None:
    async def fail() -> int:
        raise ValueError("no such order")

    async def main() -> None:
        assert (await Bench().outcome(tool(fail))).ended is Ended.FAILED

    try:
        raise ConnectionResetError("why it is started again")
    except ConnectionResetError:
        run(main())


def test_code_runs_in_a_copy_of_the_context_in_which_the_performer_was_made(run: Run, threads: Threads) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def look() -> int:
        value = variable.get()
        variable.set(99)
        return value

    def look_in_thread() -> int:
        value = variable.get()
        variable.set(99)
        return value

    async def main() -> None:
        variable.set(1)
        bench = Bench(threads)
        variable.set(2)  # as if a run's handler had called
        for body in (look, look, look_in_thread, look_in_thread):
            assert (await bench.outcome(tool(body))).result == "1"
        assert variable.get() == 2

    run(main())


def test_a_coroutine_tool_has_a_task_so_that_time_outs_and_anyio_work_inside(run: Run) -> None:
    async def inner() -> int:
        assert asyncio.current_task() is not None
        async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
            made = group.create_task(asyncio.sleep(0, 3))
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        return made.result()

    async def main() -> None:
        assert await Bench().outcome(tool(inner)) == Outcome(Ended.SUCCEEDED, "3")

    run(main())


def test_a_task_factory_of_the_application_has_no_say(run: Run) -> None:
    """An eager one (Python 3.12) would make the first step, and perhaps the report, inside ``perform``."""

    async def at_once() -> int:
        return 1

    async def main() -> None:
        asked: list[Any] = []

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            asked.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options)

        bench, loop = Bench(), asyncio.get_running_loop()
        loop.set_task_factory(factory)  # type: ignore[arg-type]
        bench.perform(tool(at_once))
        assert asked == []
        if type(loop).__module__.startswith("uvloop"):
            loop.set_task_factory(None)  # uvloop hands CPython's eager factory an option that 3.13.0 does not take
        else:
            loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "1")
        assert await bench.outcome(tool(at_once)) == Outcome(Ended.SUCCEEDED, "1")  # Bench checks where reports come from

    run(main())


def test_the_report_may_start_the_next_attempt_at_once(run: Run) -> None:
    async def again() -> int:
        raise NotSent

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        attempts: list[int] = []

        def report(run: int, step: str, attempt: int, outcome: Outcome) -> None:
            attempts.append(attempt)
            if attempt < 3:
                performer.perform(run, "r", step, attempt + 1, "k", call)
            else:
                done.set()

        performer, call = Performer(report, None, loop), Call(tool(again), (), {})
        performer.perform(1, "r", "s", 1, "k", call)
        await asyncio.wait_for(done.wait(), WAIT)
        assert attempts == [1, 2, 3]

    run(main())


# --- beside each other ------------------------------------------------------------------------------------------------------


def test_nothing_of_a_step_starts_while_its_code_still_runs(run: Run) -> None:
    async def probe(call: ToolCall) -> NotDone:
        return NotDone()

    async def main() -> None:
        bench, gate = Bench(), Gate()
        spec = gated(gate, probe=probe)
        bench.perform(spec)
        assert bench.performer.busy(7, "s")
        with pytest.raises(RuntimeError, match=r"step s of run 7: attempt 2 was to start while code of attempt 1 still runs here"):
            bench.performer.perform(7, "7-run", "s", 2, "k", Call(spec, (), {}))
        with pytest.raises(RuntimeError, match="still runs here"):
            bench.performer.probe(7, "7-run", "s", 1, "k", Call(spec, (), {}))
        bench.perform(spec, step="another")
        assert bench.performer.running == 2
        gate.go.set()
        assert [(await bench.ended()).ended for _ in range(2)] == [Ended.SUCCEEDED] * 2
        assert not bench.performer.busy(7, "s")
        await bench.nothing_more()

    run(main())


# --- cancellation -----------------------------------------------------------------------------------------------------------


def test_cancellation_is_delivered_to_a_coroutine_and_leaves_it_ambiguous(run: Run) -> None:
    async def main() -> None:
        bench, gate = Bench(), Gate()
        bench.perform(gated(gate))
        await gate.began.wait()
        bench.cancel()
        outcome = await bench.ended()
        assert outcome.ended is Ended.AMBIGUOUS
        assert outcome.error == {"type": "CancelledError", "message": "charge: cancelled while it ran", "data": None}
        bench.cancel()  # nothing runs any more
        await bench.nothing_more()

    run(main())


def test_a_coroutine_that_is_cancelled_before_its_first_step_was_not_sent(run: Run) -> None:
    ran = False

    async def body() -> int:
        nonlocal ran
        ran = True
        return 1

    async def main() -> None:
        bench = Bench()
        bench.perform(tool(body))
        bench.cancel()
        bench.cancel()
        assert (await bench.ended()).ended is Ended.NOT_SENT
        await bench.nothing_more()
        assert not ran

    run(main())


def test_cancellation_is_delivered_once_and_no_time_out_after_it(run: Run) -> None:
    async def main() -> None:
        told = 0
        began, go = asyncio.Event(), asyncio.Event()

        async def deaf() -> int:
            nonlocal told
            began.set()
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    told += 1
            return told

        bench = Bench(overdue_after=2 * SOON / 1e6)
        bench.perform(tool(deaf, timeout=SOON))
        await began.wait()
        bench.cancel()
        await asyncio.sleep(0)
        bench.cancel()
        assert (await bench.ended()).ended is Ended.OVERDUE  # by now its time-out has passed, too
        go.set()
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "1")

    run(main())


def test_a_result_in_spite_of_cancellation_is_the_outcome(run: Run) -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def stubborn() -> int:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return 42
            return 0

        bench = Bench()
        bench.perform(tool(stubborn))
        await began.wait()
        bench.cancel()
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "42")
        await bench.nothing_more()

    run(main())


def test_not_sent_and_declared_errors_hold_in_spite_of_cancellation_and_others_do_not(run: Run) -> None:
    class Declined(Exception):
        pass

    async def main() -> None:
        for error, ended in ((NotSent(), Ended.NOT_SENT), (Declined(), Ended.FAILED), (AttributeError(), Ended.AMBIGUOUS)):
            began = asyncio.Event()

            async def clean_up(error: Exception = error, began: asyncio.Event = began) -> int:
                began.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    raise error

            bench = Bench()
            bench.perform(tool(clean_up, raises=(Declined,)))
            await began.wait()
            bench.cancel()
            assert (await bench.ended()).ended is ended

    run(main())


def test_a_coroutine_that_ignores_cancellation_is_overdue_and_its_end_still_comes(run: Run) -> None:
    async def main() -> None:
        gate = Gate(result=3)

        async def deaf() -> Any:
            waiting = asyncio.ensure_future(gate())
            while not waiting.done():
                try:
                    await asyncio.shield(waiting)
                except asyncio.CancelledError:
                    pass
            return waiting.result()

        bench = Bench(overdue_after=0.01)
        bench.perform(tool(deaf))
        await gate.began.wait()
        bench.cancel()
        bench.cancel()
        outcome = await bench.ended()
        assert outcome.ended is Ended.OVERDUE
        assert outcome.error is not None
        assert outcome.error["message"] == "charge: cancelled, and its code still runs"
        assert bench.performer.busy(7, "s")
        gate.go.set()
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "3")
        await bench.nothing_more()
        assert [ended for _, _, ended in bench.reports] == [Ended.OVERDUE, Ended.SUCCEEDED]

    run(main())


def test_to_a_thread_nothing_can_be_delivered(run: Run, threads: Threads) -> None:
    async def main() -> None:
        bench, block = Bench(threads), Block()
        bench.perform(tool(lambda: block()))
        await block.begun()
        bench.cancel()
        block.go.set()
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "1")
        await bench.nothing_more()

    run(main())


def test_a_call_that_still_waits_for_a_thread_is_withdrawn(run: Run) -> None:
    async def main() -> None:
        pool, block, ran = Threads(limit=1), Block(), threading.Event()
        bench = Bench(pool)
        bench.perform(tool(lambda: block()), step="first")
        await block.begun()
        bench.perform(tool(lambda: ran.set() or 1), step="second")
        bench.cancel("second")
        bench.cancel("second")
        assert (await bench.ended()).ended is Ended.NOT_SENT
        block.go.set()
        assert (await bench.ended()).ended is Ended.SUCCEEDED
        await bench.nothing_more()
        assert not ran.is_set()
        pool.close()

    run(main())


def test_where_there_is_no_thread_it_was_not_sent(run: Run) -> None:
    async def main() -> None:
        pool = Threads()
        pool.close()
        outcome = await Bench(pool).outcome(tool(lambda: 1))
        assert outcome.ended is Ended.NOT_SENT
        assert outcome.error is not None
        assert "the pool is closed" in outcome.error["message"]

    run(main())


# --- time-outs --------------------------------------------------------------------------------------------------------------


def test_a_coroutine_that_takes_too_long_is_cancelled_and_may_have_happened(run: Run) -> None:
    async def main() -> None:
        bench, gate = Bench(), Gate()
        outcome = await bench.outcome(gated(gate, timeout=SOON))
        assert outcome.ended is Ended.AMBIGUOUS
        assert outcome.error == {"type": "TimeoutError", "message": "charge: its time-out of 0.02 s has passed", "data": None}
        await bench.nothing_more()

    run(main())


def test_a_result_after_the_time_out_is_evidence(run: Run) -> None:
    async def late() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            return 42  # noqa: B012

    async def main() -> None:
        bench = Bench()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            assert await bench.outcome(tool(late, timeout=SOON)) == Outcome(Ended.SUCCEEDED, "42")
        await bench.nothing_more()

    run(main())


def test_a_coroutine_is_told_once_that_its_time_has_passed_and_again_when_it_is_cancelled(run: Run) -> None:
    async def main() -> None:
        told = 0
        again = asyncio.Event()

        async def slow_to_hear() -> int:
            nonlocal told
            while told < 2:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    told += 1
                    again.set()
            return told

        bench = Bench()
        bench.perform(tool(slow_to_hear, timeout=SOON))
        await again.wait()
        bench.cancel()
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "2")
        await bench.nothing_more()

    run(main())


def test_time_outs_fall_due_in_their_order_and_spare_what_has_ended(run: Run) -> None:
    async def main() -> None:
        bench, gate, never = Bench(overdue_after=SOON / 2e6), Gate(), Gate()
        bench.perform(gated(never, timeout=3 * SOON), step="later")
        for number in range(3):
            bench.perform(gated(never, timeout=SOON), step=f"soon{number}")
        bench.perform(gated(gate, timeout=SOON), step="in time")
        await gate.began.wait()
        gate.go.set()
        assert [(await bench.ended()).ended for _ in range(5)] == [Ended.SUCCEEDED, *[Ended.AMBIGUOUS] * 4]
        assert [step for step, _, _ in bench.reports] == ["in time", "soon0", "soon1", "soon2", "later"]
        await bench.nothing_more()
        assert bench.performer._deadlines._lines == {}, "a line without works is given up"

    run(main())


def test_a_thread_past_its_time_out_is_overdue_at_once_and_its_end_still_comes(run: Run, threads: Threads) -> None:
    async def main() -> None:
        for result, ended in ((1, Ended.SUCCEEDED), (ValueError(), Ended.FAILED), (EOFError(), Ended.AMBIGUOUS)):
            bench, block = Bench(threads), Block(result)
            bench.perform(tool(block.__call__, timeout=SOON))
            outcome = await bench.ended()
            assert outcome.ended is Ended.OVERDUE
            assert outcome.error is not None
            assert outcome.error["type"] == "TimeoutError"
            assert outcome.error["message"] == "charge: its time-out of 0.02 s has passed, and its code still runs"
            assert bench.performer.busy(7, "s")
            block.go.set()
            assert (await bench.ended()).ended is ended
            await bench.nothing_more()

    run(main())


def test_a_thread_that_ended_in_time_is_never_overdue(run: Run, threads: Threads) -> None:
    async def main() -> None:
        bench = Bench(threads)
        assert (await bench.outcome(tool(lambda: 1, timeout=SOON))).ended is Ended.SUCCEEDED
        assert (await bench.outcome(gated(Gate(), timeout=2 * SOON))).ended is Ended.AMBIGUOUS  # that time-out is over
        assert [ended for _, _, ended in bench.reports] == [Ended.SUCCEEDED, Ended.AMBIGUOUS]
        await bench.nothing_more()

    run(main())


def test_the_time_of_waiting_for_a_thread_does_not_count(run: Run) -> None:
    async def main() -> None:
        pool, block = Threads(limit=1), Block()
        bench = Bench(pool)
        bench.perform(tool(lambda: block(), timeout=2 * SOON), step="first")
        await block.begun()
        bench.perform(tool(lambda: 1, timeout=SOON), step="second")
        await bench.ended()  # the first is overdue: by now the second has waited longer than its time-out
        block.go.set()
        await bench.ended()
        await bench.ended()
        assert bench.reports == [("first", 1, Ended.OVERDUE), ("first", 1, Ended.SUCCEEDED), ("second", 1, Ended.SUCCEEDED)]
        await bench.nothing_more()
        pool.close()

    run(main())


# --- probes -----------------------------------------------------------------------------------------------------------------


def verified(probe: Callable[..., Any], **options: Any) -> ToolSpec:
    async def body(order: int, *, cents: int) -> int:
        raise AssertionError("a probe performs nothing")

    return tool(body, effect=Effect.VERIFIED, probe=probe, call_parameter="call", **options)


def answering(answer: Any) -> Iterator[Callable[..., Any]]:
    def probe(call: ToolCall, order: int, *, cents: int) -> Any:
        assert (call.idempotency_key, call.attempt, order, cents) == ("key-s", 2, 5, 100)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def probe_async(call: ToolCall, order: int, *, cents: int) -> Any:
        return probe(call, order, cents=cents)

    yield probe
    yield probe_async


@pytest.mark.parametrize(
    ("answer", "ended", "result", "error"),
    [
        (Done(7), Ended.SUCCEEDED, "7", None),
        (NotDone(), Ended.NOT_DONE, None, None),
        (Unknown(), Ended.UNKNOWN, None, None),
        (Done("seven"), Ended.UNKNOWN, None, "ResultNotEncodable"),
        (True, Ended.UNKNOWN, None, "TypeError"),
        (ConnectionResetError(), Ended.UNANSWERED, None, "ConnectionResetError"),
        (NotSent(), Ended.UNANSWERED, None, "NotSent"),
    ],
    ids=["done", "not done", "unknown", "done but what", "no answer", "raises", "raises NotSent"],
)
def test_a_probe_is_asked_with_the_call_and_the_arguments(
    run: Run, threads: Threads, answer: Any, ended: Ended, result: str | None, error: str | None
) -> None:
    async def main() -> None:
        for probe in answering(answer):
            bench = Bench(threads)
            bench.probe(verified(probe), 5, cents=100, attempt=2)
            outcome = await bench.ended()
            assert (outcome.ended, outcome.result) == (ended, result)
            assert (outcome.error or {}).get("type") == error
            await bench.nothing_more()
            assert bench.reports == [("s", 2, ended)]

    run(main())


def test_a_probe_that_takes_too_long_has_not_answered(run: Run) -> None:
    async def probe(call: ToolCall) -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        bench = Bench()
        bench.probe(verified(probe, timeout=SOON))
        outcome = await bench.ended()
        assert outcome.ended is Ended.UNANSWERED
        assert outcome.error is not None
        assert outcome.error["message"] == "the probe of charge: its time-out of 0.02 s has passed"
        await bench.nothing_more()

    run(main())


def test_a_probe_s_thread_past_its_time_out_is_overdue_and_its_answer_still_comes(run: Run, threads: Threads) -> None:
    async def main() -> None:
        bench, block = Bench(threads), Block(Done(7))
        bench.probe(verified(lambda call: block(), timeout=SOON))
        assert (await bench.ended()).ended is Ended.OVERDUE
        block.go.set()
        assert await bench.ended() == Outcome(Ended.SUCCEEDED, "7")
        await bench.nothing_more()

    run(main())


def test_a_tool_without_a_probe_cannot_be_probed(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="tool charge has no probe"):
            Bench().probe(tool(lambda: 1))

    run(main())


# --- transactions -----------------------------------------------------------------------------------------------------------


def transactional(path: Path, body: Callable[..., Any], **options: Any) -> ToolSpec:
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE IF NOT EXISTS payments (order_id TEXT)")
    made.close()
    return tool(body, effect=Effect.TRANSACTIONAL, database=lambda: sqlite3.connect(path), connection_parameter="conn", **options)


def payments(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM payments").fetchone()[0])
    finally:
        connection.close()


def test_a_transactional_tool_is_committed_with_its_key(run: Run, threads: Threads, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    def pay(order: str, conn: Any, call: ToolCall) -> int:
        conn.execute("INSERT INTO payments VALUES (?)", (order,))
        assert call.idempotency_key == "key-s"
        return 1

    async def main() -> None:
        bench, spec = Bench(threads), transactional(path, pay, call_parameter="call")
        for attempt in (1, 2):
            assert await bench.outcome(spec, "a", attempt=attempt) == Outcome(Ended.SUCCEEDED, "1")
        assert payments(path) == 1, "the second attempt adopts the first one's result"

    run(main())


def test_a_cancelled_transaction_is_rolled_back_and_was_not_sent(run: Run, threads: Threads, tmp_path: Path) -> None:
    path, block = tmp_path / "shop.db", Block()

    def pay(conn: Any) -> Any:
        conn.execute("INSERT INTO payments VALUES ('a')")
        return block()

    async def main() -> None:
        bench, spec = Bench(threads), transactional(path, pay)
        bench.perform(spec)
        await block.begun()
        bench.cancel()
        block.go.set()
        outcome = await bench.ended()
        assert outcome.ended is Ended.NOT_SENT
        assert outcome.error is not None
        assert outcome.error["type"] == "CancelledError"
        assert payments(path) == 0
        assert await bench.outcome(spec, attempt=2) == Outcome(Ended.SUCCEEDED, "1")
        assert payments(path) == 1

    run(main())


def test_a_transaction_past_its_time_out_is_overdue_and_then_rolled_back(run: Run, threads: Threads, tmp_path: Path) -> None:
    path, block = tmp_path / "shop.db", Block()

    def pay(conn: Any) -> Any:
        conn.execute("INSERT INTO payments VALUES ('a')")
        return block()

    async def main() -> None:
        bench = Bench(threads)
        bench.perform(transactional(path, pay, timeout=5 * SOON))
        assert (await bench.ended()).ended is Ended.OVERDUE
        block.go.set()
        outcome = await bench.ended()
        assert outcome.ended is Ended.NOT_SENT
        assert outcome.error is not None
        assert outcome.error["type"] == "TimeoutError"
        assert payments(path) == 0
        await bench.nothing_more()

    run(main())


# --- stopping ---------------------------------------------------------------------------------------------------------------


def test_stopping_refuses_what_has_not_begun_and_lets_the_rest_end(run: Run) -> None:
    async def main() -> None:
        pool, block, gate = Threads(limit=1), Block(), Gate()
        bench = Bench(pool)
        bench.perform(tool(lambda: block(), name="blocks"), step="thread")
        await block.begun()
        bench.perform(tool(lambda: 1, name="blocks"), step="waits for a thread")
        bench.perform(gated(gate), step="runs")
        await gate.began.wait()
        bench.performer.stop()
        bench.perform(gated(gate), step="too late")
        bench.performer.stop()
        for _ in range(2):
            outcome = await bench.ended()
            assert outcome.ended is Ended.NOT_SENT
            assert outcome.error is not None
            assert outcome.error["message"].endswith("was withdrawn before its code began: the engine is stopping")
        assert await bench.performer.drain(0.001) == 2
        gate.go.set()
        block.go.set()
        assert await bench.performer.drain(WAIT) == 0
        assert sorted(bench.reports) == [
            ("runs", 1, Ended.SUCCEEDED),
            ("thread", 1, Ended.SUCCEEDED),
            ("too late", 1, Ended.NOT_SENT),
            ("waits for a thread", 1, Ended.NOT_SENT),
        ]
        pool.close()

    run(main())


def test_a_probe_may_be_asked_while_stopping(run: Run) -> None:
    async def probe(call: ToolCall) -> Any:
        return NotDone()

    async def main() -> None:
        bench = Bench()
        bench.performer.stop()
        bench.probe(verified(probe))
        assert (await bench.ended()).ended is Ended.NOT_DONE

    run(main())


def test_draining_an_idle_performer_returns_at_once(run: Run) -> None:
    async def main() -> None:
        assert await Bench().performer.drain(WAIT) == 0

    run(main())


def test_a_coroutine_that_outlives_its_loop_reports_nothing_when_it_is_collected() -> None:
    reports: list[Outcome] = []

    async def hang() -> int:
        await asyncio.Event().wait()
        return 1

    async def begin() -> None:
        performer = Performer(lambda *report: reports.append(report[3]), None, asyncio.get_running_loop())
        performer.perform(1, "r", "s", 1, "k", Call(tool(hang), (), {}))
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, details: None)  # "Task was destroyed but it is pending": that is the point
    loop.run_until_complete(begin())
    loop.close()
    del loop
    gc.collect()
    assert reports == []


def test_a_thread_that_outlives_its_loop_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[Outcome] = []
    bugs: list[Any] = []
    pool, block = Threads(), Block()

    async def begin() -> None:
        performer = Performer(lambda *report: reports.append(report[3]), None, asyncio.get_running_loop(), threads=pool)
        performer.perform(1, "r", "s", 1, "k", Call(tool(lambda: block()), (), {}))
        await block.begun()

    asyncio.run(begin())
    monkeypatch.setattr(threading, "excepthook", bugs.append)
    ended = threading.Event()
    pool._line.append(pool_job := Job(ended.set, "after", contextvars.copy_context(), pool._lock))
    block.go.set()
    assert ended.wait(WAIT)
    assert pool_job.began is not None
    pool.close()
    assert (reports, bugs) == ([], [])


def test_every_attempt_has_one_end_whatever_hits_it(run: Run, threads: Threads) -> None:
    """Many attempts, some cancelled at any moment, some timed out: each is reported once."""

    async def main() -> None:
        bench = Bench(threads)

        async def some(steps: int) -> int:
            for _ in range(steps):
                await asyncio.sleep(0)
            return steps

        slow = tool(some, timeout=1)
        fast = tool(some)
        for number in range(600):
            bench.perform(slow if number % 5 == 0 else fast, number % 11, step=str(number))
            if number % 3 == 0:
                bench.cancel(str(number // 2))
            if number % 4 == 0:
                await asyncio.sleep(0)
        await bench.performer.drain(WAIT)
        assert sorted(int(step) for step, _, _ in bench.reports) == list(range(600))
        assert {ended for _, _, ended in bench.reports} == {Ended.SUCCEEDED, Ended.AMBIGUOUS, Ended.NOT_SENT}

    run(main())
