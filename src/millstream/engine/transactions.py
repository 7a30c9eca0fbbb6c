"""Attempts at TRANSACTIONAL tools: SQL inside the one transaction that holds our key row.

The protocol of an attempt, all of it in one worker thread, on a connection opened for it alone:

    connect, table ──► BEGIN ──► INSERT key row ──► SAVEPOINT ──► tool ──► RELEASE ──► UPDATE key row ──► right? ──► COMMIT
                                    └─ it is there already: roll back, read its result, adopt it

Rules (DESIGN.md, 5.5):

* the key row is inserted *first*, under a primary key: a second attempt waits for, or collides with, the first, and finds the
  result in the row. So whoever cannot know whether a COMMIT took effect asks by performing again;
* the tool gets a `Connection` without commit, rollback, executescript and autocommit, and transaction control in SQL text is
  refused before anything is sent (savepoints are allowed);
* that is for honest mistakes. What counts is checked before COMMIT: a savepoint of a random name, set before the tool ran, can
  only be released in the transaction in which it was set. (The driver's word that *a* transaction is open would not do: ours may
  have been committed and another one begun.) If it is not ours any more, the key row tells: absent, all was rolled back and it
  is a definite failure; present, something of it was committed without its result: ambiguous;
* `Right`: an attempt that was cancelled or given up loses its right to commit, under a lock. Whichever comes first wins, the
  revocation (then it is rolled back: not sent) or the beginning of the COMMIT (then it is too late to revoke);
* whatever happens before COMMIT was begun is rolled back: what would be ambiguous elsewhere is *not sent* here, and so are
  deadlocks, serialization failures and a busy database. Any other exception of the tool is a definite failure;
* an error at COMMIT is ambiguous, unless the database says itself that it did not commit (a deferred constraint, a serialization
  failure, SQLITE_BUSY);
* a result that cannot be encoded is a definite failure: it is encoded before COMMIT, and rolled back.

A row of `millstream_effects` is kept for ever: it is what makes the effect happen once. Drivers: sqlite3, psycopg, psycopg2;
others by the DB-API (PEP 249) alone. Only SQL is rolled back: subprocesses and requests of the tool are not covered.
"""

from __future__ import annotations

import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from millstream.core.effects import Ended
from millstream.core.graph import ToolSpec
from millstream.engine.outcomes import Outcome, classify, made, not_encodable, payload, sqlstate
from millstream.errors import NotSent, UsageError

TABLE = "millstream_effects"
_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (idempotency_key TEXT PRIMARY KEY, tool TEXT NOT NULL, result TEXT, "
    "performed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP)"
)

_known: set[Callable[[], Any]] = set()  # connect functions whose database has the table, as far as we know


class Right:
    """Whether an attempt may still commit. Thread-safe; whoever comes first, wins."""

    __slots__ = ("_lock", "_begun", "_revoked")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = False
        self._revoked: dict[str, Any] | None = None

    def revoke(self, error: dict[str, Any]) -> bool:
        """Take the right away. True: it will not commit, and ends with ``error``; False: COMMIT has begun already."""
        with self._lock:
            if not self._begun and self._revoked is None:
                self._revoked = error
            return not self._begun

    def commit_begun(self) -> bool:
        """Use the right. True: it cannot be revoked any more, commit now; False: it was revoked, roll back."""
        with self._lock:
            self._begun = self._revoked is None
            return self._begun

    @property
    def revoked(self) -> dict[str, Any] | None:
        """The error it was revoked with."""
        return self._revoked


# --- what the tool sees -----------------------------------------------------------------------------------------------------


class Connection:
    """A tool's connection to its database, inside the transaction that Millstream begins and commits.

    Asked for with ``conn: Connection = INJECTED``. Usable by the tool's own thread until the tool returns. Placeholders and rows
    are those of the driver.
    """

    __slots__ = ("_raw", "_dialect", "_right", "_thread", "_open")

    def __init__(self, raw: Any, dialect: _Dialect, right: Right) -> None:
        self._raw = raw
        self._dialect = dialect
        self._right = right
        self._thread = threading.get_ident()
        self._open = True

    def execute(self, sql: Any, parameters: Any = None) -> Cursor:
        """Execute one statement and give the cursor with its rows.

        Args:
            sql: the statement, with the driver's placeholders.
            parameters: their values; None: it has none.

        Raises:
            UsageError: it would begin or end the transaction, the transaction is over, or this is another thread.
            NotSent: the attempt was cancelled or given up; nothing of it will be committed.
        """
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: Any, rows: Any) -> Cursor:
        """Execute one statement for each row of parameters. Raises as `execute` does.

        Args:
            sql: the statement, with the driver's placeholders.
            rows: the values of each.
        """
        return self.cursor().executemany(sql, rows)

    def cursor(self) -> Cursor:
        """A cursor of its own. Raises as `execute` does."""
        self._check()
        return Cursor(self, self._raw.cursor())

    if not TYPE_CHECKING:  # a type checker must not believe that there is a commit

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"a tool's Connection has no {name!r}, only execute, executemany and cursor: Millstream begins the transaction "
                f"before the tool, commits it with the tool's result, and rolls it back when the tool raises"
            )

    def _check(self, sql: Any = None) -> None:
        if not self._open or self._thread != threading.get_ident():
            where = "after its tool has returned" if not self._open else "in another thread than its tool's"
            raise UsageError(f"a tool's Connection is used {where}; its transaction is committed when the tool returns")
        if self._right.revoked is not None:
            raise NotSent(self._right.revoked["message"])
        if self._dialect.state(self._raw) == _NONE:
            raise UsageError(
                "the transaction is not open any more: a statement (INSERT OR ROLLBACK, RAISE(ROLLBACK)) or the database ended it"
            )
        if sql is not None:
            _refuse_control(self._dialect.text(self._raw, sql), self._dialect.many)

    def _close(self) -> None:
        self._open = False


class Cursor:
    """A cursor of a `Connection`: what PEP 249 has, without a way back to the driver's connection."""

    __slots__ = ("_connection", "_raw")

    def __init__(self, connection: Connection, raw: Any) -> None:
        self._connection = connection
        self._raw = raw

    def execute(self, sql: Any, parameters: Any = None) -> Cursor:
        """Execute one statement; gives itself. Raises as ``Connection.execute`` does."""
        self._connection._check(sql)
        if parameters is None:  # drivers tell "no parameters" from "an empty list of them"
            self._raw.execute(sql)
        else:
            self._raw.execute(sql, parameters)
        return self

    def executemany(self, sql: Any, rows: Any) -> Cursor:
        """Execute one statement for each row of parameters; gives itself."""
        self._connection._check(sql)
        self._raw.executemany(sql, rows)
        return self

    def fetchone(self) -> Any:
        """The next row, or None."""
        self._connection._check()
        return self._raw.fetchone()

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """The next rows, at most ``size`` (None: ``arraysize``)."""
        self._connection._check()
        rows: Sequence[Any] = self._raw.fetchmany() if size is None else self._raw.fetchmany(size)
        return rows

    def fetchall(self) -> Sequence[Any]:
        """All rows that are left."""
        self._connection._check()
        rows: Sequence[Any] = self._raw.fetchall()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    @property
    def description(self) -> Any:
        """The columns of the result, as the driver describes them; None where there is none."""
        return self._raw.description

    @property
    def rowcount(self) -> int:
        """How many rows the last statement gave or changed; -1 where the driver cannot say."""
        count: int = self._raw.rowcount
        return count

    @property
    def lastrowid(self) -> Any:
        """The row id of the last INSERT; None where the driver has no such thing."""
        return getattr(self._raw, "lastrowid", None)

    @property
    def arraysize(self) -> int:
        """How many rows ``fetchmany()`` gives."""
        size: int = self._raw.arraysize
        return size

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self._raw.arraysize = size

    def close(self) -> None:
        """Let go of its rows."""
        self._raw.close()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# Comments and quoted text, in which no statement begins: E'..' with escapes, '..', "..", `..`, $tag$..$tag$.
_QUOTED = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | \b[eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | `[^`]*` | \$(\w*)\$.*?\$\1\$""",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(r"[A-Za-z_]+")
_CONTROL = frozenset({"BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK", "XA"})


def _refuse_control(text: str, many: bool) -> None:
    """Raise UsageError where the text would begin or end a transaction (``many``: the driver sends several statements at once)."""
    statements = _QUOTED.sub(" '' ", text).split(";")
    for statement in statements if many else _first(statements):
        words = [word.upper() for word in _WORD.findall(statement)[:4]]
        if not words:
            continue
        allowed = words[0] == "ROLLBACK" and "TO" in words[1:3]  # ROLLBACK [WORK | TRANSACTION] TO [SAVEPOINT] x
        refused = words[0] in _CONTROL or words[:2] in (["PREPARE", "TRANSACTION"], ["SET", "AUTOCOMMIT"])
        if refused and not allowed:
            raise UsageError(
                f"{' '.join(words[:2])} in a tool's SQL: its transaction was begun by Millstream and is committed with its result. "
                "Leave it out; SAVEPOINT, RELEASE and ROLLBACK TO are allowed. Nothing of this text was sent"
            )


def _first(statements: list[str]) -> list[str]:
    return next(([statement] for statement in statements if _WORD.search(statement)), [])


# --- drivers ----------------------------------------------------------------------------------------------------------------

_NONE, _OPEN, _ABORTED, _UNSURE = "none", "open", "aborted", "unsure"  # states of a connection's transaction


class _Dialect:
    """What we need of a driver: here, of any DB-API module, by ``paramstyle`` and nothing else."""

    many = True  # may one execute() hold several statements?

    def __init__(self, module: Any) -> None:
        self.style: str = getattr(module, "paramstyle", "qmark")
        self.conflict: tuple[type[BaseException], ...] = (getattr(module, "IntegrityError", Exception),)

    def ready(self, raw: Any) -> None:
        """Bring a fresh connection to where ``begin`` may follow. What the connect function did itself is committed."""
        raw.commit()

    def begin(self, raw: Any) -> None:
        """A DB-API connection begins by itself, with its first statement."""

    def state(self, raw: Any) -> str:
        return _UNSURE

    def cursor(self, raw: Any) -> Any:
        """A cursor whose rows are tuples, whatever the connection is set to."""
        return raw.cursor()

    def text(self, raw: Any, sql: Any) -> str:
        """The text of a statement, to be looked through.

        Raises:
            UsageError: it has none that we could look through.
        """
        if isinstance(sql, str):
            return sql
        if isinstance(sql, bytes):
            return sql.decode("latin-1")
        if hasattr(sql, "as_string"):  # psycopg.sql, psycopg2.sql
            return str(sql.as_string(raw))
        if isinstance(getattr(sql, "strings", None), tuple):  # a template string
            return " x ".join(sql.strings)
        raise UsageError(f"SQL must be text, not {type(sql).__qualname__}")

    def commit(self, raw: Any) -> None:
        raw.commit()

    def rollback(self, raw: Any) -> None:
        raw.rollback()

    def refused_commit(self, raw: Any, error: BaseException) -> Ended | None:
        """How the attempt ended where COMMIT raised and this says that it did not commit; None: who knows."""
        return None

    def is_transient(self, error: BaseException) -> bool:
        """Would the same transaction, begun again, have a chance?"""
        return False

    def execute(self, raw: Any, sql: str, **values: str) -> Any:
        """Execute a statement of ours; ``:name`` stands for each of ``values``, which are in the order of the text."""
        cursor = self.cursor(raw)
        if not values:
            cursor.execute(sql)
            return cursor
        names = iter(range(1, len(values) + 1))
        style = self.style

        def placeholder(found: re.Match[str]) -> str:
            marks = {"qmark": "?", "format": "%s", "pyformat": f"%({found[1]})s", "numeric": f":{next(names)}"}
            return marks.get(style, found[0])

        cursor.execute(re.sub(r":(\w+)", placeholder, sql), values if style in ("named", "pyformat") else tuple(values.values()))
        return cursor


class _Sqlite(_Dialect):
    many = False

    def ready(self, raw: Any) -> None:
        if getattr(raw, "autocommit", None) is False:  # Python 3.12: else a transaction is always open, of the wrong kind
            raw.autocommit = True
        if raw.in_transaction:
            raw.commit()
        raw.isolation_level = None  # no BEGIN but ours

    def begin(self, raw: Any) -> None:
        raw.execute("BEGIN IMMEDIATE")  # a second attempt waits here, for the connection's busy time-out

    def state(self, raw: Any) -> str:
        return _OPEN if raw.in_transaction else _NONE

    def cursor(self, raw: Any) -> Any:
        cursor = raw.cursor()
        cursor.row_factory = None
        return cursor

    def commit(self, raw: Any) -> None:
        raw.execute("COMMIT")

    def rollback(self, raw: Any) -> None:
        if raw.in_transaction:
            raw.execute("ROLLBACK")

    def refused_commit(self, raw: Any, error: BaseException) -> Ended | None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if not raw.in_transaction:
            return None
        return {5: Ended.NOT_SENT, 19: Ended.FAILED}.get(code)  # BUSY: a reader is in the way; CONSTRAINT: a deferred one

    def is_transient(self, error: BaseException) -> bool:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in (5, 6)  # BUSY, LOCKED


class _Postgres(_Dialect):
    """psycopg and psycopg2: both have ``info.transaction_status`` with libpq's numbers."""

    def ready(self, raw: Any) -> None:
        raw.commit()
        if raw.autocommit:
            raw.autocommit = False

    def state(self, raw: Any) -> str:
        return {0: _NONE, 1: _OPEN, 2: _OPEN, 3: _ABORTED}.get(int(raw.info.transaction_status), _UNSURE)

    def cursor(self, raw: Any) -> Any:
        if (rows := sys.modules.get("psycopg.rows")) is not None and hasattr(raw, "row_factory"):
            return raw.cursor(row_factory=rows.tuple_row)
        return raw.cursor(cursor_factory=sys.modules["psycopg2.extensions"].cursor)

    def refused_commit(self, raw: Any, error: BaseException) -> Ended | None:
        state = sqlstate(error) or ""
        if state.startswith("40") and state != "40003":  # rolled back; but 40003: statement completion unknown
            return Ended.NOT_SENT
        return Ended.FAILED if state.startswith("23") else None  # a deferred constraint

    def is_transient(self, error: BaseException) -> bool:
        # 40 rolled back (deadlock, serialization), 53 out of resources, 55P03 lock time-out, 57014 statement time-out
        return (sqlstate(error) or "").startswith(("40", "53", "55P03", "57014"))


_DIALECTS = {"sqlite3": _Sqlite, "pysqlite3": _Sqlite, "psycopg": _Postgres, "psycopg2": _Postgres}


def _dialect(raw: Any) -> _Dialect:
    """By the first module of the connection's MRO that is a driver's."""
    for cls in type(raw).__mro__:
        root = cls.__module__.partition(".")[0]
        module = sys.modules.get(root)
        if hasattr(module, "paramstyle"):
            return _DIALECTS.get(root, _Dialect)(module)
    found = type(raw).__qualname__
    raise UsageError(f"database= must return a DB-API 2 connection (PEP 249), not {found}: its module has no paramstyle")


# --- the protocol -----------------------------------------------------------------------------------------------------------


def transact(spec: ToolSpec, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], right: Right) -> Outcome:
    """Make one attempt, in the calling thread, and give its one end. Never raises.

    Args:
        spec: a tool with ``database``; its function is called with ``kwargs`` and the `Connection` where it asks for it.
        key: of the key row.
        right: may be revoked at any time, from any thread.
    """
    assert spec.database is not None
    if right.revoked is not None:
        return Outcome(Ended.NOT_SENT, error=right.revoked)
    try:
        raw = spec.database()
    except BaseException as error:
        return Outcome(Ended.NOT_SENT, error=payload(spec, error))
    try:
        return _Attempt(spec, key, right, raw, _dialect(raw)).made(args, kwargs)
    except BaseException as error:  # before COMMIT: it is closed without one, which rolls it back
        return Outcome(Ended.NOT_SENT, error=payload(spec, error))
    finally:
        try:
            raw.close()
        except Exception:  # a broken one
            pass


class _Attempt:
    def __init__(self, spec: ToolSpec, key: str, right: Right, raw: Any, dialect: _Dialect) -> None:
        self.spec = spec
        self.key = key
        self.right = right
        self.raw = raw
        self.dialect = dialect
        self.witness = f"millstream_{secrets.token_hex(8)}"

    def made(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
        self.dialect.ready(self.raw)
        adopted = self._begin()
        if adopted is not None:
            return adopted
        connection = Connection(self.raw, self.dialect, self.right)
        if self.spec.connection_parameter is not None:
            kwargs = {**kwargs, self.spec.connection_parameter: connection}
        try:
            value = self.spec.fn(*args, **kwargs)
        except BaseException as error:
            return self._body_raised(error)
        finally:
            connection._close()
        return self._returned(value)

    # --- begin: the key row

    def _begin(self) -> Outcome | None:
        """Open the transaction that holds our key row. An outcome: the row was there already."""
        database = self.spec.database
        assert database is not None
        if database in _known:
            try:
                return self._claim()
            except Exception as error:
                if self.dialect.is_transient(error):
                    raise
                self.dialect.rollback(self.raw)  # perhaps it gives another database now, without the table
        self._make_table()
        _known.add(database)
        return self._claim()

    def _make_table(self) -> None:
        for last in (False, False, True):
            try:  # first, because the right to create may be missing, and not needed
                self.dialect.execute(self.raw, f"SELECT 1 FROM {TABLE} WHERE 1 = 0")
                return self.dialect.rollback(self.raw)
            except Exception:
                self.dialect.rollback(self.raw)
            try:
                self.dialect.execute(self.raw, _CREATE)
                return self.dialect.commit(self.raw) if self.dialect.state(self.raw) != _NONE else None
            except Exception:  # another one creates it: PostgreSQL's IF NOT EXISTS can still collide in its catalogue
                self.dialect.rollback(self.raw)
                if last:
                    raise

    def _claim(self) -> Outcome | None:
        self.dialect.begin(self.raw)
        try:
            self.dialect.execute(
                self.raw, f"INSERT INTO {TABLE} (idempotency_key, tool) VALUES (:key, :tool)", key=self.key, tool=self.spec.name
            )
        except self.dialect.conflict:
            self.dialect.rollback(self.raw)
            row = self._row()
            if row is None:
                raise
            return self._adopted(*row)
        self.dialect.execute(self.raw, f"SAVEPOINT {self.witness}")
        return None

    def _row(self) -> tuple[str, str | None] | None:
        """The committed key row: tool and result."""
        row = self.dialect.execute(
            self.raw, f"SELECT tool, result FROM {TABLE} WHERE idempotency_key = :key", key=self.key
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def _adopted(self, tool: str, result: str | None) -> Outcome:
        if tool != self.spec.name:
            said = f"key {self.key!r} of tool {self.spec.name} is that of an effect of tool {tool}: no two tools may share keys"
            return Outcome(Ended.AMBIGUOUS, error=made("KeyTaken", said))
        if result is None:
            said = f"key {self.key!r} was committed without a result: not Millstream ended the transaction of an earlier attempt"
            return Outcome(Ended.AMBIGUOUS, error=made("TransactionLost", said))
        return Outcome(Ended.SUCCEEDED, result)

    # --- the end of the body

    def _body_raised(self, error: BaseException) -> Outcome:
        ended = classify(self.spec, error, also=self.dialect.is_transient)
        if ended is Ended.FAILED:
            retryable = isinstance(error, self.spec.policy.retry.on)
            return self._roll_back(Outcome(ended, error=payload(self.spec, error), retryable=retryable))
        return self._roll_back(Outcome(Ended.NOT_SENT, error=self.right.revoked or payload(self.spec, error)))

    def _returned(self, value: Any) -> Outcome:
        spec = self.spec
        try:
            text = spec.result.encode(value)
        except Exception as error:
            return self._roll_back(Outcome(Ended.FAILED, error=not_encodable(spec, value, error)))
        if self.dialect.state(self.raw) == _ABORTED:
            said = (
                f"tool {spec.name} returned although a statement had failed, and the database had given up the transaction with it"
            )
            return self._roll_back(Outcome(Ended.FAILED, error=made("TransactionAborted", said)))
        try:
            self.dialect.execute(self.raw, f"RELEASE SAVEPOINT {self.witness}")
        except Exception as error:
            return self._not_released(error)
        try:
            update = f"UPDATE {TABLE} SET result = :result WHERE idempotency_key = :key"
            if self.dialect.execute(self.raw, update, result=text, key=self.key).rowcount != 1:
                raise UsageError(f"the row of key {self.key!r} has gone from {TABLE}: leave that table alone")
        except Exception as error:
            return self._roll_back(self._before_commit(error))
        if not self.right.commit_begun():
            return self._roll_back(Outcome(Ended.NOT_SENT, error=self.right.revoked))
        try:
            self.dialect.commit(self.raw)
        except BaseException as error:
            return Outcome(self.dialect.refused_commit(self.raw, error) or Ended.AMBIGUOUS, error=payload(spec, error))
        return Outcome(Ended.SUCCEEDED, text)

    def _before_commit(self, error: BaseException) -> Outcome:
        """Statements of ours failed."""
        ended = classify(self.spec, error, also=self.dialect.is_transient)
        return Outcome(Ended.FAILED if ended is Ended.FAILED else Ended.NOT_SENT, error=payload(self.spec, error))

    def _not_released(self, error: BaseException) -> Outcome:
        outcome = self._before_commit(error)
        if outcome.ended is Ended.FAILED:
            said = f"the transaction of tool {self.spec.name} was rolled back before it returned, by a statement or the database"
            outcome = Outcome(Ended.FAILED, error=made("TransactionLost", said))
        return self._roll_back(outcome)

    # --- roll back

    def _roll_back(self, outcome: Outcome) -> Outcome:
        """The outcome stands, unless our transaction was ended behind our back and the key row tells otherwise."""
        ours = self._is_ours()
        try:
            self.dialect.rollback(self.raw)
        except Exception:  # the connection is broken: the database rolls back what no COMMIT was sent for
            return outcome
        if ours:
            return outcome
        try:
            if self._row() is None:
                return outcome
        except Exception:  # it cannot be read: nobody knows
            pass
        said = (
            f"the transaction of tool {self.spec.name} was ended by something else than Millstream, and something of it may be "
            f"committed: look at what it did under key {self.key!r}"
        )
        return Outcome(Ended.AMBIGUOUS, error=made("TransactionLost", said))

    def _is_ours(self) -> bool:
        """Is the open transaction the one that we began? (It is rolled back next, whatever the answer.)"""
        if self.dialect.state(self.raw) == _NONE:
            return False
        try:
            self.dialect.execute(self.raw, f"ROLLBACK TO SAVEPOINT {self.witness}")  # an aborted one takes this, but no RELEASE
        except Exception:
            return False
        return True
