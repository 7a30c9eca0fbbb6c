"""The invariants, watched from outside: at every command, every act, every commit, every death, and at the end.

The audit belongs to a world and outlives its lives. It knows what the core does not tell anybody: what the far side saw, what each
handler did after which observations in any life, and how the state of each key grew.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from millstream.core import runs as r
from millstream.core.commands import Answer, Deliver, Output, Perform, Start
from millstream.core.effects import Effect, Ended
from millstream.core.facts import Advanced, Durable, Returned, WaitingLoaded
from millstream.core.graph import ToolSpec
from millstream.core.identity import run_id
from millstream.core.tables import EVENTS, RECORDS, RUNS, STATES, Commit, RecordRow, RunRow
from millstream.stores.memory import MemoryStore
from millstream.testing.simulator.farside import FarSide, Request
from millstream.testing.simulator.violation import Violation

if TYPE_CHECKING:
    from millstream.testing.simulator.shell import Life

OWN_STREAMS = ("doubts", "failures", "dead_letters")
Handed = tuple[str, str, str | None, str | None, int]  # kind, step, value, error, at


class _Handler:
    """A live handler, and what it was handed."""

    __slots__ = ("place", "generation", "handed", "digest", "edition")

    def __init__(self, place: tuple[str, str], generation: int, digest: bytes, edition: int) -> None:
        self.place = place
        self.generation = generation
        self.handed: list[Handed] = []
        self.digest = digest
        self.edition = edition


class Audit:
    """See the module.

    Attributes:
        counts: what happened, to prove that it did.
    """

    def __init__(self, far_side: FarSide) -> None:
        self.far_side = far_side
        self.counts: Counter[str] = Counter()
        self._reads = 0
        self._handlers: dict[int, _Handler] = {}
        self._places: dict[tuple[str, str], int] = {}  # (agent, key) -> the run whose handler lives
        self._ended: list[tuple[int, _Handler]] = []
        self._did: dict[bytes, str] = {}  # observations so far -> what the handler did then
        self._editions: dict[tuple[int, int], set[int]] = {}
        self._returned: dict[tuple[int, int], tuple[int, int]] = {}  # (run, generation) -> emitted to streams, sent
        self._states: dict[tuple[str, str], tuple[int, int, list[str]]] = {}  # version, run, who touched it
        self._last: dict[str, tuple[int, _Handler | None]] = {}  # step -> its last attempt: when it was sent, and for whom
        self._told: dict[tuple[int, str], int] = {}  # (run, step) -> when the core was told in this life that it happened
        # (step, generation of its run) -> probes of its last attempt in this life that gave no answer
        self._unanswered: Counter[tuple[str, int]] = Counter()
        self._began: dict[tuple[str, str], int] = {}  # (agent, key) -> the last run that began in this life
        self._begun: set[int] = set()  # and all that did
        self._received: dict[str, tuple[int, str | None]] = {}  # signal id -> who received it

    def read(self) -> str:
        """The result of a READ: never the same twice."""
        self._reads += 1
        return r.dump({"ref": -self._reads})

    # --- lives ----------------------------------------------------------------------------------------------------

    def born(self, life: Life) -> None:
        self._handlers.clear()
        self._places.clear()
        self._ended.clear()
        self._began.clear()
        self._begun.clear()
        self._unanswered.clear()
        self._told.clear()

    def died(self, life: Life) -> None:
        for number, handler in self._handlers.items():
            self._check_order(life, number, handler)
        check_store(life.store, life)

    def fed(self, life: Life) -> None:
        """A fact and all that it led to is done."""
        ended, self._ended = self._ended, []
        for number, handler in ended:
            self._check_order(life, number, handler)
        lines, lifecycle = life.machine.lines, life.machine.lifecycle
        loading = sum(len(command.runs) for command in life.loader._waiting if hasattr(command, "runs"))
        expected = len(lifecycle.residents) - len(lifecycle.idle) + loading
        if lines.running != expected:
            raise Violation("counts", f"the core counts {lines.running} active runs; there are {expected}")
        kept = sum(run.bytes for run in lifecycle.residents.values())
        waiting = sum(lifecycle.residents[number].bytes for number in lifecycle.idle)
        if (lifecycle.bytes, lifecycle.idle_bytes) != (kept, waiting):
            found = (lifecycle.bytes, lifecycle.idle_bytes)
            raise Violation("counts", f"the core counts {found} bytes of handlers and of waiting ones; there are {(kept, waiting)}")
        limits = life.machine.desk.limits
        idle = [lifecycle.residents[number] for number in lifecycle.idle]
        busy = sum(1 for run in idle if run.busy() or (run.wake is not None and run.wake <= life.machine.desk.now))
        idle_bytes = sum(
            run.bytes for run in idle if not run.busy() and not (run.wake is not None and run.wake <= life.machine.desk.now)
        )
        if idle_bytes > limits.idle_bytes:
            raise Violation("bounded", f"{idle_bytes} bytes of waiting handlers are in memory; {limits.idle_bytes} are allowed")
        if len(lifecycle.idle) > limits.idle + busy or len(lines.cold) > limits.instances or len(lines.ready) > limits.ready:
            raise Violation(
                "counts", f"{len(lifecycle.idle)} idle handlers, {len(lines.cold)} idle keys, {len(lines.ready)} ready: too many"
            )
        if lines.cold_bytes != sum(lines.cold.values()) or lines.cold_bytes > limits.cold_bytes:
            raise Violation("counts", f"{lines.cold_bytes} bytes of idle keys' states are counted, {sum(lines.cold.values())} kept")
        if any(len(instance.line) > 2 * limits.line + 1 for instance in lines.instances.values()):
            raise Violation("counts", "a line in memory is longer than it may be")
        held = {start.run for commit in life.machine.desk.not_durable() for start in commit.gated if type(start) is Start}
        if set(lifecycle.residents) - held != set(self._handlers):
            raise Violation("counts", f"resident are {sorted(lifecycle.residents)}; handlers live of {sorted(self._handlers)}")

    # --- handlers -------------------------------------------------------------------------------------------------

    def living(self) -> list[int]:
        """The runs whose handlers live."""
        return list(self._handlers)

    def started(self, life: Life, command: Start, advanced: Advanced) -> None:
        place = (command.agent, command.key)
        other = self._places.get(place)
        if other is not None:
            raise Violation("one-run-per-key", f"run {command.id} of {place} starts while the handler of run {other} lives")
        if command.run in self._handlers:
            raise Violation("one-run-per-key", f"run {command.id} starts twice")
        if life.unclean:
            self.counts["starts of an unclean life"] += 1
            row = life.store.run(command.run)
            if row is None or (row.status, row.generation) != (r.RUNNING, command.generation):
                raise Violation("deaths-counted", f"run {command.id} starts after an unclean death, and is durable as {row}")
        if command.generation == 0 and not life.machine.lifecycle.residents[command.run].order and command.run not in self._begun:
            if command.run < self._began.get(place, 0):
                raise Violation("arrival-order", f"run {command.id} of {place} begins after {self._began[place]}, which came later")
            self._began[place] = command.run
            self._begun.add(command.run)
        begun = f"{command.run} {command.generation} {life.edition} {command.state} {command.event.payload} {command.at}"
        handler = _Handler(place, command.generation, blake2b(begun.encode(), digest_size=16).digest(), life.edition)
        self._handlers[command.run] = handler
        self._places[place] = command.run
        self._editions.setdefault((command.run, command.generation), set()).add(life.edition)
        self.counts["starts"] += 1
        self._advanced(command.run, handler, advanced)

    def delivered(self, life: Life, command: Deliver, advanced: Advanced) -> None:
        handler = self._handlers[command.run]
        error = None if command.error is None else r.dump(command.error)
        if not advanced.missed:
            handler.handed.append((command.kind, command.step, command.value, error, command.at))
            handler.digest = blake2b(
                f"{command.kind} {command.step} {command.value} {error} {command.at} {command.by} {command.id}".encode(),
                digest_size=16,
                key=handler.digest,
            ).digest()
        self.counts["deliveries"] += 1
        self._advanced(command.run, handler, advanced)

    def _advanced(self, run: int, handler: _Handler, advanced: Advanced) -> None:
        did = shown(advanced)
        if not advanced.missed:
            before = self._did.setdefault(handler.digest, did)
            if before != did:
                raise Violation("replay-equals-live", f"run {run} after {handler.handed}:\nthen {before}\nnow  {did}")
            if before is not did:
                self.counts["replayed"] += 1
        if advanced.end is not None:
            if isinstance(advanced.end, Returned):
                emitted = advanced.end.emitted
                sent = sum(1 for item in emitted if item.agent is not None)
                out = len(emitted) - sent + (advanced.end.output is not None)
                self._returned[run, handler.generation] = (out, sent)
            self._close(run)
            self._ended.append((run, handler))

    def put_away(self, life: Life, run: int) -> None:
        if run in self._handlers:  # else it has ended meanwhile
            handler = self._handlers[run]
            self._close(run)
            self._ended.append((run, handler))
            self.counts["put away"] += 1

    def _close(self, run: int) -> None:
        handler = self._handlers.pop(run)
        del self._places[handler.place]

    def _check_order(self, life: Life, number: int, handler: _Handler) -> None:
        if len(self._editions[number, handler.generation]) > 1:
            return  # edited code may be handed its record in another order
        recorded, early = [], set()
        for row in journal(life, number):
            if row.generation == handler.generation and row.kind in r.OBSERVED:
                shown = (row.kind, row.step or "", row.result, row.error, row.at)
                if settled(row) or is_late(row):  # perhaps before the handler asked for it: it is handed over when it does
                    early.add(shown)
                else:
                    recorded.append(shown)
        handed = [item for item in handler.handed if item not in early]
        if handed != recorded[: len(handed)]:
            raise Violation("recorded-order", f"run {number} was handed {handler.handed}; recorded are {recorded}, and {early}")

    # --- the world outside ----------------------------------------------------------------------------------------

    def performed(self, life: Life, command: Perform, request: Request) -> None:
        self.counts[f"perform {request.effect.value}"] += 1
        self._unanswered.pop(self._asked(request), None)
        if (command.run, command.step) in self._told:
            raise Violation("decided-once", f"{request.place} is performed, and the core was told that it happened")
        if command.attempt > 1:
            self.counts["performed again"] += 1
        durable = [row for row in stored(life.store, command.run) if row.step == command.step]
        if request.effect is not Effect.READ:
            intents = [row for row in durable if row.kind == r.INTENDED]
            if not intents:
                raise Violation("intent-before-effect", f"{request.place} is sent, and no intent of it is durable")
            each = request.effect in (Effect.AT_MOST_ONCE, Effect.VERIFIED)
            if each and command.attempt not in [row.attempt for row in intents]:
                raise Violation(
                    "intent-before-effect", f"attempt {command.attempt} at {request.place} has no durable intent of its own"
                )
            intended = [row.args for row in intents if row.args is not None][-1]
            if intended != request.arguments:
                raise Violation("same-request", f"{request.place} is sent with {request.arguments}; intended was {intended}")
        run = life.machine.lifecycle.residents.get(command.run)
        if run is None:
            return  # it asked for a READ, cancelled it and ended, all in one go
        for row in journal(life, command.run):
            if row.step == command.step and row.kind == r.RESULTED:
                decided = row.error is None or settled(row)
                if row.generation == run.generation or decided:
                    raise Violation("decided-once", f"{request.place} is performed, and recorded is {row}")

    def admitted(self, life: Life, tool: ToolSpec) -> None:
        """An attempt has begun."""
        policy = tool.policy
        busy = [attempt.request.tool.name for attempt in life.attempts.values() if not attempt.probing]
        if policy.max_concurrency is not None:
            self.counts["attempts at a tool with slots"] += 1
            if busy.count(tool.name) > policy.max_concurrency:
                raise Violation("bounded", f"{busy.count(tool.name)} attempts at {tool.name}; {policy.max_concurrency} are allowed")
        limit = life.machine.desk.limits.threads
        blocking = sum(1 for name in busy if life.graph.tools[name].policy.blocks)
        if blocking > limit:
            raise Violation("bounded", f"{blocking} attempts in threads; {limit} are allowed")

    def ended(self, life: Life, request: Request, ended: Ended) -> None:
        """An attempt or a probe ended, or is overdue."""
        if ended is Ended.SUCCEEDED and request.effect is not Effect.READ:
            self._told[request.run, request.place.partition("/")[2]] = life.clock.at
        if ended is Ended.UNANSWERED:
            self._unanswered[self._asked(request)] += request.run in self._handlers  # what is said to nobody is not counted
        elif ended is not Ended.OVERDUE:
            self._last[request.place] = (request.sent, self._handlers.get(request.run))

    def _asked(self, request: Request) -> tuple[str, int]:
        """The step, and for which generation: a person who retries the run has its probe asked as often as the first time."""
        handler = self._handlers.get(request.run)
        return request.place, -1 if handler is None else handler.generation

    def probed(self, life: Life, request: Request) -> None:
        """The deadline of an attempt that this start of the handler made is known; nothing may be asked before it has settled."""
        self.counts["probe"] += 1
        unanswered = self._unanswered[self._asked(request)]
        if unanswered >= request.tool.policy.retry.attempts:
            raise Violation("effect-class", f"{request.place} is probed again after {unanswered} probes without an answer")
        sent, handler = self._last.get(request.place, (0, None))
        policy = request.tool.policy
        settle = policy.timeout if policy.settle is None else policy.settle
        if handler is not None and handler is self._handlers.get(request.run) and request.sent < sent + policy.timeout + settle:
            raise Violation("effect-class", f"{request.place} is probed at {request.sent}; its attempt was sent at {sent}")

    def acted(self, store: MemoryStore, request: Request) -> None:
        step = self.far_side.steps[request.place]
        allowed = 1 + sum(
            1 for row in stored(store, request.run) if row.kind == r.SETTLED and f"{row.step}" == request.place.partition("/")[2]
        )
        acts = step.acts
        if request.effect is Effect.IDEMPOTENT:  # what was sent while the key was honoured, and came late, nobody could prevent
            expired = step.first_sent + request.tool.policy.key_ttl
            acts = [act for act in acts[1:] if act.request.sent >= expired]
            allowed -= 1
        if len(acts) <= allowed:
            return
        raise Violation("effect-class", f"{request.place} ({request.effect.value}) acted {len(step.acts)} times; {allowed} allowed")

    def output(self, life: Life, command: Output) -> None:
        rows = life.store.outputs(command.sink, command.row - 1, 1)
        if rows != [(command.row, command.text)]:
            raise Violation(
                "durable-answer", f"sink {command.sink} is given row {command.row}: {command.text!r}; durable is {rows}"
            )

    def answered(self, life: Life, command: Answer) -> None:
        offered = any(isinstance(fact, Durable | WaitingLoaded) for fact in life.round)  # a signal, which is durable
        if command.error is None and not offered:
            raise Violation("durable-answer", f"token {command.token} is answered before a commit")

    # --- what becomes durable -------------------------------------------------------------------------------------

    def committing(self, life: Life, commit: Commit) -> None:
        self.counts["commits"] += 1
        runs = commit.puts.get(RUNS, {})
        changes: set[int] = set()
        for row in commit.appends.get(RECORDS, ()):
            record = RecordRow._make(row)
            if record.kind == r.CHANGED:
                owner: Any = runs.get((record.run,)) or life.store.run(record.run)
                self._check_change((owner.agent, owner.key), run_id(owner.partition, owner.run), record)
                changes.add(record.record)
            elif record.kind == r.DOUBTED and record.at > self._told.get((record.run, str(record.step)), record.at):
                raise Violation("decided-once", f"{record.step} of run {record.run} is in doubt, and the core was told its result")
            elif record.kind == r.RECEIVED and record.note is not None:
                self._check_received(record)
        for key, put in commit.puts.get(STATES, {}).items():
            assert put is not None
            version, run, _ = self._states[key[0], key[1]]
            if (put[3], put[4]) != (version, run) or put[5] not in changes:
                raise Violation("no-lost-update", f"state of {key} is {put[3:5]}; the last change recorded is {(version, run)}")

    def _check_change(self, place: tuple[str, str], run: str, record: RecordRow) -> None:
        version, before, by = self._states.get(place, (0, 0, []))
        note = r.json_decode(record.note or "{}")
        now = r.json_decode(record.result or "{}").get("by", [])
        grown = now[: len(by)] == by and all(name == run for name in now[len(by) :]) and len(now) > len(by)
        if note != {"version": version + 1, "before": before} or not grown:
            raise Violation(
                "no-lost-update", f"{place}: after version {version} of run {before} {by} comes {note} of run {run}: {now}"
            )
        self._states[place] = (version + 1, record.run, now)

    def _check_received(self, record: RecordRow) -> None:
        id = r.json_decode(record.note or "{}")["id"]
        before = self._received.setdefault(id, (record.run, record.step))
        if before != (record.run, record.step):
            raise Violation("signalled-once", f"signal {id} was received by {before}, and by {(record.run, record.step)}")

    # --- at the end -----------------------------------------------------------------------------------------------

    def check_end(self, life: Life, signals: dict[str, bool]) -> None:
        """Everything has settled; ``signals`` are the ids that were sent, and whether they were answered for."""
        store = life.store
        if len(life.machine.steps.attempts.slots):
            raise Violation(
                "bounded", f"{len(life.machine.steps.attempts.slots)} steps hold slots, or wait for one, when nothing runs"
            )
        self._check_emitted(store)
        self._check_effects(store)
        self._check_asks(store)
        check_sinks(life)
        mail: Any = store.tables()["mail"].values()
        for row in mail:
            owner = None if row.run is None else store.run(row.run)
            if row.kind == "reply" and owner is not None and owner.status == r.DONE:
                raise Violation("store", f"run {row.run} is done, and there is an answer for it that nobody will ever take: {row}")
        waiting = {row.id for row in mail}
        for id, answered in signals.items():
            if answered and id not in waiting and id not in self._received:
                raise Violation("signalled-once", f"signal {id} was answered for, and is neither waiting nor received")

    def _check_emitted(self, store: MemoryStore) -> None:
        runs: Any = store.tables()["runs"].values()
        by_event = Counter((row.event, row.agent) for row in runs)
        for (event, agent), number in by_event.items():
            if number != 1:
                raise Violation("accounted", f"event {event} is handled by {number} runs of {agent}")
        for run in runs:
            caused = [event for event in store.emitted(run.run) if event.stream not in OWN_STREAMS]
            sent = [event for event in caused if event.stream.endswith(".inbox")]
            asked = sum(1 for row in stored(store, run.run) if row.kind == r.INTENDED and row.effect is None)
            out, sends = self._returned[run.run, run.generation] if run.status == r.DONE else (0, 0)
            if len(caused) - len(sent) != out or len(sent) != sends + asked:
                raise Violation(
                    "emitted-once",
                    f"run {run.run} is {run.status} and emitted {len(caused) - len(sent)} events and sent {len(sent)}; "
                    f"its handler gave {out}, sent {sends} and asked {asked} times",
                )
            for event in caused:
                listeners = ["watcher"] if event.stream == "alerts" else [event.stream[: -len(".inbox")]] if event in sent else []
                for agent in listeners:
                    if by_event[event.event, agent] != 1:
                        raise Violation("accounted", f"event {event.event} of run {run.run} is not handled by {agent}")

    def _check_effects(self, store: MemoryStore) -> None:
        for place, acts in self.far_side.acts():
            run, step = acts[0].request.run, place.partition("/")[2]
            outcomes = [row for row in stored(store, run) if row.step == step and row.kind == r.RESULTED]
            status = store.run(run)
            if outcomes and (outcomes[-1].error is None or any(settled(row) for row in outcomes)):
                continue
            if any(row.kind == r.SETTLED and row.step == step for row in stored(store, run)):
                continue  # somebody said retry, and the next attempt failed
            if outcomes and status is not None and outcomes[-1].generation == status.generation:
                raise Violation("effect-class", f"{place} acted, and recorded is that it failed: {outcomes[-1]}")
            if status is None or status.status in (r.DONE, r.QUEUED):
                raise Violation("effect-class", f"{place} acted, and no outcome of it is recorded; its run is {status}")
        places = dict(self.far_side.acts())
        tables: Any = store.tables()
        for row in tables["records"].values():
            if row.kind != r.RESULTED or row.error is not None or row.effect in (None, "read") or settled(row):
                continue
            ended = store.run(row.run)
            assert ended is not None
            place = f"{run_id(ended.partition, ended.run)}/{row.step}"
            if place not in places and self.far_side.done(self.far_side.steps[place].key) is None:
                raise Violation("effect-class", f"{place} is recorded as done, and the far side never did it")

    @staticmethod
    def _check_asks(store: MemoryStore) -> None:
        for run in store.runs():
            if run.asker is not None:
                raise Violation("answered-once", f"run {run.run} is {run.status}, and has not answered {run.asker}")


# --- questions to a store ---------------------------------------------------------------------------------------------


def stored(store: MemoryStore, run: int) -> list[RecordRow]:
    """A run's journal as the store has it."""
    found = store.histories([run])
    return found[0].records if found else []


def journal(life: Life, run: int) -> list[RecordRow]:
    """All that is recorded of a run, durable or not."""
    found = {row.record: row for row in stored(life.store, run)}
    machine = life.machine
    for commit in machine.desk.not_durable():
        for row in commit.appends.get(RECORDS, ()):
            if row[2] == run:
                found[row[0]] = RecordRow._make(row)
    return [found[number] for number in sorted(found)]


def settled(row: RecordRow) -> bool:
    """Did a person, or ``in_doubt_after``, say so?"""
    return row.note is not None and '"settled"' in row.note


def is_late(row: RecordRow) -> bool:
    """Is it what code said in the end when its run had failed?"""
    return row.note is not None and '"late"' in row.note


def shown(advanced: Advanced) -> str:
    """All that can be observed of what a handler did."""
    calls = [(c.step, c.kind, c.name, c.args, c.key, c.about) for c in advanced.calls]
    end: Any = advanced.end
    if isinstance(end, Returned):
        end = (end.answer, [(e.stream, e.payload, e.key, e.agent) for e in end.emitted], end.state)
    elif end is not None:
        end = (end.error["type"], end.error["message"], end.cancelled)
    return f"{calls} {advanced.cancels} {advanced.timer} {advanced.state} {end}"


def check_sinks(life: Life) -> None:
    """Each sink holds its outputs, all of them, in order, once."""
    for name, file in life.remains.sinks.items():
        outputs = life.store.outputs(name, 0, 1_000_000)
        if [row for row, _ in outputs] != list(range(1, len(outputs) + 1)):
            raise Violation("emitted-once", f"rows of sink {name} are {[row for row, _ in outputs]}")
        wanted = "".join(text for _, text in outputs)
        if file.text != wanted:
            raise Violation("emitted-once", f"sink {name} holds {file.text!r}; its rows are {wanted!r}")


def check_store(store: MemoryStore, life: Life) -> None:
    """The tables agree with each other."""
    tables: Any = store.tables()
    lines: dict[tuple[str, str], list[RunRow]] = {}
    for run in tables["runs"].values():
        spec = life.graph.agents[run.agent]
        if (run.event,) not in tables[EVENTS.name]:
            raise Violation("store", f"event {run.event} of run {run.run} is missing")
        in_line = {
            r.QUEUED: True,
            r.RUNNING: True,
            r.WAITING: spec.waiting == "hold",
            r.IN_DOUBT: spec.on_doubt == "hold",
            r.FAILED: spec.on_error == "block",
            r.DIVERGED: spec.on_error == "block",
            r.DONE: False,
            r.CANCELLED: False,
        }[run.status]
        if (run.turn is not None) != in_line:
            raise Violation("store", f"run {run.run} of {run.agent} is {run.status} with turn {run.turn}")
        if (run.finished is not None) != (run.status in r.ENDED):
            raise Violation("store", f"run {run.run} is {run.status}, finished {run.finished}")
        if run.turn is not None:
            lines.setdefault((run.agent, run.key), []).append(run)
    for place, line in lines.items():
        line.sort(key=lambda run: run.turn or 0)
        if any(run.status != r.QUEUED for run in line[1:]):
            raise Violation("store", f"line of {place}: {[(run.run, run.turn, run.status) for run in line]}")
    for doubt in tables["doubts"].values():
        run = store.run(doubt.run)
        if run is None or run.status == r.DONE:
            raise Violation("store", f"{doubt.run}/{doubt.step} is in the in-doubt inbox, and its run is {run}")
    for run in tables["runs"].values():
        if run.status == r.IN_DOUBT and not any(doubt.run == run.run for doubt in tables["doubts"].values()):
            raise Violation("store", f"run {run.run} is in doubt, and none of its steps is in the inbox")
