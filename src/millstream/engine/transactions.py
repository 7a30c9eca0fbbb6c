"""Attempts at TRANSACTIONAL tools: SQL inside the one transaction that holds our key row.

The protocol of an attempt, all of it in one worker thread, on a connection opened for it alone:

    connect, table ──► BEGIN ──► INSERT key row ──► SAVEPOINT ──► tool ──► RELEASE ──► UPDATE key row ──► right? ──► COMMIT
                                    └─ it is there already: roll back, read its result, adopt it

Rules (DESIGN.md, 5.5):

* the key row is inserted *first*, under a primary key: a second attempt waits for, or collides with, the first, and finds the
  result in the row. So whoever cannot know whether a COMMIT took effect asks by performing again;
* the tool gets a `Connection` (``engine.connection``) that refuses to end the transaction, against honest mistakes. What counts
  is checked before COMMIT: a savepoint of a random name, set before the tool ran, can only be released in the transaction in
  which it was set. (The driver's word that *a* transaction is open would not do: ours may have been committed and another one
  begun.) If it is not ours any more, the key row tells: absent, all was rolled back and it is a definite failure; present,
  something of it was committed without its result: ambiguous;
* `Right`: an attempt that was cancelled or given up loses its right to commit, under a lock. Whichever comes first wins, the
  revocation (then it is rolled back: not sent) or the beginning of the COMMIT (then it is too late to revoke);
* whatever happens before COMMIT was begun is rolled back: what would be ambiguous elsewhere is *not sent* here, and so are
  deadlocks, serialization failures and a busy database. Any other exception of the tool is a definite failure;
* an error at COMMIT is ambiguous, unless the database says itself that it did not commit (a deferred constraint, a serialization
  failure, SQLITE_BUSY);
* a result that cannot be encoded is a definite failure: it is encoded before COMMIT, and rolled back.

A row of `millstream_effects` is kept for ever: it is what makes the effect happen once. What is asked of drivers is in
``engine.dialects``. Only SQL is rolled back: subprocesses and requests of the tool are not covered.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

from millstream.core.effects import Ended
from millstream.core.graph import ToolSpec
from millstream.engine.connection import Connection
from millstream.engine.dialects import ABORTED, NONE, Dialect, dialect_of
from millstream.engine.outcomes import Outcome, classify, made, not_encodable, payload
from millstream.errors import UsageError

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
        return _Attempt(spec, key, right, raw, dialect_of(raw)).made(args, kwargs)
    except BaseException as error:  # before COMMIT: it is closed without one, which rolls it back
        return Outcome(Ended.NOT_SENT, error=payload(spec, error))
    finally:
        try:
            raw.close()
        except Exception:  # a broken one
            pass


class _Attempt:
    def __init__(self, spec: ToolSpec, key: str, right: Right, raw: Any, dialect: Dialect) -> None:
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
                return self.dialect.commit(self.raw) if self.dialect.state(self.raw) != NONE else None
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
        if self.dialect.state(self.raw) == ABORTED:
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
        if self.dialect.state(self.raw) == NONE:
            return False
        try:
            self.dialect.execute(self.raw, f"ROLLBACK TO SAVEPOINT {self.witness}")  # an aborted one takes this, but no RELEASE
        except Exception:
            return False
        return True
