"""What a handler sees of its run, on the loop and the handle that the engine gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from millstream.agents.agent import Agent
from millstream.agents.app import App
from millstream.agents.context import Context, Signal
from millstream.agents.tools import tool
from millstream.core import runs as r
from millstream.core.commands import Deliver, Start
from millstream.core.effects import Effect
from millstream.core.facts import Advanced, Raised, Returned, StepCall
from millstream.core.identity import KeyMaker
from millstream.core.tables import JSON, EventRow
from millstream.engine.runs import Runs
from millstream.errors import DeclarationError, NotFound, UsageError

BEGIN = datetime(2024, 5, 1, 12, 0, 0, 123, tzinfo=UTC)
US = timedelta(microseconds=1)


def us(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // US


class Failed(Exception):
    """A run ended with an error."""


class World:
    """One run, driven by hand as the core and the performer would: what it asks for is in ``calls`` and ``timer``."""

    def __init__(self, app: App, agent: Agent[Any, Any, Any], payload: str = "{}", state: str | None = None) -> None:
        self.runs = Runs(app.graph(), KeyMaker(app.name, "store"), {"db": 1})
        self.at = us(BEGIN)
        self.calls: list[StepCall] = []
        event = EventRow(1, 0, "orders", "k", "e-1", us(BEGIN) - 5_000_000, us(BEGIN), None, None, None, JSON, payload)
        self.end: Returned | Raised | None = None
        self._note(self.runs.start(Start(7, "3-0-7", agent.name, "k", event, state, self.at, self.at, 0)))

    def deliver(self, kind: str, step: str = "", **fields: Any) -> None:
        values: dict[str, Any] = (
            dict.fromkeys(Deliver.__struct_fields__)
            | {"run": 7, "kind": kind, "at": self.at, "seen": self.at, "step": step}
            | fields
        )
        advanced = self.runs.deliver(Deliver(**values))
        assert advanced is not None
        self._note(advanced)

    def signal(self, value: str, by: str | None = "ann") -> None:
        (call,) = self.calls
        self.deliver(r.RECEIVED, call.step, value=value, by=by, sent=self.at, id="s-1")

    def fire(self) -> None:
        assert self.timer is not None
        self.at, step = self.timer
        self.deliver(r.FIRED, step)

    def perform(self) -> None:
        """Call the body of the oldest step that is asked for."""
        call = self.calls.pop(0)
        spec = call.body.spec
        value = spec.fn(*call.body.args, **call.body.kwargs)
        value = asyncio.run(value) if spec.is_async else value
        self.deliver(r.RESULTED, call.step, value=spec.result.encode(value))

    def returned(self) -> Returned:
        while self.end is None:
            self.perform()
        if isinstance(self.end, Raised):
            raise Failed(f"{self.end.error['type']}: {self.end.error['message']}")
        return self.end

    def _note(self, advanced: Advanced) -> None:
        self.calls = [call for call in self.calls if call.step not in advanced.cancels] + advanced.calls
        self.timer = advanced.timer
        self.state = advanced.state
        self.end = advanced.end


@dataclass
class Order:
    id: str
    total: Decimal = Decimal(0)


@dataclass
class Spent:
    total: Decimal = Decimal(0)
    orders: list[str] = field(default_factory=list)


Handle = Callable[[Context[Any], Any], Coroutine[Any, Any, Any]]


def agent_of(handler: Handle, *, state: Any = dict, **options: Any) -> tuple[App, Agent[Any, Any, Any]]:
    app = App("test")
    app.stream("alerts", type=Order, key="id")
    declare: Any = app.agent(state=state, name="agent", **options)
    return app, declare(handler)


def run(handler: Handle, *, payload: str = "{}", before: str | None = None, **options: Any) -> World:
    return World(*agent_of(handler, **options), payload=payload, state=before)


@contextmanager
def raising(error: type[Exception], says: str) -> Iterator[None]:
    """Within a handler: as ``pytest.raises``, which is not for async code that is driven from outside."""
    with pytest.raises(error, match=says):
        yield


# --- what the run is about


def test_a_handler_gets_its_event_decoded_and_knows_what_it_handles() -> None:
    async def handler(ctx: Context[Any], order: Order) -> Order:
        assert order == Order("o-1", Decimal("1.50"))
        assert (ctx.key, ctx.run_id, ctx.resources) == ("k", "3-0-7", {"db": 1})
        assert (ctx.event.id, ctx.event.time, ctx.event.arrival) == ("e-1", BEGIN - timedelta(seconds=5), BEGIN)
        return order

    end = run(handler, payload='{"id":"o-1","total":"1.50"}').returned()
    assert end.output is not None
    assert (end.output.stream, end.answer) == ("agent.output", '{"id":"o-1","total":"1.50"}')


def test_none_is_not_put_into_the_output() -> None:
    async def handler(ctx: Context[Any], event: Any) -> Order | None:
        return None

    assert run(handler).returned().output is None


# --- state


def test_state_begins_as_its_type_called_without_arguments() -> None:
    async def handler(ctx: Context[Spent], order: Order) -> None:
        assert ctx.state == Spent()
        ctx.state.total += order.total
        ctx.state.orders.append(order.id)

    end = run(handler, payload='{"id":"o-1","total":"2"}', state=Spent).returned()
    assert end.state == '{"orders":["o-1"],"total":"2"}'


def test_state_is_what_the_last_run_left() -> None:
    async def handler(ctx: Context[Spent], event: Any) -> None:
        assert ctx.state is ctx.state
        assert ctx.state == Spent(Decimal("1.50"), ["a"])
        ctx.state = Spent(ctx.state.total + 1)

    end = run(handler, state=Spent, before='{"total":"1.50","orders":["a"]}').returned()
    assert end.state == '{"orders":[],"total":"2.50"}'


@pytest.mark.parametrize("before", [None, '{"n":1}'])
def test_state_that_was_not_changed_is_not_written(before: str | None) -> None:
    async def untouched(ctx: Context[Any], event: Any) -> None: ...

    async def reads(ctx: Context[Any], event: Any) -> None:
        ctx.state.get("n")

    async def changes_back(ctx: Context[Any], event: Any) -> None:
        ctx.state["x"] = 1
        del ctx.state["x"]

    for handler in (untouched, reads, changes_back):
        assert run(handler, before=before).returned().state is None


def test_state_that_could_not_be_read_back_fails_the_run_instead_of_the_next_one() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        ctx.state["seen"] = {1, 2}

    with pytest.raises(Failed, match=r"TypeError: \$\['seen'\] is \{1, 2\} \(set\)"):
        run(handler).returned()


def test_a_released_run_finds_the_state_as_it_is_when_it_wakes() -> None:
    async def handler(ctx: Context[Any], event: Any) -> int:
        ctx.state["mine"] = 1
        await ctx.receive("go")
        before = dict(ctx.state)
        ctx.state["after"] = 2
        return len(before)

    world = run(handler, waiting="release")
    assert world.state == '{"mine":1}'
    world.deliver(r.RESUMED, value='{"others":3,"mine":1}')
    assert world.state is None
    world.signal("null")
    end = world.returned()
    assert (end.answer, end.state) == ("2", '{"after":2,"mine":1,"others":3}')


# --- time and chance


def test_time_is_that_of_the_last_fact_to_the_microsecond() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        assert ctx.now() == BEGIN
        await ctx.sleep("7d")
        assert ctx.now() == BEGIN + timedelta(days=7)
        await ctx.sleep_until(BEGIN + timedelta(days=9))
        assert ctx.now() == BEGIN + timedelta(days=9)
        await ctx.sleep_until(BEGIN)

    world = run(handler)
    world.fire()
    world.fire()
    world.returned()


def test_a_time_without_a_zone_is_refused() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        await ctx.sleep_until(datetime(2024, 1, 1))  # noqa: DTZ001

    with pytest.raises(Failed, match=r"UsageError: ctx.sleep_until\(.*a time without a zone is no time"):
        run(handler).returned()


def test_timeout_cancels_what_is_not_done_by_then() -> None:
    async def handler(ctx: Context[Any], event: Any) -> str:
        try:
            async with ctx.timeout("10s"):
                await ctx.sleep("1h")
        except TimeoutError:
            return "late"
        return "done"

    world = run(handler)
    world.fire()
    assert (world.at, world.returned().answer) == (us(BEGIN) + 10_000_000, '"late"')


def test_chance_is_the_same_in_every_replay() -> None:
    async def handler(ctx: Context[Any], event: Any) -> list[Any]:
        return [ctx.random(), ctx.random(), str(ctx.uuid()), str(ctx.uuid())]

    first, again = run(handler).returned().answer, run(handler).returned().answer
    assert first == again
    assert len(set(first.strip("[]").split(","))) == 4


# --- steps


def fetch(url: str, tries: int = 1) -> tuple[str, int]:
    return url, tries


async def double(n: Decimal) -> Decimal:
    return n * 2


def test_any_function_can_be_recorded_as_a_step() -> None:
    async def handler(ctx: Context[Any], event: Any) -> list[Any]:
        page = await ctx.step("fetch", fetch, "http://x", 2)
        assert page == ("http://x", 2)
        assert await ctx.step("double", double, Decimal("1.5")) == Decimal("3.0")
        return [await ctx.step(f"n-{n}", lambda n: n, n) for n in range(3)]

    world = run(handler)
    call = world.calls[0]
    assert (call.step, call.name, call.args, call.policy.effect) == ("fetch", "fetch", '[["http://x",2],{}]', Effect.READ)
    assert world.returned().answer == "[0,1,2]"


def test_a_step_sees_the_variables_of_its_own_call() -> None:
    async def handler(ctx: Context[Any], event: Any) -> list[int]:
        results = []
        for n in range(3):

            def body() -> int:
                return n  # noqa: B023 - the point

            results.append(await ctx.step("same", body))
        return results

    assert run(handler).returned().answer == "[0,1,2]"


def test_a_step_of_another_class_says_so() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        await ctx.step("pay", fetch, "x", effect=Effect.AT_MOST_ONCE, timeout="5s")

    policy = run(handler).calls[0].policy
    assert (policy.effect, policy.timeout) == (Effect.AT_MOST_ONCE, 5_000_000)


def test_what_cannot_be_a_step_is_refused() -> None:
    def unreadable() -> complex:
        return 1j

    async def handler(ctx: Context[Any], event: Any) -> None:
        with raising(DeclarationError, r"test_context.py:\d+: ctx.step knows no probe or database, as effect VERIFIED needs"):
            await ctx.step("x", fetch, "x", effect=Effect.VERIFIED)
        with raising(DeclarationError, "step unreadable: its result cannot be recorded: complex"):
            await ctx.step("x", unreadable)
        with raising(TypeError, "missing a required argument: 'url'"):
            await ctx.step("x", fetch)  # type: ignore[call-arg, arg-type]
        with raising(TypeError, "x: argument 1 is <object"):
            await ctx.step("x", lambda thing: None, object())
        with raising(TypeError, "the name of a step is text and not empty"):
            await ctx.step("", fetch, "x")

    world = run(handler)
    assert world.calls == []
    world.returned()


def test_steps_in_a_scope_are_named_under_it() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        with ctx.scope("second"):
            await ctx.step("fetch", fetch, "x")

    assert run(handler).calls[0].step == "second/fetch"


def test_tools_of_a_run_are_steps_of_it() -> None:
    @tool(effect=Effect.IDEMPOTENT)
    async def charge(order: Order) -> Order:
        return Order(order.id, order.total + 1)

    async def handler(ctx: Context[Any], order: Order) -> Decimal:
        charged = await charge(order)
        assert type(charged) is Order
        return charged.total

    assert run(handler, payload='{"id":"o-1","total":"1"}').returned().answer == '"2"'


def test_as_completed_starts_in_the_order_given_and_gives_in_the_order_of_results() -> None:
    async def named(ctx: Context[Any], name: str) -> str:
        return await ctx.step(name, lambda: name)

    async def handler(ctx: Context[Any], event: Any) -> list[str]:
        return [await done for done in ctx.as_completed([named(ctx, name) for name in "abcdefgh"])]

    world = run(handler)
    assert [call.name for call in world.calls] == list("abcdefgh")
    world.calls.sort(key=lambda call: "dacbhgfe".index(call.name))
    assert world.returned().answer == '["d","a","c","b","h","g","f","e"]'


def test_as_completed_gives_an_exception_where_its_awaitable_failed() -> None:
    async def fails() -> str:
        raise LookupError("no")

    async def handler(ctx: Context[Any], event: Any) -> list[str]:
        results = []
        for done in ctx.as_completed([fails(), asyncio.sleep(0, "slept")]):
            try:
                results.append(await done)
            except LookupError as error:
                results.append(str(error))
        return results

    assert run(handler).returned().answer == '["no","slept"]'


# --- signals


def test_a_signal_is_received_with_who_when_and_id() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        signal = await ctx.receive("approval", about=17, type=Order)
        assert signal == Signal(value=Order("o-1"), by="ann", at=BEGIN, id="s-1")

    world = run(handler)
    (call,) = world.calls
    assert (call.kind, call.name, call.about, world.timer) == ("receive", "approval", "17", None)
    world.signal('{"id":"o-1"}')
    world.returned()


def test_a_signal_that_does_not_come_in_time_is_a_timeout_that_says_which() -> None:
    async def handler(ctx: Context[Any], event: Any) -> str:
        try:
            await ctx.receive("approval", about="o-1", timeout="24h")
        except TimeoutError as late:
            return str(late)
        return "received"

    world = run(handler)
    world.fire()
    assert world.at == us(BEGIN) + 86_400_000_000
    assert world.calls == []
    assert world.returned().answer == "\"no signal 'approval' about 'o-1' within 24h\""


def test_a_signal_in_time_is_received_and_the_timer_is_forgotten() -> None:
    async def handler(ctx: Context[Any], event: Any) -> Any:
        return (await ctx.receive("approval", timeout="24h")).value

    world = run(handler)
    world.signal('{"ok":true}', by=None)
    assert world.timer is None
    assert world.returned().answer == '{"ok":true}'


# --- other agents and streams


def test_what_is_emitted_and_sent_leaves_with_the_completion() -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        ctx.emit("alerts", Order("o-1"))
        ctx.emit("alerts", Order("o-2"), key=5)
        ctx.emit("agent.output", "mine")
        ctx.send("agent", "other", {"n": 1})

    emitted = run(handler).returned().emitted
    assert [(one.stream, one.key, one.payload, one.agent) for one in emitted] == [
        ("alerts", "o-1", '{"id":"o-1","total":"0"}', None),
        ("alerts", "5", '{"id":"o-2","total":"0"}', None),
        ("agent.output", "k", '"mine"', None),
        ("", "other", '{"n":1}', "agent"),
    ]


def test_streams_and_agents_are_given_as_objects_too() -> None:
    app = App("test")
    alerts = app.stream("alerts", type=Order, key="id")

    @app.agent()
    async def first(ctx: Context[Any], order: Order) -> None:
        ctx.emit(alerts, order)
        ctx.send(second, order.id, order)

    @app.agent()
    async def second(ctx: Context[Any], order: Order) -> None: ...

    emitted = World(app, first, '{"id":"o-1"}').returned().emitted
    assert [(one.stream, one.agent, one.key) for one in emitted] == [("alerts", None, "o-1"), ("", "second", "o-1")]


def test_a_wrong_value_or_target_is_an_error_of_the_line_that_gave_it() -> None:
    app = App("test")
    app.stream("alerts", type=Order, key="id")
    derived = app.stream("other").filter(bool)

    @app.agent()
    async def agent(ctx: Context[Any], event: Any) -> None:
        cases: list[tuple[Callable[[], object], type[Exception], str]] = [
            (lambda: ctx.emit("alerts", {"id": "x"}), TypeError, r"ctx.emit\(alerts\): \$ is .* give a Order"),
            (lambda: ctx.emit("alerts", None), TypeError, r"ctx.emit\(alerts\): None \(NoneType\) does not fit Order"),
            (lambda: ctx.emit("other", {"x": float("nan")}), ValueError, r"ctx.emit\(other\): \$\['x'\] is nan"),
            (lambda: ctx.emit("other", {}, key=1.5), TypeError, r"ctx.emit\(other\): key must be text or a whole number, not 1.5"),  # type: ignore[call-overload]
            (lambda: ctx.emit("alert", {}), NotFound, "there is no stream 'alert' to emit to; there are agent.output, alerts"),
            (lambda: ctx.emit("doubts", {}), NotFound, "there is no stream 'doubts' to emit to"),
            (lambda: ctx.emit(derived, {}), UsageError, "nothing can be emitted to other.filter: only to streams of App.stream"),
            (lambda: ctx.emit(app.failures, {}), UsageError, "nothing can be emitted to failures"),
            (lambda: ctx.send("agnet", "k", {}), NotFound, "there is no agent 'agnet'; there are agent"),
            (lambda: ctx.send("agent", "k", {1: 2}), TypeError, r"ctx.send\(agent\): \$ would come back without its key 1"),
            (lambda: ctx.ask("agnet", "k", {}), NotFound, "there is no agent 'agnet'"),
            (lambda: ctx.ask("agent", "k", object()), TypeError, r"ctx.ask\(agent\): \$ is <object"),
        ]
        for call, error, says in cases:
            with raising(error, says):
                call()

    assert World(app, agent).returned().emitted == []


def test_ask_gives_the_decoded_answer() -> None:
    app = App("test")

    @app.agent()
    async def asks(ctx: Context[Any], event: Any) -> list[Any]:
        return [await ctx.ask(prices, "p", Order("o-1")), await ctx.ask("prices", "p", Order("o-2"), timeout="5s")]

    @app.agent()
    async def prices(ctx: Context[Any], order: Order) -> Decimal | None:
        return order.total

    world = World(app, asks)
    call = world.calls.pop()
    assert (call.kind, call.name, call.key, call.args) == ("ask", "prices", "p", '{"id":"o-1","total":"0"}')
    world.deliver(r.RESULTED, call.step, value='"1.50"')
    world.deliver(r.RESULTED, world.calls.pop().step, value="null")
    with pytest.raises(Failed, match=r"\$\[0\] is Decimal\('1.50'\)"):
        world.returned()


def test_an_answer_that_does_not_come_in_time_is_a_timeout() -> None:
    app = App("test")

    @app.agent()
    async def asks(ctx: Context[Any], event: Any) -> Any:
        return await ctx.ask(asks, "p", {}, timeout="5s")

    world = World(app, asks)
    world.fire()
    with pytest.raises(Failed, match="TimeoutError: no answer from asks 'p' within 5s"):
        world.returned()


@pytest.mark.parametrize("duration", [5, "five", None])
def test_a_duration_without_a_unit_is_refused_before_anything_is_recorded(duration: Any) -> None:
    async def handler(ctx: Context[Any], event: Any) -> None:
        with raising((TypeError, ValueError), "is not a duration"):  # type: ignore[arg-type]
            await ctx.sleep(duration)
        with raising((TypeError, ValueError), "is not a duration"):  # type: ignore[arg-type]
            ctx.timeout(duration)
        if duration is not None:
            with raising((TypeError, ValueError), "is not a duration"):  # type: ignore[arg-type]
                await ctx.receive("x", timeout=duration)

    world = run(handler)
    assert world.calls == []
    world.returned()
