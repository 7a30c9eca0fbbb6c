"""Definite, ambiguous or not sent; errors as plain data and back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import datetime
import errno
import http.client
import io
import json
import smtplib
import socket
import ssl
import subprocess
import urllib.error
from decimal import Decimal
from email.message import Message
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.core.calls import Done, NotDone, Unknown
from millstream.core.effects import Effect, Ended, Policy, Retry
from millstream.core.graph import Codec, ToolSpec
from millstream.engine.outcomes import answered, classify, failed, payload, probe_failed, rebuild, succeeded
from millstream.errors import NotSent, ToolFailed

NUMBER = Codec("int", lambda value: msgspec.json.encode(msgspec.convert(value, int)).decode(), msgspec.json.Decoder(int).decode)


def tool(effect: Effect = Effect.AT_MOST_ONCE, **options: Any) -> ToolSpec:
    policy = Policy(effect, Retry(on=options.pop("on", ())))
    return ToolSpec("charge", lambda: None, False, policy, NUMBER, **options)


def foreign(name: str, *bases: type[BaseException], **attributes: Any) -> BaseException:
    """An exception of a library that is not installed: ``foreign("httpx.ReadTimeout", of("httpx.TransportError"))``."""
    error = of(name, *bases)("from afar")
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def of(name: str, *bases: type[BaseException]) -> type[BaseException]:
    module, _, qualname = name.partition(".")
    return type(qualname, bases or (Exception,), {"__module__": f"{module}._inside", "__qualname__": qualname})


def raised(error: BaseException, *, cause: BaseException | None = None, during: BaseException | None = None) -> BaseException:
    """The exception, really raised from, or while handling, another one."""
    try:
        if during is not None:
            try:
                raise during
            except BaseException:
                raise error  # noqa: B904
        raise error from cause
    except BaseException as caught:
        return caught


def status(code: int) -> SimpleNamespace:
    return SimpleNamespace(status_code=code)


# --- classification -------------------------------------------------------------------------------------------------------

URL = "http://far.example"

AMBIGUOUS: list[BaseException] = [
    TimeoutError(),  # since Python 3.11 also socket.timeout, asyncio.TimeoutError and concurrent.futures.TimeoutError
    concurrent.futures.CancelledError(),
    concurrent.futures.BrokenExecutor(),
    ConnectionError(),
    ConnectionResetError(),
    ConnectionRefusedError("raised by the tool itself: an earlier request of it may have been sent"),
    BrokenPipeError(),
    OSError(errno.EHOSTUNREACH, "no route to host"),
    OSError(errno.ENETUNREACH, "network is unreachable"),
    socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution"),
    EOFError(),
    asyncio.IncompleteReadError(b"", 4),
    asyncio.CancelledError(),
    ssl.SSLError(1, "bad record"),
    ssl.SSLEOFError(),
    http.client.RemoteDisconnected(),
    http.client.IncompleteRead(b""),
    urllib.error.URLError("refused"),
    urllib.error.HTTPError(URL, 504, "gateway time-out", Message(), io.BytesIO()),
    smtplib.SMTPServerDisconnected("after DATA"),
    subprocess.TimeoutExpired("curl", 1.0),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
    anyio.BrokenResourceError(),
    anyio.ClosedResourceError(),
    anyio.EndOfStream(),
    anyio.IncompleteRead(),
    foreign("httpx.ReadTimeout", of("httpx.TransportError", of("httpx.RequestError"))),
    foreign("httpx.ConnectError", of("httpx.TransportError")),
    foreign("httpx.HTTPStatusError", response=status(502)),
    foreign("httpcore.ReadError", of("httpcore.NetworkError")),
    foreign("aiohttp.ServerDisconnectedError", of("aiohttp.ClientConnectionError", of("aiohttp.ClientError"))),
    foreign("aiohttp.ClientPayloadError", of("aiohttp.ClientError")),
    foreign("aiohttp.ClientResponseError", of("aiohttp.ClientError"), status=504),
    foreign("requests.ConnectionError", of("requests.RequestException", OSError)),
    foreign("requests.ReadTimeout", of("requests.Timeout", of("requests.RequestException", OSError))),
    foreign("requests.ChunkedEncodingError", of("requests.RequestException", OSError)),
    foreign("urllib3.ProtocolError", of("urllib3.HTTPError")),
    foreign("botocore.ReadTimeoutError", of("botocore.HTTPClientError")),
    foreign("openai.APITimeoutError", of("openai.APIConnectionError")),
    foreign("grpc.AioRpcError", of("grpc.RpcError"), code=lambda: SimpleNamespace(name="UNAVAILABLE")),
    foreign("websockets.ConnectionClosedError", of("websockets.ConnectionClosed")),
    foreign("redis.TimeoutError"),
    foreign("psycopg.OperationalError", sqlstate=None),
    foreign("psycopg2.OperationalError", pgcode=None),
    foreign("asyncpg.ConnectionDoesNotExistError", of("asyncpg.PostgresError"), sqlstate="08003"),
    foreign("psycopg.AdminShutdown", of("psycopg.OperationalError"), sqlstate="57P01"),
]

DEFINITE: list[BaseException] = [
    ValueError("no such order"),
    KeyError("order"),
    RuntimeError(),
    FileNotFoundError(errno.ENOENT, "no such file"),
    PermissionError(errno.EACCES, "denied"),
    OSError(errno.ENOSPC, "no space left"),
    subprocess.CalledProcessError(1, "curl"),
    smtplib.SMTPRecipientsRefused({}),
    urllib.error.HTTPError(URL, 402, "payment required", Message(), io.BytesIO()),
    urllib.error.HTTPError(URL, 500, "internal error", Message(), io.BytesIO()),
    foreign("httpx.HTTPStatusError", response=status(404)),
    foreign("httpx.UnsupportedProtocol", of("httpx.TransportError")),
    foreign("httpx.InvalidURL"),
    foreign("aiohttp.ClientResponseError", of("aiohttp.ClientError"), status=404),
    foreign("aiohttp.InvalidURL", of("aiohttp.ClientError"), ValueError),
    foreign("requests.HTTPError", of("requests.RequestException", OSError), response=status(404)),
    foreign("requests.MissingSchema", of("requests.RequestException", OSError), ValueError),
    foreign("urllib3.LocationParseError", of("urllib3.LocationValueError", ValueError, of("urllib3.HTTPError"))),
    foreign("grpc.AioRpcError", of("grpc.RpcError"), code=lambda: SimpleNamespace(name="INVALID_ARGUMENT")),
    foreign("psycopg.UniqueViolation", of("psycopg.IntegrityError"), sqlstate="23505"),
    foreign("psycopg.LockNotAvailable", of("psycopg.OperationalError"), sqlstate="55P03"),
    foreign("psycopg2.OperationalError", pgcode="55P03"),
    foreign("asyncpg.UniqueViolationError", of("asyncpg.PostgresError"), sqlstate="23505"),
    foreign("sqlite3.OperationalError"),
    foreign("myapp.TransportError"),  # the same name, but in another library
]


def names(errors: list[BaseException]) -> list[str]:
    return [f"{number} {type(error).__module__}.{type(error).__qualname__}" for number, error in enumerate(errors)]


@pytest.mark.parametrize("error", AMBIGUOUS, ids=names(AMBIGUOUS))
def test_it_may_have_happened(error: BaseException) -> None:
    assert classify(tool(), error) is Ended.AMBIGUOUS


@pytest.mark.parametrize("error", DEFINITE, ids=names(DEFINITE))
def test_the_author_says_that_it_failed_without_effect(error: BaseException) -> None:
    assert classify(tool(), error) is Ended.FAILED


class Declined(Exception):
    pass


class Hesitant(Exception):
    pass


def test_not_sent_is_what_the_tool_says_itself() -> None:
    assert classify(tool(), NotSent("queue is full")) is Ended.NOT_SENT
    assert classify(tool(), raised(NotSent(), cause=ConnectionRefusedError())) is Ended.NOT_SENT


def test_not_sent_behind_or_beside_another_exception_does_not_count() -> None:
    assert classify(tool(), raised(ValueError(), cause=NotSent())) is Ended.FAILED
    assert classify(tool(), raised(TimeoutError(), cause=NotSent())) is Ended.AMBIGUOUS
    assert classify(tool(), ExceptionGroup("both", [NotSent()])) is Ended.FAILED
    assert classify(tool(), ExceptionGroup("both", [NotSent(), TimeoutError()])) is Ended.AMBIGUOUS


def test_an_exception_that_wraps_a_broken_connection_is_ambiguous() -> None:
    assert classify(tool(), raised(Declined(), cause=ConnectionResetError())) is Ended.AMBIGUOUS
    assert classify(tool(), raised(Declined(), during=ConnectionResetError())) is Ended.AMBIGUOUS
    assert classify(tool(), raised(Declined(), during=raised(KeyError(), cause=ConnectionResetError()))) is Ended.AMBIGUOUS


def test_what_a_cleanup_raises_after_a_cancellation_is_ambiguous() -> None:
    assert classify(tool(), raised(AttributeError(), during=asyncio.CancelledError())) is Ended.AMBIGUOUS


def test_a_declared_error_and_from_none_are_the_author_s_word() -> None:
    spec = tool(raises=(Declined,))
    assert classify(spec, raised(Declined(), cause=ConnectionResetError())) is Ended.FAILED
    assert classify(spec, raised(ValueError(), cause=raised(Declined(), cause=TimeoutError()))) is Ended.FAILED
    error = raised(ValueError("looked it up: it is not there"), during=ConnectionResetError())
    assert classify(spec, error) is Ended.AMBIGUOUS
    error.__suppress_context__ = True  # what ``from None`` sets
    assert classify(spec, error) is Ended.FAILED


def test_declaring_an_ambiguous_error_does_not_make_it_definite() -> None:
    assert classify(tool(raises=(TimeoutError,)), TimeoutError()) is Ended.AMBIGUOUS


def test_the_tool_s_own_ambiguous_types_count_before_its_declared_ones() -> None:
    assert classify(tool(ambiguous=(Hesitant,)), Hesitant()) is Ended.AMBIGUOUS
    assert classify(tool(ambiguous=(Hesitant,), raises=(Hesitant,)), Hesitant()) is Ended.AMBIGUOUS
    assert classify(tool(ambiguous=(Hesitant,)), raised(ValueError(), cause=Hesitant())) is Ended.AMBIGUOUS


def test_a_group_is_ambiguous_if_any_leaf_is() -> None:
    inner = ExceptionGroup("inner", [KeyError(), raised(Declined(), cause=TimeoutError())])
    assert classify(tool(), ExceptionGroup("outer", [ValueError(), inner])) is Ended.AMBIGUOUS
    assert classify(tool(), ExceptionGroup("outer", [ValueError(), KeyError()])) is Ended.FAILED
    assert classify(tool(), BaseExceptionGroup("outer", [SystemExit()])) is Ended.AMBIGUOUS


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert classify(tool(), first) is Ended.FAILED


def test_what_was_being_handled_outside_of_the_tool_is_not_the_tool_s() -> None:
    outside = ConnectionResetError("why the engine was started again")
    error = raised(ValueError(), during=outside)
    assert classify(tool(), error) is Ended.AMBIGUOUS
    assert classify(tool(), error, outside=outside) is Ended.FAILED


def test_a_definite_failure_of_a_named_type_is_retryable_and_an_ambiguous_one_is_not() -> None:
    spec = tool(on=(KeyError, TimeoutError))
    assert failed(spec, KeyError("busy")).retryable
    assert not failed(spec, ValueError()).retryable
    assert failed(spec, TimeoutError()) == msgspec.structs.replace(failed(tool(), TimeoutError()), retryable=False)


# --- results --------------------------------------------------------------------------------------------------------------


def test_a_result_is_encoded_by_the_tool_s_codec() -> None:
    assert (succeeded(tool(), 7).ended, succeeded(tool(), 7).result) == (Ended.SUCCEEDED, "7")


@pytest.mark.parametrize("effect", Effect)
def test_what_cannot_be_recorded_was_done_all_the_same(effect: Effect) -> None:
    outcome = succeeded(tool(effect), "seven")
    assert outcome.ended is (Ended.FAILED if effect is Effect.READ else Ended.AMBIGUOUS)
    assert outcome.error is not None
    assert outcome.error["type"] == "ResultNotEncodable"
    assert "tool charge returned a value of type str" in outcome.error["message"]
    assert "its declared type int" in outcome.error["message"]


def test_what_a_probe_may_answer() -> None:
    assert (answered(tool(), Done(7)).ended, answered(tool(), Done(7)).result) == (Ended.SUCCEEDED, "7")
    assert answered(tool(), NotDone()).ended is Ended.NOT_DONE
    assert (answered(tool(), Unknown()).ended, answered(tool(), Unknown()).error) == (Ended.UNKNOWN, None)


@pytest.mark.parametrize("answer", [None, False, NotDone, Done("seven")])
def test_any_other_answer_of_a_probe_tells_nothing(answer: Any) -> None:
    outcome = answered(tool(), answer)
    assert outcome.ended is Ended.UNKNOWN
    assert outcome.error is not None
    assert "charge" in outcome.error["message"]


def test_a_probe_that_raises_has_not_answered_not_even_with_not_sent() -> None:
    outcome = probe_failed(tool(), NotSent("no line"))
    assert outcome.ended is Ended.UNANSWERED
    assert outcome.error == {"type": "NotSent", "message": "no line", "data": None}


# --- errors as plain data ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Refused(Exception):
    code: str
    amount: Decimal
    at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: str


class WithInit(Exception):
    amount: Decimal

    def __init__(self, code: str, *, amount: Decimal, extra: object = None) -> None:
        super().__init__(f"refused: {code}")
        self.code = code
        self.amount = amount
        self.extra = extra


class OutOfStock(Declined):
    pass


class WithText(Exception):
    def __init__(self, item: str) -> None:
        super().__init__(item)
        self.item = item

    def __str__(self) -> str:
        return f"no {self.item} left"


def through_the_store(spec: ToolSpec, error: BaseException) -> tuple[Exception, Exception]:
    """What the handler gets live, and on replay."""
    live = payload(spec, error)
    return rebuild(spec, live), rebuild(spec, json.loads(json.dumps(live, allow_nan=False)))


DECLARED: list[Exception] = [
    Refused("limit", Decimal("10.50"), datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC)),
    Frozen("limit"),
    WithInit("limit", amount=Decimal("0.10")),
    WithText("tea"),
    Declined(),
    Declined("limit", 7, None, [1, {"a": True}]),
]


@pytest.mark.parametrize("error", DECLARED, ids=lambda error: f"{type(error).__name__}{len(error.args)}")
def test_a_declared_error_comes_back_with_its_fields(error: Exception) -> None:
    spec = tool(raises=(KeyError, type(error)))
    for rebuilt in through_the_store(spec, error):
        assert type(rebuilt) is type(error)
        assert str(rebuilt) == str(error)
        assert vars(rebuilt) == vars(error)
        assert rebuilt.args == error.args


def test_an_undeclared_subclass_goes_by_the_declared_name_and_says_its_own() -> None:
    spec = tool(raises=(Declined,))
    live = payload(spec, OutOfStock("tea"))
    assert live == {"type": "Declined", "message": "OutOfStock: tea", "data": {"args": ["tea"]}}
    for rebuilt in through_the_store(spec, OutOfStock("tea")):
        assert (type(rebuilt), rebuilt.args) == (Declined, ("tea",))


def test_the_nearest_declared_class_is_the_one() -> None:
    for rebuilt in through_the_store(tool(raises=(Declined, OutOfStock)), OutOfStock("tea")):
        assert type(rebuilt) is OutOfStock


def test_what_is_not_declared_is_a_tool_failed_without_data() -> None:
    for rebuilt in through_the_store(tool(), Refused("limit", Decimal(1))):
        assert isinstance(rebuilt, ToolFailed)
        assert (rebuilt.type, rebuilt.data) == ("Refused", None)


def test_what_has_no_json_form_is_its_repr() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    error = WithInit("limit", amount=Decimal(1), extra=[socket.socket, float("nan"), 2**70, b"\x00", {3: "x"}, loop, "\ud800"])
    live, replayed = through_the_store(tool(raises=(WithInit,)), error)
    assert isinstance(live, WithInit)
    assert isinstance(replayed, WithInit)
    assert (
        live.extra
        == replayed.extra
        == ["<class 'socket.socket'>", "nan", str(2**70), "AA==", {"3": "x"}, [1, "[1, [...]]"], "\\ud800"]
    )


def test_notes_are_not_fields() -> None:
    error = Declined("limit")
    error.add_note("seen at the till")
    assert payload(tool(raises=(Declined,)), error)["data"] == {"args": ["limit"]}


def test_an_error_whose_class_has_changed_since_is_a_tool_failed() -> None:
    spec = tool(raises=(Refused,))
    old = {"type": "Refused", "message": "limit", "data": {"reason": "limit"}}
    rebuilt = rebuild(spec, old)
    assert isinstance(rebuilt, ToolFailed)
    assert (rebuilt.type, rebuilt.message, rebuilt.data) == ("Refused", "limit", {"reason": "limit"})
    assert isinstance(rebuild(spec, {"type": "Refused", "message": ""}), ToolFailed)
    grown = rebuild(spec, {"type": "Refused", "message": "limit", "data": {"code": "limit", "amount": "1.5"}})
    assert vars(grown) == {"code": "limit", "amount": Decimal("1.5"), "at": None}, "a field that is new takes its default"
    assert isinstance(rebuild(tool(raises=(Declined,)), {"type": "Declined", "message": "", "data": {"args": 7}}), ToolFailed)


def test_a_message_survives_surrogates_huge_texts_and_a_broken_str() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise KeyError("field")

    assert payload(tool(), ValueError("caf\udce9"))["message"] == "caf\\udce9"
    huge = payload(tool(), ValueError("x" * 1_000_000))["message"]
    assert len(huge) < 5_000
    assert huge.endswith("... (1000000 characters)")
    assert payload(tool(), Broken())["message"] == "(its text cannot be had: KeyError)"


def test_a_group_says_what_its_leaves_say() -> None:
    message = payload(tool(), ExceptionGroup("two calls", [ValueError("a"), KeyError("b")]))["message"]
    assert message == "two calls (2 sub-exceptions): ValueError: a; KeyError: 'b'"


JSON_AND_MORE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(st.lists(JSON_AND_MORE, max_size=4), st.text(st.characters()))
def test_whatever_an_error_holds_live_and_replayed_are_equal(args: list[Any], text: str) -> None:
    error = Declined(*args)
    error.field = text  # type: ignore[attr-defined]
    spec = tool(raises=(Declined,))
    live = payload(spec, error)
    stored = msgspec.json.encode(live)
    assert msgspec.json.decode(stored) == live
    again = rebuild(spec, msgspec.json.decode(stored))
    assert (type(again), again.args, vars(again)) == (Declined, rebuild(spec, live).args, vars(rebuild(spec, live)))
