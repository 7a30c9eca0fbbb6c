"""Which loop an async generator belongs to, so that one that is dropped half way is closed there.

Python tells of async generators through two hooks of the thread (PEP 525, ``sys.set_asyncgen_hooks``): one is called when a
generator is first iterated, and the other, if it is still open, when nobody refers to it any more. An asyncio loop sets them for
as long as it runs. The loops of runs are driven inside of one, thousands of times a second, and to set the hooks each time would
cost a twentieth of all CPU, because Python audits every change of them [M: 0.6 us each, eight a request]. So one pair is set for
all runs of a thread: it passes on what no run has opened to the hooks that were there before, and goes when the outer loop ends.

A generator takes the second hook that it will call along when it is first iterated. ``_owners`` tells that hook whose the generator
is, by its address: every generator that calls it was seen by the first one, so an address that was freed and is used again is
overwritten, or forgotten, before it could be asked for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

Generator = AsyncGenerator[Any, Any]
Hook = Callable[[Generator], None] | None


class Owner(Protocol):
    """A loop that wants to be told of its generators itself."""

    def generator_dropped(self, generator: Generator) -> None:
        """May be called in any thread, and long after the run: by whatever collects garbage."""


_owners: dict[int, Owner] = {}


class _Outer:
    """The hooks that were there before."""

    __slots__ = ("firstiter", "finalizer")

    def __init__(self, firstiter: Hook, finalizer: Hook) -> None:
        self.firstiter = firstiter
        self.finalizer = finalizer

    def dropped(self, generator: Generator) -> None:
        owner = _owners.pop(id(generator), None)
        if owner is not None:
            owner.generator_dropped(generator)
        elif self.finalizer is not None:
            self.finalizer(generator)


def _opened(generator: Generator) -> None:
    loop: Any = asyncio._get_running_loop()
    if hasattr(loop, "generator_opened"):
        _owners[id(generator)] = loop
        loop.generator_opened(generator)
        return
    _owners.pop(id(generator), None)
    outer = getattr(sys.get_asyncgen_hooks().finalizer, "__self__", None)
    if isinstance(outer, _Outer) and outer.firstiter is not None:
        outer.firstiter(generator)


def watch(inside_a_loop: bool) -> tuple[Hook, Hook] | None:
    """Be told of the generators that are opened in this thread from now on.

    Gives the hooks to set again afterwards; None: the loop that runs outside takes these along when it ends.
    """
    hooks = sys.get_asyncgen_hooks()
    if hooks.firstiter is _opened:
        return None
    sys.set_asyncgen_hooks(_opened, _Outer(*hooks).dropped)
    return None if inside_a_loop else (hooks.firstiter, hooks.finalizer)


def forget(owner: Owner, addresses: set[int]) -> None:
    """The generators that this loop has opened at these addresses have ended."""
    for address in addresses:
        if _owners.get(address) is owner:
            del _owners[address]


def disown(owner: Owner, addresses: set[int]) -> None:
    """This loop has done with its generators what it could. One that has not ended even so is left alone when it is dropped."""
    for address in addresses:
        if _owners.get(address) is owner:
            _owners[address] = _NOBODY


class _Nobody:
    def generator_dropped(self, generator: Generator) -> None:
        pass


_NOBODY = _Nobody()
