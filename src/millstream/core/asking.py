"""Asking: which run waits for the answer of which, and the deadlock that an ask could make.

A key is held by the run at the head of its line, and a run that was asked may wait behind it. An ask that would close a circle can
never be answered, and fails at once. In the graph of who waits for whom stand the keys that are held, and, for runs that released
theirs (nobody waits behind them, but whoever asked them does), the ask that made them.
"""

from __future__ import annotations

from typing import Any

from millstream.core import runs as r
from millstream.core.graph import Graph
from millstream.core.runs import Run
from millstream.core.tables import RunRow

Place = tuple[str, str]  # (agent, key)
Node = Place | tuple[int, str]  # who waits: the holder of a key; of a released run, the ask that made it as (run, step)


class Asking:
    """See the module."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._waits: dict[Node, dict[tuple[int, str], Node]] = {}  # who waits -> {(run, step): for whom}

    def opened(self, askers: list[RunRow]) -> None:
        """These runs wait for answers since an earlier life."""
        agents = self._graph.agents
        for row in askers:
            spec = agents.get(row.agent)
            for step, kind, name, key in r.json_decode(row.awaits or "[]"):
                if kind == "ask" and spec is not None and name in agents:
                    self._begins(_node(spec.waiting, row.agent, row.key, row.asker), row.run, step, (name, key))

    def begins(self, run: Run, step: str, asked: Place) -> None:
        """A step of the run waits for the answer of (agent, key)."""
        self._begins(_node_of(run), run.number, step, asked)

    def _begins(self, node: Node | None, run: int, step: str, asked: Place) -> None:
        if node is not None:
            holds = self._graph.agents[asked[0]].waiting == "hold"
            self._waits.setdefault(node, {})[run, step] = asked if holds else (run, step)

    def ends(self, run: Run, step: str) -> None:
        """It waits no more."""
        node = _node_of(run)
        asked = None if node is None else self._waits.get(node)
        if node is not None and asked is not None:
            asked.pop((run.number, step), None)
            if not asked:
                del self._waits[node]

    def forget(self, run: Run) -> None:
        """No step of the run waits any more."""
        node = _node_of(run)
        for asker, step in list(self._waits.get(node, ())) if node is not None else ():
            if asker == run.number:
                self.ends(run, step)

    def deadlock(self, run: Run, asked: Place) -> dict[str, Any] | None:
        """Why the run would wait for ever if it asked (agent, key); None: it would not."""
        here = _node_of(run)
        if here is None or self._graph.agents[asked[0]].waiting != "hold" or not self._leads(asked, here):
            return None
        message = (
            f"{run.spec.name} {run.key!r} asks {asked[0]} {asked[1]!r}, whose current run waits (directly or through others) for "
            f"{run.spec.name} {run.key!r}: neither could ever go on. Use send() and a signal for the answer, or waiting='release'"
        )
        return {"type": "Deadlock", "message": message, "data": None}

    def _leads(self, start: Node, goal: Node) -> bool:
        """Does the holder of ``start`` wait, directly or through others, for ``goal``?"""
        seen: set[Node] = set()
        open_ = [start]
        while open_:
            place = open_.pop()
            if place == goal:
                return True
            if place not in seen:
                seen.add(place)
                open_.extend(self._waits.get(place, {}).values())
        return False


def _node_of(run: Run) -> Node | None:
    return _node(run.spec.waiting, run.spec.name, run.key, run.asker)


def _node(waiting: str, agent: str, key: str, asker: str | None) -> Node | None:
    """Where a run stands in the graph; None: nobody can wait for it."""
    if waiting == "hold":
        return agent, key
    if asker is None:
        return None
    run, step, *_ = r.json_decode(asker)
    return run, step
