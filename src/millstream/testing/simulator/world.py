"""A world drawn from a seed: it lists what could happen next, draws one, does it, and checks every invariant.

First there is chaos: events come, tools act, time out and hang, commits are late, people interfere, the process dies and comes
back. Then the faults stop, whoever is waited for does what is wanted, and everything must come to its end.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from millstream.core.desk import Limits
from millstream.core.effects import Effect, Ended
from millstream.core.facts import CancelRequested, Forgotten, RetryRequested, Settled, Signalled
from millstream.core.mail import SIGNALS as SIGNAL_IDS
from millstream.core.mail import signal_id
from millstream.core.runs import ENDED, dump, json_decode
from millstream.testing.simulator import workload
from millstream.testing.simulator.audit import Audit
from millstream.testing.simulator.farside import Request
from millstream.testing.simulator.shell import Attempt, Life, Remains
from millstream.testing.simulator.trace import line_of
from millstream.testing.simulator.violation import Failed, Violation

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000


class Plan(msgspec.Struct):
    """What a seed's world is like. Weights say how often something is drawn among what could happen."""

    events: int
    steps: int
    commit: int
    attempt: int
    told: int  # weight of telling the core how attempts have ended
    crash: float
    stop: float
    faults: float  # of attempts that do not simply succeed
    people: float
    clock: int
    edits: bool
    limits: Limits


def plan(chance: random.Random) -> Plan:
    """Draw one."""
    small = chance.random() < 0.7
    limits = Limits(
        running=chance.choice((2, 3, 4, 50)) if small else 1000,
        idle=chance.choice((0, 1, 2, 20)) if small else 1000,
        line=chance.choice((2, 3, 16)),
        instances=chance.choice((0, 1, 2, 100)) if small else 1000,
        ready=chance.choice((1, 3, 50)) if small else 1000,
        cut=chance.choice((1, 5, 500)),
        page=chance.choice((1, 2, 5, 500)),
        commit_rows=chance.choice((5, 20_000)),
        threads=chance.choice((1, 2, 64)),
        idle_bytes=chance.choice((0, 300, 1 << 30)) if small else 1 << 30,
        cold_bytes=chance.choice((0, 60, 1 << 30)) if small else 1 << 30,
        memory_bytes=chance.choice((500, 1 << 30)) if small else 1 << 30,
        cut_bytes=chance.choice((100, 1 << 30)),
        backlog_bytes=chance.choice((1_000, 1 << 30)),
    )
    return Plan(
        events=chance.choice((2, 4, 8, 14)),
        steps=chance.choice((60, 150, 300)),
        commit=chance.choice((2, 10, 30)),
        attempt=chance.choice((4, 10, 30)),
        told=chance.choice((1, 3, 20)),
        crash=chance.choice((0.0, 0.01, 0.03, 0.08)),
        stop=chance.choice((0.0, 0.0, 0.01)),
        faults=chance.choice((0.0, 0.2, 0.5)),
        people=chance.choice((0.0, 0.03, 0.1)),
        clock=chance.choice((1, 4)),
        edits=chance.random() < 0.3,
        limits=limits,
    )


class Feed:
    """A source's sender."""

    def __init__(self, name: str, lines: list[bytes]) -> None:
        self.name = name
        self.lines = lines
        self.position = 0  # in this life: lines before it were delivered
        self.unsure: dict[int, int] = {}  # calls: line -> the commit (of this life) that will hold it
        self.acknowledged: set[int] = set()
        self.accepted = 0  # calls: positions given out


class World:
    """One seed. ``run`` it; then ``counts`` tells what happened.

    Args:
        seed: of everything.
        trace: keep all that happened as text; else the last twenty events only, and no hash.
    """

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        chance = self.chance = random.Random(seed)
        self.plan = plan(chance)
        self.taste = workload.taste(chance)
        self.crowded = seed % 8 == 5
        if self.crowded:
            self._crowd()
        self.remains = Remains(workload.graph(0))
        self.audit = Audit(self.remains.far_side)
        self.counts: Counter[str] = self.audit.counts
        self.feeds = [Feed(name, self._lines(name)) for name in workload.SOURCES]
        self.signals: dict[str, bool] = {}
        self._signal_facts: dict[str, Any] = {}
        self._tokens: dict[int, tuple[str, Any]] = {}
        self.edition = 0
        self.step = 0
        self.calm = False
        self._trace = trace
        self.events: deque[tuple[int, int, int, str, object]] = deque(maxlen=None if trace else 20)
        self.life: Life

    def _crowd(self) -> None:
        """Many runs of one key wait for the same few signals, which come several at once."""
        self.plan.events, self.plan.people = 8, 0.3
        self.taste.keys, self.taste.agents, self.taste.length = ["k0"], ["loose", "loose_parking"], 2

    def _wait(self) -> list[Any]:
        chance = self.chance
        waits = [["receive", chance.choice(workload.SIGNALS), chance.choice((None, "x")), None] for _ in range(2)]
        return ["race", *[[wait] for wait in waits]] if chance.random() < 0.3 else waits[0]

    def _lines(self, source: str) -> list[bytes]:
        chance = self.chance
        lines = []
        for number in range(self.plan.events):
            again = chance.random() < 0.15 and number
            id = f"{source}-{chance.randrange(number) if again else number}"
            value = workload.event(chance, self.taste, 0, id)
            if self.crowded and chance.random() < 0.9:
                value["do"].insert(0, self._wait())
            if chance.random() < 0.08:
                key = value.pop("key")
                if chance.random() < 0.7:
                    value["late_key"] = key
            lines.append(b"{ not JSON" if chance.random() < 0.03 else dump(value).encode())
        return lines

    # --- telling --------------------------------------------------------------------------------------------------

    def note(self, what: str, about: object = "") -> None:
        """Something happened."""
        self.counts[what] += 1
        self.events.append((self.step, self.remains.lives, self.remains.clock.at, what, about))

    def told(self) -> list[str]:
        """What happened, as text: everything when traced, else the last twenty events."""
        return [f"{step:>4} {life:>3} {at} {what} {about}" for step, life, at, what, about in self.events]

    def _spy(self, facts: list[Any], commands: list[Any]) -> None:
        step, life, at = self.step, self.remains.lives, self.remains.clock.at
        self.events.extend((step, life, at, "  fact", line_of(fact)) for fact in facts)
        self.events.extend((step, life, at, "     >", line_of(command)) for command in commands)

    @property
    def hash(self) -> str:
        """Of all that happened, for comparison with another run of the same seed (only when traced)."""
        return blake2b("\n".join(self.told()).encode(), digest_size=16).hexdigest()

    # --- the course of it -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Chaos, then calm.

        Raises:
            Failed: an invariant does not hold.
        """
        try:
            self._run()
        except Violation as violation:
            raise Failed(self.seed, violation, self.told()[-20:]) from violation

    def _run(self) -> None:
        try:
            self._live()
            while self.step < self.plan.steps:
                self.step += 1
                self._chaos()
            self.calm = True
            self._settle()
        except Violation:
            raise
        except Exception as error:
            raise Violation("no-exception", f"{type(error).__name__}: {error}") from error
        finally:
            if hasattr(self, "life"):
                self.life.runs.close()

    def _live(self) -> None:
        """A process starts."""
        self._tokens.clear()
        self.note("life", f"edition {self.edition}")
        spy = self._spy if self._trace else None
        self.life = Life(self.remains, self.audit, edition=self.edition, limits=self.plan.limits, spy=spy)
        for feed in self.feeds:
            position = self.life.positions.get(feed.name)
            feed.unsure.clear()
            if feed.name != "calls":
                feed.position = position or 0

    def _chaos(self) -> None:
        chance, plan, life = self.chance, self.plan, self.life
        self.remains.clock.advance(chance.randint(1, 2_000))
        if chance.random() < plan.crash:
            self._crash()
            return
        if chance.random() < plan.stop:
            self._stop()
            return
        if chance.random() < plan.people:
            chance.choice(self._people())()
            return
        could: list[Callable[[], None]] = []
        weights: list[int] = []

        def may(weight: int, do: Callable[[], None]) -> None:
            could.append(do)
            weights.append(weight)

        if life.gathered:
            may(plan.commit, self._begin_commit)
        if life.commit is not None:
            may(plan.commit, self._end_commit)
            may(1, self._refuse_commit)
        if life.attempts:
            may(plan.attempt, self._some_attempt)
        if life.ends:
            may(plan.told, self._tell_ends)
        if self.remains.far_side.late:
            may(2, self._late_act)
        if life.paused is None:
            for feed in self.feeds:
                if self._has_more(feed):
                    may(3, lambda feed=feed: self._arrive(feed))  # type: ignore[misc]
        for writer in life.writers.values():
            if writer.pending:
                may(2, lambda writer=writer: self._append(writer))  # type: ignore[misc]
            if writer.recorded < writer.row:
                may(1, lambda writer=writer: self._record_sink(writer))  # type: ignore[misc]
        if life.wake is not None and life.wake <= self.remains.clock.at:
            may(10, self._tick)
        may(plan.clock, self._pass_time)
        chance.choices(could, weights)[0]()

    # --- death ----------------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        life, chance = self.life, self.chance
        if life.commit is not None:
            if chance.random() < 0.5:
                life.audit.committing(life, life.commit)
                self.remains.store.write(life.commit)
                self.counts["commits that were durable, unknown to the process that died"] += 1
            else:
                self.counts["commits lost"] += 1
        if not life.machine.take_is_empty():
            self.counts["deaths with something gathered"] += 1
        for attempt in life.attempts.values():
            self.counts["attempts that died"] += 1
            on_the_wire = not attempt.probing and attempt.result is None
            if on_the_wire and attempt.request.effect not in (Effect.READ, Effect.TRANSACTIONAL) and chance.random() < 0.3:
                self.remains.far_side.late.append(attempt.request)  # it is on the wire
        self.note("crash")
        life.crash()
        if chance.random() < 0.3:
            self.remains.clock.at -= chance.choice((SECOND, HOUR))  # a clock that goes back
            self.counts["clocks set back"] += 1
        if self.plan.edits and chance.random() < 0.3:
            self.edition += 1
            self.counts["edits"] += 1
        self._live()

    def _stop(self) -> None:
        life, chance = self.life, self.chance
        self.note("stop")
        life.stop()
        for _ in range(chance.randint(0, 8)):
            self.remains.clock.advance(chance.randint(1, 2_000))
            if life.attempts and chance.random() < 0.5:
                self._some_attempt()
            elif life.ends:
                self._tell_ends()
            elif life.commit is not None:
                self._end_commit()
            elif life.gathered:
                self._begin_commit()
        for attempt in life.attempts.values():
            on_the_wire = not attempt.probing and attempt.result is None
            if on_the_wire and attempt.request.effect not in (Effect.READ, Effect.TRANSACTIONAL) and chance.random() < 0.3:
                self.remains.far_side.late.append(attempt.request)
        self.note("exit")
        life.exit()
        if self.plan.edits and chance.random() < 0.5:
            self.edition += 1
            self.counts["edits"] += 1
        self._live()

    # --- commits, time, sinks -------------------------------------------------------------------------------------

    def _begin_commit(self) -> None:
        self.note("commit begins")
        self.life.begin_commit()

    def _end_commit(self) -> None:
        assert self.life.commit is not None
        number = self.life.commit.number
        self.note("commit is durable", number)
        self.life.end_commit()
        for feed in self.feeds:
            for line, commit in list(feed.unsure.items()):
                if commit <= number:
                    feed.acknowledged.add(line)
                    del feed.unsure[line]

    def _refuse_commit(self) -> None:
        self.note("commit is refused", self.life.commit and self.life.commit.number)

    def _tick(self) -> None:
        self.note("due")
        self.life.tick()

    def _pass_time(self) -> None:
        chance, clock = self.chance, self.remains.clock
        draw = chance.random()
        sleeping = self.life.store.wakes(1 << 62, 1) if draw < 0.3 else ()
        if sleeping:
            clock.at = max(clock.at, sleeping[0].wake or 0)
        elif self.life.wake is not None and draw < 0.7:
            clock.at = max(clock.at, self.life.wake)
        else:
            clock.advance(chance.choice((100_000, SECOND, 10 * SECOND, 40 * SECOND, 5 * MINUTE, 2 * HOUR)))
        self.note("time passes")

    def _append(self, writer: Any) -> None:
        torn = None
        if self.chance.random() < 0.1:
            torn = self.chance.randint(0, len(writer.pending[0][1]))
            self.counts["torn appends"] += 1
        self.note("append", f"{writer.name} {writer.pending[0][0]} {torn}")
        writer.append(torn)

    def _record_sink(self, writer: Any) -> None:
        self.note("sink is recorded", f"{writer.name} {writer.row}")
        self.life.record_sink(writer.name)

    # --- sources --------------------------------------------------------------------------------------------------

    def _has_more(self, feed: Feed) -> bool:
        if feed.name == "calls":
            return len(feed.acknowledged) < len(feed.lines)
        return feed.position < len(feed.lines)

    def _arrive(self, feed: Feed) -> None:
        life, chance = self.life, self.chance
        if feed.name == "calls":
            open_ = [n for n in range(len(feed.lines)) if n not in feed.acknowledged]
            chosen = chance.sample(open_, chance.randint(1, min(3, len(open_))))
            chosen += [n for n in range(len(feed.lines)) if chance.random() < 0.05]  # a sender that did not hear us
            places: list[Any] = list(range(feed.accepted, feed.accepted + len(chosen)))
            feed.accepted += len(chosen)
            self.note("calls arrive", chosen)
            life.arrive("calls", [feed.lines[n] for n in chosen], places, feed.accepted)
            for line in chosen:
                if line not in feed.acknowledged:
                    feed.unsure[line] = life.machine.desk.commit.number
            return
        end = min(len(feed.lines), feed.position + chance.randint(1, 5))
        places = list(range(feed.position, end))
        lines = feed.lines[feed.position : end]
        feed.position = end
        self.note("lines arrive", f"{feed.name} {places}")
        life.arrive(feed.name, lines, places, end, ended=end == len(feed.lines))

    # --- attempts -------------------------------------------------------------------------------------------------

    def _some_attempt(self) -> None:
        attempt = self.chance.choice(list(self.life.attempts.values()))
        if attempt.probing:
            self._some_probe(attempt)
        elif self.chance.random() >= self.plan.faults:
            self.note("attempt succeeds", attempt.request.place)
            self.life.succeed(attempt)
        else:
            self._some_fault(attempt)

    def _tell_ends(self) -> None:
        told = len(self.life.ends)
        self.note("ends are told", told)
        self.counts["ends told together"] += told > 1
        self.life.tell_ends()

    def _some_probe(self, attempt: Attempt) -> None:
        draw = self.chance.random()
        if draw < 0.1 and not attempt.overdue:
            self.note("probe is overdue", attempt.request.place)
            self.life.end(attempt, Ended.OVERDUE, error="TimeoutError")
        elif draw < 0.35:
            self.note("probe fails", attempt.request.place)
            self.life.end(attempt, Ended.UNANSWERED, error="ConnectionError")
        else:
            unsure = draw > 0.85 and not self.calm
            self.note("probe answers", f"{attempt.request.place} unsure={unsure}")
            self.life.answer_probe(attempt, unsure=unsure)

    def _some_fault(self, attempt: Attempt) -> None:
        chance, life, request = self.chance, self.life, attempt.request
        effect, acted = request.effect, attempt.result is not None
        faults = ["ambiguous"]
        if not attempt.overdue:
            faults.append("overdue")
        if not acted:
            faults.append("not sent")
            if life.far_side.done(request.key) is None or effect in (Effect.READ, Effect.AT_MOST_ONCE):
                faults.append("fails")
            if effect is not Effect.READ:
                faults.append("acts")
                if effect is not Effect.TRANSACTIONAL:
                    faults.append("late")
        fault = chance.choice(faults)
        self.note(f"attempt: {fault}", request.place)
        if fault == "fails":
            # The far side refuses, and goes on refusing what is still on its way.
            life.far_side.late = [late for late in life.far_side.late if late.key != request.key]
            life.end(attempt, Ended.FAILED, error="ValueError", retryable=bool(request.tool.policy.retry.on))
        elif fault == "not sent":
            life.end(attempt, Ended.NOT_SENT, error="NotSent")
        elif fault == "overdue":
            life.end(attempt, Ended.OVERDUE, error="TimeoutError")
        elif fault == "acts":
            life.act(attempt)
        else:
            if fault == "late":
                life.far_side.late.append(request)
            elif not acted and effect is not Effect.READ and chance.random() < 0.5:
                life.act(attempt)
            life.end(attempt, Ended.AMBIGUOUS, error="TimeoutError")

    def _late_act(self) -> None:
        late = self.remains.far_side.late
        request: Request = late.pop(self.chance.randrange(len(late)))
        if self.chance.random() < 0.2:
            self.note("late request is lost", request.place)
            return
        self.note("late request acts", request.place)
        self.remains.far_side.act(request, self.remains.clock.at)
        self.audit.acted(self.remains.store, request)

    # --- people ---------------------------------------------------------------------------------------------------

    def _people(self) -> list[Callable[[], None]]:
        if self.crowded and self.chance.random() < 0.8:
            return [self._signals]
        often = [self._signal, self._signal, self._resolve, self._retry, self._cancel]
        return [*often, self._forget, self._retry_letters, self._thread_calls]

    def _signals(self) -> None:
        for _ in range(self.chance.randint(1, 6)):
            self._signal()

    def _signal(self) -> None:
        chance, life = self.chance, self.life
        store = life.store
        unanswered = [id for id, answered in self.signals.items() if not answered]
        if unanswered and chance.random() < 0.5:
            id = chance.choice(unanswered)
            fact: Any = self._signal_facts[id]
            self.counts["signals sent again"] += 1
        else:
            id = f"signal-{len(self.signals)}"
            waiting = [row for row in store.runs() if row.status not in ENDED]
            name, about = chance.choice(workload.SIGNALS), chance.choice((None, "x"))
            if waiting and chance.random() < 0.7:
                row = chance.choice(waiting)
                fact = (row.run if chance.random() < 0.5 else None, row.agent, row.key, name, dump(id), about)
            else:
                fact = (None, chance.choice(self.taste.agents), chance.choice(self.taste.keys), name, dump(id), about)
            self._signal_facts[id] = fact
            self.signals[id] = False
        self.note("signal", f"{id} {fact}")
        known = bool(store.seen(SIGNAL_IDS, [signal_id(fact[1], fact[2], id)]))
        token = self._ask("signal", id)
        run, agent, key, name, value, about = fact
        life.feed(Signalled(self.remains.clock.at, run, agent, key, name, value, about, id, "somebody", known, token))
        self._hear()

    def _ask(self, what: str, about: Any) -> int:
        token = self.life.token()
        self._tokens[token] = (what, about)
        return token

    def _hear(self) -> None:
        """Take note of the answers that came."""
        for token, (error, value) in self.life.answers.items():
            what, about = self._tokens.pop(token)
            if what == "signal":
                if error is None and value in (None, "kept"):
                    self.signals[about] = True
                elif value == "duplicate":
                    self.counts["duplicate signals"] += 1
                    self.signals[about] = True
            else:
                self.counts[f"{what} {'done' if error is None else 'refused'}"] += 1
        self.life.answers.clear()

    def _resolve(self) -> None:
        doubts = self.life.store.doubts()
        if doubts:
            doubt = self.chance.choice(doubts)
            self._settle_doubt(doubt, self.chance.choice(("result", "retry", "fail")))

    def _settle_doubt(self, doubt: Any, how: str) -> None:
        self.note("settle", f"{doubt.run}/{doubt.step} {how}")
        value = dump({"ref": "settled"}) if how == "result" else "it did not happen" if how == "fail" else None
        self.life.feed(
            Settled(self.remains.clock.at, doubt.run, doubt.step, how, value, "somebody", self._ask("settle", doubt.run))
        )

    def _retry(self) -> None:
        runs = [row for row in self.life.store.runs() if row.status in ENDED]
        if runs:
            self._retry_run(self.chance.choice(runs))

    def _retry_run(self, row: Any) -> None:
        self.note("retry", f"{row.run} {row.status}")
        self.life.feed(RetryRequested(self.remains.clock.at, row.run, "somebody", self._ask("retry", row.run)))

    def _cancel(self) -> None:
        runs = list(self.life.store.runs())
        if runs:
            row = self.chance.choice(runs)
            self.note("cancel", f"{row.run} {row.status}")
            self.life.feed(CancelRequested(self.remains.clock.at, row.run, "somebody", self._ask("cancel", row.run)))

    def _thread_calls(self) -> None:
        handlers = self.audit.living()
        if handlers:
            run = self.chance.choice(handlers)
            self.note("a thread calls", run)
            self.life.fail(run)

    def _retry_letters(self) -> None:
        self.note("letters are retried")
        self.counts["letters retried"] += self.life.retry_letters()

    def _forget(self) -> None:
        before = self.remains.clock.at - 7 * 24 * HOUR
        sources = (*workload.SOURCES, SIGNAL_IDS)
        keys = [(source, id) for source in sources for id in self.life.store.forget_seen(source, before, 100)]
        if keys:
            self.note("forget", len(keys))
            self.life.feed(Forgotten(self.remains.clock.at, keys))

    # --- calm -----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """The faults stop; whoever is waited for does what is wanted."""
        for _ in range(10_000):
            self.remains.clock.advance(1_000)
            if not self._go_on() and not self._help():
                break
        else:
            raise Violation("progress", "there is no end of it")
        self._hear()
        for row in self.life.store.runs():
            if row.status not in ENDED:
                raise Violation("progress", f"nothing moves any more, and run {row.run} is {row}")
        self._check_accounted()
        self.audit.check_end(self.life, self.signals)
        self.note("end")
        self.life.stop()
        self.life.exit()

    def _go_on(self) -> bool:
        """Do one thing of those that happen by themselves."""
        life = self.life
        if life.ends:
            self._tell_ends()
        elif life.commit is not None:
            self._end_commit()
        elif life.gathered:
            self._begin_commit()
        elif life.attempts:
            attempt = next(iter(life.attempts.values()))
            if attempt.probing:
                self._some_probe(attempt)
            else:
                self.note("attempt succeeds", attempt.request.place)
                life.succeed(attempt)
        elif self.remains.far_side.late:
            self._late_act()
        elif any(writer.pending or writer.recorded < writer.row for writer in life.writers.values()):
            writer = next(writer for writer in life.writers.values() if writer.pending or writer.recorded < writer.row)
            if writer.pending:
                writer.append()
            else:
                self._record_sink(writer)
        elif life.paused is None and any(self._has_more(feed) for feed in self.feeds):
            self._arrive(next(feed for feed in self.feeds if self._has_more(feed)))
        elif life.wake is not None and (life.wake <= self.remains.clock.at or not life.machine.quiet):
            self.remains.clock.at = max(self.remains.clock.at, life.wake)
            self._tick()
        else:
            return False
        return True

    def _help(self) -> bool:
        """Nothing goes on by itself: do what somebody waits for."""
        life = self.life
        store = life.store
        if not life.quiet:
            raise Violation("progress", f"nothing moves any more; the core is not quiet: {life.machine.lines.__dict__}")
        self._hear()
        if store.wakes(self.remains.clock.at, 1) and life.wake is not None and life.wake <= self.remains.clock.at + 2 * SECOND:
            self.remains.clock.at = max(self.remains.clock.at, life.wake)  # more are due than are read at once: soon
            self._tick()
            return True
        self._check_waits()
        doubts = store.doubts()
        if doubts:
            self._settle_doubt(doubts[0], self.chance.choice(("result", "retry", "fail")))
            return True
        for row in store.runs():
            if row.status in ("waiting", "in_doubt") and row.awaits:
                for _step, kind, name, about in json_decode(row.awaits):
                    if kind == "receive":
                        id = f"signal-{len(self.signals)}"
                        self.signals[id] = False
                        self.note("signal", f"{id} to run {row.run}")
                        token = self._ask("signal", id)
                        life.feed(
                            Signalled(
                                self.remains.clock.at, row.run, row.agent, row.key, name, dump(id), about, id, None, False, token
                            )
                        )
                        return True
        sleeping = store.wakes(1 << 62, 1)
        if sleeping and life.wake is not None:
            self.remains.clock.at = max(self.remains.clock.at, life.wake, sleeping[0].wake or 0)
            self._tick()
            return True
        blocking = [row for row in store.runs() if row.turn is not None and row.status in ENDED]
        if blocking:
            self._clear(blocking[0])
            return True
        diverged = [row for row in store.runs() if row.status == "diverged"]
        if diverged:  # whoever asked it waits for its answer
            self.note("cancel", f"{diverged[0].run} diverged")
            life.feed(CancelRequested(self.remains.clock.at, diverged[0].run, "somebody", self._ask("cancel", diverged[0].run)))
            return True
        return False

    def _clear(self, row: Any) -> None:
        """A failed run blocks its line."""
        if self.chance.random() < 0.3:
            self._retry_run(row)
        else:
            self.note("cancel", f"{row.run} {row.status}")
            self.life.feed(CancelRequested(self.remains.clock.at, row.run, "somebody", self._ask("cancel", row.run)))

    def _check_waits(self) -> None:
        """Nothing moves: then nobody waits for what is there."""
        store, now = self.life.store, self.life.machine.desk.now
        letters: Any = store.tables()["mail"]
        core = self.life.machine.mail
        if core.offers or core._offered:
            raise Violation("waits-rightly", f"mail that is offered: {core.offers} {core._offered}")
        for number, steps in core.promised.items():
            promised: Any = store.run(number)
            if promised.status != "queued":  # behind another one: it has what it was promised when its turn comes
                raise Violation("waits-rightly", f"run {number} is {promised.status}, and promised is {steps}")
        mail = [message for (number,), message in letters.items() if number not in core._promised_to]
        heads: dict[tuple[str, str], Any] = {}
        for row in store.runs():
            if (row.turn is not None and (row.agent, row.key) not in heads) or (
                row.turn is not None and row.turn < heads[row.agent, row.key].turn
            ):
                heads[row.agent, row.key] = row
            if row.status not in ("waiting", "in_doubt"):
                continue
            if row.wake is not None and row.wake <= now:
                raise Violation("waits-rightly", f"run {row.run} waits for {row.wake}, and it is {now}")
            for wait in json_decode(row.awaits or "[]"):
                for message in mail:
                    if (message.agent, message.key) == (row.agent, row.key) and core.fits(message, row.run, *wait):
                        raise Violation("waits-rightly", f"run {row.run} waits for {wait}, and there is {message}")
        for row in heads.values():
            if row.status in ("queued", "running"):
                raise Violation("waits-rightly", f"run {row.run} is {row.status} at the head of its line, and nobody starts it")
        if store.backlog_bytes() != self.life.machine.lines.backlog:
            raise Violation(
                "counts", f"the backlog is {store.backlog_bytes()} bytes; the core counts {self.life.machine.lines.backlog}"
            )

    def _check_accounted(self) -> None:
        """Every event that a source has given was handled once by the agent that it is for; bad lines are dead letters."""
        store = self.life.store
        tables: Any = store.tables()
        events = Counter((event.source, event.id) for event in tables["events"].values() if event.source is not None)
        runs = Counter(run.event for run in tables["runs"].values())
        for event in tables["events"].values():
            if event.source is not None and runs[event.event] != 1:
                raise Violation("accounted", f"event {event.id} of {event.source} is handled by {runs[event.event]} runs")
        letters = store.letters(0, 1_000_000)
        expected: Counter[tuple[str, str]] = Counter()
        for feed in self.feeds:
            for place, line in enumerate(feed.lines):
                try:
                    value = json_decode(line)
                except Exception:
                    continue
                id = value["id"] if feed.name != "ticks" else f"ticks:{place}"
                if "key" in value or ("late_key" in value and (feed.name, id) in events):
                    expected[feed.name, id] = 1
                elif "late_key" in value and not any(
                    '"late_key"' in (row.data or "") and f'"{value["id"]}"' in (row.data or "") for row in letters
                ):
                    raise Violation("accounted", f"{id} of {feed.name} is neither an event nor a dead letter")
        if events != expected:
            raise Violation("accounted", f"missing {expected - events}, too many {events - expected}")
        self._check_summaries(letters)

    def _check_summaries(self, letters: list[Any]) -> None:
        """Every event went through the plain operators once, or is a dead letter of the one that refused it."""
        store = self.life.store
        events: Any = store.tables()["events"]
        expected: Counter[tuple[str, int]] = Counter()
        for event in events.values():
            if event.source is not None:
                value = json_decode(event.payload)
                expected.update((value["id"], half) for half in range(value.get("size", 1)))
        refused = Counter((json_decode(row.data)["id"], 0) for row in letters if row.stream == "summaries")
        self.counts["letters of an operator"] += refused.total()
        lines = [json_decode(line) for _, text in store.outputs("log", 0, 1_000_000) for line in text.splitlines()]
        found = Counter((line["id"], line["half"]) for line in lines) + refused
        if found != expected:
            raise Violation("accounted", f"operators: missing {expected - found}, too many {found - expected}")


def simulate(seed: int) -> Counter[str]:
    """One world, from its beginning to its end. Gives what happened in it, counted.

    Raises:
        Failed: an invariant does not hold.
    """
    world = World(seed)
    world.run()
    return world.counts


def simulate_many(seeds: range) -> tuple[Counter[str], list[str]]:
    """Many worlds; gives what happened in all of them, counted, and what failed, as text."""
    counts: Counter[str] = Counter()
    failures = []
    for seed in seeds:
        try:
            counts += simulate(seed)
        except Failed as failed:
            failures.append(str(failed))
    return counts, failures
