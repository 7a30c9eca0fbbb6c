"""TRANSACTIONAL attempts: the work and its key row become durable together or not at all, whatever the tool and the database do."""

from __future__ import annotations

import importlib.util
import itertools
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from millstream.core.effects import Effect, Ended, Policy, Retry
from millstream.core.graph import Codec, ToolSpec
from millstream.engine import dialects, transactions
from millstream.engine.connection import Connection
from millstream.engine.outcomes import Outcome, made
from millstream.engine.transactions import Right, transact
from millstream.errors import NotSent, UsageError

WAIT = 20.0  # seconds until a test gives up; none of them waits for it
VALUE = Codec("int", lambda value: msgspec.json.encode(msgspec.convert(value, int)).decode(), msgspec.json.Decoder(int).decode)
PAYMENTS = "CREATE TABLE payments (order_id TEXT)"
REVOKED = made("CancelledError", "pay was cancelled")


def helper(name: str) -> ModuleType:
    """A module beside this file (tests are imported without a package)."""
    spec = importlib.util.spec_from_file_location(f"tests_unit_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Shop:
    """A database with a table of payments, seen through one driver."""

    def __init__(self, name: str, connect: Callable[[], Any]) -> None:
        self.name = name
        self.mark = "?" if name in ("sqlite3", "named") else "%s"
        self.connect: Callable[[], Any] = lambda: connect()  # a new function: nothing is known of its database yet
        self._own: Any = None
        self._keeps = name.startswith("psycopg")  # a connection to PostgreSQL costs more than the whole test

    def run(self, *statements: str) -> list[Any]:
        """Execute and commit, on a connection of its own; the rows of the last one."""
        if self._own is None or not self._keeps:
            self._own = self.connect()
        cursor = self._own.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            cursor.close()
            self._own.commit()
        finally:
            if not self._keeps:
                self._own.close()
        return rows

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    @property
    def payments(self) -> int:
        return len(self.run("SELECT * FROM payments"))

    @property
    def keys(self) -> dict[str, str | None]:
        return dict(tuple(row) for row in self.run("SELECT idempotency_key, result FROM millstream_effects"))

    def tool(self, body: Callable[..., Any], **options: Any) -> ToolSpec:
        policy = Policy(Effect.TRANSACTIONAL, Retry(on=options.pop("on", ())))
        options = {"database": self.connect, "connection_parameter": "conn", "name": "pay", **options}
        return ToolSpec(fn=body, is_async=False, policy=policy, result=VALUE, **options)

    def pay(self, conn: Connection, order: str = "a") -> None:
        conn.execute(f"INSERT INTO payments VALUES ({self.mark})", (order,))

    def paying(self, result: Any = 1, **options: Any) -> ToolSpec:
        """A tool that pays and returns (or raises) this."""

        def body(conn: Connection) -> Any:
            self.pay(conn)
            if isinstance(result, BaseException):
                raise result
            return result

        return self.tool(body, **options)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    module = helper("postgres")
    manager = module.server()
    try:
        dsn = manager.__enter__()
    except module.NoPostgres as reason:
        pytest.skip(str(reason))
    try:
        yield dsn
    finally:
        manager.__exit__(None, None, None)


numbers = itertools.count()


def postgres_shop(driver: str, request: pytest.FixtureRequest) -> Shop:
    module = pytest.importorskip(driver)
    dsn = request.getfixturevalue("postgres")
    schema = f"shop{next(numbers)}"
    shop = Shop(driver, lambda: module.connect(f"{dsn} options='-c search_path={schema}'"))
    shop.run(f"CREATE SCHEMA {schema}", PAYMENTS)
    return shop


def sqlite_shop(path: Path, **options: Any) -> Shop:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path / "shop.db", **options)
        connection.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug in these tests
        return connection

    shop = Shop("sqlite3", connect)
    shop.run(PAYMENTS)
    return shop


def named_shop(path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A driver of which nothing is known but PEP 249: paramstyle, cursor, commit, rollback."""
    module: Any = ModuleType("namedb")
    module.paramstyle, module.IntegrityError = "named", sqlite3.IntegrityError

    class Plain:
        def __init__(self) -> None:
            self._real = sqlite3.connect(path / "shop.db", isolation_level="IMMEDIATE")
            self.cursor, self.rollback, self.close = self._real.cursor, self._real.rollback, self._real.close

        def commit(self) -> None:
            self._real.commit()

    Plain.__module__ = "namedb.connections"
    monkeypatch.setitem(sys.modules, "namedb", module)
    shop = Shop("named", Plain)
    shop.run(PAYMENTS)
    return shop


@pytest.fixture(params=["sqlite3", "psycopg", "psycopg2", "named"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    if request.param == "sqlite3":
        made = sqlite_shop(tmp_path)
    elif request.param == "named":
        made = named_shop(tmp_path, monkeypatch)
    else:
        made = postgres_shop(request.param, request)
    yield made
    made.close()


@pytest.fixture(params=["psycopg", "psycopg2"])
def pg(request: pytest.FixtureRequest) -> Iterator[Shop]:
    made = postgres_shop(request.param, request)
    yield made
    made.close()


@pytest.fixture
def lite(tmp_path: Path) -> Shop:
    return sqlite_shop(tmp_path)


def attempt(spec: ToolSpec, key: str = "k", right: Right | None = None) -> Outcome:
    return transact(spec, key, (), {}, right or Right())


def kind(outcome: Outcome) -> str:
    assert outcome.error is not None
    name: str = outcome.error["type"]
    return name


# --- once, together or not at all -----------------------------------------------------------------------------------------


def test_the_work_and_its_key_row_are_committed_together(shop: Shop) -> None:
    assert attempt(shop.paying(7)) == Outcome(Ended.SUCCEEDED, "7")
    assert (shop.payments, shop.keys) == (1, {"k": "7"})


def test_a_second_attempt_adopts_the_result_of_the_first(shop: Shop) -> None:
    attempt(shop.paying(7))
    assert attempt(shop.paying(8)) == Outcome(Ended.SUCCEEDED, "7")
    assert (shop.payments, shop.keys) == (1, {"k": "7"})


def test_another_key_is_another_effect(shop: Shop) -> None:
    attempt(shop.paying(7), "k1")
    attempt(shop.paying(8), "k2")
    assert (shop.payments, shop.keys) == (2, {"k1": "7", "k2": "8"})


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (ValueError("no such order"), Ended.FAILED),
        (NotSent("closed"), Ended.NOT_SENT),
        (ConnectionResetError(), Ended.NOT_SENT),
        (TimeoutError(), Ended.NOT_SENT),
        (SystemExit(), Ended.NOT_SENT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_the_tool_raises_rolls_all_of_it_back(shop: Shop, error: BaseException, ended: Ended) -> None:
    outcome = attempt(shop.paying(error))
    assert (outcome.ended, kind(outcome), outcome.result) == (ended, type(error).__name__, None)
    assert (shop.payments, shop.keys) == (0, {})
    assert attempt(shop.paying(7)) == Outcome(Ended.SUCCEEDED, "7")


def test_a_named_failure_is_retryable(lite: Shop) -> None:
    outcome = attempt(lite.paying(KeyError("busy"), on=(KeyError,)))
    assert (outcome.ended, outcome.retryable) == (Ended.FAILED, True)


def test_a_result_that_cannot_be_encoded_is_rolled_back(shop: Shop) -> None:
    outcome = attempt(shop.paying("seven"))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "ResultNotEncodable")
    assert (shop.payments, shop.keys) == (0, {})


def test_a_result_of_none_is_not_taken_for_no_result(lite: Shop) -> None:
    spec = msgspec.structs.replace(lite.paying(None), result=Codec("json", lambda value: msgspec.json.encode(value).decode(), str))
    assert attempt(spec) == attempt(spec) == Outcome(Ended.SUCCEEDED, "null")
    assert lite.payments == 1


def test_a_key_of_another_tool_is_not_adopted(lite: Shop) -> None:
    attempt(lite.paying(7))
    outcome = attempt(lite.paying(8, name="refund"))
    assert (outcome.ended, kind(outcome)) == (Ended.AMBIGUOUS, "KeyTaken")
    assert lite.payments == 1


# --- beside each other ------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside() -> Iterator[Callable[..., Future[Outcome]]]:
    """Make an attempt in a thread of its own."""
    with ThreadPoolExecutor(16) as pool:
        yield lambda *args, **options: pool.submit(attempt, *args, **options)


def holding(shop: Shop, began: threading.Event, go: threading.Event, result: Any) -> ToolSpec:
    def body(conn: Connection) -> Any:
        shop.pay(conn)
        began.set()
        assert go.wait(WAIT)
        if isinstance(result, BaseException):
            raise result
        return result

    return shop.tool(body)


def test_a_second_attempt_waits_for_the_first_and_adopts_it(shop: Shop, beside: Callable[..., Future[Outcome]]) -> None:
    attempt(shop.paying(0), "warm")
    began, go = threading.Event(), threading.Event()
    first = beside(holding(shop, began, go, 7))
    assert began.wait(WAIT)
    second = beside(shop.paying(8))
    go.set()
    assert first.result(WAIT) == second.result(WAIT) == Outcome(Ended.SUCCEEDED, "7")
    assert shop.payments == 2  # "warm", and the first


def test_a_second_attempt_performs_when_the_first_is_rolled_back(shop: Shop, beside: Callable[..., Future[Outcome]]) -> None:
    attempt(shop.paying(0), "warm")
    began, go = threading.Event(), threading.Event()
    first = beside(holding(shop, began, go, ValueError()))
    assert began.wait(WAIT)
    second = beside(shop.paying(8))
    go.set()
    assert first.result(WAIT).ended is Ended.FAILED
    assert second.result(WAIT) == Outcome(Ended.SUCCEEDED, "8")
    assert shop.payments == 2


def test_many_attempts_of_one_key_at_once_perform_it_once(shop: Shop, beside: Callable[..., Future[Outcome]]) -> None:
    """And they make the table at once, too."""
    start = threading.Barrier(8)

    def together() -> Any:
        start.wait(WAIT)
        return shop.connect()

    outcomes = [beside(shop.paying(7, database=lambda: together())) for _ in range(8)]
    assert {outcome.result(WAIT) for outcome in outcomes} == {Outcome(Ended.SUCCEEDED, "7")}
    assert shop.payments == 1


def test_a_database_that_is_too_busy_was_not_sent(tmp_path: Path) -> None:
    shop = sqlite_shop(tmp_path, timeout=0.01)
    attempt(shop.paying(0), "warm")
    other = shop.connect()
    other.execute("BEGIN IMMEDIATE")
    outcome = attempt(shop.paying(7))
    other.close()
    assert (outcome.ended, kind(outcome)) == (Ended.NOT_SENT, "OperationalError")
    assert shop.payments == 1


# --- the right to commit ----------------------------------------------------------------------------------------------------


def test_what_was_revoked_before_it_began_does_not_even_connect(lite: Shop) -> None:
    right = Right()
    assert right.revoke(REVOKED)
    outcome = attempt(lite.paying(database=lambda: pytest.fail("it connects")), right=right)
    assert outcome == Outcome(Ended.NOT_SENT, error=REVOKED)


def test_what_is_revoked_while_it_runs_is_rolled_back(shop: Shop) -> None:
    right = Right()

    def body(conn: Connection) -> int:
        shop.pay(conn)
        assert right.revoke(REVOKED)
        return 7

    assert attempt(shop.tool(body), right=right) == Outcome(Ended.NOT_SENT, error=REVOKED)
    assert (shop.payments, shop.keys) == (0, {})


def test_without_the_right_being_asked_a_revoked_attempt_would_commit(lite: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablation: it is this check, and no other, that the test before depends on."""
    right = Right()

    def body(conn: Connection) -> int:
        lite.pay(conn)
        assert right.revoke(REVOKED)
        return 7

    monkeypatch.setattr(Right, "commit_begun", lambda self: True)
    assert attempt(lite.tool(body), right=right).ended is Ended.SUCCEEDED
    assert lite.payments == 1


def test_a_revoked_attempt_gets_no_further_than_its_next_statement(shop: Shop) -> None:
    right = Right()

    def body(conn: Connection) -> int:
        assert right.revoke(REVOKED)
        shop.pay(conn)
        raise AssertionError("it went on")

    assert attempt(shop.tool(body), right=right) == Outcome(Ended.NOT_SENT, error=REVOKED)


def test_a_definite_failure_of_a_revoked_attempt_is_evidence(lite: Shop) -> None:
    right = Right()

    def body(conn: Connection) -> int:
        assert right.revoke(REVOKED)
        raise ValueError("no such order")

    outcome = attempt(lite.tool(body), right=right)
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "ValueError")


def test_once_commit_has_begun_it_cannot_be_revoked() -> None:
    right = Right()
    assert right.commit_begun()
    assert not right.revoke(REVOKED)
    assert right.revoked is None


def test_a_revoked_right_stays_revoked_with_its_first_reason() -> None:
    right = Right()
    assert right.revoke(REVOKED)
    assert right.revoke(made("TimeoutError", "later"))
    assert not right.commit_begun()
    assert right.revoked == REVOKED


def test_of_a_revocation_and_a_commit_at_once_one_wins() -> None:
    def race() -> tuple[bool, bool]:
        right, start = Right(), threading.Barrier(2)
        revoked: list[bool] = []
        other = threading.Thread(target=lambda: (start.wait(WAIT), revoked.append(right.revoke(REVOKED))))
        other.start()
        start.wait(WAIT)
        committed = right.commit_begun()
        other.join(WAIT)
        return revoked[0], committed

    assert {race() for _ in range(200)} <= {(True, False), (False, True)}


# --- what the tool's connection refuses -----------------------------------------------------------------------------------------


def test_the_connection_has_no_way_to_end_the_transaction(shop: Shop) -> None:
    seen: list[Any] = []

    def body(conn: Connection) -> int:
        for name in ("commit", "rollback", "executescript", "autocommit", "isolation_level", "close", "tpc_commit", "transaction"):
            assert not hasattr(conn, name), name
        for name in ("connection", "commit", "executescript", "copy", "stream"):
            assert not hasattr(conn.cursor(), name), name
        with pytest.raises(AttributeError, match=r"no 'commit', only execute, executemany and cursor: Millstream begins"):
            conn.commit()  # type: ignore[attr-defined]
        seen.append(conn)
        return 1

    assert attempt(shop.tool(body)).ended is Ended.SUCCEEDED
    with pytest.raises(UsageError, match="used after its tool has returned"):
        seen[0].execute("SELECT 1")


CONTROL = [
    "COMMIT",
    "commit;",
    "  END TRANSACTION",
    "ROLLBACK",
    "ROLLBACK WORK",
    "BEGIN IMMEDIATE",
    "START TRANSACTION",
    "ABORT",
    "/* a comment */ COMMIT",
    "-- a comment\nCOMMIT",
    "/* in /* a comment */ */ COMMIT",
    ";COMMIT",
    "PREPARE TRANSACTION 'x'",
    "SET autocommit = 1",
]


@pytest.mark.parametrize("text", CONTROL)
def test_transaction_control_is_refused_before_it_is_sent(lite: Shop, text: str) -> None:
    def body(conn: Connection) -> int:
        lite.pay(conn)
        conn.execute(text)
        return 1

    outcome = attempt(lite.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "UsageError")
    assert outcome.error is not None
    assert "in a tool's SQL: its transaction was begun by Millstream" in outcome.error["message"]
    assert (lite.payments, lite.keys) == (0, {})


def test_transaction_control_is_refused_whichever_way_it_is_sent(lite: Shop) -> None:
    def body(conn: Connection) -> int:
        for send in (conn.execute, conn.cursor().execute, lambda text: conn.executemany(text, [()])):
            with pytest.raises(UsageError, match=r"^COMMIT in a tool's SQL"):
                send("COMMIT")
        return 1

    assert attempt(lite.tool(body)).ended is Ended.SUCCEEDED


@pytest.mark.parametrize(
    "text", ["INSERT INTO payments VALUES ('x'); COMMIT; SELECT 1", "SELECT $tag$ ; $tag$ ; COMMIT", "SELECT E'\\''; COMMIT"]
)
def test_control_among_several_statements_is_refused(pg: Shop, text: str) -> None:
    outcome = attempt(pg.tool(lambda conn: conn.execute(text) and 1))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "UsageError")
    assert pg.payments == 0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'x; COMMIT'",
        "SELECT ';COMMIT' AS \"; COMMIT\"",
        "SELECT 1 -- ; COMMIT",
        "SELECT /* ; COMMIT; */ 1",
        "SELECT 'it''s; END'",
    ],
)
def test_words_in_quotes_and_comments_are_only_words(shop: Shop, text: str) -> None:
    assert attempt(shop.tool(lambda conn: len(conn.execute(text).fetchall()))) == Outcome(Ended.SUCCEEDED, "1")


@pytest.mark.parametrize("text", ["SELECT $$; COMMIT$$", "SELECT $a$; COMMIT $$ $a$", "SELECT E'it\\'s; COMMIT'"])
def test_postgresql_s_own_quotes_are_known(pg: Shop, text: str) -> None:
    assert attempt(pg.tool(lambda conn: len(conn.execute(text).fetchall()))) == Outcome(Ended.SUCCEEDED, "1")


def test_a_trigger_may_have_a_body(lite: Shop) -> None:
    text = "CREATE TRIGGER t AFTER INSERT ON payments BEGIN DELETE FROM payments; END"
    assert attempt(lite.tool(lambda conn: conn.execute(text) and 1)).ended is Ended.SUCCEEDED


def test_savepoints_are_allowed(shop: Shop) -> None:
    def body(conn: Connection) -> int:
        shop.pay(conn, "kept")
        conn.execute("SAVEPOINT mine")
        shop.pay(conn, "dropped")
        conn.execute("ROLLBACK TO SAVEPOINT mine")
        conn.execute("RELEASE SAVEPOINT mine")
        return 1

    assert attempt(shop.tool(body)).ended is Ended.SUCCEEDED
    assert [row[0] for row in shop.run("SELECT order_id FROM payments")] == ["kept"]


def test_the_connection_is_its_tool_s_thread_s_alone(shop: Shop) -> None:
    def body(conn: Connection) -> int:
        with ThreadPoolExecutor(1) as pool, pytest.raises(UsageError, match="in another thread than its tool's"):
            pool.submit(conn.execute, "SELECT 1").result(WAIT)
        return 1

    assert attempt(shop.tool(body)).ended is Ended.SUCCEEDED


def test_a_cursor_has_what_pep_249_says(shop: Shop) -> None:
    def body(conn: Connection) -> int:
        conn.executemany(f"INSERT INTO payments VALUES ({shop.mark})", [("a",), ("b",), ("c",), ("d",)])
        with conn.cursor() as cursor:
            assert cursor.execute("SELECT order_id FROM payments ORDER BY order_id") is cursor
            assert cursor.description[0][0] == "order_id"
            assert tuple(cursor.fetchone()) == ("a",)
            cursor.arraysize = 1
            assert cursor.arraysize == 1
            assert [row[0] for row in cursor.fetchmany()] == ["b"]
            assert [row[0] for row in cursor.fetchmany(1)] == ["c"]
            assert [row[0] for row in cursor] == ["d"]
            assert list(cursor.fetchall()) == []
        updated = conn.execute("UPDATE payments SET order_id = 'x'")
        assert updated.rowcount == 4
        assert updated.lastrowid in (None, 0, 4)
        return 1

    outcome = attempt(shop.tool(body))
    assert outcome == Outcome(Ended.SUCCEEDED, "1"), outcome


def test_rows_are_as_the_connect_function_wants_them(lite: Shop, pg: Shop) -> None:
    def lite_rows() -> Any:
        connection = lite.connect()
        connection.row_factory = lambda cursor, row: {"row": row}
        return connection

    spec = lite.tool(lambda conn: conn.execute("SELECT 7").fetchone()["row"][0], database=lite_rows)
    assert attempt(spec) == attempt(spec) == Outcome(Ended.SUCCEEDED, "7")

    def pg_rows() -> Any:
        connection = pg.connect()
        if pg.name == "psycopg":
            connection.row_factory = sys.modules["psycopg.rows"].dict_row
        else:
            connection.cursor_factory = pytest.importorskip("psycopg2.extras").RealDictCursor
        return connection

    spec = pg.tool(lambda conn: conn.execute("SELECT 7 AS n").fetchone()["n"], database=pg_rows)
    assert attempt(spec) == attempt(spec) == Outcome(Ended.SUCCEEDED, "7")


def test_sql_may_be_composed(pg: Shop) -> None:
    sql = pytest.importorskip(f"{pg.name}.sql")

    def body(conn: Connection) -> int:
        conn.execute(sql.SQL("INSERT INTO {} VALUES ('a')").format(sql.Identifier("payments")))
        with pytest.raises(UsageError, match="COMMIT in a tool's SQL"):
            conn.execute(sql.SQL("SELECT 1; {}").format(sql.SQL("COMMIT")))
        with pytest.raises(UsageError, match="SQL must be text, not object"):
            conn.execute(object())
        conn.execute(b"SELECT 1")
        return 1

    assert attempt(pg.tool(body)).ended is Ended.SUCCEEDED
    assert pg.payments == 1


# --- a transaction that was ended behind our back ------------------------------------------------------------------------


def behind_our_back(conn: Connection, *statements: str) -> None:
    """What no tool could do without taking the proxy apart, but a driver, an extension or a procedure might."""
    cursor = conn._raw.cursor()
    for statement in statements:
        cursor.execute(statement)


@pytest.mark.parametrize("result", [7, ValueError("later")], ids=["returns", "raises"])
def test_a_foreign_commit_is_found_out_and_never_performed_again(shop: Shop, result: Any) -> None:
    def body(conn: Connection) -> Any:
        shop.pay(conn)
        behind_our_back(conn, "COMMIT", "BEGIN")
        shop.pay(conn)
        if isinstance(result, BaseException):
            raise result
        return result

    for _ in range(2):
        outcome = attempt(shop.tool(body))
        assert (outcome.ended, kind(outcome)) == (Ended.AMBIGUOUS, "TransactionLost")
        assert (shop.payments, shop.keys) == (1, {"k": None})


def test_a_lost_transaction_whose_key_row_cannot_be_read_is_ambiguous(lite: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: Any) -> Any:
        raise OSError("the disk has gone")

    def body(conn: Connection) -> int:
        lite.pay(conn)
        behind_our_back(conn, "COMMIT")
        return 7

    monkeypatch.setattr(transactions._Attempt, "_row", unreadable)
    outcome = attempt(lite.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.AMBIGUOUS, "TransactionLost")


def test_without_the_witness_a_foreign_commit_would_pass(lite: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablation: that *a* transaction is open, and that it shows our row, proves nothing."""

    def body(conn: Connection) -> int:
        lite.pay(conn)
        behind_our_back(conn, "COMMIT", "BEGIN")
        return 7

    execute = dialects.Dialect.execute

    def no_witness(self: Any, raw: Any, sql: str, **values: str) -> Any:
        return None if sql.startswith("RELEASE") else execute(self, raw, sql, **values)

    monkeypatch.setattr(dialects.Dialect, "execute", no_witness)
    assert attempt(lite.tool(body)).ended is Ended.SUCCEEDED


def test_a_foreign_rollback_leaves_a_definite_failure(shop: Shop) -> None:
    def body(conn: Connection) -> int:
        shop.pay(conn)
        behind_our_back(conn, "ROLLBACK", "BEGIN")
        shop.pay(conn)
        return 7

    outcome = attempt(shop.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "TransactionLost")
    assert (shop.payments, shop.keys) == (0, {})


def test_nothing_is_written_after_the_database_has_rolled_back_by_itself(lite: Shop) -> None:
    """``INSERT OR ROLLBACK`` ends the transaction; what followed would be committed at once, outside of any."""
    lite.run("CREATE UNIQUE INDEX once ON payments (order_id)")

    def body(conn: Connection) -> int:
        lite.pay(conn, "a")
        with pytest.raises(sqlite3.IntegrityError):
            conn.execute("INSERT OR ROLLBACK INTO payments VALUES ('a')")
        lite.pay(conn, "outside")
        return 7

    outcome = attempt(lite.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "UsageError")
    assert outcome.error is not None
    assert "the transaction is not open any more" in outcome.error["message"]
    assert (lite.payments, lite.keys) == (0, {})


def test_a_tool_that_swallows_a_failed_statement_does_not_commit_nothing(pg: Shop) -> None:
    """PostgreSQL has given the transaction up, and answers COMMIT with a friendly ROLLBACK."""

    def body(conn: Connection) -> int:
        pg.pay(conn)
        with pytest.raises(Exception, match="nowhere"):
            conn.execute("SELECT * FROM nowhere")
        return 7

    outcome = attempt(pg.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "TransactionAborted")
    assert (pg.payments, pg.keys) == (0, {})


def test_a_tool_that_deletes_its_key_row_is_refused(shop: Shop) -> None:
    def body(conn: Connection) -> int:
        shop.pay(conn)
        conn.execute("DELETE FROM millstream_effects")
        return 7

    outcome = attempt(shop.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "UsageError")
    assert shop.payments == 0


# --- commit fails -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_lost_at_commit_is_ambiguous_and_the_next_attempt_finds_out(
    lite: Shop, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    commit = dialects.Sqlite.commit

    def lose(self: Any, raw: Any) -> None:
        if committed:
            commit(self, raw)
        raise OSError("the cable was pulled")

    with monkeypatch.context() as patch:
        attempt(lite.paying(0), "warm")
        patch.setattr(dialects.Sqlite, "commit", lose)
        outcome = attempt(lite.paying(7))
        assert (outcome.ended, kind(outcome)) == (Ended.AMBIGUOUS, "OSError")
    assert attempt(lite.paying(8)) == Outcome(Ended.SUCCEEDED, "7" if committed else "8")
    assert lite.payments == 2  # "warm", and this one: once


def test_a_reader_in_the_way_of_a_commit_leaves_it_not_sent(tmp_path: Path) -> None:
    shop = sqlite_shop(tmp_path, timeout=0.01)
    attempt(shop.paying(0), "warm")
    reader = shop.connect()
    rows = reader.execute("SELECT * FROM payments UNION ALL SELECT 'x'")
    rows.fetchone()  # holds a shared lock: SQLite cannot write to the file (rollback journal)
    outcome = attempt(shop.paying(7))
    rows.close()
    reader.close()
    assert (outcome.ended, kind(outcome)) == (Ended.NOT_SENT, "OperationalError")
    assert (shop.payments, shop.keys) == (1, {"warm": "0"})


@pytest.mark.parametrize(
    ("state", "ended"),
    [("40001", Ended.NOT_SENT), ("40P01", Ended.NOT_SENT), ("40003", None), ("23505", Ended.FAILED), ("57P01", None), (None, None)],
)
def test_what_postgresql_answers_to_commit_tells_whether_it_committed(state: str | None, ended: Ended | None) -> None:
    error = Exception()
    error.sqlstate = state  # type: ignore[attr-defined]
    assert dialects.Postgres(sqlite3).refused_commit(None, error) is ended


def test_a_constraint_that_is_checked_at_commit_is_a_definite_failure(pg: Shop) -> None:
    pg.run("CREATE TABLE single (n INT UNIQUE DEFERRABLE INITIALLY DEFERRED)")

    def body(conn: Connection) -> int:
        conn.executemany("INSERT INTO single VALUES (%s)", [(1,), (1,)])
        return 7

    outcome = attempt(pg.tool(body))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "UniqueViolation")
    assert pg.keys == {}


def test_sqlite_s_deferred_constraint_is_a_definite_failure(lite: Shop) -> None:
    lite.run(
        "CREATE TABLE parents (n INT PRIMARY KEY)", "CREATE TABLE children (n INT REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
    )

    def connect() -> Any:
        connection = lite.connect()
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    outcome = attempt(lite.tool(lambda conn: conn.execute("INSERT INTO children VALUES (1)") and 7, database=connect))
    assert (outcome.ended, kind(outcome)) == (Ended.FAILED, "IntegrityError")
    assert lite.keys == {}


@pytest.mark.parametrize("pays", ["after", "before"])
def test_a_serialization_failure_is_not_sent(pg: Shop, pays: str) -> None:
    """Found when it pays after the other has committed; found at the end, by COMMIT at the latest, when it has paid before."""

    def connect() -> Any:
        connection = pg.connect()
        connection.cursor().execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        return connection

    def body(conn: Connection) -> int:
        conn.execute("SELECT count(*) FROM payments").fetchall()
        if pays == "before":
            pg.pay(conn)
        other = connect()
        other.commit()
        cursor = other.cursor()
        cursor.execute("SELECT count(*) FROM payments")
        cursor.execute("INSERT INTO payments VALUES ('other')")
        other.commit()
        other.close()
        if pays == "after":
            pg.pay(conn)
        return 7

    outcome = attempt(pg.tool(body, database=connect))
    assert (outcome.ended, kind(outcome)) == (Ended.NOT_SENT, "SerializationFailure")
    assert pg.keys == {}


def terminate(pg: Shop, pid: int) -> None:
    pg.run(f"SELECT pg_terminate_backend({pid}, 10000)")


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_server_that_drops_the_connection_before_commit_has_rolled_back(pg: Shop, goes_on: bool) -> None:
    def body(conn: Connection) -> int:
        pg.pay(conn)
        terminate(pg, conn.execute("SELECT pg_backend_pid()").fetchone()[0])
        if goes_on:
            pg.pay(conn)
        return 7

    assert attempt(pg.tool(body)).ended is Ended.NOT_SENT
    assert (pg.payments, pg.keys) == (0, {})
    assert attempt(pg.paying(8)) == Outcome(Ended.SUCCEEDED, "8")


@pytest.mark.parametrize("committed", [True, False])
def test_a_server_that_drops_the_connection_at_commit_is_ambiguous(
    pg: Shop, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    commit = dialects.Postgres.commit

    def lose(self: Any, raw: Any) -> None:
        if committed:
            commit(self, raw)
        terminate(pg, raw.info.backend_pid)
        commit(self, raw)
        raw.cursor().execute("SELECT 1")  # psycopg2 notices only now that the connection has gone

    attempt(pg.paying(0), "warm")
    with monkeypatch.context() as patch:
        patch.setattr(dialects.Postgres, "commit", lose)
        outcome = attempt(pg.paying(7))
        assert outcome.ended is Ended.AMBIGUOUS, outcome
    assert attempt(pg.paying(8)) == Outcome(Ended.SUCCEEDED, "7" if committed else "8")
    assert pg.payments == 2


# --- connections ------------------------------------------------------------------------------------------------------------


def test_the_connection_is_closed_whatever_happens(lite: Shop) -> None:
    class Noticed(sqlite3.Connection):
        closed = False

        def close(self) -> None:
            super().close()
            self.closed = True

    for result, ended in ((7, Ended.SUCCEEDED), (7, Ended.SUCCEEDED), (ValueError(), Ended.FAILED), (SystemExit(), Ended.NOT_SENT)):
        opened: list[Noticed] = []

        def connect(opened: list[Noticed] = opened) -> Any:
            opened.append(sqlite3.connect(lite.connect().execute("PRAGMA database_list").fetchone()[2], factory=Noticed))
            return opened[0]

        assert attempt(lite.paying(result, database=connect), key=str(result)).ended is ended
        assert [connection.closed for connection in opened] == [True]


def test_a_database_that_cannot_be_reached_was_not_sent(lite: Shop) -> None:
    def connect() -> Any:
        raise ConnectionRefusedError("down for the night")

    outcome = attempt(lite.paying(database=connect))
    assert (outcome.ended, kind(outcome)) == (Ended.NOT_SENT, "ConnectionRefusedError")


def test_what_is_no_connection_is_named(lite: Shop) -> None:
    outcome = attempt(lite.paying(database=object))
    assert (outcome.ended, kind(outcome)) == (Ended.NOT_SENT, "UsageError")
    assert outcome.error is not None
    assert "must return a DB-API 2 connection (PEP 249), not object" in outcome.error["message"]


def test_a_database_that_was_exchanged_gets_its_table(tmp_path: Path) -> None:
    shop = sqlite_shop(tmp_path)
    spec = shop.paying(7)
    attempt(spec)
    (tmp_path / "shop.db").unlink()
    shop.run(PAYMENTS)
    assert attempt(spec) == Outcome(Ended.SUCCEEDED, "7")
    assert shop.keys == {"k": "7"}


def test_a_table_that_exists_needs_no_right_to_create(pg: Shop) -> None:
    attempt(pg.paying(0), "warm")
    role = f"clerk_{pg.name}"
    schema = pg.run("SELECT current_schema()")[0][0]
    pg.run(
        f"CREATE ROLE {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    )

    def connect() -> Any:
        connection = pg.connect()
        connection.cursor().execute(f"SET ROLE {role}")
        return connection

    def body(conn: Connection) -> int:
        assert conn.execute("SELECT current_user").fetchone()[0] == role
        return 7

    assert attempt(pg.tool(body, database=connect)) == Outcome(Ended.SUCCEEDED, "7")


def test_what_the_connect_function_did_is_not_rolled_back_with_the_tool(shop: Shop) -> None:
    def connect() -> Any:
        connection = shop.connect()
        connection.cursor().execute("INSERT INTO payments VALUES ('by connect')")  # and left in a transaction
        return connection

    assert attempt(shop.paying(ValueError(), database=connect)).ended is Ended.FAILED
    assert shop.run("SELECT order_id FROM payments") == [("by connect",)]


def test_a_table_that_cannot_be_made_was_not_sent(tmp_path: Path) -> None:
    shop = sqlite_shop(tmp_path)
    spec = shop.paying(database=lambda: sqlite3.connect(f"file:{tmp_path}/shop.db?mode=ro", uri=True))
    outcome = attempt(spec)
    assert (outcome.ended, kind(outcome)) == (Ended.NOT_SENT, "OperationalError")


@pytest.mark.parametrize("level", [None, "", "DEFERRED", "EXCLUSIVE"])
def test_every_isolation_level_of_sqlite_will_do(tmp_path: Path, level: Any) -> None:
    shop = sqlite_shop(tmp_path, isolation_level=level)
    assert attempt(shop.paying(ValueError())).ended is Ended.FAILED
    assert attempt(shop.paying(7)) == attempt(shop.paying(8)) == Outcome(Ended.SUCCEEDED, "7")
    assert shop.payments == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3.Connection.autocommit came with Python 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_every_autocommit_mode_of_sqlite_will_do(lite: Shop, tmp_path: Path, autocommit: bool) -> None:
    spec = lite.paying(ValueError(), database=lambda: sqlite3.connect(tmp_path / "shop.db", autocommit=autocommit))  # type: ignore[call-arg]
    assert attempt(spec).ended is Ended.FAILED
    assert attempt(lite.paying(7, database=spec.database)) == Outcome(Ended.SUCCEEDED, "7")
    assert lite.payments == 1


def test_postgresql_s_autocommit_is_switched_off(pg: Shop) -> None:
    def connect() -> Any:
        connection = pg.connect()
        connection.autocommit = True
        return connection

    assert attempt(pg.paying(ValueError(), database=connect)).ended is Ended.FAILED
    assert (pg.payments, pg.keys) == (0, {})
    assert attempt(pg.paying(7, database=connect)).ended is Ended.SUCCEEDED
    assert pg.payments == 1


def test_the_arguments_reach_the_tool(lite: Shop) -> None:
    spec = lite.tool(lambda a, conn, b: a * b)
    assert transact(spec, "k", (6,), {"b": 7}, Right()).result == "42"


def test_a_tool_that_wants_no_connection_is_recorded_once_too(lite: Shop) -> None:
    assert attempt(lite.tool(lambda: 7, connection_parameter=None)) == Outcome(Ended.SUCCEEDED, "7")
    assert lite.keys == {"k": "7"}
