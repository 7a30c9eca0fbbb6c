"""What a start finds in the store, and what a stop leaves there: the engine's and the simulator's.

``begin`` counts the start and gathers what the core must know before anything else; ``end`` says that the engine was stopped,
and did not die. Time is kept with every commit, so that it never goes back.
"""

from __future__ import annotations

from millstream.core.facts import Opened
from millstream.core.graph import Graph
from millstream.core.suspects import DEATHS
from millstream.core.tables import META, Commit, MetaRow
from millstream.engine.clock import Clock
from millstream.engine.ports import Store

SUSPECT = DEATHS - 1  # of these consecutive unclean deaths, without getting anywhere: the core starts such a run apart


def begin(graph: Graph, store: Store, clock: Clock, *, visiting: bool = False) -> Opened:
    """Count this start, durably, and read what the core is to know.

    Args:
        visiting: no handler is going to be started; whether the last engine died is left for the next one to find.

    Raises:
        ClockJumped, StoreError.
    """
    meta = store.meta()
    now = clock.start(int(meta.get("time", "0")))
    epoch = int(meta.get("epoch", "0")) + 1
    unclean = epoch > 1 and meta.get("clean") != "1"
    begun = Commit(0)
    begun.put(META, MetaRow("epoch", str(epoch)))
    begun.put(META, MetaRow("time", str(now)))
    if not visiting:
        begun.put(META, MetaRow("clean", "0"))
    store.write(begun)
    running = store.runs(status="running") if unclean and not visiting else ()
    return Opened(
        now,
        meta["store_id"],
        epoch,
        unclean,
        store.backlog_bytes(),
        store.sources(),
        store.sinks(),
        {name: store.last_output(name) for name in graph.sinks},
        store.askers(),
        [row for row in running if row.resumes >= SUSPECT],
        visiting,
    )


def stamp(commit: Commit, now: int) -> None:
    """Write engine time into a commit that is about to be made durable."""
    commit.put(META, MetaRow("time", str(now)))


def end(store: Store, now: int, *, visiting: bool = False) -> None:
    """All is durable, and the engine stops."""
    last = Commit(0)
    if not visiting:
        last.put(META, MetaRow("clean", "1"))
    stamp(last, now)
    store.write(last)
