"""From what is written in ``@tool(...)`` to a ``ToolSpec``; each check stands where its option becomes a part of it.

Rules:

* the class of the effect decides which options there are: ``VERIFIED`` has a probe, ``TRANSACTIONAL`` a database and a
  ``Connection``, the others neither. An option that would do nothing is refused;
* ``assembled`` needs the options alone, ``resolved`` the function's annotations too, which may name what is defined later;
* injected parameters are found by their default (``INJECTED``), so that they are known, and hidden, before any annotation
  can be resolved; what is injected is told by the annotation.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from millstream.agents import places
from millstream.agents.codecs import codec, name_of
from millstream.agents.durations import Duration, declared
from millstream.agents.places import wrong
from millstream.core import effects
from millstream.core.calls import INJECTED, ToolCall
from millstream.core.effects import Effect, Policy
from millstream.core.graph import ToolSpec
from millstream.engine.connection import Connection
from millstream.errors import DeclarationError

Probe = Callable[..., Coroutine[Any, Any, Any]]  # (call, *args, **kwargs) -> Done | NotDone | Unknown


KEY_TTL = "24h"  # the default; what is given beside another class than IDEMPOTENT is a mistake


class Retry(msgspec.Struct, frozen=True):
    """How often, and how far apart, a step is attempted where its class allows. It is checked where it is used.

    Waits ``backoff * factor**(n - 1)`` after attempt n, at most ``max_backoff``, less up to ``jitter`` of it: exponential back-off
    with jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), where ``jitter=0.5`` is its "equal
    jitter" and ``jitter=1`` its "full jitter". An attempt that a crash of the process has ended counts for nothing.

    Attributes:
        attempts: how many there are at most, the first included.
        backoff: the wait after the first attempt.
        factor: each wait is so many times the one before, from 1 to 1000.
        max_backoff: no wait is longer.
        jitter: the part of a wait, from 0 to 1, that chance may take from it.
        on: exception types that are attempted again although they are definite failures; not with AT_MOST_ONCE.
    """

    attempts: int = 3
    backoff: Duration = "1s"
    factor: float = 2.0
    max_backoff: Duration = "1m"
    jitter: float = 0.2
    on: Sequence[type[BaseException]] = ()


class Options(msgspec.Struct, frozen=True):
    """What was written in ``@tool(...)``, as it was written."""

    effect: Effect = Effect.AT_MOST_ONCE
    timeout: Duration = "60s"
    retry: Retry = Retry()
    key: Callable[..., str] | None = None
    key_ttl: Duration = KEY_TTL
    verify: Probe | None = None
    settle: Duration | None = None
    database: Callable[[], Any] | None = None
    raises: Sequence[type[Exception]] = ()
    ambiguous: Sequence[type[BaseException]] = ()
    in_doubt: str = "hold"
    in_doubt_after: Duration | None = None
    max_concurrency: int | None = None
    name: str | None = None


class Signature:
    """The parameters of a tool: which of them are given by the caller, and which are injected.

    Attributes:
        whole: of the function as it is.
        given: without the injected parameters.
        injected: names of the others.
        title: what messages call the tool.
    """

    __slots__ = ("whole", "given", "injected", "title", "_shapes")

    def __init__(self, fn: Callable[..., Any], title: str, where: str) -> None:
        try:
            self.whole = inspect.signature(fn)
        except (TypeError, ValueError):
            raise wrong(where, f"{title}: its parameters cannot be read", "wrap it in a def of your own") from None
        parameters = list(self.whole.parameters.values())
        if parameters and parameters[0].name in ("self", "cls"):
            raise wrong(where, f"{title} is a method", "use a function, and take objects from call.resources (App's lifespan)")
        self.injected = tuple(parameter.name for parameter in parameters if parameter.default is INJECTED)
        for parameter, behind in zip(parameters, [*parameters[1:], None], strict=False):
            if parameter.name not in self.injected or parameter.kind is parameter.KEYWORD_ONLY:
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise wrong(where, f"{title}: {parameter.name} is positional-only, but injected by name", "move it behind the /")
            if behind is not None and behind.name not in self.injected and behind.kind in _BY_POSITION:
                raise wrong(
                    where, f"{title}: {behind.name} stands behind the injected {parameter.name}", "put injected parameters last"
                )
        self.given = self.whole.replace(parameters=[parameter for parameter in parameters if parameter.name not in self.injected])
        self.title = title
        self._shapes: set[Any] = set()

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Do these arguments fit? Told by how many there are and which names they have, so each shape is bound once.

        Raises:
            TypeError: they do not.
        """
        shape = (len(args), *kwargs) if kwargs else len(args)
        if shape in self._shapes:
            return
        try:
            self.given.bind(*args, **kwargs)
        except TypeError as problem:
            injected = [name for name in self.injected if name in kwargs]
            why = f"{injected[0]} is injected inside a run; leave it out" if injected else str(problem)
            raise TypeError(f"{self.title}{self.given}: {why}") from None
        if len(self._shapes) < 64:
            self._shapes.add(shape)

    def forms(self) -> Iterator[tuple[list[None], dict[str, None]]]:
        """The ways to call it: with as little as possible, with everything by position, and by name."""
        parameters = self.given.parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        required = [p for p in positional if p.default is p.empty]
        unnamed = [p for p in positional if p.kind is p.POSITIONAL_ONLY]
        yield [None] * len(required), {p.name: None for p in named if p.default is p.empty}
        yield [None] * len(positional), {p.name: None for p in named}
        yield [None] * len(unnamed), {p.name: None for p in [*positional[len(unnamed) :], *named]}


_BY_POSITION = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def assembled(options: Options, fn: Callable[..., Any], name: str, signature: Signature, where: str) -> ToolSpec:
    """The specification as far as the options tell it; ``resolved`` adds what the annotations say.

    Raises:
        DeclarationError: the options contradict each other, the effect or the function.
    """
    at = f"{where}: {signature.title}"
    if not isinstance(options.effect, Effect):
        raise wrong(at, f"effect={options.effect!r} is not a class", f"use {', '.join(map(str, Effect))}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise wrong(at, "it yields, but a step has one result", "return a list")
    is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
    _check_class(options, is_async, signature, at)
    if options.max_concurrency is not None and (type(options.max_concurrency) is not int or options.max_concurrency < 1):
        raise wrong(
            at, f"max_concurrency={options.max_concurrency!r} is no limit", "use a whole number from 1, or None for no limit"
        )
    if options.key is not None:
        _check_takes(options.key, "key", (), signature, at)
    raises = tuple(_exceptions(options.raises, Exception, "raises", at))
    ambiguous = tuple(_exceptions(options.ambiguous, BaseException, "ambiguous", at))
    for number, kind in enumerate(raises):
        if kind.__name__ in (other.__name__ for other in raises[:number]):
            raise wrong(at, f"two types in raises= are named {kind.__name__}", "rename one: they are told apart by name")
        if issubclass(kind, ambiguous):
            raise wrong(
                at, f"{kind.__name__} is in raises= (it failed) and in ambiguous= (it may have happened)", "leave it in one"
            )
    return ToolSpec(
        name=name,
        fn=fn,
        is_async=is_async,
        policy=_policy(options, blocks=not is_async, at=at),
        result=codec(Any),
        key=options.key,
        probe=options.verify,
        database=options.database,
        raises=raises,
        ambiguous=ambiguous,
    )


def resolved(spec: ToolSpec, signature: Signature, where: str, scope: Mapping[str, Any]) -> ToolSpec:
    """The whole specification, with the result's codec and the injected parameters.

    Args:
        scope: names of an enclosing function that the annotations may use.

    Raises:
        DeclarationError: a result of this type cannot be recorded, or a parameter cannot be injected.
        NameError: an annotation names something that does not exist, or not yet.
    """
    at = f"{where}: {signature.title}"
    injected: dict[str, str] = {}
    for parameter in signature.injected:
        annotation = places.annotation(spec.fn, parameter, scope)
        what = "call" if annotation is ToolCall else "connection" if annotation is Connection else None
        if what is None:
            shown = "nothing" if annotation is places.MISSING else f"{annotation.__module__}.{name_of(annotation)}"
            known = f"declare {parameter}: millstream.ToolCall or millstream.Connection"
            raise wrong(at, f"{parameter} is annotated with {shown}, which is not injected", known)
        if what in injected:
            raise wrong(at, f"{injected[what]} and {parameter} are both the {what}", "keep one")
        injected[what] = parameter
    for parameter in signature.given.parameters:
        if _is_toolcall(spec.fn, parameter, scope):
            raise wrong(at, f"{parameter}: ToolCall is given by nobody", f"write {parameter}: ToolCall = INJECTED")
    transactional = spec.policy.effect is Effect.TRANSACTIONAL
    if transactional and "connection" not in injected:
        raise wrong(at, "effect TRANSACTIONAL does its work in our transaction", "ask for it with conn: Connection = INJECTED")
    if not transactional and "connection" in injected:
        raise wrong(at, f"a Connection exists in class TRANSACTIONAL only, not in {spec.policy.effect.name}", "change one of them")
    returned = places.annotation(spec.fn, "return", scope)
    if isinstance(origin := typing.get_origin(returned), type) and issubclass(origin, Awaitable):
        raise wrong(at, "it returns something to await", "make it an async def")
    try:
        result = codec(Any if returned is places.MISSING else returned)
    except TypeError as problem:
        raise DeclarationError(f"{at}: its result cannot be recorded: {problem}") from None
    return msgspec.structs.replace(
        spec, result=result, call_parameter=injected.get("call"), connection_parameter=injected.get("connection")
    )


def _check_class(options: Options, is_async: bool, signature: Signature, at: str) -> None:
    effect = options.effect.name
    if options.effect is Effect.VERIFIED:
        probe = f"async def ({', '.join(filter(None, ('call', _listed(signature))))}) -> Done | NotDone | Unknown"
        if options.verify is None:
            raise wrong(at, "effect VERIFIED needs a probe", f"give verify=, an {probe}")
        if not inspect.iscoroutinefunction(options.verify):
            raise wrong(at, f"verify={places.name_of(options.verify)} is no probe", f"use an {probe}")
        _check_takes(options.verify, "verify", (None,), signature, at)
    elif options.verify is not None:
        raise wrong(at, f"verify= is never asked with effect {effect}", "use effect=Effect.VERIFIED or leave it out")
    elif options.settle is not None:
        raise wrong(
            at, f"settle= is the wait before a probe, and effect {effect} has none", "use effect=Effect.VERIFIED or leave it out"
        )
    if options.effect is Effect.TRANSACTIONAL:
        if options.database is None:
            raise wrong(at, "effect TRANSACTIONAL needs a database", "give database=, a function that returns a DB-API connection")
        if not callable(options.database) or not places.takes(options.database, (), {}):
            raise wrong(
                at, f"database={places.name_of(options.database)} is called without arguments", "use a function that takes none"
            )
        if is_async:
            raise wrong(
                at, "effect TRANSACTIONAL works on a DB-API connection, which blocks", "make it a def (it runs in a thread)"
            )
    elif options.database is not None:
        raise wrong(at, f"database= is not used with effect {effect}", "use effect=Effect.TRANSACTIONAL or leave it out")
    if options.effect is Effect.READ and options.in_doubt != "hold":
        raise wrong(at, f"in_doubt={options.in_doubt!r} does nothing: effect READ is never in doubt", "leave it out")
    if options.effect is not Effect.IDEMPOTENT and options.key_ttl != KEY_TTL:
        raise wrong(at, f"key_ttl= does nothing with effect {effect}", "use effect=Effect.IDEMPOTENT or leave it out")
    if options.effect is Effect.AT_MOST_ONCE and isinstance(options.retry, Retry) and options.retry.on:
        raise wrong(
            at, "Retry(on=...) does nothing: effect AT_MOST_ONCE is not attempted again after a failure", "use another class"
        )


def _policy(options: Options, *, blocks: bool, at: str) -> Policy:
    if not isinstance(options.retry, Retry):
        raise wrong(at, f"retry={options.retry!r} is not a Retry", "use Retry(attempts=3)")
    places.check_choice(options.in_doubt, ("hold", "retry", "fail"), "in_doubt", at)
    if options.in_doubt != "hold" and options.in_doubt_after is None:
        raise wrong(at, f"in_doubt={options.in_doubt!r} needs a time", "give in_doubt_after=, how long a person has to look at it")
    if options.in_doubt == "hold" and options.in_doubt_after is not None:
        raise wrong(at, "in_doubt_after= does nothing while in_doubt is 'hold'", "use in_doubt='retry' or 'fail', or leave it out")
    return Policy(
        effect=options.effect,
        retry=_retry(options.retry, at),
        timeout=declared(options.timeout, "timeout", at, zero=False),
        key_ttl=declared(options.key_ttl, "key_ttl", at, zero=False),
        settle=None if options.settle is None else declared(options.settle, "settle", at),
        in_doubt=options.in_doubt,
        in_doubt_after=None if options.in_doubt_after is None else declared(options.in_doubt_after, "in_doubt_after", at),
        max_concurrency=options.max_concurrency,
        blocks=blocks,
    )


def _retry(retry: Retry, at: str) -> effects.Retry:
    if type(retry.attempts) is not int or retry.attempts < 1:
        raise wrong(
            at, f"Retry(attempts={retry.attempts!r}) is no number of attempts", "use a whole number from 1 (1: never again)"
        )
    if not isinstance(retry.factor, int | float) or not 1 <= retry.factor <= 1000:
        raise wrong(at, f"Retry(factor={retry.factor!r}) is no factor", "use a number from 1 (always the same wait) to 1000")
    if not isinstance(retry.jitter, int | float) or not 0 <= retry.jitter <= 1:
        raise wrong(at, f"Retry(jitter={retry.jitter!r}) is no part of the wait", "use a number from 0 to 1")
    return effects.Retry(
        attempts=retry.attempts,
        backoff=declared(retry.backoff, "Retry.backoff", at),
        factor=float(retry.factor),
        max_backoff=declared(retry.max_backoff, "Retry.max_backoff", at),
        jitter=float(retry.jitter),
        on=tuple(_exceptions(retry.on, BaseException, "Retry.on", at)),
    )


def _exceptions(kinds: object, base: type[BaseException], option: str, at: str) -> Iterator[Any]:
    listed = kinds if isinstance(kinds, list | tuple | set | frozenset) else [None]
    for kind in listed:
        if not isinstance(kind, type) or not issubclass(kind, base):
            raise wrong(
                at,
                f"{option}={places.name_of(kinds)} holds no {base.__name__} type",
                f"use a list of types, as in {option}=[ValueError]",
            )
        yield kind


def _check_takes(fn: Any, option: str, before: tuple[None, ...], signature: Signature, at: str) -> None:
    wanted = f"({', '.join(filter(None, ('call' if before else '', _listed(signature))))})"
    if not callable(fn) or not all(places.takes(fn, (*before, *args), kwargs) for args, kwargs in signature.forms()):
        raise wrong(at, f"{option}={places.name_of(fn)} is called as the tool is", f"give it the parameters {wanted}")


def _is_toolcall(fn: Callable[..., Any], parameter: str, scope: Mapping[str, Any]) -> bool:
    try:
        return places.annotation(fn, parameter, scope) is ToolCall
    except Exception:  # the annotation of a data parameter is not ours to judge
        return False


def _listed(signature: Signature) -> str:
    return ", ".join(str(parameter).partition(":")[0] for parameter in signature.given.parameters.values())
