"""Dead letters read again: a line by its source, an event by the type of the stream that the operator which refused it reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from millstream.core.facts import EventBatch, LettersRetried, ReadAgain, Rejected
from millstream.core.graph import Graph, SourceSpec, StreamSpec
from millstream.core.operators import OPERATORS, given
from millstream.core.runs import json_decode
from millstream.core.tables import CUT, EVENT, EVIDENCE, LetterRow
from millstream.engine.sources import events, reason_of


def read_again(
    graph: Graph, letters: Sequence[LetterRow], at: int, seen: Callable[[str, list[str]], set[str]], token: int | None = None
) -> tuple[LettersRetried, Counter[str]]:
    """The letters as the app of today reads them, and why others of them cannot be retried: {why: how many}.

    The fact must be fed before anything else happens: what the store has seen, and holds, is of now.
    """
    again: list[ReadAgain] = []
    cannot: Counter[str] = Counter()
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for letter in letters:
        source, op = graph.sources.get(letter.stream), graph.streams.get(letter.stream)
        if letter.kept == CUT:
            cannot["cut"] += 1
        elif letter.kept == EVIDENCE:
            cannot["evidence only"] += 1
        elif letter.kept == EVENT:
            if op is None or op.op not in OPERATORS:
                cannot["its operator is gone"] += 1
            else:
                again.append(_event(graph.streams[op.parents[0]], letter, at))
        elif source is None:
            cannot["its source is gone"] += 1
        else:
            read = _line(source, letter, at)
            again.append(read)
            if source.id is not None:
                ids[source.name] += read.batch.ids
    known = {source: seen(source, found) for source, found in ids.items() if found}
    return LettersRetried(at, again, known, token), cannot


def _line(source: SourceSpec, letter: LetterRow, at: int) -> ReadAgain:
    batch, rejected = events(source, [(letter.data or "").encode()], [json_decode(letter.position or "null")], at)
    return ReadAgain(letter, batch, rejected[0] if rejected else None)


def _event(stream: StreamSpec, letter: LetterRow, at: int) -> ReadAgain:
    text, position = letter.data or "", json_decode(letter.position or "null")
    try:
        value = given(stream, text)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # its type is another one now, and the user's
        reason = f"stream {stream.name}: {reason_of(error, text.encode())}"
        return ReadAgain(letter, EventBatch([], [], [], [], [], []), Rejected(position, reason, text, letter.size))
    time = at if letter.time is None else letter.time
    return ReadAgain(letter, EventBatch([value], [text], [letter.key or ""], [letter.id or ""], [time], [position]))
