"""What an agent's handler can call, as far as its code names it: its tools, and the files that its behaviour is written in.

Tools belong to no app: they are functions, and the engine learns of one when a run calls it. The graph lists them before
that, so that a wrong declaration is found at start and people can be shown what an agent may do. We follow the names that
the handler's code uses (of globals, of attributes of modules and classes, and what lists and dicts of these names hold)
through functions in its own folder and below. What is an attribute of an object, or looked up by text, is not seen.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any

from millstream.agents import places
from millstream.agents.tools import Tool
from millstream.errors import DeclarationError


def tools_in_reach(handler: Callable[..., Any]) -> list[Tool[..., Any]]:
    """The tools that the handler names, directly or through functions beside it, in the order found."""
    return [found for found in _in_reach(handler) if isinstance(found, Tool)]


def files_in_reach(fn: Callable[..., Any], types: Sequence[Any] = ()) -> list[str]:
    """The files, in its own folder and below, that hold the function, what it calls, its tools, and the classes of what they are
    annotated with; sorted.

    Args:
        types: further ones of the values that it is given.
    """
    first = places.function_of(fn)
    if first is None:
        return []
    folder = _folder_of(first)
    left = list(types)
    files = set()
    for found in _in_reach(fn):
        function = places.function_of(found.fn) if isinstance(found, Tool) else found
        if function is not None:
            files.add(os.path.abspath(function.__code__.co_filename))
            left += _annotated(function)
    files.update(_files_of(left, folder))
    return sorted(file for file in files if file.startswith(folder))


def _annotated(function: FunctionType) -> Iterator[Any]:
    code = function.__code__
    for name in (*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], "return"):
        try:
            yield places.annotation(function, name)
        except (NameError, DeclarationError):  # for type checkers alone, or of an enclosing function
            continue


def _files_of(types: Sequence[Any], folder: str) -> Iterator[str]:
    """Where the classes that these types are built of, and those of their fields, are defined, if that is in the folder."""
    seen: set[int] = set()
    left = list(types)
    while left:
        kind = left.pop()
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        left += typing.get_args(kind)
        for part in kind.__mro__ if isinstance(kind, type) else ():
            file = getattr(sys.modules.get(part.__module__), "__file__", None)
            if file is not None and os.path.abspath(file).startswith(folder):
                yield os.path.abspath(file)
                try:
                    left += typing.get_type_hints(part).values()
                except Exception:  # an annotation that names what only a type checker can see
                    continue


def _folder_of(function: FunctionType) -> str:
    return os.path.dirname(os.path.abspath(function.__code__.co_filename)) + os.sep


def _in_reach(handler: Callable[..., Any]) -> Iterator[Tool[..., Any] | FunctionType]:
    first = places.function_of(handler)
    if first is None:
        return
    folder = _folder_of(first)
    seen: set[int] = set()
    left: list[Any] = [first]
    while left:
        value = left.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is Tool:
            yield value
        elif (function := _function(value)) is not None and os.path.abspath(function.__code__.co_filename).startswith(folder):
            yield function
            left += _named_by(function)


def _named_by(function: FunctionType) -> Iterator[Any]:
    """What the names in its code may stand for: globals, variables of enclosing functions, and parts of these."""
    names = sorted(set(_names(function.__code__)))
    left = [function.__globals__[name] for name in names if name in function.__globals__]
    for cell in function.__closure__ or ():
        try:
            left.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    seen: set[int] = set()
    while left:
        value = left.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        kind = type(value)  # isinstance would ask proxies for their __class__, and some of them raise
        if issubclass(kind, ModuleType | type):
            left += [vars(value)[name] for name in names if name in vars(value)]
        elif kind in (list, tuple, set, frozenset):
            left += value
        elif kind is dict:
            left += value.values()


def _function(value: Any) -> FunctionType | None:
    if type(value) in (staticmethod, classmethod):
        value = value.__func__
    return places.function_of(value) if type(value) is FunctionType else None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
