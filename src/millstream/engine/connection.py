"""What a TRANSACTIONAL tool sees of its database: a `Connection` inside the transaction that Millstream begins and commits.

Rules:

* there is no commit, rollback, executescript or autocommit, and transaction control in SQL text is refused before anything is sent
  (savepoints are allowed). That is for honest mistakes: what counts is checked before COMMIT (``engine.transactions``);
* it is the tool's thread's alone, until the tool returns;
* an attempt that was cancelled or given up gets no further than its next statement;
* placeholders, rows and columns are those of the driver.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from millstream.engine.dialects import NONE, Dialect
from millstream.errors import NotSent, UsageError

if TYPE_CHECKING:
    from millstream.engine.transactions import Right


class Connection:
    """A tool's connection to its database, inside the transaction that Millstream begins and commits.

    Asked for with ``conn: Connection = INJECTED``. Usable by the tool's own thread until the tool returns. Placeholders and rows
    are those of the driver.
    """

    __slots__ = ("_raw", "_dialect", "_right", "_thread", "_open")

    def __init__(self, raw: Any, dialect: Dialect, right: Right) -> None:
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
        if self._dialect.state(self._raw) == NONE:
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
