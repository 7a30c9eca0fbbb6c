"""Tools: functions whose every call, inside a run, is one recorded step; outside a run they are the plain functions.

Rules:

* everything that can be known at the declaration is checked there (``DeclarationError`` with ``file:line``); only annotations
  that name what is defined further down wait until the graph is compiled or the tool is first called;
* a step's identity is taken when the tool is *called*: ``__call__`` is a plain function that registers the step and returns the
  coroutine to await. Wrong arguments raise ``TypeError`` there, before a step exists: a body that failed on them later would be
  a recorded failure of the effect;
* what the run gets is the decoded record, so a live result and a replayed one are the same value;
* nothing is inspected at call time [M: ``Signature.bind`` alone costs 2 us; the whole call here about 1.5 us].
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

import msgspec

from millstream.agents import places
from millstream.agents.codecs import encode_arguments
from millstream.agents.durations import Duration
from millstream.agents.options import KEY_TTL, Options, Probe, Retry, Signature, assembled, resolved
from millstream.core.calls import INJECTED
from millstream.core.effects import Effect, Policy
from millstream.core.graph import ToolSpec
from millstream.core.text import encodable
from millstream.engine.runloop import driven
from millstream.errors import DeclarationError, UsageError

P = ParamSpec("P")
R = TypeVar("R")


class ToolOptions(TypedDict, total=False):
    """The options of a tool that one call may change: those of ``tool``."""

    effect: Effect
    timeout: Duration
    retry: Retry
    key: Callable[..., str] | None
    key_ttl: Duration
    verify: Probe | None
    settle: Duration | None
    database: Callable[[], Any] | None
    raises: Sequence[type[Exception]]
    ambiguous: Sequence[type[BaseException]]
    in_doubt: Literal["hold", "retry", "fail"]
    in_doubt_after: Duration | None
    max_concurrency: int | None
    name: str


class Tool(Generic[P, R]):
    """A function whose calls inside a run are recorded steps.

    Calling it gives a coroutine, for ``async def`` and ``def`` alike. Outside a run it is a plain call.

    Attributes:
        name: identifies it across versions.
        place: ``file:line`` of its declaration.
        fn: the function itself.
    """

    __name__: str

    def __init__(self, fn: Callable[..., Any], options: Options, where: str, scope: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, fn)
        self.name = places.check_name(options.name if options.name is not None else getattr(fn, "__name__", None), "a tool", where)
        self.place = where
        self.fn = fn
        self._signature = Signature(fn, f"tool {self.name}", where)
        self.__signature__ = self._signature.given  # what a person or a model may give: injected parameters are hidden
        self._options = options
        self._assembled = assembled(options, fn, self.name, self._signature, where)
        self._step = self.name
        self._policy: Policy | None = None  # of a variant
        self._variants: dict[Any, Tool[P, R]] = {}
        self._spec: ToolSpec | None = None
        try:
            self._spec = resolved(self._assembled, self._signature, where, scope)
        except NameError:
            pass  # defined further down: tried again by ``spec``

    @property
    def spec(self) -> ToolSpec:
        """The declaration as plain data.

        Raises:
            DeclarationError: an annotation names something that does not exist.
        """
        if self._spec is None:
            try:
                self._spec = resolved(self._assembled, self._signature, self.place, {})
            except NameError as missing:
                raise _unresolved(f"{self.place}: tool {self.name}", missing) from None
        return self._spec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Inside a run: make this call a step, now, and give the coroutine that waits for its result.

        Outside a run: call the function. Awaiting a step raises ``ToolFailed``, or an error that the tool declares with ``raises``.

        Args:
            args: the tool's own parameters, recorded, so data: clients and connections come from ``call.resources``.
            kwargs: likewise.

        Raises:
            TypeError: the arguments do not fit the function, or cannot be recorded.
            ValueError: an argument holds NaN, an infinity, or text that is not Unicode.
            UsageError: outside a run, an injected parameter was not given; inside, ``key=`` gave no text.
        """
        handle = run_handle()
        if handle is None:
            return self._plain(args, kwargs)
        spec = self._spec or self.spec
        self._signature.check(args, kwargs)
        arguments = _recorded_arguments(self.name, args, kwargs)
        key = None if spec.key is None else _business_key(spec.key(*args, **kwargs), self.name)
        step: Coroutine[Any, Any, R] = handle.call(spec, self._step, args, kwargs, arguments, key, self._policy)
        return step

    def using(self, **options: Unpack[ToolOptions]) -> Tool[P, R]:
        """A copy with other options, for one call: ``await charge.using(timeout="5s")(order_id, cents)``.

        ``name`` names the step of that call; the tool keeps its own.

        Args:
            options: those of ``tool``.

        Raises:
            DeclarationError: as ``tool`` does.
        """
        try:
            known = self._variants.get(tuple(options.items()))
        except TypeError:  # an option that has no hash, such as a list of exception types
            return self._variant(options)
        if known is None:
            known = self._variant(options)
            if len(self._variants) < 64:  # a new lambda in every call would be a new variant in every call
                self._variants[tuple(options.items())] = known
        return known

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self._assembled.policy.effect.value}) {self.place}>"

    def _variant(self, options: ToolOptions) -> Tool[P, R]:
        where = places.here()
        unknown = sorted(set(options) - set(Options.__struct_fields__))
        if unknown:
            raise places.wrong(
                where, f"tool {self.name} has no option {unknown[0]}", f"there are {', '.join(Options.__struct_fields__)}"
            )
        variant = copy.copy(self)
        variant._options = msgspec.structs.replace(self._options, **options)
        variant._assembled = assembled(variant._options, self.fn, self.name, self._signature, where)
        if variant._assembled.policy.effect is not self.spec.policy.effect:  # the annotations have to fit the new class
            variant._spec = resolved(variant._assembled, self._signature, where, {})
        else:
            kept = {field: getattr(self.spec, field) for field in ("result", "call_parameter", "connection_parameter")}
            variant._spec = msgspec.structs.replace(variant._assembled, **kept)
        variant._policy = variant._spec.policy
        variant._step = places.check_name(options.get("name", self._step), "a step", where)
        variant._variants = {}
        return variant

    def _plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, R]:
        given = self._signature.whole.bind(*args, **kwargs).arguments
        for parameter in self._signature.injected:
            if given.get(parameter, INJECTED) is INJECTED:
                raise UsageError(
                    f"tool {self.name}: nothing is injected outside a run; give {parameter}= in the call, as a test would"
                )
        coroutine: Coroutine[Any, Any, R] = self.fn(*args, **kwargs) if self._assembled.is_async else _inline(self.fn, args, kwargs)
        return coroutine


class _Declare(Protocol):
    """What ``tool`` with options gives: the decorator itself."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    effect: Effect = ...,
    timeout: Duration = ...,
    retry: Retry = ...,
    key: Callable[..., str] | None = ...,
    key_ttl: Duration = ...,
    verify: Probe | None = ...,
    settle: Duration | None = ...,
    database: Callable[[], Any] | None = ...,
    raises: Sequence[type[Exception]] = ...,
    ambiguous: Sequence[type[BaseException]] = ...,
    in_doubt: Literal["hold", "retry", "fail"] = ...,
    in_doubt_after: Duration | None = ...,
    max_concurrency: int | None = ...,
    name: str | None = ...,
) -> _Declare: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = Effect.AT_MOST_ONCE,
    timeout: Duration = "60s",
    retry: Retry = Retry(),  # noqa: B008 - immutable
    key: Callable[..., str] | None = None,
    key_ttl: Duration = KEY_TTL,
    verify: Probe | None = None,
    settle: Duration | None = None,
    database: Callable[[], Any] | None = None,
    raises: Sequence[type[Exception]] = (),
    ambiguous: Sequence[type[BaseException]] = (),
    in_doubt: Literal["hold", "retry", "fail"] = "hold",
    in_doubt_after: Duration | None = None,
    max_concurrency: int | None = None,
    name: str | None = None,
) -> Any:
    """Make a function a tool: ``@tool``, or ``@tool(effect=Effect.IDEMPOTENT, timeout="30s")``.

    An ``async def`` runs on the engine's loop, a ``def`` in a thread; both are awaited. A parameter ``call: ToolCall = INJECTED``
    gets the call (idempotency key, attempt, resources). The return annotation is the type that the result is recorded as;
    without one it must be plain JSON.

    Args:
        fn: the function; it is given by the decorator.
        effect: what the tool does to the outside world, and so what may be done after a crash.
        timeout: of one attempt, of engine time. The attempt ends when its code has ended, which for a ``def`` may be later.
        retry: how often it is attempted where the class allows.
        key: a business idempotency key from the tool's arguments, instead of one made for the step (a keyed BLAKE2b, RFC 7693, over
            app, data folder, run and step).
        key_ttl: ``IDEMPOTENT``: how long the far side honours the key, from the first attempt.
        verify: ``VERIFIED``: ``async def (call, *args, **kwargs) -> Done(result) | NotDone() | Unknown()``.
        settle: ``VERIFIED``: how long after an attempt's deadline the probe waits (default: the time-out).
        database: ``TRANSACTIONAL``: zero-argument, returns a DB-API (PEP 249) connection; the tool asks for the transaction with
            ``conn: Connection = INJECTED``.
        raises: errors that the run sees as themselves, rebuilt from their fields, instead of as ``ToolFailed``.
        ambiguous: further exception types after which the effect may have happened.
        in_doubt: what becomes of a step in doubt after ``in_doubt_after``: held for a person, performed again, or failed.
        in_doubt_after: how long a person has to settle it before that.
        max_concurrency: how many attempts run at once, in this process; None: no limit.
        name: identifies the tool across versions (default: the function's name).

    Raises:
        DeclarationError: the options contradict each other, the effect or the function; names the place and the fix.
    """
    options = Options(
        effect=effect,
        timeout=timeout,
        retry=retry,
        key=key,
        key_ttl=key_ttl,
        verify=verify,
        settle=settle,
        database=database,
        raises=raises,
        ambiguous=ambiguous,
        in_doubt=in_doubt,
        in_doubt_after=in_doubt_after,
        max_concurrency=max_concurrency,
        name=name,
    )

    def declare(fn: Callable[..., Any]) -> Tool[..., Any]:
        if not callable(fn) or isinstance(fn, type | Tool):
            raise places.wrong(
                places.here(), f"@tool needs a function, not {fn!r}", "give options by name, as in @tool(timeout=...)"
            )
        frame = places.caller()
        return Tool(fn, options, places.place_of(fn), {} if frame is None else frame.f_locals)

    return declare if fn is None else declare(fn)


def step(
    handle: Any, name: str, fn: Callable[..., Any], args: tuple[Any, ...], effect: Effect, timeout: Duration
) -> Coroutine[Any, Any, Any]:
    """Record a call of any function as a step named ``name``: what ``ctx.step`` does.

    Raises:
        DeclarationError: the function, its result type or the effect cannot be recorded.
        TypeError, ValueError: as calling a tool does.
    """
    spec, signature = _undeclared(fn, effect, timeout)
    signature.check(args, {})
    arguments = _recorded_arguments(name, args, {})
    spec = msgspec.structs.replace(spec, name=name, fn=fn)  # the same code, but with the variables that it sees this time
    called: Coroutine[Any, Any, Any] = handle.call(spec, name, args, {}, arguments, None, None)
    return called


def run_handle() -> Any:
    """The engine's handle of the run that is being handled; None outside a run, and in the body of a step."""
    return getattr(driven(), "handle", None)


_known: dict[Any, tuple[ToolSpec, Signature]] = {}


def _undeclared(fn: Callable[..., Any], effect: Effect, timeout: Duration) -> tuple[ToolSpec, Signature]:
    """The specification of a function that was not declared, kept by its code: closures of one code are new in every run."""
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    shape = (type(fn), code, getattr(fn, "__annotations__", {}).get("return"), effect, timeout)
    try:
        found = _known.get(shape) if code is not None else None
    except TypeError:  # an annotation without a hash
        return _compiled(fn, effect, timeout)
    if found is None:
        found = _compiled(fn, effect, timeout)
        if code is not None and len(_known) < 1024:
            _known[shape] = found
    return found


def _compiled(fn: Callable[..., Any], effect: Effect, timeout: Duration) -> tuple[ToolSpec, Signature]:
    where = places.here()
    if effect in (Effect.VERIFIED, Effect.TRANSACTIONAL):
        raise places.wrong(where, f"ctx.step knows no probe or database, as effect {effect.name} needs", "make it a @tool")
    name = getattr(fn, "__name__", type(fn).__name__)
    signature = Signature(fn, f"step {name}", where)
    try:
        spec = assembled(Options(effect=effect, timeout=timeout), fn, name, signature, where)
        return resolved(spec, signature, where, {}), signature
    except NameError as missing:
        raise _unresolved(f"{where}: step {name}", missing) from None


def _unresolved(at: str, missing: NameError) -> DeclarationError:
    return places.wrong(at, f"an annotation cannot be resolved: {missing}", "import it, or define it at the top of its module")


def _recorded_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    try:
        return encode_arguments(args, kwargs)
    except TypeError as problem:
        raise TypeError(f"{name}: {problem}; pass data, and take clients and connections from call.resources") from None
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None


def _business_key(key: object, name: str) -> str:
    if not isinstance(key, str) or not key:
        raise UsageError(f"tool {name}: key= gave {key!r}; an idempotency key is text, and not empty")
    return encodable(key, f"the idempotency key of tool {name}")


async def _inline(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)
