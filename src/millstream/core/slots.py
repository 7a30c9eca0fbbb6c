"""Slots: how many attempts may be under way at once, at a tool (``max_concurrency``) or in threads, and who waits for one.

An attempt is let in when it holds a slot of everything that it needs; until then it stands in line for one of them, first come,
first served. It is let in *before* its intent is written: what still stands in line when the process dies was certainly not sent,
and an ``AT_MOST_ONCE`` effect is not in doubt for having waited. A slot is held until the code of the attempt has ended.

Slots are taken in the order in which they are needed, and a step that holds the last of them waits for nothing but its own code:
no two steps can wait for each other.
"""

from __future__ import annotations

from collections import deque

Place = tuple[int, str]  # (run, step)
Need = tuple[str, int]  # of what, and how many there are
THREADS = ""  # what code that blocks needs; no tool has this name


class _Ticket:
    """What one step needs, and how many of it, from the first on, it holds."""

    __slots__ = ("place", "needs", "held")

    def __init__(self, place: Place, needs: list[Need]) -> None:
        self.place = place
        self.needs = needs
        self.held = 0


class Slots:
    """See the module."""

    __slots__ = ("_used", "_tickets", "_lines")

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._tickets: dict[Place, _Ticket] = {}
        self._lines: dict[str, deque[_Ticket]] = {}  # none is empty

    def __len__(self) -> int:
        """How many steps hold a slot, or wait for one."""
        return len(self._tickets)

    def take(self, place: Place, needs: list[Need]) -> bool:
        """Take a slot of each. False: it stands in line, and a ``leave`` of another names it when it is let in.

        True too where it has them already: the code of its last attempt still runs, and this one starts when that has ended.
        """
        ticket = self._tickets.get(place)
        if ticket is not None:
            return ticket.held == len(ticket.needs)
        ticket = self._tickets[place] = _Ticket(place, needs)
        return self._go_on(ticket)

    def leave(self, place: Place) -> list[Place]:
        """It holds, and waits for, nothing any more. Gives those that are let in instead."""
        let_in: list[Place] = []
        ticket = self._tickets.pop(place, None)
        if ticket is not None:
            for what, _ in ticket.needs[: ticket.held]:
                self._used[what] -= 1
                self._serve(what, let_in)
        return let_in

    def _go_on(self, ticket: _Ticket) -> bool:
        for what, limit in ticket.needs[ticket.held :]:
            if what in self._lines or self._used.get(what, 0) >= limit:
                self._lines.setdefault(what, deque()).append(ticket)
                return False
            self._used[what] = self._used.get(what, 0) + 1
            ticket.held += 1
        return True

    def _serve(self, what: str, let_in: list[Place]) -> None:
        line = self._lines.get(what)
        while line:
            ticket = line[0]
            if self._tickets.get(ticket.place) is ticket:  # else it has left meanwhile
                if self._used[what] >= ticket.needs[ticket.held][1]:
                    return
                self._used[what] += 1
                ticket.held += 1
                if self._go_on(ticket):
                    let_in.append(ticket.place)
            line.popleft()
            if not line:
                del self._lines[what]
