"""What may be done after an attempt at a step has ended: the transition table of effects.

Rules (DESIGN.md, section 5):

* an attempt ends *definitely* (succeeded, failed, not sent) or *ambiguously* (time-out, broken connection, cancellation,
  death of the process): after an ambiguous end the effect may or may not have happened;
* only the class of the effect says what an ambiguous end allows: perform again, ask a probe, or nothing but doubt;
* what one attempt left ambiguous stays so: a later attempt that was not sent does not clear an earlier one that may have been.
  A later definite failure does, in the classes that are performed again: the far side (or the key row) has answered for the key;
* a definite failure is the author's answer and is recorded, not retried, unless ``Retry.on`` names its type;
* an attempt is written down before it is sent, or a restart would take what may have happened for something that was never sent. It
  need not be where the restart would fear that anyway, and its class performs it again whatever happened: see `intends`;
* a probe is a read: one that gave no answer is asked again, as often as the step may be attempted; "unknown" is one.
"""

from __future__ import annotations

import enum

import msgspec


class Effect(enum.Enum):
    """What a step does to the outside world, and so what may be done after a crash in the gap."""

    READ = "read"
    """No side effect: performed again; one recorded answer."""
    IDEMPOTENT = "idempotent"
    """The far side honours the key for ``key_ttl``: performed again with the same key; once at the far side."""
    TRANSACTIONAL = "transactional"
    """SQL inside the transaction that holds our key row: asked by inserting the row again; once, as durable as that database."""
    VERIFIED = "verified"
    """A probe can tell whether it happened: probed, then adopted or performed; once."""
    AT_MOST_ONCE = "at_most_once"
    """Nothing is promised: never performed again; at most once, and in doubt rather than silently lost."""


class Ended(enum.Enum):
    """How an attempt, or a probe, ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # definitely, and without effect
    NOT_SENT = "not_sent"  # nothing left the process
    AMBIGUOUS = "ambiguous"  # it may have happened
    LOST = "lost"  # the process died after the intent was durable: ambiguous too
    OVERDUE = "overdue"  # its deadline has passed but its code still runs: nothing may start beside it
    NOT_DONE = "not_done"  # a probe: it did not happen, and cannot any more
    UNKNOWN = "unknown"  # a probe: cannot tell
    UNANSWERED = "unanswered"  # a probe: it raised, or took longer than the time-out


class Next(enum.Enum):
    """What follows."""

    RECORD = "record"  # the outcome becomes the step's result
    PERFORM = "perform"  # another attempt, same key and arguments, after a back-off
    PROBE = "probe"  # ask whether it happened
    DOUBT = "doubt"  # nobody here can know: hold, and say so


class Retry(msgspec.Struct, frozen=True, gc=False):
    """How often, and how far apart, a step is attempted where its class allows.

    Waits ``backoff * factor**(n - 1)`` microseconds after attempt n, at most ``max_backoff``, less up to ``jitter`` of it.
    ``on`` names exception types that are attempted again although they are definite failures.
    """

    attempts: int = 3
    backoff: int = 1_000_000
    factor: float = 2.0
    max_backoff: int = 60_000_000
    jitter: float = 0.2
    on: tuple[type[BaseException], ...] = ()

    def delay(self, attempt: int, chance: float) -> int:
        """Microseconds to wait after ``attempt`` (from 1); ``chance`` in [0, 1) draws the jitter."""
        try:
            full = min(self.backoff * self.factor ** (attempt - 1), self.max_backoff)
        except OverflowError:  # 2.0 ** 1024
            full = self.max_backoff
        return int(full * (1.0 - self.jitter * chance))


class Policy(msgspec.Struct, frozen=True, gc=False):
    """What the core needs to know of a step's declaration. Durations in microseconds."""

    effect: Effect = Effect.AT_MOST_ONCE
    retry: Retry = Retry()
    timeout: int = 60_000_000  # per attempt
    key_ttl: int = 86_400_000_000  # how long the far side honours the key, from the first attempt
    settle: int | None = None  # VERIFIED: the probe runs no earlier than this after the attempt's deadline; None: timeout
    in_doubt: str = "hold"  # "hold" | "retry" | "fail", applied after in_doubt_after
    in_doubt_after: int | None = None
    max_concurrency: int | None = None  # attempts at once, in this process
    blocks: bool = False  # its code runs in a thread


# (class, how it ended) -> what follows while attempts are left, what follows when they are used up.
# Drawn in docs/effects-matrix.md by a test. OVERDUE of any class but READ is DOUBT, and is settled by the real end.
_RECORD = (Next.RECORD, Next.RECORD)
_DOUBT = (Next.DOUBT, Next.DOUBT)
_PROBE = (Next.PROBE, Next.PROBE)

TRANSITIONS: dict[tuple[Effect, Ended], tuple[Next, Next]] = {
    (Effect.READ, Ended.SUCCEEDED): _RECORD,
    (Effect.READ, Ended.FAILED): _RECORD,
    (Effect.READ, Ended.NOT_SENT): (Next.PERFORM, Next.RECORD),
    (Effect.READ, Ended.AMBIGUOUS): (Next.PERFORM, Next.RECORD),
    (Effect.READ, Ended.LOST): (Next.PERFORM, Next.PERFORM),
    (Effect.READ, Ended.OVERDUE): _RECORD,
    (Effect.IDEMPOTENT, Ended.SUCCEEDED): _RECORD,
    (Effect.IDEMPOTENT, Ended.FAILED): _RECORD,
    (Effect.IDEMPOTENT, Ended.NOT_SENT): (Next.PERFORM, Next.RECORD),
    (Effect.IDEMPOTENT, Ended.AMBIGUOUS): (Next.PERFORM, Next.DOUBT),
    (Effect.IDEMPOTENT, Ended.LOST): (Next.PERFORM, Next.PERFORM),
    (Effect.IDEMPOTENT, Ended.OVERDUE): _DOUBT,
    (Effect.TRANSACTIONAL, Ended.SUCCEEDED): _RECORD,
    (Effect.TRANSACTIONAL, Ended.FAILED): _RECORD,
    (Effect.TRANSACTIONAL, Ended.NOT_SENT): (Next.PERFORM, Next.RECORD),
    (Effect.TRANSACTIONAL, Ended.AMBIGUOUS): (Next.PERFORM, Next.DOUBT),
    (Effect.TRANSACTIONAL, Ended.LOST): (Next.PERFORM, Next.PERFORM),
    (Effect.TRANSACTIONAL, Ended.OVERDUE): _DOUBT,
    (Effect.VERIFIED, Ended.SUCCEEDED): _RECORD,
    (Effect.VERIFIED, Ended.FAILED): _RECORD,
    (Effect.VERIFIED, Ended.NOT_SENT): (Next.PERFORM, Next.RECORD),
    (Effect.VERIFIED, Ended.AMBIGUOUS): _PROBE,
    (Effect.VERIFIED, Ended.LOST): _PROBE,
    (Effect.VERIFIED, Ended.OVERDUE): _DOUBT,
    (Effect.VERIFIED, Ended.NOT_DONE): (Next.PERFORM, Next.RECORD),
    (Effect.VERIFIED, Ended.UNKNOWN): _DOUBT,
    (Effect.VERIFIED, Ended.UNANSWERED): (Next.PROBE, Next.DOUBT),
    (Effect.AT_MOST_ONCE, Ended.SUCCEEDED): _RECORD,
    (Effect.AT_MOST_ONCE, Ended.FAILED): _RECORD,
    (Effect.AT_MOST_ONCE, Ended.NOT_SENT): (Next.PERFORM, Next.RECORD),
    (Effect.AT_MOST_ONCE, Ended.AMBIGUOUS): _DOUBT,
    (Effect.AT_MOST_ONCE, Ended.LOST): _DOUBT,
    (Effect.AT_MOST_ONCE, Ended.OVERDUE): _DOUBT,
}


def intends(effect: Effect, ambiguous: bool) -> bool:
    """Must an attempt have an intent of its own? ``ambiguous``: an earlier one may have had its effect."""
    if effect is Effect.READ:
        return False
    return not ambiguous or effect in (Effect.VERIFIED, Effect.AT_MOST_ONCE)


def decide(
    effect: Effect, ended: Ended, *, attempts_left: bool, within_ttl: bool, ambiguous: bool, retryable: bool = False
) -> Next:
    """What follows when an attempt (or probe) of a step of this class ended so.

    Args:
        attempts_left: fewer attempts than ``Retry.attempts`` were made; of ``UNANSWERED``: fewer probes of this attempt.
        within_ttl: ``key_ttl`` since the first attempt has not passed (matters to ``IDEMPOTENT`` alone). Give it for the time
            at which the next attempt would start: after the back-off.
        ambiguous: an *earlier* attempt ended ambiguously and nothing has told since whether it happened.
        retryable: a definite failure of a type that ``Retry.on`` names.
    """
    if ended is Ended.SUCCEEDED:
        return Next.RECORD
    following = TRANSITIONS[effect, ended][0 if attempts_left else 1]
    if ended is Ended.FAILED and retryable and attempts_left and effect is not Effect.AT_MOST_ONCE:
        following = Next.PERFORM
    if ended is Ended.NOT_SENT and following is Next.RECORD and ambiguous and effect is not Effect.READ:
        return Next.PROBE if effect is Effect.VERIFIED else Next.DOUBT
    if following is Next.PERFORM and effect is Effect.IDEMPOTENT and not within_ttl:
        # Beyond key_ttl the far side may have forgotten the key. What certainly had no effect yet has none to be forgotten.
        if ended in (Ended.NOT_SENT, Ended.FAILED) and not ambiguous:
            return Next.PERFORM
        return Next.RECORD if ended is Ended.FAILED else Next.DOUBT
    return following
