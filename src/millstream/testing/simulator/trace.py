"""Facts and commands as one line of text each, for people who look for the mechanism of a failure."""

from __future__ import annotations

from typing import Any

from millstream.core.facts import (
    Advanced,
    Arrived,
    DivergedLoaded,
    LettersRetried,
    LineContinued,
    LinesLoaded,
    LinesScanned,
    RunsLoaded,
    WaitingLoaded,
)

WIDTH = 160


def line_of(thing: Any) -> str:
    """A fact or a command, shortened."""
    fields = {name: getattr(thing, name) for name in thing.__struct_fields__ if name not in ("event", "body", "at")}
    if isinstance(thing, Arrived):
        fields.update(batch=thing.batch.ids, known=sorted(thing.known))
    elif isinstance(thing, LettersRetried):
        read = [(again.letter.letter, again.batch.ids) for again in thing.letters]
        fields.update(letters=read, known={source: sorted(ids) for source, ids in thing.known.items()})
    elif isinstance(thing, RunsLoaded):
        fields["histories"] = [(h.run.run, h.run.status, h.run.turn, len(h.records)) for h in thing.histories]
    elif isinstance(thing, LinesLoaded):
        fields["lines"] = [
            (found.agent, found.key, [(row.run, row.status) for row in found.line], found.more) for found in thing.lines
        ]
    elif isinstance(thing, LineContinued):
        fields["line"] = [(row.run, row.status) for row in thing.line]
    elif isinstance(thing, LinesScanned | DivergedLoaded):
        fields["rows"] = [(row.run, row.agent, row.key, row.status) for row in thing.rows]
    elif isinstance(thing, WaitingLoaded):
        found = [[(row.run, row.status, row.awaits) for row in rows] for rows in thing.rows]
        fields.update(offers=[(offer.run, offer.name, offer.about, offer.mail) for offer in thing.offers], rows=found)
    elif isinstance(thing, Advanced):
        end = thing.end
        fields["calls"] = [(call.step, call.kind) for call in thing.calls]
        fields["end"] = None if end is None else f"{type(end).__name__} {getattr(end, 'error', '')}"
    return " ".join([type(thing).__name__, *(f"{name}={str(value)[:WIDTH]}" for name, value in fields.items())])
