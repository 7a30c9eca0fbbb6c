"""Mail: signals, answers to asks, and the deadlock that an ask could make.

* A signal is for a run, or for whichever run of (agent, key) receives it first. It is handed over at once to a run that waits for
  it here; otherwise it is a row in the store, and a waiting run that it fits is brought back.
* An ask makes a run of the asked agent; its answer is mail to the asking run, in the entry that completes the asked one.
* A key is held by the run at the head of its line. ``asking`` holds, for each key whose holder waits for an ask, the keys it
  asked: an ask that would close a circle in it can never be answered, and fails at once. Keys released while waiting are not in it.
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
        self.asking: dict[Place, dict[str, Place]] = {}  # holder's key -> {step: asked key}
        self._recent: dict[str, None] = {}  # ids of signals that may not be durable yet
        self._arrived: dict[int, list[MailRow]] = {}  # mail that came while a run's mail is being read
        self._promised: dict[tuple[int, str], int] = {}  # (run, step) -> mail that it is being woken for

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
        if run.replaying:
            return False
        for call in run.waits.values():
            if self.fits(mail, run.number, call.step, call.kind, call.name, call.about):
                self._consume(run, call, mail, stored=False)
                return True
        return False

    def _store(self, mail: MailRow, run: Run | None) -> None:
        self.desk.commit.put(MAIL, mail)
        self.desk.touch(mail.agent, mail.key)
        if run is not None:
            if run.mail is not None:
                run.mail.append(mail)
            elif run.asking_mail:
                self._arrived.setdefault(run.number, []).append(mail)
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
            self.lines.wake(number, self.desk.commit.number)

    def waiting_loaded(self, fact: WaitingLoaded) -> None:
        """A signal to (agent, key) that no run here waits for: is it for one in the store?"""
        for row in fact.rows:
            if row.run in self.lifecycle.residents or not row.awaits:
                continue
            for step, kind, name, about in r.json_decode(row.awaits):
                if (row.run, step) not in self._promised and self.fits(fact.mail, row.run, step, kind, name, about):
                    self._promised[row.run, step] = fact.mail.mail
                    self._bring_back(row.run, fact.mail)
                    return

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
        if run.mail is not None:
            self._match(run)
        elif not run.asking_mail:
            run.asking_mail = True
            self.desk.say(LoadMail(run.number, run.spec.name, run.key, self.desk.after(run.spec.name, run.key)))

    def loaded(self, fact: MailLoaded) -> None:
        arrived = self._arrived.pop(fact.run, [])
        run = self.lifecycle.residents.get(fact.run)
        if run is None:
            return
        run.asking_mail = False
        read = {mail.mail for mail in fact.mail}
        run.mail = [*fact.mail, *(mail for mail in arrived if mail.mail not in read)]
        self._match(run)
        self.lifecycle.rest(run)

    def _match(self, run: Run) -> None:
        """Hand over what has come for the steps that wait, in the order in which they began to."""
        for call in list(run.waits.values()):
            for mail in run.mail or ():
                if self.fits(mail, run.number, call.step, call.kind, call.name, call.about):
                    assert run.mail is not None
                    run.mail.remove(mail)
                    self._consume(run, call, mail, stored=True)
                    break

    def _consume(self, run: Run, call: StepCall, mail: MailRow, *, stored: bool) -> None:
        del run.waits[call.step]
        self._promised.pop((run.number, call.step), None)
        if stored:
            self.desk.commit.delete(MAIL, (mail.mail,))
            self.desk.touch(run.spec.name, run.key)
        if call.kind == "ask":
            self._answered(run, call)
            self.steps.answered(run, call, mail.payload, None if mail.error is None else r.json_decode(mail.error))
            return
        step = run.steps[call.step]
        step.phase = Step.DONE
        note = {"by": mail.by, "id": mail.id, "sent": mail.at, "about": mail.about}
        record = self.lifecycle.record(run, r.RECEIVED, call.step, tool=call.name, note=note, result=mail.payload)
        step.recorded = record
        self.lifecycle.stir(run)
        self.lifecycle.deliver(run, record)

    def abandon(self, run: Run, call: StepCall) -> None:
        """The handler waits for it no more."""
        run.waits.pop(call.step, None)
        if call.kind == "ask":
            self._answered(run, call)

    def forget(self, run: Run) -> None:
        """The run has ended."""
        self.asking.pop((run.spec.name, run.key), None)
        for step in run.waits:
            self._promised.pop((run.number, step), None)
        run.waits.clear()

    # --- asking ---------------------------------------------------------------------------------------------------

    def opened(self, askers: list[RunRow]) -> None:
        for row in askers:
            for step, kind, name, key in r.json_decode(row.awaits or "[]"):
                if kind == "ask":
                    self.asking.setdefault((row.agent, row.key), {})[step] = (name, key)

    def ask(self, run: Run, step: Step, call: StepCall) -> None:
        here, there = (run.spec.name, run.key), (call.name, call.key or "")
        if run.spec.waiting == "hold" and self._leads_back(there, here):
            self.steps.answered(run, call, None, _deadlock(here, there))
            return
        step.recorded = self.lifecycle.record(run, r.INTENDED, call.step, tool=call.name, key=call.key, args=call.args)
        step.phase = Step.PERFORMING
        self.expect(run, call)
        self.intake.send(run, call.name, call.key or "", call.args, asker=r.dump([run.number, call.step, run.spec.name, run.key]))

    def expect(self, run: Run, call: StepCall) -> None:
        """Wait for the answer to an ask."""
        run.waits[call.step] = call
        if run.spec.waiting == "hold":
            self.asking.setdefault((run.spec.name, run.key), {})[call.step] = (call.name, call.key or "")
        if run.mail:
            self._match(run)

    def _answered(self, run: Run, call: StepCall) -> None:
        asked = self.asking.get((run.spec.name, run.key))
        if asked is not None:
            asked.pop(call.step, None)
            if not asked:
                del self.asking[run.spec.name, run.key]

    def _leads_back(self, start: Place, goal: Place) -> bool:
        """Does the holder of ``start`` wait, directly or through others, for ``goal``?"""
        seen: set[Place] = set()
        open_ = [start]
        while open_:
            place = open_.pop()
            if place == goal:
                return True
            if place not in seen:
                seen.add(place)
                open_.extend(self.asking.get(place, {}).values())
        return False

    def reply(self, asker: str, run: Run, answer: str | None, error: dict[str, Any] | None) -> None:
        """The asked run has ended; the answer is in the same entry."""
        number, step, agent, key = r.json_decode(asker)
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
        if waiting is not None:
            if step in waiting.waits and not waiting.replaying:
                self._consume(waiting, waiting.waits[step], mail, stored=False)
                return
            if waiting.steps.get(step) is not None and waiting.steps[step].phase == Step.ABANDONED:
                return  # nobody waits for it any more
        self._store(mail, waiting)


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
