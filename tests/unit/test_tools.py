"""Tools: what may be declared, what a call in a run records, and what it is outside one."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from millstream import App, Context, jsonl
from millstream.agents.options import Retry
from millstream.agents.tools import Tool, tool
from millstream.core.calls import INJECTED, Done, NotDone, ToolCall, Unknown
from millstream.core.effects import Effect, Policy
from millstream.core.effects import Retry as CoreRetry
from millstream.core.graph import ToolSpec
from millstream.engine.connection import Connection
from millstream.engine.handle import HandledLoop
from millstream.errors import DeclarationError, RunPutAway, UsageError
from millstream.testing import AppRun

if TYPE_CHECKING:
    from collections.abc import Hashable as OnlyForTypeCheckers


@dataclass
class Receipt:
    id: str
    cents: Decimal


class Recorder:
    """The engine's part of ``Handle.call``: notes the call, and answers with what a record of this text would give."""

    def __init__(self, answer: Callable[[ToolSpec], str] = lambda spec: "null") -> None:
        self.calls: list[tuple[ToolSpec, str, tuple[Any, ...], dict[str, Any], str, str | None, Policy | None]] = []
        self.answer = answer

    def call(self, spec: ToolSpec, *call: Any) -> Coroutine[Any, Any, Any]:
        self.calls.append((spec, *call))
        return self.answered(spec)

    async def answered(self, spec: ToolSpec) -> Any:
        return spec.result.decode(self.answer(spec))


def in_run(handler: Callable[[], Coroutine[Any, Any, Any]], handle: Any) -> Any:
    """Run a handler on the loop that runs live on."""
    loop = HandledLoop(1, 0)
    loop.handle = handle
    try:
        root = loop.start(handler())
        loop.drain()
        return root.result()
    finally:
        loop.put_away(RunPutAway())


def call_in_run(call: Callable[[], Coroutine[Any, Any, Any]], answer: str = "null") -> tuple[Recorder, Any]:
    recorder = Recorder(lambda spec: answer)

    async def handler() -> Any:
        return await call()

    return recorder, in_run(handler, recorder)


def line_of(fn: Tool[..., Any]) -> str:
    return f"test_tools.py:{fn.fn.__code__.co_firstlineno}"


# --- calls in a run


def test_a_call_in_a_run_is_one_step_and_gives_the_decoded_record() -> None:
    @tool(effect=Effect.IDEMPOTENT)
    async def charge(order_id: str, cents: int, call: ToolCall = INJECTED) -> Receipt:
        raise AssertionError("the body is performed elsewhere")

    recorder, receipt = call_in_run(lambda: charge("o-1", cents=500), '{"id":"r-1","cents":"5.00"}')
    assert receipt == Receipt("r-1", Decimal("5.00"))
    assert recorder.calls == [(charge.spec, "charge", ("o-1",), {"cents": 500}, '[["o-1"],{"cents":500}]', None, None)]


def test_the_step_exists_when_the_tool_is_called_not_when_it_is_awaited() -> None:
    @tool
    async def note(text: str) -> str: ...  # type: ignore[empty-body]

    recorder = Recorder(lambda spec: '"done"')

    async def handler() -> list[str]:
        second, first = note("second"), note("first")
        assert [call[4] for call in recorder.calls] == ['[["second"],{}]', '[["first"],{}]']
        return [await first, await second]

    assert in_run(handler, recorder) == ["done", "done"]


def test_a_def_is_awaited_like_an_async_def() -> None:
    @tool(effect=Effect.READ)
    def look(name: str) -> tuple[int, str]:
        return 1, name

    assert not look.spec.is_async
    assert call_in_run(lambda: look("a"), '[2,"b"]')[1] == (2, "b")


def test_a_business_key_comes_from_the_arguments_as_they_were_given() -> None:
    @tool(effect=Effect.IDEMPOTENT, key=lambda order_id, cents=0: f"refund:{order_id}:{cents}")
    async def refund(order_id: str, cents: int = 0) -> None: ...

    recorder = Recorder()

    async def handler() -> None:
        await refund("o-1")
        await refund(cents=5, order_id="o-2")

    in_run(handler, recorder)
    assert [call[5] for call in recorder.calls] == ["refund:o-1:0", "refund:o-2:5"]


def test_a_business_key_is_text() -> None:
    @tool(key=lambda n: n)
    async def count(n: int) -> None: ...

    with pytest.raises(UsageError, match="tool count: key= gave 3; an idempotency key is text"):
        call_in_run(lambda: count(3))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda charge: charge("o-1"), "missing a required argument: 'cents'"),
        (lambda charge: charge("o-1", 5, 6), "too many positional arguments"),
        (lambda charge: charge("o-1", 5, currency="EUR"), "unexpected keyword argument 'currency'"),
        (lambda charge: charge("o-1", 5, call=None), "call is injected inside a run; leave it out"),
        (lambda charge: charge(object(), 5), "charge: argument 1 is <object .*; pass data, and take clients"),
    ],
)
def test_wrong_arguments_are_an_error_before_there_is_a_step(call: Callable[[Any], Any], says: str) -> None:
    @tool
    async def charge(order_id: str, cents: int, call: ToolCall = INJECTED) -> None: ...

    recorder = Recorder()

    async def handler() -> None:
        with pytest.raises(TypeError, match=says):
            await call(charge)

    in_run(handler, recorder)
    assert recorder.calls == []


def test_an_argument_that_json_does_not_have_is_a_value_error() -> None:
    @tool
    async def pay(amount: float) -> None: ...

    with pytest.raises(ValueError, match="pay: argument 1 is nan"):
        call_in_run(lambda: pay(float("nan")))


def test_a_tool_that_was_never_awaited_is_reported_by_its_name() -> None:
    @tool
    async def note() -> None: ...

    app = App("notes")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def forgetful(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        note()  # type: ignore[unused-coroutine]

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        with pytest.warns(RuntimeWarning, match="coroutine 'note' was never awaited"):
            world.settle()


# --- using


def test_using_changes_one_call() -> None:
    @tool(effect=Effect.IDEMPOTENT, timeout="60s")
    async def charge(order_id: str) -> Receipt: ...  # type: ignore[empty-body]

    recorder = Recorder(lambda spec: '{"id":"r","cents":"1"}')

    async def handler() -> None:
        await charge.using(timeout="5s", name="charge-again")("o-1")
        await charge("o-1")

    in_run(handler, recorder)
    (spec, step, *_, policy), (plain, plain_step, *_, plain_policy) = recorder.calls
    assert (spec.name, step, spec.policy.timeout, policy) == ("charge", "charge-again", 5_000_000, spec.policy)
    assert (plain, plain_step, plain_policy) == (charge.spec, "charge", None)
    assert spec.result is plain.result


def test_using_is_made_once_for_the_same_options_and_can_be_repeated() -> None:
    @tool
    async def charge() -> None: ...

    assert charge.using(timeout="5s") is charge.using(timeout="5s")
    assert charge.using(timeout="5s") is not charge.using(timeout="6s")
    twice = charge.using(timeout="5s", name="x").using(raises=[KeyError])
    assert (twice.spec.policy.timeout, twice.spec.raises, twice.name) == (5_000_000, (KeyError,), "charge")
    assert call_in_run(lambda: twice())[0].calls[0][1] == "x"


def test_using_is_checked_as_a_declaration_and_names_its_own_line() -> None:
    @tool
    async def charge(order_id: str) -> None: ...

    line = inspect.currentframe().f_lineno + 2  # type: ignore[union-attr]
    with pytest.raises(DeclarationError, match=rf"test_tools.py:{line}: tool charge: effect VERIFIED needs a probe"):
        charge.using(effect=Effect.VERIFIED)
    with pytest.raises(DeclarationError, match="tool charge has no option timout; there are effect, timeout"):
        charge.using(timout="5s")  # type: ignore[call-arg]
    with pytest.raises(DeclarationError, match="effect TRANSACTIONAL needs a database"):
        charge.using(effect=Effect.TRANSACTIONAL)


# --- outside a run


def test_outside_a_run_a_tool_is_a_plain_call() -> None:
    @tool
    async def double(n: int) -> int:
        return 2 * n

    @tool
    def triple(n: int) -> int:
        return 3 * n

    async def test() -> tuple[int, int]:
        return await double(2), await triple(2)

    assert asyncio.run(test()) == (4, 6)
    assert asyncio.run(double(5)) == 10


def test_outside_a_run_injected_arguments_must_be_given() -> None:
    @tool
    async def charge(order_id: str, call: ToolCall = INJECTED) -> str:
        return f"{order_id}/{call.attempt}"

    with pytest.raises(UsageError, match="tool charge: nothing is injected outside a run; give call= in the call"):
        asyncio.run(charge("o-1"))
    with pytest.raises(UsageError, match="give call="):
        asyncio.run(charge("o-1", call=INJECTED))
    assert asyncio.run(charge("o-1", ToolCall("key", 1, "run", "step"))) == "o-1/1"
    with pytest.raises(TypeError, match="missing a required argument: 'order_id'"):
        charge()  # type: ignore[call-arg, unused-coroutine]


# --- declarations


def test_options_become_the_specification() -> None:
    async def probe(call: ToolCall, order_id: str, *, cents: int = 0) -> Done[None] | NotDone | Unknown:
        return Unknown()

    @tool(
        effect=Effect.VERIFIED,
        timeout="30s",
        retry=Retry(attempts=5, backoff="250ms", factor=3, max_backoff="5m", jitter=0, on=[KeyError]),
        key=lambda order_id, **others: order_id,
        verify=probe,
        settle="1m",
        raises=[LookupError],
        ambiguous=[OSError],
        in_doubt="fail",
        in_doubt_after="24h",
        max_concurrency=4,
        name="payments.charge",
    )
    async def charge(order_id: str, *, cents: int = 0, call: ToolCall = INJECTED) -> None:
        """Charge it."""

    spec = charge.spec
    assert spec.policy == Policy(
        effect=Effect.VERIFIED,
        retry=CoreRetry(attempts=5, backoff=250_000, factor=3.0, max_backoff=300_000_000, jitter=0.0, on=(KeyError,)),
        timeout=30_000_000,
        settle=60_000_000,
        in_doubt="fail",
        in_doubt_after=86_400_000_000,
        max_concurrency=4,
    )
    assert (spec.name, spec.fn, spec.is_async, spec.probe) == ("payments.charge", charge.fn, True, probe)
    assert (spec.raises, spec.ambiguous, spec.call_parameter, spec.connection_parameter) == (
        (LookupError,),
        (OSError,),
        "call",
        None,
    )
    assert (charge.name, charge.__name__, charge.__doc__) == ("payments.charge", "charge", "Charge it.")
    assert str(inspect.signature(charge)) == "(order_id: 'str', *, cents: 'int' = 0) -> 'None'"


def test_a_bare_tool_promises_nothing_and_has_the_documented_defaults() -> None:
    @tool
    def act() -> None: ...

    assert act.spec.policy == Policy(effect=Effect.AT_MOST_ONCE, timeout=60_000_000, key_ttl=86_400_000_000, blocks=True)
    assert repr(act).startswith("<tool act (at_most_once) ")
    assert repr(act).endswith(f"{line_of(act)}>")


def test_a_transactional_tool_gets_a_connection() -> None:
    @tool(effect=Effect.TRANSACTIONAL, database=lambda: None)
    def transfer(cents: int, *, conn: Connection = INJECTED, call: ToolCall = INJECTED) -> None: ...

    assert (transfer.spec.connection_parameter, transfer.spec.call_parameter) == ("conn", "call")


def test_an_annotation_may_name_what_is_defined_further_down() -> None:
    @tool
    async def later() -> Later: ...  # type: ignore[empty-body]

    assert later.spec.result.decode('{"n":1}') == Later(1)


def test_an_annotation_may_name_what_an_enclosing_function_defines() -> None:
    @dataclass
    class Local:
        n: int

    @tool
    async def local() -> Local: ...  # type: ignore[empty-body]

    assert local.spec.result.decode('{"n":1}') == Local(1)


def test_annotations_of_parameters_need_not_exist() -> None:
    @tool
    async def hashed(value: OnlyForTypeCheckers) -> int: ...  # type: ignore[empty-body]

    assert hashed.spec.result.name == "int"


def test_an_annotation_that_never_exists_is_reported_when_the_tool_is_used() -> None:
    @tool
    async def lost() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match=rf"{line_of(lost)}: tool lost: an annotation cannot be resolved: name 'Nowhere'"):
        lost.spec  # noqa: B018
    with pytest.raises(DeclarationError, match="name 'Nowhere'"):
        call_in_run(lambda: lost())


@dataclass
class Later:
    n: int


async def good_probe(call: ToolCall, a: int, b: int = 0) -> Unknown:
    return Unknown()


async def short_probe(call: ToolCall, a: int) -> Unknown:
    return Unknown()


async def renamed_probe(call: ToolCall, x: int, b: int = 0) -> Unknown:
    return Unknown()


def plain_probe(call: ToolCall, a: int, b: int = 0) -> Unknown:
    return Unknown()


async def base(a: int, b: int = 0) -> None: ...


async def wants_connection(a: int, conn: Connection = INJECTED) -> None: ...


def sync_connection(a: int, conn: Connection = INJECTED) -> None: ...


def sync_base(a: int, b: int = 0) -> None: ...


async def nothing() -> None: ...


class One(Exception): ...


Same = type("One", (Exception,), {})


@pytest.mark.parametrize(
    ("fn", "options", "says"),
    [
        (base, {"effect": "read"}, "effect='read' is not a class; use Effect.READ, Effect.IDEMPOTENT"),
        (base, {"effect": Effect.VERIFIED}, r"VERIFIED needs a probe; give verify=, an async def \(call, a, b\) -> Done | NotDone"),
        (nothing, {"effect": Effect.VERIFIED}, r"give verify=, an async def \(call\) -> Done | NotDone"),
        (
            base,
            {"effect": Effect.VERIFIED, "verify": plain_probe},
            r"verify=plain_probe is no probe; use an async def \(call, a, b\)",
        ),
        (
            base,
            {"effect": Effect.VERIFIED, "verify": short_probe},
            r"verify=short_probe is called as .*the parameters \(call, a, b\)",
        ),
        (base, {"effect": Effect.VERIFIED, "verify": renamed_probe}, "verify=renamed_probe is called as the tool is"),
        (
            base,
            {"effect": Effect.IDEMPOTENT, "verify": good_probe},
            "verify= is never asked with effect IDEMPOTENT; use effect=Eff",
        ),
        (base, {"settle": "1s"}, "settle= is the wait before a probe, and effect AT_MOST_ONCE has none"),
        (sync_connection, {"effect": Effect.TRANSACTIONAL}, "effect TRANSACTIONAL needs a database; give database="),
        (
            sync_connection,
            {"effect": Effect.TRANSACTIONAL, "database": lambda a: a},
            "database=<lambda> is called without arguments",
        ),
        (
            wants_connection,
            {"effect": Effect.TRANSACTIONAL, "database": list},
            r"which blocks; make it a def \(it runs in a thread\)",
        ),
        (sync_base, {"effect": Effect.TRANSACTIONAL, "database": list}, "ask for it with conn: Connection = INJECTED"),
        (sync_base, {"database": list}, "database= is not used with effect AT_MOST_ONCE; use effect=Effect.TRANSACTIONAL"),
        (sync_connection, {}, "a Connection exists in class TRANSACTIONAL only, not in AT_MOST_ONCE"),
        (base, {"in_doubt": "retry"}, "in_doubt='retry' needs a time; give in_doubt_after="),
        (base, {"in_doubt_after": "1h"}, "in_doubt_after= does nothing while in_doubt is 'hold'"),
        (base, {"in_doubt": "ask"}, "in_doubt='ask' is not known; use 'hold' or 'retry' or 'fail'"),
        (base, {"effect": Effect.READ, "in_doubt": "fail", "in_doubt_after": "1h"}, "effect READ is never in doubt; leave it out"),
        (base, {"key_ttl": "7d"}, "key_ttl= does nothing with effect AT_MOST_ONCE; use effect=Effect.IDEMPOTENT"),
        (base, {"effect": Effect.IDEMPOTENT, "key_ttl": 7}, "key_ttl: 7 is not a duration"),
        (base, {"retry": 3}, "retry=3 is not a Retry"),
        (base, {"retry": Retry(attempts=0)}, r"Retry\(attempts=0\) is no number of attempts"),
        (base, {"retry": Retry(factor=0.5)}, r"Retry\(factor=0.5\) is no factor"),
        (base, {"retry": Retry(jitter=2)}, r"Retry\(jitter=2\) is no part of the wait"),
        (base, {"retry": Retry(backoff="1 second")}, "Retry.backoff: '1 second' is not a duration"),
        (base, {"retry": Retry(on=[KeyError])}, r"Retry\(on=...\) does nothing: effect AT_MOST_ONCE is not attempted again"),
        (
            base,
            {"effect": Effect.READ, "retry": Retry(on=cast(Any, KeyError))},
            "Retry.on=KeyError holds no BaseException type; use a list",
        ),
        (base, {"timeout": 30}, 'timeout: 30 is not a duration; write "250ms"'),
        (base, {"timeout": "0s"}, "timeout='0s' is no time at all"),
        (base, {"raises": ["KeyError"]}, r"raises=\['KeyError'\] holds no Exception type"),
        (base, {"raises": [KeyboardInterrupt]}, "holds no Exception type; use a list of types, as in raises="),
        (base, {"raises": [One, Same]}, "two types in raises= are named One; rename one"),
        (base, {"raises": [KeyError], "ambiguous": [LookupError]}, r"KeyError is in raises= \(it failed\) and in ambiguous="),
        (base, {"max_concurrency": 0}, "max_concurrency=0 is no limit; use a whole number from 1"),
        (base, {"key": "order_id"}, r"key=.*order_id.* is called as the tool is; give it the parameters \(a, b\)"),
        (base, {"key": lambda a: a}, r"key=<lambda> is called as the tool is; give it the parameters \(a, b\)"),
        (base, {"name": "no spaces"}, "a tool cannot be named 'no spaces'; use ASCII letters"),
        (functools.partial(base, 1), {}, "a tool cannot be named None"),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_place_and_fix(fn: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says) as refused:
        tool(**options)(fn)
    place = inspect.unwrap(getattr(fn, "func", fn)).__code__.co_firstlineno
    assert re.match(rf"tests/unit/test_tools.py:{place}: ", str(refused.value))
    assert "; " in str(refused.value)


def test_functions_that_cannot_be_tools_are_refused() -> None:
    class Service:
        def method(self) -> None: ...

    async def many() -> Any:
        yield 1

    async def positional(call: ToolCall = INJECTED, /) -> None: ...

    async def behind(call: ToolCall = INJECTED, cents: int = 0) -> None: ...

    async def not_injected(call: ToolCall) -> None: ...

    async def unknown(session: str = INJECTED) -> None: ...

    async def bare(call=INJECTED) -> None: ...  # type: ignore[no-untyped-def]

    async def both(one: ToolCall = INJECTED, two: ToolCall = INJECTED) -> None: ...

    def awaitable() -> Coroutine[Any, Any, int]:
        raise AssertionError

    async def untold() -> complex: ...  # type: ignore[empty-body]

    async def nonsense() -> "3 +": ...  # type: ignore[valid-type]  # noqa: F722

    for fn, says in [
        (Service.method, "tool method is a method; use a function, and take objects from call.resources"),
        (many, "it yields, but a step has one result; return a list"),
        (positional, "call is positional-only, but injected by name; move it behind the /"),
        (behind, "cents stands behind the injected call; put injected parameters last"),
        (not_injected, "call: ToolCall is given by nobody; write call: ToolCall = INJECTED"),
        (unknown, r"session is annotated with builtins.str, which is not injected; declare session: millstream.ToolCall"),
        (bare, "call is annotated with nothing, which is not injected"),
        (both, "one and two are both the call; keep one"),
        (awaitable, "it returns something to await; make it an async def"),
        (untold, "its result cannot be recorded: complex cannot be read back from JSON"),
        (nonsense, "the annotation of return, .*, cannot be evaluated: SyntaxError"),
    ]:
        with pytest.raises(DeclarationError, match=says) as refused:
            tool(cast(Any, fn))
        assert re.match(rf"tests/unit/test_tools.py:{cast(Any, fn).__code__.co_firstlineno}: ", str(refused.value))


@pytest.mark.parametrize("thing", ["charge", 3, Receipt])
def test_only_a_function_can_be_a_tool(thing: Any) -> None:
    with pytest.raises(DeclarationError, match="@tool needs a function, not"):
        tool(thing)


def test_a_callable_object_can_be_a_tool() -> None:
    class Search:
        async def __call__(self, text: str) -> int: ...  # type: ignore[empty-body]

    search = tool(name="search")(Search())
    assert (search.spec.is_async, search.spec.result.name) == (True, "int")
