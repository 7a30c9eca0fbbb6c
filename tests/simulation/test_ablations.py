"""Switch a safeguard off, and the simulator must find out: else it proves nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.core import effects
from millstream.core.commands import Start
from millstream.core.desk import Desk
from millstream.core.effects import Effect, Ended, Next
from millstream.core.intake import Intake
from millstream.core.lifecycle import Lifecycle
from millstream.core.mail import Mail
from millstream.core.slots import Slots
from millstream.core.steps import Steps
from millstream.core.tables import LETTERS, RECORDS, SOURCES, Commit
from millstream.testing.simulator import Failed, simulate

SEEDS = 150


def found(seeds: int = SEEDS) -> str | None:
    """The invariant that the first seed to fail names."""
    for seed in range(seeds):
        try:
            simulate(seed)
        except Failed as failed:
            return failed.violation.invariant
    return None


def test_without_gating_an_effect_is_sent_before_its_intent_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "gate", Desk.say)
    assert found() in ("intent-before-effect", "durable-answer", "emitted-once", "effect-class")


def test_a_run_that_starts_after_a_crash_before_that_is_durable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Desk.gate
    monkeypatch.setattr(Desk, "gate", lambda self, command: self.say(command) if type(command) is Start else gate(self, command))
    assert found() == "deaths-counted"


def test_an_at_most_once_effect_that_is_performed_again_after_a_crash_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    again = {(Effect.AT_MOST_ONCE, Ended.LOST): (Next.PERFORM, Next.PERFORM)}
    monkeypatch.setattr(effects, "TRANSITIONS", {**effects.TRANSITIONS, **again})
    assert found() == "effect-class"


def test_an_ambiguous_at_most_once_effect_that_is_retried_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    again = {(Effect.AT_MOST_ONCE, Ended.AMBIGUOUS): (Next.PERFORM, Next.DOUBT)}
    monkeypatch.setattr(effects, "TRANSITIONS", {**effects.TRANSITIONS, **again})
    assert found() == "effect-class"


def test_a_verified_effect_that_is_performed_again_without_a_probe_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    again = {
        (Effect.VERIFIED, Ended.LOST): (Next.PERFORM, Next.PERFORM),
        (Effect.VERIFIED, Ended.AMBIGUOUS): (Next.PERFORM, Next.DOUBT),
    }
    monkeypatch.setattr(effects, "TRANSITIONS", {**effects.TRANSITIONS, **again})
    assert found() == "effect-class"


def test_a_probe_that_is_asked_again_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    again = {(Effect.VERIFIED, Ended.UNANSWERED): (Next.PROBE, Next.PROBE)}
    monkeypatch.setattr(effects, "TRANSITIONS", {**effects.TRANSITIONS, **again})
    assert found(400) == "effect-class"


def test_a_result_that_is_dropped_because_its_run_has_failed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Steps, "leave", lambda self, run: None)
    assert found() == "decided-once"


def test_a_result_that_is_not_in_the_commit_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Commit.append

    def forgetful(self: Commit, table: Any, row: Any) -> None:
        if table is not RECORDS or row.kind != "resulted":
            append(self, table, row)

    monkeypatch.setattr(Commit, "append", forgetful)
    assert found() is not None


def test_a_torn_entry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is lost where the events that it counts are not: the source gives them again."""
    put = Commit.put

    def torn(self: Commit, table: Any, row: Any) -> None:
        if table is not SOURCES or self.number % 3:
            put(self, table, row)

    monkeypatch.setattr(Commit, "put", torn)
    assert found() is not None


def test_two_handlers_of_one_key_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Lifecycle._make_resident

    def without_holding(self: Lifecycle, run: Any, instance: Any) -> None:
        begin(self, run, instance)
        instance.holder = None

    monkeypatch.setattr(Lifecycle, "_make_resident", without_holding)
    assert found() is not None


def test_an_id_that_is_accepted_and_not_durable_yet_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    without_duplicates = Intake._without_duplicates

    def forgetful(self: Intake, source: str, batch: Any, known: Any) -> Any:
        self._recent.clear()
        return without_duplicates(self, source, batch, known)

    monkeypatch.setattr(Intake, "_without_duplicates", forgetful)
    assert found() is not None


def test_a_letter_that_outlives_its_retry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    delete = Commit.delete
    monkeypatch.setattr(Commit, "delete", lambda self, table, key: None if table is LETTERS else delete(self, table, key))
    assert found() == "accounted"


def test_a_refused_event_that_is_tried_again_from_its_source_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    through = Intake._through

    def from_the_source(self: Intake, op: Any, batch: Any, origin: Any, stream: str, again: Any = None) -> None:
        if again is None:
            through(self, op, batch, origin, stream)
        else:
            self._route(origin.source, batch, origin)

    monkeypatch.setattr(Intake, "_through", from_the_source)
    assert found() == "accounted"


def test_a_signal_that_forgets_its_id_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mail, "_is_known", lambda self, fact, id: False)
    assert found() == "signalled-once"


def test_attempts_beyond_the_slots_of_a_tool_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Slots.take

    def lavish(self: Slots, place: Any, needs: Any) -> bool:
        take(self, place, needs)
        return True

    monkeypatch.setattr(Slots, "take", lavish)
    assert found() == "bounded"


def test_waiting_handlers_that_keep_more_bytes_than_they_may_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    put_away = Lifecycle.put_away_the_longest_idle

    def by_number_alone(self: Lifecycle) -> None:
        limits = self.desk.limits
        allowed, limits.idle_bytes = limits.idle_bytes, 1 << 30
        put_away(self)
        limits.idle_bytes = allowed

    monkeypatch.setattr(Lifecycle, "put_away_the_longest_idle", by_number_alone)
    assert found() == "bounded"


def test_mail_of_an_earlier_life_that_nobody_is_told_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mail, "scan", lambda self: None)
    assert found() in ("waits-rightly", "store")


def test_mail_that_is_read_before_it_is_durable_that_another_run_has_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Mail.loaded

    def as_the_store_has_it(self: Mail, fact: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Desk, "not_durable", lambda desk: iter(()))
            loaded(self, fact)

    monkeypatch.setattr(Mail, "loaded", as_the_store_has_it)
    assert found() == "signalled-once"
