"""Which tools an agent's handler can call, as far as its code names them.

Tools belong to no app: they are functions, and the engine learns of one when a run calls it. The graph lists them before
that, so that a wrong declaration is found at start and people can be shown what an agent may do. We follow the names that
the handler's code uses, through functions in its own folder and below; what is looked up by text is not seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from millstream.agents import places
from millstream.agents.tools import Tool


def tools_in_reach(handler: Callable[..., Any]) -> list[Tool[..., Any]]:
    """The tools that the handler names, directly or through functions beside it, in the order found."""
    first = places.function_of(handler)
    if first is None:
        return []
    folder = os.path.dirname(os.path.abspath(first.__code__.co_filename)) + os.sep
    found: dict[int, Tool[..., Any]] = {}
    seen: set[int] = set()
    left: list[FunctionType] = [first]
    while left:
        function = left.pop(0)
        if id(function) in seen:
            continue
        seen.add(id(function))
        for value in _named_by(function):
            beside = places.function_of(value) if isinstance(value, FunctionType) else None
            if isinstance(value, Tool):
                found.setdefault(id(value), value)
            elif beside is not None and os.path.abspath(beside.__code__.co_filename).startswith(folder):
                left.append(beside)
    return list(found.values())


def _named_by(function: FunctionType) -> Iterator[Any]:
    """What the names in its code stand for: globals, variables of enclosing functions, and attributes of modules."""
    names = set(_names(function.__code__))
    values = [function.__globals__[name] for name in sorted(names) if name in function.__globals__]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    for value in values:
        yield value
        if isinstance(value, ModuleType):
            yield from (vars(value)[name] for name in sorted(names) if name in vars(value))
        elif isinstance(value, list | tuple | set | frozenset):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
