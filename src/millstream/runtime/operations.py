"""What people and programs do to runs: signal, resolve, retry, cancel, dead letters. Each returns after its commit.

``Operations`` speaks to an engine in this process; ``runtime.control`` carries the same requests to one in another.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from millstream.core.facts import CancelRequested, Fact, RetryRequested, Settled, Signalled
from millstream.core.identity import parse_run_id, parse_step_id
from millstream.core.mail import SIGNALS, signal_id
from millstream.core.runs import ENDED, dump
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
        """Send a signal to a run, or to (agent, key). Returns "duplicate" if its id was seen before.

        Raises:
            NotFound: no such run or agent.
            UsageError: the run has ended.
        """
        store = self._engine.store
        number: int | None = None
        if run is not None:
            number = _run_number(run)
            row = store.run(number)
            if row is None:
                raise NotFound(f"there is no run {run}; `millstream runs` lists them")
            if row.status in ENDED:
                raise UsageError(f"run {run} is {row.status}: it receives nothing any more")
            agent, key = row.agent, row.key
        if agent is None or key is None:
            raise UsageError("a signal goes to a run, or to an agent and a key")
        if number is None and agent not in self._engine.graph.agents:
            raise NotFound(f"there is no agent {agent!r}; there are {sorted(self._engine.graph.agents)}")
        text = dump(value)
        known = id is not None and bool(store.seen(SIGNALS, [signal_id(agent, key, id)]))
        to = (number, agent, key)
        answer: str | None = await self._tell(lambda at, token: Signalled(at, *to, name, text, about, id, by, known, token))
        return answer

    async def resolve(self, step: str, how: str, value: Any = None, by: str | None = None) -> None:
        """Settle a step in doubt: ``how`` is ``result`` (``value``: what it returned), ``retry`` or ``fail`` (``value``: why).

        Raises:
            NotFound: no such run.
            UsageError: the step is not in doubt.
        """
        try:
            number, identity = parse_step_id(step)
        except ValueError as error:
            raise NotFound(str(error)) from None
        if how not in ("result", "retry", "fail"):
            raise UsageError(f"a doubt is settled with a result, retry or fail, not {how!r}")
        text = dump(value) if how == "result" else None if value is None else str(value)
        await self._tell(lambda at, token: Settled(at, number, identity, how, text, by, token))

    async def retry(self, run: str, by: str | None = None) -> None:
        """Try a failed, diverged or cancelled run again, with a new turn."""
        number = _run_number(run)
        await self._tell(lambda at, token: RetryRequested(at, number, by, token))

    async def cancel(self, run: str, by: str | None = None) -> None:
        """Cancel a run: CancelledError in its handler, or the end of one that has not begun."""
        number = _run_number(run)
        await self._tell(lambda at, token: CancelRequested(at, number, by, token))

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


def _run_number(run: str) -> int:
    try:
        return parse_run_id(run)
    except ValueError as error:
        raise NotFound(str(error)) from None
