"""What we need of a database's driver, to begin, end and look at a transaction of our own.

``Dialect`` is what the DB-API (PEP 249) alone says, and serves any driver. sqlite3, psycopg and psycopg2 are known better: whether
our transaction is open, whether an error at COMMIT says that nothing was committed, which errors the same transaction may outlive.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from millstream.core.effects import Ended
from millstream.engine.outcomes import sqlstate
from millstream.errors import UsageError

NONE, OPEN, ABORTED, UNSURE = "none", "open", "aborted", "unsure"  # states of a connection's transaction


class Dialect:
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
        return UNSURE

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


class Sqlite(Dialect):
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
        return OPEN if raw.in_transaction else NONE

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


class Postgres(Dialect):
    """psycopg and psycopg2: both have ``info.transaction_status`` with libpq's numbers."""

    def ready(self, raw: Any) -> None:
        raw.commit()
        if raw.autocommit:
            raw.autocommit = False

    def state(self, raw: Any) -> str:
        return {0: NONE, 1: OPEN, 2: OPEN, 3: ABORTED}.get(int(raw.info.transaction_status), UNSURE)

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


_DIALECTS = {"sqlite3": Sqlite, "pysqlite3": Sqlite, "psycopg": Postgres, "psycopg2": Postgres}


def dialect_of(raw: Any) -> Dialect:
    """By the first module of the connection's MRO that is a driver's."""
    for cls in type(raw).__mro__:
        root = cls.__module__.partition(".")[0]
        module = sys.modules.get(root)
        if hasattr(module, "paramstyle"):
            return _DIALECTS.get(root, Dialect)(module)
    found = type(raw).__qualname__
    raise UsageError(f"database= must return a DB-API 2 connection (PEP 249), not {found}: its module has no paramstyle")
