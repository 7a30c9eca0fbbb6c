"""Mail: signals, and answers to asks.

* A signal is for a run, or for whichever run of (agent, key) receives it first. It is handed over at once to a run that waits for
  it here; otherwise it is a row in the store.
* What is in the store is *offered* once it is durable: the store is asked who waits for the like of it, in one question for all
  that one commit brought. It is *promised* to the first of those who waits for just this, else to the first who takes any: that run
  is brought back, and handed it when its turn comes. If nobody waits, it is left for who comes: a run that begins to wait looks.
* A run that looks may take what is promised to another one of its key: that one comes back all the same, and looks. A run that goes
  on without what it was promised leaves it to others: it is offered again. So nothing that somebody waits for lies there unseen.
  None of this is durable: after a crash, all mail that somebody waits for is offered again.
* An ask makes a run of the asked agent; its answer is mail to the asking run, in the entry that completes the asked one.
  An ask that could never be answered fails at once (``asking``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from millstream.core import runs as r
from millstream.core.asking import Asking
from millstream.core.commands import Answer, LoadMail, LoadWaiting, Offer, ScanMail
from millstream.core.desk import Desk
from millstream.core.facts import MailLoaded, MailScanned, Signalled, StepCall, WaitingLoaded
from millstream.core.identity import EPOCH_BITS, partition_of
from millstream.core.runs import Run, Step, wait_of
from millstream.core.tables import JSON, MAIL, RUNS, SEEN, MailRow, RunRow, SeenRow, Wait

if TYPE_CHECKING:
    from millstream.core.intake import Intake
    from millstream.core.lifecycle import Lifecycle
    from millstream.core.lines import Lines
    from millstream.core.steps import Steps

SIGNALS = "signals"  # their ids are remembered under this name
REMEMBERED = 100_000  # signal ids kept in memory for those that are not durable yet

READ = (2, 32)  # messages that a run which waits reads at first, and then: most take one and are gone, some take all there are
ALL = 1 << 63  # beyond every number

Sort = tuple[str, str, int | None, str, str, str | None]  # of mail: agent, key, run, kind, name, about


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
        self.asking = Asking(desk.graph)
        self._first = 0  # mail with a smaller number is of earlier lives
        self._recent: dict[str, None] = {}  # ids of signals that may not be durable yet
        self.offers: dict[int, dict[Sort, list[int]]] = {}  # to be offered when this commit is durable
        self._offered: dict[int, tuple[MailRow, int | None]] = {}  # by number; and the token of who waits for an answer
        self.promised: dict[int, dict[str, MailRow | None]] = {}  # run -> {step: what it is brought back for; None: taken}
        self._promised_to: dict[int, tuple[int, str]] = {}  # the same by number of the mail
        self.scanned_to: int | None = None  # mail of earlier lives behind this is still to be read and offered
        self._left: set[int] = set()  # runs that are done, and may have left answers to their asks

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
            self._store(mail, run, fact.token)
        else:
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

    def _store(self, mail: MailRow, run: Run | None, token: int | None) -> None:
        self.desk.commit.put(MAIL, mail)
        self._changed(mail, mail)
        instance = self.lines.instances.get((mail.agent, mail.key))
        if instance is not None:
            instance.mailed = True
        if run is not None:
            if run.known != {}:  # else it is read with the others
                self._keep(run, mail)
            run.unread = True
            if mail.run is not None and token is None:
                return  # it looks itself
        self._offer(mail, self.desk.commit.number, token)

    def _keep(self, run: Run, mail: MailRow) -> None:
        """In memory, if the run waits for the like; else it is read when it does."""
        waits = [wait_of(call) for call in run.waits.values()]
        if any(self.fits(mail, run.number, *wait) for wait in waits):
            run.mail.append(mail)
        else:
            run.known = {_sort(wait): _known(run, wait) for wait in waits}
            run.mail = [kept for kept in run.mail if any(self.fits(kept, run.number, *wait) for wait in waits)]

    def _changed(self, mail: MailRow, now: MailRow | None) -> None:
        place = (mail.agent, mail.key)
        self.desk.commit.mail.setdefault(place, {})[mail.mail] = now
        self.desk.touch(place)

    # --- who waits for it? ----------------------------------------------------------------------------------------

    def _offer(self, mail: MailRow, after: int, token: int | None = None) -> None:
        sort = (mail.agent, mail.key, mail.run, mail.kind, mail.name, mail.about)
        self.offers.setdefault(after, {}).setdefault(sort, []).append(mail.mail)
        self._offered[mail.mail] = (mail, token)

    def flush(self) -> None:
        """Ask the store who waits for what is durable, and read on in what earlier lives have left when the last page is taken."""
        page = self.desk.limits.page
        if self.scanned_to is not None and not self._offered:  # a promise may have to wait for a person
            self.desk.say(ScanMail(self.scanned_to, page, 0))
            self.scanned_to = None
        for after in [number for number in self.offers if number <= self.desk.durable]:
            offers = [
                Offer(agent, key, run, name, about, mail, 2 * len(mail) + 2)  # some of those found will be on their way already
                for (agent, key, run, _, name, about), mail in self.offers.pop(after).items()
            ]
            for start in range(0, len(offers), page):
                self.desk.say(LoadWaiting(offers[start : start + page], after))

    def waiting_loaded(self, fact: WaitingLoaded) -> None:
        for offer, rows in zip(fact.offers, fact.rows, strict=True):
            mails = [self._offered[number] for number in offer.mail if number in self._offered]  # the others were taken meanwhile
            if not mails:
                continue
            if offer.agent not in self.desk.graph.agents:
                rows = []
            waits = self._waits_for(mails[0][0], rows)
            for (mail, token), (run, step) in zip(mails, waits, strict=False):
                self._promise(mail, token, run, step)
            left = mails[len(waits) :]
            if left and len(rows) >= offer.limit:
                again = msgspec.structs.replace(offer, mail=[mail.mail for mail, _ in left], limit=2 * offer.limit)
                self.desk.say(LoadWaiting([again], 0))
                continue
            for mail, token in left:
                del self._offered[mail.mail]
                if mail.kind == "reply" and any(row.status == r.DONE for row in rows):
                    self._discard(mail)
                if token is not None:
                    self.desk.say(Answer(token, None, "kept"))

    def _waits_for(self, mail: MailRow, rows: list[RunRow]) -> list[tuple[int, str]]:
        """The steps of these runs that wait for it, and have no promise: those who wait for just this first."""
        found: tuple[list[tuple[int, str]], list[tuple[int, str]]] = ([], [])
        for row in rows:
            if row.run in self.lifecycle.residents:
                continue  # it looks itself
            put = self.desk.pending(RUNS, (row.run,))
            now = row if put is None else RunRow._make(put)
            if now.status in (r.WAITING, r.IN_DOUBT) and now.awaits is not None:
                promised = self.promised.get(row.run, {})
                for step, kind, name, about in r.json_decode(now.awaits):
                    if step not in promised and self.fits(mail, row.run, step, kind, name, about):
                        found[about is None].append((row.run, step))
        return found[0] + found[1]

    def _promise(self, mail: MailRow, token: int | None, run: int, step: str) -> None:
        del self._offered[mail.mail]
        self.promised.setdefault(run, {})[step] = mail
        self._promised_to[mail.mail] = (run, step)
        if token is not None:
            self.desk.say(Answer(token))
        self.lines.wake(run, self.desk.wrote(RUNS, (run,)))

    def is_promised(self, run: Run) -> bool:
        """Is a run in the store to be brought back for mail?"""
        promised = self.promised.get(run.number)
        return bool(promised and run.awaiting and any(step in promised for step, *_ in r.json_decode(run.awaiting)))

    def let_go(self, run: Run, *, but_waited_for: bool = False) -> None:
        """The run goes on without what it was promised: another one may wait for that.

        ``but_waited_for``: it keeps what it waits for. (Edited code may not ask for what it is brought back for.)
        """
        for step in list(self.promised.get(run.number, ())):
            if not (but_waited_for and step in run.waits):
                self._release(run.number, step)

    def _release(self, run: int, step: str, received: MailRow | None = None) -> None:
        """A step does not wait any more, or has received this."""
        promised = self.promised.get(run)
        if promised is None or step not in promised:
            return
        mail = promised.pop(step)
        if not promised:
            del self.promised[run]
        if mail is not None:
            del self._promised_to[mail.mail]
            if received is None or received.mail != mail.mail:
                self._offer(mail, self.desk.latest())

    def _taken(self, mail: MailRow) -> None:
        """A run has it that looked by itself: it is not for anybody else."""
        offered = self._offered.pop(mail.mail, None)
        if offered is not None and offered[1] is not None:
            self.desk.gate(Answer(offered[1]))
        promised = self._promised_to.pop(mail.mail, None)
        if promised is not None:
            run, step = promised
            self.promised[run][step] = None

    def scan(self) -> None:
        """Offer what earlier lives have left, where somebody waits for it."""
        if self.desk.limits.running:  # a visitor starts nothing
            self.desk.say(ScanMail(0, self.desk.limits.page, 0))

    def scanned(self, fact: MailScanned) -> None:
        for mail in fact.rows:
            news = [commit.mail[place] for commit in self.desk.not_durable() if (place := (mail.agent, mail.key)) in commit.mail]
            if mail.mail < self._first and not any(mail.mail in changed for changed in news):
                self._offer(mail, 0)
        if not fact.ended:
            self.scanned_to = fact.rows[-1].mail

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
        """Is there mail for what it waits for? First what it is brought back for; else what has come first."""
        run.unread = False
        for call in run.waits.values() if run.number in self.promised else ():
            mail = self.promised.get(run.number, {}).get(call.step)
            if mail is not None:
                run.unread = True
                self._consume(run, call, mail, stored=True)
                return
            self._release(run.number, call.step)  # another run has it: it looks for itself
        if not run.instance.mailed:
            run.known = None
        unknown = []
        for call in run.waits.values():
            if self._first_for(run, wait_of(call)) is not None:
                break
            unknown.append(wait_of(call))
        waits = [(wait, known) for wait in unknown if (known := _known(run, wait)) < ALL]
        if not waits:
            self._match(run)
        elif not run.asking_mail:
            run.asking_mail = True
            limit = READ[any(known for _, known in waits)]
            self.desk.say(LoadMail(run.number, run.spec.name, run.key, waits, limit, 0))  # what is not durable is laid over it

    def loaded(self, fact: MailLoaded) -> None:
        run = self.lifecycle.residents.get(fact.run)
        if run is None:
            if fact.run in self._left:
                self._left.discard(fact.run)
                for answer in (row for rows in fact.mail for row in rows if row.kind == "reply" and row.run == fact.run):
                    self._discard(answer)
            return
        run.asking_mail = False
        mail = {row.mail: row for row in run.mail}
        for (wait, _), rows in zip(fact.waits, fact.mail, strict=True):
            if run.known is not None:
                run.known[_sort(wait)] = ALL if len(rows) < fact.limit else rows[-1].mail
            mail.update((row.mail, row) for row in rows)
        for commit in self.desk.not_durable():
            for number, row in commit.mail.get(run.place, {}).items():
                if row is None:
                    mail.pop(number, None)
                elif row.run in (None, run.number):
                    mail[number] = row
        run.mail = [mail[number] for number in sorted(mail)]
        run.unread = True
        self.lifecycle.rest(run)

    def _discard(self, mail: MailRow) -> None:
        self.desk.commit.delete(MAIL, (mail.mail,))
        self._changed(mail, None)

    def _first_for(self, run: Run, wait: Wait) -> MailRow | None:
        known = _known(run, wait)
        for mail in run.mail:
            if mail.mail > known:
                return None
            if self.fits(mail, run.number, *wait):
                return mail
        return None

    def _match(self, run: Run) -> None:
        """Hand over the first that has come for the steps that wait, in the order in which they began to; the others when the
        run is at rest again: it may not want them any more."""
        for call in run.waits.values():
            mail = self._first_for(run, wait_of(call))
            if mail is not None:
                run.unread = True
                self._consume(run, call, mail, stored=True)
                return
        for call in [call for call in run.waits.values() if call.kind == "ask"]:
            deadlock = self.asking.deadlock(run, (call.name, call.key or ""))
            if deadlock is not None:  # a retry has taken up an ask of its last try, and meanwhile the asked key asks this one
                del run.waits[call.step]
                self.asking.ends(run, call.step)
                self.steps.answered(run, call, None, deadlock)
                return

    def _consume(self, run: Run, call: StepCall, mail: MailRow, *, stored: bool) -> None:
        del run.waits[call.step]
        self._release(run.number, call.step, mail)
        if stored:
            self._taken(mail)
            if mail in run.mail:
                run.mail.remove(mail)
            self._discard(mail)
        if call.kind == "ask":
            self.asking.ends(run, call.step)
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
        if call.step in self.promised.get(run.number, ()):
            self._release(run.number, call.step)
            run.unread = True  # another step of it may wait for that
        if call.kind == "ask":
            self.asking.ends(run, call.step)

    def leave(self, run: Run) -> None:
        """The run is done: answers to asks that it had given up are of no use to anybody any more."""
        asks = [step.call for step in run.steps.values() if step.call is not None and step.call.kind == "ask"]
        if asks:
            self._left.add(run.number)
            waits = [(wait_of(call), 0) for call in asks]
            self.desk.say(LoadMail(run.number, run.spec.name, run.key, waits, len(asks), self.desk.latest()))

    def forget(self, run: Run) -> None:
        """The run has ended, or begins anew when it is wanted again."""
        self.asking.forget(run)
        self.let_go(run)
        run.waits.clear()

    # --- asking ---------------------------------------------------------------------------------------------------

    def opened(self, askers: list[RunRow], epoch: int) -> None:
        self._first = epoch << EPOCH_BITS
        self.asking.opened(askers)

    def ask(self, run: Run, step: Step, call: StepCall) -> None:
        deadlock = self.asking.deadlock(run, (call.name, call.key or ""))
        if deadlock is not None:
            self.steps.answered(run, call, None, deadlock)
            return
        step.recorded = self.lifecycle.record(run, r.INTENDED, call.step, tool=call.name, key=call.key, args=call.args)
        step.phase = Step.PERFORMING
        self.expect(run, call)
        self.intake.send(run, call.name, call.key or "", call.args, asker=r.dump([run.number, call.step, run.spec.name, run.key]))

    def expect(self, run: Run, call: StepCall, *, again: bool = False) -> None:
        """Wait for the answer to an ask; ``again``: it may have come already."""
        run.waits[call.step] = call
        self.asking.begins(run, call.step, (call.name, call.key or ""))
        run.unread = run.unread or again

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
        self._store(mail, waiting, None)  # also where nobody waits for it any more: until the run is done a retry may ask for it


def _known(run: Run, wait: Wait) -> int:
    """Up to which number ``run.mail`` holds all that could be given to one who waits for this."""
    return ALL if run.known is None else run.known.get(_sort(wait), 0)


def _sort(wait: Wait) -> tuple[str, str, str | None]:
    """What can be given to one who waits for this can be given to all who wait for the like."""
    step, kind, name, about = wait
    return (kind, step, None) if kind == "ask" else (kind, name, about)


def _ask_failed(run: Run, error: dict[str, Any]) -> dict[str, Any]:
    data = {"run": run.id, "agent": run.spec.name, "key": run.key, "status": run.status, "error": error}
    message = f"{run.spec.name} {run.key!r} (run {run.id}) {run.status}: {error.get('type')}: {error.get('message')}"
    return {"type": "AskFailed", "message": message, "data": data}
