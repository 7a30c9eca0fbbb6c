"""What people and programs do to runs: signal, resolve, retry, cancel, dead letters. Each returns after its commit.

``Operations`` speaks to an engine in this process; ``runtime.control`` carries the same requests to one in another.
"""

from __future__ import annotations

from typing import Any

import msgspec

from millstream.core.facts import CancelRequested, Fact, LettersRetried, RetryRequested, Settled, Signalled
from millstream.core.identity import parse_run_id, parse_step_id
from millstream.core.mail import SIGNALS, signal_id
from millstream.core.runs import ENDED, dump
from millstream.engine.engine import Engine
from millstream.engine.sources import events
from millstream.errors import NotFound, UsageError

LETTERS_AT_ONCE = 500


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

    async def retry_letters(self) -> dict[str, int]:
        """Read all dead letters of sources again: those that are good now become events."""
        engine = self._engine
        retried = remaining = after = 0
        while letters := engine.store.letters(after, LETTERS_AT_ONCE):
            after = letters[-1].letter
            for source in {letter.source for letter in letters if letter.source is not None}:
                spec = engine.graph.sources.get(source)
                # What was cut short cannot be read again; what an operator refused is not a line of the source.
                mine = [
                    letter
                    for letter in letters
                    if letter.source == source and letter.stream == source and letter.size <= len((letter.data or "").encode())
                ]
                if spec is None or not mine:
                    continue
                places = [msgspec.json.decode(letter.position or "null") for letter in mine]
                batch, rejected = events(spec, [(letter.data or "").encode() for letter in mine], places, engine.clock.now())
                bad = {dump(item.position) for item in rejected}
                good = [letter.letter for letter in mine if letter.position not in bad]
                known = engine.store.seen(source, batch.ids) if spec.id is not None and batch.ids else frozenset()
                if good:
                    await self._tell(lambda at, token, s=source, b=batch, g=good, k=known: LettersRetried(at, s, b, g, k, token))
                retried += len(good)
            remaining = len(engine.store.letters(0, 1_000_000)) if len(letters) < LETTERS_AT_ONCE else remaining
        return {"retried": retried, "remaining": remaining}

    async def status(self) -> dict[str, Any]:
        """Figures of the running engine."""
        return {**msgspec.to_builtins(self._engine.snapshot()), "in_doubt": len(self._engine.store.doubts())}


def _run_number(run: str) -> int:
    try:
        return parse_run_id(run)
    except ValueError as error:
        raise NotFound(str(error)) from None
