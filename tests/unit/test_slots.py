"""Slots: as many as there are, first come first served, and each given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.core.slots import THREADS, Slots

ONE = [("pay", 1)]


def test_those_who_wait_are_let_in_in_the_order_in_which_they_came() -> None:
    slots = Slots()
    assert [slots.take((n, "s"), [("pay", 2)]) for n in range(4)] == [True, True, False, False]
    assert slots.take((9, "s"), [("other", 1)]), "another tool has slots of its own"
    assert slots.leave((1, "s")) == [(2, "s")]
    assert not slots.take((4, "s"), [("pay", 2)]), "nobody overtakes"
    assert [slots.leave((n, "s")) for n in (0, 2, 3, 4, 9)] == [[(3, "s")], [(4, "s")], [], [], []]
    assert len(slots) == 0


def test_who_leaves_the_line_holds_nobody_up() -> None:
    slots = Slots()
    assert [slots.take((n, "s"), ONE) for n in range(3)] == [True, False, False]
    assert slots.leave((1, "s")) == []
    assert slots.leave((0, "s")) == [(2, "s")]


def test_who_leaves_the_line_and_comes_back_stands_at_its_end() -> None:
    slots = Slots()
    assert [slots.take((n, "s"), ONE) for n in range(3)] == [True, False, False]
    slots.leave((1, "s"))
    assert not slots.take((1, "s"), ONE)
    assert not slots.take((1, "s"), ONE), "asking twice gives no second place"
    assert slots.leave((0, "s")) == [(2, "s")]
    assert slots.leave((2, "s")) == [(1, "s")]


def test_who_holds_a_slot_may_ask_for_it_again() -> None:
    slots = Slots()
    assert slots.take((0, "s"), ONE)
    assert slots.take((0, "s"), ONE)
    slots.leave((0, "s"))
    assert slots.take((1, "s"), ONE)


def test_who_needs_two_is_let_in_when_it_has_both() -> None:
    slots = Slots()
    both = [("pay", 1), (THREADS, 1)]
    assert slots.take((0, "s"), [(THREADS, 1)])
    assert not slots.take((1, "s"), both)
    assert not slots.take((2, "s"), both)
    assert slots.leave((0, "s")) == [(1, "s")]
    assert slots.leave((1, "s")) == [(2, "s")]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=80), st.integers(1, 3), st.integers(1, 3))
@pytest.mark.parametrize("tools", [1, 2])
def test_never_more_than_there_are_and_nobody_waits_beside_a_free_one(
    tools: int, moves: list[tuple[bool, int]], limit: int, threads: int
) -> None:
    slots, inside, outside = Slots(), set[tuple[int, str]](), set[tuple[int, str]]()
    for comes, number in moves:
        place = (number, "s")
        if not comes:
            inside.discard(place)
            outside.discard(place)
            for other in slots.leave(place):
                outside.remove(other)
                inside.add(other)
        elif slots.take(place, [(f"tool{number % tools}", limit), (THREADS, threads)]):
            outside.discard(place)
            inside.add(place)
        else:
            outside.add(place)
        assert len(slots) == len(inside) + len(outside)
        for tool in range(tools):
            assert sum(1 for run, _ in inside if run % tools == tool) <= limit
        assert len(inside) <= threads
        for run, _ in outside:
            same = sum(1 for other, _ in inside if other % tools == run % tools)
            assert same == limit or len(inside) == threads
    while inside:
        inside.remove(place := next(iter(inside)))
        for other in slots.leave(place):
            outside.remove(other)
            inside.add(other)
    assert not outside
