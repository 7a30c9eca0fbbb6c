"""How an attempt ended, from what its code returned or raised; errors as plain data, and back.

Rules (DESIGN.md, 4.4 and 5.1):

* *not sent* is only what the tool itself says by raising ``NotSent``. Neither a ``NotSent`` behind another exception nor one in
  a group counts: what stood in front of it, or beside it, may have been sent;
* *ambiguous*, it may have happened: what `_TYPES`, `_NAMES` and the tool's own ``ambiguous=[...]`` list; every exception that is
  no ``Exception`` (cancellation, ``SystemExit``); a group with an ambiguous leaf; and an exception raised from, or while
  handling, an ambiguous one, because client libraries wrap the broken connection in an error of their own;
* *failed*, definitely, is any other exception: by raising it the author says that there was no effect. A declared error
  (``raises=[...]``) is such a statement even where a broken connection stands behind it, and so is ``raise ... from None``;
* heavy libraries are never imported: their exceptions are known by the first part of their module and their name;
* a result that cannot be encoded was nevertheless performed. For READ that is a definite failure. For every other class it is
  *ambiguous*, not failed: "failed" would tell the handler that there was no effect. An IDEMPOTENT tool is then performed again,
  which is harmless and in vain, and ends in doubt, as the others do at once: a person sees the message and gives the result.
  (TRANSACTIONAL can do better: it encodes before it commits, see ``transactions``.)
* an error is {"type", "message", "data"}, plain JSON whatever the exception held. Live and replayed alike, the handler gets what
  `rebuild` makes of it. Nothing is ever pickled.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import errno
import math
import os
import ssl
import traceback
import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from millstream.core.calls import Done, NotDone, Unknown
from millstream.core.effects import Effect, Ended
from millstream.core.graph import ToolSpec
from millstream.core.text import MESSAGE_LIMIT, clean, shown, text_of
from millstream.errors import NotSent, ToolFailed

TRACE_FRAMES = 8
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEPTH_LIMIT = 20  # of nested data


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The one end of an attempt or a probe (only ``OVERDUE`` has another one after it)."""

    ended: Ended
    result: str | None = None  # JSON, as the tool's codec encodes it
    error: dict[str, Any] | None = None  # {"type", "message", "data"}
    retryable: bool = False  # a definite failure of a type that ``Retry.on`` names
    trace: str | None = None  # where its code raised, for people


# --- what code returned ---------------------------------------------------------------------------------------------------


def succeeded(spec: ToolSpec, value: Any) -> Outcome:
    """The outcome of an attempt that returned ``value``."""
    try:
        return Outcome(Ended.SUCCEEDED, spec.result.encode(value))
    except Exception as error:
        ended = Ended.FAILED if spec.policy.effect is Effect.READ else Ended.AMBIGUOUS
        return Outcome(ended, error=not_encodable(spec, value, error))


def answered(spec: ToolSpec, answer: Any) -> Outcome:
    """The outcome of a probe that returned ``answer``. What it may not answer tells nothing: ``UNKNOWN``."""
    if isinstance(answer, Done):
        try:
            return Outcome(Ended.SUCCEEDED, spec.result.encode(answer.result))
        except Exception as error:
            return Outcome(Ended.UNKNOWN, error=not_encodable(spec, answer.result, error))
    if isinstance(answer, NotDone):
        return Outcome(Ended.NOT_DONE)
    if isinstance(answer, Unknown):
        return Outcome(Ended.UNKNOWN)
    text = f"the probe of tool {spec.name} answered {shown(answer)}: it must return Done(result), NotDone() or Unknown()"
    return Outcome(Ended.UNKNOWN, error=made("TypeError", text))


def not_encodable(spec: ToolSpec, value: Any, error: BaseException) -> dict[str, Any]:
    """The error of a result that does not fit its declared type."""
    found = type(value).__qualname__
    return made(
        "ResultNotEncodable",
        f"tool {spec.name} returned a value of type {found}, which cannot be recorded as its declared type {spec.result.name}: "
        f"{text_of(error)}",
    )


# --- what code raised -----------------------------------------------------------------------------------------------------


def failed(spec: ToolSpec, error: BaseException, outside: BaseException | None = None) -> Outcome:
    """The outcome of an attempt that raised ``error``; for ``outside`` see `classify`."""
    ended = classify(spec, error, outside=outside)
    retryable = ended is Ended.FAILED and isinstance(error, spec.policy.retry.on)
    return Outcome(ended, error=payload(spec, error), retryable=retryable, trace=trace_of(error))


def probe_failed(spec: ToolSpec, error: BaseException) -> Outcome:
    """The outcome of a probe that raised: it has not answered, and says why."""
    return Outcome(Ended.UNANSWERED, error=payload(spec, error), trace=trace_of(error))


def classify(
    spec: ToolSpec,
    error: BaseException,
    *,
    outside: BaseException | None = None,
    also: Callable[[BaseException], bool] | None = None,
) -> Ended:
    """``NOT_SENT``, ``AMBIGUOUS`` or ``FAILED``.

    Args:
        outside: what was being handled around the tool (an engine that is started in an ``except`` block): Python chains it
            behind every exception of the tool, to which it does not belong.
        also: what else is ambiguous here.
    """
    if isinstance(error, NotSent):
        return Ended.NOT_SENT
    for link in _links(error, (*spec.raises, NotSent), outside):
        if isinstance(link, spec.ambiguous) or _is_ambiguous(link) or (also is not None and also(link)):
            return Ended.AMBIGUOUS
    return Ended.FAILED


def _links(
    error: BaseException, statements: tuple[type[BaseException], ...], outside: BaseException | None
) -> Iterator[BaseException]:
    """An exception, the leaves of a group, and what they were raised from or while handling, except behind a statement."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if link is outside or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(reversed(link.exceptions))
        if not isinstance(link, statements):
            behind = link.__cause__ if link.__suppress_context__ else link.__context__
            if behind is not None:
                waiting.append(behind)


def _always(error: BaseException) -> bool:
    return True


def _never(error: BaseException) -> bool:
    return False


def _is_gateway(error: BaseException) -> bool:
    """An answer by status 502 or 504: a time-out, or a broken connection, one hop further on (RFC 9110, 15.6.3 and 15.6.5)."""
    response = getattr(error, "response", None)
    for status in (getattr(response, "status_code", None), getattr(error, "status", None), getattr(error, "code", None)):
        if isinstance(status, int):
            return status in (502, 504)
    return False


def _is_rpc_transport(error: BaseException) -> bool:
    """A gRPC status that may stand for a broken or timed-out call, and not for the server's answer."""
    code = getattr(error, "code", None)
    name = getattr(code() if callable(code) else code, "name", None)
    return name in (None, "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE", "INTERNAL")


def sqlstate(error: BaseException) -> str | None:
    """The server's error code where a PostgreSQL driver gives one. None: the server has not answered, or it is no such error."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _is_lost_session(error: BaseException) -> bool:
    """A PostgreSQL driver's error that is no answer to the statement: no code at all, or 08 (connection), 57P (shut down)."""
    state = sqlstate(error)
    return state is None or state.startswith(("08", "57P"))


_TYPES = (
    TimeoutError,  # also socket.timeout, asyncio's and concurrent.futures'
    ConnectionError,
    EOFError,  # also asyncio.IncompleteReadError
    ssl.SSLError,
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    concurrent.futures.BrokenExecutor,  # its worker died
)

_NETWORK = frozenset(
    getattr(errno, name)
    for name in ("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN", "ENONET", "ECOMM", "EPROTO")
    if hasattr(errno, name)
)

# (first part of the module, qualified name) -> is this one ambiguous? The first class of the MRO that is listed decides.
_NAMES: dict[tuple[str, str], Callable[[BaseException], bool]] = {
    ("socket", "gaierror"): _always,
    ("socket", "herror"): _always,
    ("subprocess", "TimeoutExpired"): _always,
    ("http", "HTTPException"): _always,
    ("urllib", "URLError"): _always,
    ("urllib", "HTTPError"): _is_gateway,  # the server has answered
    ("smtplib", "SMTPServerDisconnected"): _always,
    ("smtplib", "SMTPConnectError"): _always,
    ("aiosmtplib", "SMTPServerDisconnected"): _always,
    ("imaplib", "IMAP4.abort"): _always,
    ("httpx", "TransportError"): _always,
    ("httpx", "DecodingError"): _always,  # an answer came, damaged
    ("httpx", "UnsupportedProtocol"): _never,  # a TransportError, but of the address: no connection was tried
    ("httpx", "HTTPStatusError"): _is_gateway,
    ("httpcore", "ConnectionNotAvailable"): _always,
    ("httpcore", "ProxyError"): _always,
    ("httpcore", "ProtocolError"): _always,
    ("httpcore", "TimeoutException"): _always,
    ("httpcore", "NetworkError"): _always,
    ("h11", "ProtocolError"): _always,
    ("h2", "ProtocolError"): _always,
    ("aiohttp", "ClientConnectionError"): _always,  # ClientOSError, ServerDisconnectedError, ServerTimeoutError
    ("aiohttp", "ClientPayloadError"): _always,
    ("aiohttp", "HttpProcessingError"): _always,
    ("aiohttp", "ClientResponseError"): _is_gateway,
    ("requests", "ConnectionError"): _always,
    ("requests", "Timeout"): _always,
    ("requests", "ChunkedEncodingError"): _always,
    ("requests", "ContentDecodingError"): _always,
    ("requests", "RetryError"): _always,
    ("requests", "InvalidProxyURL"): _never,
    ("requests", "HTTPError"): _is_gateway,
    ("urllib3", "HTTPError"): _always,  # the base of all, whatever its name says
    ("urllib3", "LocationValueError"): _never,
    ("botocore", "HTTPClientError"): _always,
    ("botocore", "ConnectionError"): _always,
    ("openai", "APIConnectionError"): _always,
    ("anthropic", "APIConnectionError"): _always,
    ("grpc", "RpcError"): _is_rpc_transport,
    ("websockets", "ConnectionClosed"): _always,
    ("anyio", "BrokenResourceError"): _always,
    ("anyio", "BrokenWorkerProcess"): _always,
    ("anyio", "ClosedResourceError"): _always,
    ("anyio", "EndOfStream"): _always,
    ("anyio", "IncompleteRead"): _always,
    ("trio", "BrokenResourceError"): _always,
    ("trio", "ClosedResourceError"): _always,
    ("trio", "TooSlowError"): _always,
    ("redis", "ConnectionError"): _always,
    ("redis", "TimeoutError"): _always,
    ("pymongo", "ConnectionFailure"): _always,  # also AutoReconnect, NetworkTimeout
    ("pymongo", "WTimeoutError"): _always,
    ("asyncpg", "PostgresError"): _is_lost_session,
    ("psycopg", "OperationalError"): _is_lost_session,
    ("psycopg2", "OperationalError"): _is_lost_session,
}


def _is_ambiguous(error: BaseException) -> bool:
    """Does this one exception, by itself, leave open whether it happened?"""
    if isinstance(error, _TYPES) or not isinstance(error, Exception):
        return True
    if isinstance(error, OSError) and error.errno in _NETWORK:
        return True
    for cls in type(error).__mro__:
        decides = _NAMES.get((cls.__module__.partition(".")[0], cls.__qualname__))
        if decides is not None:
            return decides(error)
    return False


# --- errors as plain data ---------------------------------------------------------------------------------------------------


def made(type: str, message: str) -> dict[str, Any]:
    """The payload of an error that no exception stands behind."""
    return {"type": type, "message": clean(message), "data": None}


def payload(spec: ToolSpec, error: BaseException) -> dict[str, Any]:
    """An exception as {"type": its name, "message": its text, "data": its fields if it is declared, else None}.

    An instance of an undeclared subclass of a declared error goes by the declared name, since that is what can be rebuilt;
    its own name stands in the message. The fields are those of a dataclass, else {"args": [...], "fields": {attributes}}.
    What has no JSON form is there as its ``repr``.
    """
    cls = type(error)
    declared = next((base for base in cls.__mro__ if base in spec.raises), None)
    if declared is None:
        return {"type": cls.__name__, "message": text_of(error), "data": None}
    message = text_of(error) if declared is cls else clean(f"{cls.__name__}: {text_of(error)}")
    data: dict[str, Any]
    if dataclasses.is_dataclass(declared):
        names = [field.name for field in dataclasses.fields(declared)]
        data = {name: plain(getattr(error, name, None)) for name in names}
    else:
        data = {"args": [plain(argument) for argument in error.args]}
        attributes = {name: value for name, value in vars(error).items() if name != "__notes__"}
        if attributes:
            data["fields"] = {clean(name): plain(value) for name, value in attributes.items()}
    return {"type": declared.__name__, "message": message, "data": data}


def trace_of(error: BaseException) -> str | None:
    """The traceback from the first line of the tool's own code on; None where the exception has been nowhere else."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    if trace is None:
        return None
    try:
        return clean("".join(traceback.format_exception(type(error), error, trace, limit=-TRACE_FRAMES))[-MESSAGE_LIMIT:])
    except Exception:  # its text cannot be had
        return None


def rebuild(spec: ToolSpec, error: dict[str, Any]) -> Exception:
    """The exception that the handler gets: the declared error of that name with its fields, else ``ToolFailed``.

    Its ``__init__`` is not called, as it is not when an exception is unpickled: it may compute, and its parameters need not be
    its fields. Where the class has an annotation for a field, the value is converted to that type. Never raises.
    """
    type_, message, data = error["type"], error["message"], error.get("data")
    for declared in spec.raises:
        if declared.__name__ == type_ and isinstance(data, dict):
            try:
                return _restored(declared, data)
            except Exception:  # the class is another one now: the handler gets all that is known
                break
    failed = ToolFailed(type_, message, data)
    failed.tool = spec.name
    return failed


def _restored(cls: type[Exception], data: dict[str, Any]) -> Exception:
    hints = _hints(cls)
    args: tuple[Any, ...]
    if dataclasses.is_dataclass(cls):
        fields = {field.name: _field(field, data, hints) for field in dataclasses.fields(cls)}
        args = tuple(fields[field.name] for field in dataclasses.fields(cls) if field.init)
    else:
        args = tuple(data["args"])
        fields = {name: _converted(value, hints.get(name)) for name, value in data.get("fields", {}).items()}
    error = cls.__new__(cls, *args)
    for name, value in {"args": args, **fields}.items():
        object.__setattr__(error, name, value)  # a frozen dataclass refuses its own
    return error


def _field(field: dataclasses.Field[Any], data: dict[str, Any], hints: dict[str, Any]) -> Any:
    if field.name in data:
        return _converted(data[field.name], hints.get(field.name))
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is not dataclasses.MISSING:
        return field.default  # the class has got this field since
    raise KeyError(field.name)


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except Exception:  # an annotation that names what only a type checker can see
        return {}


def _converted(value: Any, hint: Any) -> Any:
    if hint is None:
        return value
    try:
        return msgspec.convert(value, hint)
    except Exception:  # its repr was recorded, or msgspec does not know the type: as it is
        return value


def plain(value: Any, path: tuple[int, ...] = ()) -> Any:
    """The value as JSON has it: what a replay will read is what we give now. ``path``: ids of what it is inside of."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is str:
        return value.encode("utf-8", "backslashreplace").decode()
    if type(value) is int:
        return value if value.bit_length() <= 63 else str(value)
    if type(value) is float:
        return value if math.isfinite(value) else repr(value)
    if len(path) < _DEPTH_LIMIT and id(value) not in path:
        path = (*path, id(value))
        if isinstance(value, dict):
            return {str(plain(key, path)): plain(item, path) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(item, path) for item in value]
        try:
            return plain(msgspec.to_builtins(value, str_keys=True), path)
        except Exception:  # a socket, a response
            pass
    return shown(value)
