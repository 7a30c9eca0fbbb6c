"""Mail: signals, answers to asks, and the deadlock that an ask could make.

* A signal is for a run, or for whichever run of (agent, key) receives it first. It is handed over at once to a run that waits for
  it here; otherwise it is a row in the store, and a waiting run that it fits is brought back.
* An ask makes a run of the asked agent; its answer is mail to the asking run, in the entry that completes the asked one.
* A key is held by the run at the head of its line, and a run that was asked may wait behind it. ``asking`` holds who waits for
  whom: an ask that would close a circle can never be answered, and fails at once. In it stand the keys that are held, and, for
  runs that released theirs (nobody waits behind them, but whoever asked them does), the ask that made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.core import runs as r
from millstream.core.commands import Answer, LoadMail, LoadWaiting
from millstream.core.desk import Desk
from millstream.core.facts import MailLoaded, Signalled, StepCall, WaitingLoaded
from millstream.core.identity import partition_of
from millstream.core.runs import Run, Step
from millstream.core.tables import JSON, MAIL, SEEN, MailRow, RunRow, SeenRow

if TYPE_CHECKING:
    from millstream.core.intake import Intake
    from millstream.core.lifecycle import Lifecycle
    from millstream.core.lines import Lines
    from millstream.core.steps import Steps

SIGNALS = "signals"  # their ids are remembered under this name
REMEMBERED = 100_000  # signal ids kept in memory for those that are not durable yet

Place = tuple[str, str]  # (agent, key)
Node = Place | tuple[int, str]  # who waits: the holder of a key; of a released run, the ask that made it as (run, step)


def signal_id(agent: str, key: str, id: str) -> str:
    """Under which id a signal with an id of its own is remembered: it is unique within (agent, key)."""
    return r.dump([agent, key, id])


class Mail:
    """See the module."""

    def __init__(self, desk: Desk, lines: Lines, lifecycle: Lifecycle) -> None:
        self.desk = desk
        self.lines = lines
        self.lifecycle = lifecycle
        self.steps: Steps  # set by the machine
        self.intake: Intake
        self.asking: dict[Node, dict[tuple[int, str], Node]] = {}  # who waits -> {(run, step): for whom}
        self._recent: dict[str, None] = {}  # ids of signals that may not be durable yet
        self._promised: dict[int, dict[str, MailRow]] = {}  # run -> {step: mail that it is being woken for}

    # --- signals --------------------------------------------------------------------------------------------------

    def signalled(self, fact: Signalled) -> None:
        if fact.id is not None and self._is_known(fact, fact.id):
            self._answer(fact, "duplicate")
            return
        number = self.desk.number()
        mail = MailRow(
            number,
            partition_of(fact.key, self.desk.graph.partitions),
            fact.agent,
            fact.key,
            fact.run,
            "signal",
            fact.name,
            fact.about,
            fact.id if fact.id is not None else str(number),
            fact.by,
            fact.at,
            JSON,
            fact.value,
            None,
        )
        run = self._resident(fact)
        if run is None or not self._hand_over(run, mail):
            self._store(mail, run)
        self._answer(fact, None)

    def _is_known(self, fact: Signalled, id: str) -> bool:
        name = signal_id(fact.agent, fact.key, id)
        if fact.known or name in self._recent:
            return True
        self._recent[name] = None
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]
        partition = partition_of(fact.key, self.desk.graph.partitions)
        self.desk.commit.put(SEEN, SeenRow(SIGNALS, name, partition, fact.at))
        return False

    def _answer(self, fact: Signalled, value: str | None) -> None:
        if fact.token is not None:
            self.desk.gate(Answer(fact.token, None, value))

    def _resident(self, fact: Signalled) -> Run | None:
        if fact.run is not None:
            return self.lifecycle.residents.get(fact.run)
        instance = self.lines.instances.get((fact.agent, fact.key))
        return None if instance is None else instance.holder

    def _hand_over(self, run: Run, mail: MailRow) -> bool:
        """To a run that waits for it here and now."""
        if run.replaying or run.in_hand:
            return False  # what it is handed now may end this wait
        for any_will_do in (False, True):
            for call in run.waits.values():
                if (call.about is None) is any_will_do and self.fits(mail, run.number, call.step, call.kind, call.name, call.about):
                    self._consume(run, call, mail, stored=False)
                    return True
        return False

    def _store(self, mail: MailRow, run: Run | None) -> None:
        self.desk.commit.put(MAIL, mail)
        self.desk.touch((mail.agent, mail.key))
        instance = self.lines.instances.get((mail.agent, mail.key))
        if instance is not None:
            instance.mailed = True
        if run is not None:
            if run.mail is not None:
                run.mail.append(mail)
            run.unread = True
            if mail.run is not None:
                return
        if mail.run is not None:
            self._bring_back(mail.run, mail)
        else:
            self.desk.say(LoadWaiting(mail.agent, mail.key, mail, self.desk.commit.number))

    def _bring_back(self, number: int, mail: MailRow) -> None:
        stashed = self.lifecycle.stash.get(number)
        if stashed is not None:
            if stashed.mail is not None:
                stashed.mail.append(mail)
        else:
            self.lines.wake(number, self.desk.latest())

    def waiting_loaded(self, fact: WaitingLoaded) -> None:
        """A signal to (agent, key) that no run here waits for: is it for one in the store?"""
        waits = [
            (row.run, step, about)
            for row in fact.rows
            if row.awaits and row.run not in self.lifecycle.residents
            for step, kind, name, about in r.json_decode(row.awaits)
            if step not in self._promised.get(row.run, ()) and self.fits(fact.mail, row.run, step, kind, name, about)
        ]
        if waits:
            run, step, _ = min(waits, key=lambda wait: wait[2] is None)  # the first that waits for just this, else the first
            self._promised.setdefault(run, {})[step] = fact.mail
            self._bring_back(run, fact.mail)

    @staticmethod
    def fits(mail: MailRow, run: int, step: str, kind: str, name: str, about: str | None) -> bool:
        """Is this mail what a step of a run waits for?"""
        if kind == "ask":
            return mail.kind == "reply" and mail.run == run and mail.name == step
        if mail.kind != "signal" or mail.name != name or (mail.run is not None and mail.run != run):
            return False
        return about is None or mail.about == about

    # --- receiving ------------------------------------------------------------------------------------------------

    def receive(self, run: Run, call: StepCall) -> None:
        run.waits[call.step] = call
        run.unread = True  # looked at when the run is at rest

    def look(self, run: Run) -> None:
        """Is there mail for what it waits for?"""
        run.unread = False
        if run.mail is None and not run.instance.mailed:
            run.mail = []
        if run.mail is not None:
            self._match(run)
        elif not run.asking_mail:
            run.asking_mail = True
            self.desk.say(LoadMail(run.number, run.spec.name, run.key, self.desk.after(run.spec.name, run.key)))

    def loaded(self, fact: MailLoaded) -> None:
        run = self.lifecycle.residents.get(fact.run)
        if run is None:
            return
        run.asking_mail = False
        run.mail = self.overlaid(fact.mail, run.spec.name, run.key, run.number)
        run.unread = True
        self.lifecycle.rest(run)

    def overlaid(self, stored: list[MailRow], agent: str, key: str, run: int) -> list[MailRow]:
        """What the store told of a run's mail, and over it what is not durable yet."""
        mail = {(row.mail,): row for row in stored}
        for commit in self.desk.not_durable():
            for place, put in commit.puts.get(MAIL, {}).items():
                if put is None:
                    mail.pop(place, None)
                else:
                    row = MailRow._make(put)
                    if row.agent == agent and row.key == key and row.run in (None, run):
                        mail[place] = row
        return list(mail.values())

    def not_promised(self, run: Run) -> None:
        """It was brought back for mail that another one has received meanwhile."""
        self._promised.pop(run.number, None)

    def _kept(self, run: Run, step: str) -> None:
        """It has looked at its mail: what it was promised is there, or another run has it."""
        promised = self._promised.get(run.number)
        if promised is not None and promised.pop(step, None) is not None and not promised:
            del self._promised[run.number]

    def _offer_again(self, run: Run) -> None:
        """The run goes on without what it was brought back for: another one may wait for that."""
        for mail in self._promised.pop(run.number, {}).values():
            self.desk.say(LoadWaiting(mail.agent, mail.key, mail, self.desk.latest()))

    def _match(self, run: Run) -> None:
        """Hand over the first that has come for the steps that wait, in the order in which they began to; the others when the
        run is at rest again: it may not want them any more."""
        for call in run.waits.values():
            self._kept(run, call.step)
            for mail in run.mail or ():
                if self.fits(mail, run.number, call.step, call.kind, call.name, call.about):
                    assert run.mail is not None
                    run.mail.remove(mail)
                    run.unread = True
                    self._consume(run, call, mail, stored=True)
                    return

    def _consume(self, run: Run, call: StepCall, mail: MailRow, *, stored: bool) -> None:
        del run.waits[call.step]
        self._kept(run, call.step)
        if stored:
            self.desk.commit.delete(MAIL, (mail.mail,))
            self.desk.touch(run.place)
        if call.kind == "ask":
            self._answered(run, call.step)
            self.steps.answered(run, call, mail.payload, None if mail.error is None else r.json_decode(mail.error))
            return
        note = {"by": mail.by, "id": mail.id, "sent": mail.at, "about": mail.about}
        record = self.lifecycle.record(run, r.RECEIVED, call.step, tool=call.name, note=note, result=mail.payload)
        self.lifecycle.stir(run)
        self.lifecycle.deliver(run, record)
        self.steps.delivered(run, run.steps[call.step])

    def abandon(self, run: Run, call: StepCall) -> None:
        """The handler waits for it no more."""
        run.waits.pop(call.step, None)
        if call.step in self._promised.get(run.number, ()):
            self._offer_again(run)
        if call.kind == "ask":
            run.unanswered = True
            self._answered(run, call.step)

    def discard(self, run: Run) -> None:
        """The run is done: answers that it did not wait for are of no use to anybody any more."""
        for mail in run.mail or ():
            if mail.kind == "reply" and mail.run == run.number:
                self.desk.commit.delete(MAIL, (mail.mail,))
                self.desk.touch(run.place)

    def forget(self, run: Run) -> None:
        """The run has ended, or begins anew when it is wanted again."""
        node = _node(run.spec.waiting, run.spec.name, run.key, run.asker)
        for asker, step in list(self.asking.get(node, ())) if node is not None else ():
            if asker == run.number:
                self._answered(run, step)
        self._offer_again(run)
        run.waits.clear()

    # --- asking ---------------------------------------------------------------------------------------------------

    def opened(self, askers: list[RunRow]) -> None:
        agents = self.desk.graph.agents
        for row in askers:
            spec = agents.get(row.agent)
            for step, kind, name, key in r.json_decode(row.awaits or "[]"):
                if kind == "ask" and spec is not None and name in agents:
                    self._waits(_node(spec.waiting, row.agent, row.key, row.asker), row.run, step, (name, key))

    def _waits(self, node: Node | None, run: int, step: str, asked: Place) -> None:
        if node is not None:
            holds = self.desk.graph.agents[asked[0]].waiting == "hold"
            self.asking.setdefault(node, {})[run, step] = asked if holds else (run, step)

    def ask(self, run: Run, step: Step, call: StepCall) -> None:
        node, there = _node(run.spec.waiting, run.spec.name, run.key, run.asker), (call.name, call.key or "")
        if node is not None and self.desk.graph.agents[call.name].waiting == "hold" and self._leads_back(there, node):
            self.steps.answered(run, call, None, _deadlock((run.spec.name, run.key), there))
            return
        step.recorded = self.lifecycle.record(run, r.INTENDED, call.step, tool=call.name, key=call.key, args=call.args)
        step.phase = Step.PERFORMING
        self.expect(run, call)
        self.intake.send(run, call.name, call.key or "", call.args, asker=r.dump([run.number, call.step, run.spec.name, run.key]))

    def expect(self, run: Run, call: StepCall, *, again: bool = False) -> None:
        """Wait for the answer to an ask; ``again``: it may have come already."""
        run.waits[call.step] = call
        node = _node(run.spec.waiting, run.spec.name, run.key, run.asker)
        self._waits(node, run.number, call.step, (call.name, call.key or ""))
        run.unread = run.unread or again

    def _answered(self, run: Run, step: str) -> None:
        node = _node(run.spec.waiting, run.spec.name, run.key, run.asker)
        asked = None if node is None else self.asking.get(node)
        if node is not None and asked is not None:
            asked.pop((run.number, step), None)
            if not asked:
                del self.asking[node]

    def _leads_back(self, start: Node, goal: Node) -> bool:
        """Does the holder of ``start`` wait, directly or through others, for ``goal``?"""
        seen: set[Node] = set()
        open_ = [start]
        while open_:
            place = open_.pop()
            if place == goal:
                return True
            if place not in seen:
                seen.add(place)
                open_.extend(self.asking.get(place, {}).values())
        return False

    def reply(self, run: Run, answer: str | None, error: dict[str, Any] | None) -> None:
        """A run has ended: if it was asked, the answer is in the same entry. It is given once, whatever a retry brings."""
        if run.asker is None:
            return
        number, step, agent, key = r.json_decode(run.asker)
        run.asker = None
        wrapped = None if error is None else _ask_failed(run, error)
        waiting = self.lifecycle.residents.get(number)
        mail = MailRow(
            self.desk.number(),
            partition_of(key, self.desk.graph.partitions),
            agent,
            key,
            number,
            "reply",
            step,
            None,
            run.id,
            run.id,
            self.desk.now,
            JSON,
            answer,
            None if wrapped is None else r.dump(wrapped),
        )
        if waiting is not None and step in waiting.waits and not waiting.replaying and not waiting.in_hand:
            self._consume(waiting, waiting.waits[step], mail, stored=False)
            return
        self._store(mail, waiting)  # also where nobody waits for it any more: until the run is done a retry may ask for it


def _node(waiting: str, agent: str, key: str, asker: str | None) -> Node | None:
    """Where a run stands in ``asking``; None: nobody can wait for it."""
    if waiting == "hold":
        return agent, key
    if asker is None:
        return None
    run, step, *_ = r.json_decode(asker)
    return run, step


def _deadlock(here: Place, there: Place) -> dict[str, Any]:
    message = (
        f"{here[0]} {here[1]!r} asks {there[0]} {there[1]!r}, whose current run waits (directly or through others) for "
        f"{here[0]} {here[1]!r}: neither could ever go on. Use send() and a signal for the answer, or waiting='release'"
    )
    return {"type": "Deadlock", "message": message, "data": None}


def _ask_failed(run: Run, error: dict[str, Any]) -> dict[str, Any]:
    data = {"run": run.id, "agent": run.spec.name, "key": run.key, "status": run.status, "error": error}
    message = f"{run.spec.name} {run.key!r} (run {run.id}) {run.status}: {error.get('type')}: {error.get('message')}"
    return {"type": "AskFailed", "message": message, "data": data}
