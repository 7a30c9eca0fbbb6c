"""What people and programs do to runs: signal, resolve, retry, cancel, dead letters. Each returns after its commit.

``Operations`` speaks to an engine in this process; ``runtime.control`` carries the same requests to one in another.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from millstream.core.facts import CancelRequested, Fact, RetryRequested, Settled, Signalled
from millstream.core.identity import RunId, no_such_run, parse_run_id, parse_step_id, step_id
from millstream.core.mail import SIGNALS, signal_id
from millstream.core.runs import ENDED, dump
from millstream.core.tables import DoubtRow, RunRow
from millstream.core.text import encodable
from millstream.engine.engine import Engine
from millstream.engine.letters import read_again
from millstream.errors import NotFound, UsageError

LETTERS_AT_ONCE = 50  # each of up to a megabyte


class Operations:
    """See the module. Every method raises NotFound for what does not exist and UsageError for what cannot be done now."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def do(self, request: dict[str, Any]) -> Any:
        """Carry out a request as ``runtime.control`` received it: ``op`` and the arguments of the method of that name."""
        arguments = {name: value for name, value in request.items() if name != "op"}
        op = request.get("op")
        if op not in ("signal", "resolve", "retry", "cancel", "retry_letters", "status"):
            raise UsageError(f"there is no operation {op!r}")
        return await getattr(self, op)(**arguments)

    async def _tell(self, make: Any) -> Any:
        token, future = self._engine.token()
        fact: Fact = make(self._engine.clock.now(), token)
        _check_texts(**{field: getattr(fact, field) for field in fact.__struct_fields__})
        self._engine.feed(fact)
        error, value = await future
        if error is not None:
            raise UsageError(error)
        return value

    async def signal(
        self,
        name: str,
        value: Any,
        *,
        run: str | None = None,
        agent: str | None = None,
        key: str | None = None,
        about: str | None = None,
        id: str | None = None,
        by: str | None = None,
    ) -> str | None:
        """Send a signal to a run, or to (agent, key).

        Returns None; "kept" if nobody waits for it now: it is there for whoever will; or "duplicate" if its id was seen before.

        Raises:
            NotFound: no such run or agent.
            UsageError: the run has ended, or a text cannot be stored.
        """
        _check_texts(name=name, key=key, about=about, id=id, by=by)
        store = self._engine.store
        number: int | None = None
        if run is not None:
            row = self._row(run)
            if row.status in ENDED:
                raise UsageError(f"run {run} is {row.status}: it receives nothing any more")
            number, agent, key = row.run, row.agent, row.key
        if agent is None or key is None:
            raise UsageError("a signal goes to a run, or to an agent and a key")
        if number is None and agent not in self._engine.graph.agents:
            raise NotFound(f"there is no agent {agent!r}; there are: {', '.join(sorted(self._engine.graph.agents)) or 'none yet'}")
        text = dump(value)
        known = id is not None and bool(store.seen(SIGNALS, [signal_id(agent, key, id)]))
        at = self._engine.clock.now()
        token, future = self._engine.token()
        self._engine.feed(Signalled(at, number, agent, key, name, text, about, id, by, known, token))
        error, answer = await future
        if error is not None:
            raise UsageError(error)
        return None if answer is None else str(answer)

    async def resolve(self, step: str, how: str, value: Any = None, by: str | None = None) -> None:
        """Settle a step in doubt: ``how`` is ``result`` (``value``: what it returned), ``retry`` or ``fail`` (``value``: why).

        Raises:
            NotFound: no such run, or no such step in it.
            UsageError: the step is not in doubt, or the result is not of the type that its tool declares.
        """
        try:
            id, identity = parse_step_id(step)
        except ValueError as error:
            raise NotFound(str(error)) from None
        if how not in ("result", "retry", "fail"):
            raise UsageError(f"a doubt is settled with a result, retry or fail, not {how!r}")
        row = self._row(step.partition("/")[0], id)
        there = self._engine.store.doubts_of(row.run)
        doubt = next((doubt for doubt in there if doubt.step == identity), None)
        text = dump(value) if how == "result" else None if value is None else str(value)
        if how == "result" and doubt is not None:
            self._check_result(step, doubt, text or "null")
        try:  # also without a doubt: a result that a diverged run could not read may be given anew
            await self._tell(lambda at, token: Settled(at, row.run, identity, how, text, by, token))
        except UsageError:
            if doubt is None:
                raise self._not_in_doubt(step, row, identity, there) from None
            raise

    def _not_in_doubt(self, step: str, row: RunRow, identity: str, there: list[DoubtRow]) -> NotFound | UsageError:
        run = step.partition("/")[0]
        if there:
            hint = "in doubt there: " + ", ".join(step_id(run, doubt.step) for doubt in there)
        else:
            hint = f"nothing of run {run} is, see `millstream doubts`"
        history = self._engine.store.histories([row.run])
        if any(record.step == identity for found in history for record in found.records):
            return UsageError(f"step {step} is not in doubt; {hint}")
        return NotFound(f"there is no step {step} in doubt; {hint}")

    def _check_result(self, step: str, doubt: DoubtRow, text: str) -> None:
        """A result that the handler's code cannot read would be recorded, and the run diverge."""
        spec = self._engine.graph.tools.get(doubt.tool)
        if spec is None:
            return  # without the app's code, or of a step that a handler makes, nobody here knows
        try:
            spec.result.decode(text)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{step} stays in doubt: the result must be what {doubt.tool} returns, {spec.result.name}: {error}\n"
                f"given was {text}"
            ) from None

    async def retry(self, run: str, by: str | None = None) -> None:
        """Try a failed, diverged or cancelled run again, with a new turn.

        Raises:
            NotFound: no such run.
            UsageError: it is none of these.
        """
        number = self._row(run).run
        await self._tell(lambda at, token: RetryRequested(at, number, by, token))

    async def cancel(self, run: str, by: str | None = None) -> str:
        """Cancel a run: CancelledError in its handler, or the end of one that has no handler to tell.

        Returns its status now: ``cancelled``, or what it is until its handler has cleaned up.

        Raises:
            NotFound: no such run.
            UsageError: it is done or cancelled already.
        """
        number = self._row(run).run
        await self._tell(lambda at, token: CancelRequested(at, number, by, token))
        return self._row(run).status

    def _row(self, run: str, id: RunId | None = None) -> RunRow:
        """The run of this id. Its partition must be the row's: the number alone may be another store's run of that number."""
        try:
            partition, number = parse_run_id(run) if id is None else id
        except ValueError as error:
            raise NotFound(str(error)) from None
        row = self._engine.store.run(number)
        if row is None:
            raise NotFound(no_such_run(run, None))
        if row.partition != partition:
            raise NotFound(no_such_run(run, RunId(row.partition, row.run), row.agent, row.key))
        return row

    async def retry_letters(self) -> dict[str, Any]:
        """Try all dead letters again with the app of today: lines at their source, events at the operator that refused them.

        Returns how many were ``retried`` (became events), were ``duplicates`` of events that had come otherwise, were ``refused``
        again (and the ``reason`` of the first), and ``cannot`` be retried, as {why: how many}; ``remaining`` are the last two.
        """
        engine = self._engine
        ends: Counter[str] = Counter()
        cannot: Counter[str] = Counter()
        reason: str | None = None
        after, begun = 0, None
        while letters := engine.store.letters(after, LETTERS_AT_ONCE):
            after = letters[-1].letter
            older = letters if begun is None else [letter for letter in letters if letter.letter < begun]
            token, future = engine.token()
            fact, why = read_again(engine.graph, older, engine.clock.now(), engine.store.seen, token)
            cannot += why
            if fact.letters:  # nothing is awaited since they were read: nobody else can have retried them
                engine.feed(fact)
                _, answer = await future
                ends.update({name: answer[name] for name in ("events", "duplicates", "refused")})
                reason = reason or answer["reason"]
                begun = begun or answer["begun"]
        return {
            "retried": ends["events"],
            "duplicates": ends["duplicates"],
            "refused": ends["refused"],
            "reason": reason,
            "cannot": dict(cannot),
            "remaining": ends["refused"] + cannot.total(),
        }

    async def status(self) -> dict[str, Any]:
        """Figures of the running engine."""
        return {**msgspec.to_builtins(self._engine.snapshot()), "in_doubt": len(self._engine.store.doubts())}


def _check_texts(**texts: Any) -> None:
    """What cannot be stored would stop the engine."""
    for what, text in texts.items():
        if isinstance(text, str):
            try:
                encodable(text, what)
            except ValueError as problem:
                raise UsageError(str(problem)) from None
