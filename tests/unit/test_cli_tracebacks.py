"""Recorded tracebacks, as people want them."""

from __future__ import annotations

from millstream.cli.tracebacks import place, without_ours


def test_frames_of_ours_are_dropped_within_groups_too_and_the_place_is_that_of_the_group() -> None:
    text = """  + Exception Group Traceback (most recent call last):
  |   File "/venv/lib/python3.11/site-packages/millstream/agents/agent.py", line 123, in handler
  |     return await fn(Context())
  |            ^^^^^^^^^^^^^^^^^^^
  |   File "/srv/shop/app.py", line 5, in fulfil
  |     async with asyncio.TaskGroup() as group:
  |   File "/usr/lib/python3.11/asyncio/taskgroups.py", line 145, in __aexit__
  |     raise me from None
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/shop/app.py", line 9, in one
    |     return {}["nope"]
    | KeyError: 'nope'
    +------------------------------------
"""
    kept = without_ours(text)
    assert [line for line in kept if "millstream" in line or "fn(Context" in line or "^" in line] == []
    assert len(kept) == len(text.splitlines()) - 3
    assert place(text) == "/srv/shop/app.py:5 in fulfil"
    assert place("KeyError: 'nope'") is None
