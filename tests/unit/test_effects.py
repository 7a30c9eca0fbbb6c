"""The transition table of effects: complete, and every rule of its header holds for every combination there is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest

from millstream.core.effects import TRANSITIONS, Effect, Ended, Next, Retry, decide, intends

PROBE_ENDS = {Ended.NOT_DONE, Ended.UNKNOWN, Ended.UNANSWERED}
AMBIGUOUS_ENDS = {Ended.AMBIGUOUS, Ended.LOST}


class Case(NamedTuple):
    effect: Effect
    ended: Ended
    attempts_left: bool
    within_ttl: bool
    ambiguous: bool
    retryable: bool
    following: Next


def every_case() -> Iterator[Case]:
    for effect, ended in TRANSITIONS:
        for left, ttl, ambiguous, retryable in product((True, False), repeat=4):
            yield Case(
                effect,
                ended,
                left,
                ttl,
                ambiguous,
                retryable,
                decide(effect, ended, attempts_left=left, within_ttl=ttl, ambiguous=ambiguous, retryable=retryable),
            )


CASES = list(every_case())


@pytest.mark.parametrize("effect", Effect)
def test_every_end_of_an_attempt_is_in_the_table_and_those_of_a_probe_for_verified_alone(effect: Effect) -> None:
    ends = {ended for known, ended in TRANSITIONS if known is effect}
    assert ends == set(Ended) - (set() if effect is Effect.VERIFIED else PROBE_ENDS)


def test_a_result_is_recorded_whatever_was_before() -> None:
    assert {case.following for case in CASES if case.ended is Ended.SUCCEEDED} == {Next.RECORD}


def test_a_definite_failure_is_recorded_unless_retry_names_its_type() -> None:
    for case in CASES:
        if case.ended is Ended.FAILED and not (case.retryable and case.attempts_left):
            assert case.following is Next.RECORD, case
        if case.ended is Ended.FAILED:
            assert case.following in (Next.RECORD, Next.PERFORM), f"a definite failure is never a doubt: {case}"


def test_a_failure_that_retry_names_is_performed_again_except_at_most_once() -> None:
    for case in CASES:
        if case.ended is Ended.FAILED and case.retryable and case.attempts_left and case.within_ttl:
            assert case.following is (Next.RECORD if case.effect is Effect.AT_MOST_ONCE else Next.PERFORM), case


def test_read_is_never_in_doubt() -> None:
    assert Next.DOUBT not in {case.following for case in CASES if case.effect is Effect.READ}


def test_no_class_but_read_makes_a_plain_failure_of_an_ambiguous_end() -> None:
    for case in CASES:
        if case.ended in AMBIGUOUS_ENDS | {Ended.OVERDUE} and case.effect is not Effect.READ:
            assert case.following is not Next.RECORD, case


def test_at_most_once_is_performed_again_only_after_not_sent() -> None:
    again = {case.ended for case in CASES if case.effect is Effect.AT_MOST_ONCE and case.following is Next.PERFORM}
    assert again == {Ended.NOT_SENT}


def test_verified_is_probed_after_every_ambiguous_end_and_no_other_class_ever() -> None:
    for case in CASES:
        if case.effect is Effect.VERIFIED and case.ended in AMBIGUOUS_ENDS:
            assert case.following is Next.PROBE, case
        if case.following is Next.PROBE:
            assert case.effect is Effect.VERIFIED, case


def test_a_probe_that_cannot_tell_is_a_doubt_and_one_that_denies_allows_to_perform() -> None:
    for case in CASES:
        if case.ended is Ended.UNKNOWN:
            assert case.following is Next.DOUBT, case
        if case.ended is Ended.NOT_DONE:
            assert case.following is (Next.PERFORM if case.attempts_left else Next.RECORD), case


def test_a_probe_without_an_answer_is_asked_again_until_it_was_asked_often_enough() -> None:
    for case in CASES:
        if case.ended is Ended.UNANSWERED:
            assert case.following is (Next.PROBE if case.attempts_left else Next.DOUBT), case


def test_nothing_starts_beside_code_that_still_runs() -> None:
    for case in CASES:
        if case.ended is Ended.OVERDUE:
            assert case.following is (Next.RECORD if case.effect is Effect.READ else Next.DOUBT), case


def test_idempotent_is_not_sent_again_beyond_its_key_ttl_once_it_may_have_been_sent() -> None:
    for case in CASES:
        if case.effect is Effect.IDEMPOTENT and not case.within_ttl and (case.ambiguous or case.ended in AMBIGUOUS_ENDS):
            assert case.following is not Next.PERFORM, case
            if case.ended in AMBIGUOUS_ENDS | {Ended.NOT_SENT}:
                assert case.following is Next.DOUBT, case


def test_beyond_the_key_ttl_what_certainly_had_no_effect_goes_on_as_before() -> None:
    for case in CASES:
        if case.effect is Effect.IDEMPOTENT and case.ended in (Ended.NOT_SENT, Ended.FAILED) and not case.ambiguous:
            assert case.following is find(case, within_ttl=True).following, case


def test_the_key_ttl_matters_to_idempotent_alone() -> None:
    for case in CASES:
        if case.effect is not Effect.IDEMPOTENT:
            assert case.following is find(case, within_ttl=not case.within_ttl).following, case


def test_not_sent_does_not_clear_an_earlier_attempt_that_may_have_been() -> None:
    for case in CASES:
        if case.ended is Ended.NOT_SENT and case.ambiguous and case.effect is not Effect.READ:
            assert case.following is not Next.RECORD, case
            if not case.attempts_left:
                assert case.following is (Next.PROBE if case.effect is Effect.VERIFIED else Next.DOUBT), case


def test_used_up_attempts_end_it_except_that_a_crash_is_not_the_tool_s_attempt() -> None:
    for case in CASES:
        if not case.attempts_left and case.following is Next.PERFORM:
            assert case.ended is Ended.LOST, case
            assert case.effect in (Effect.READ, Effect.IDEMPOTENT, Effect.TRANSACTIONAL), case


def test_a_class_that_may_be_performed_again_is_after_a_crash() -> None:
    for case in CASES:
        if case.ended is Ended.LOST and case.effect in (Effect.READ, Effect.TRANSACTIONAL):
            assert case.following is Next.PERFORM, case


def find(case: Case, *, within_ttl: bool) -> Case:
    """The case that differs in nothing else."""
    wanted = case._replace(within_ttl=within_ttl)[:-1]
    return next(other for other in CASES if other[:-1] == wanted)


def test_an_attempt_waits_longer_than_the_one_before_up_to_a_bound() -> None:
    retry = Retry(attempts=9, backoff=1_000_000, factor=2.0, max_backoff=10_000_000)
    assert [retry.delay(attempt, 0.0) for attempt in range(1, 7)] == [
        1_000_000,
        2_000_000,
        4_000_000,
        8_000_000,
        10_000_000,
        10_000_000,
    ]


def test_jitter_only_shortens_the_wait() -> None:
    retry = Retry(backoff=1_000_000, jitter=0.2)
    assert retry.delay(1, 0.0) == 1_000_000
    assert retry.delay(1, 0.5) == 900_000
    assert 800_000 <= retry.delay(1, 0.999_999) < 800_001


def test_a_long_patience_does_not_overflow() -> None:
    assert Retry(attempts=1_000_000, jitter=0.0).delay(999_999, 0.0) == 60_000_000


@pytest.mark.parametrize("effect", Effect)
def test_an_attempt_is_written_down_first_unless_a_restart_would_do_it_again_whatever_had_happened(effect: Effect) -> None:
    assert intends(effect, ambiguous=False) is (effect is not Effect.READ)
    again = decide(effect, Ended.LOST, attempts_left=True, within_ttl=True, ambiguous=True) is Next.PERFORM
    assert intends(effect, ambiguous=True) is not again
