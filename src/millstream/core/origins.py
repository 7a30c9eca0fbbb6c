"""Where events come from, and above all whether they came from one of the app's own streams.

``app.doubts``, ``app.failures`` and ``app.dead_letters`` tell of what went wrong. What goes wrong with what they tell is not told
there again, or a handler of failures that fails would handle its own failure for ever. So an event that came from one of them,
directly or through operators, emits, sends and asks, or by way of another of them, carries their names at the end of its id
(``42-1-17/failure/0~failures``): an id passes through operators unchanged, is in the store with the event, and costs nothing to
all other events. (A column of the event's row would be empty in all others; following the causes would be reads.)
"""

from __future__ import annotations

DOUBTS_STREAM, FAILURES_STREAM, LETTERS_STREAM = "doubts", "failures", "dead_letters"
OWN_STREAMS = frozenset((DOUBTS_STREAM, FAILURES_STREAM, LETTERS_STREAM))

NONE: frozenset[str] = frozenset()


class Origin:
    """Where a batch comes from: a source, or a run, or the runtime itself."""

    __slots__ = ("source", "cause", "event", "own")

    def __init__(self, source: str | None, cause: int | None = None, event: int | None = None, own: frozenset[str] = NONE) -> None:
        self.source = source
        self.cause = cause  # run
        self.event = event  # the row of the one emitted event, as long as no operator has changed it
        self.own = own  # which of the app's own streams it has come through

    def changed(self) -> Origin:
        """Of the same events behind an operator that made other values of them."""
        return Origin(self.source, self.cause, None, self.own)


def own_streams(source: str | None, id: str) -> frozenset[str]:
    """Which of the app's own streams the event with this id came through; ids of a source's events are not ours and say nothing."""
    if source is not None:
        return NONE
    _, mark, names = id.rpartition("~")
    return OWN_STREAMS.intersection(names.partition("#")[0].split("+")) if mark else NONE  # flat_map appends "#n"


def marked(id: str, own: frozenset[str]) -> str:
    """The id of an event that came through these streams."""
    return f"{id}~{'+'.join(sorted(own))}" if own else id
