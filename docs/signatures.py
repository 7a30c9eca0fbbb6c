"""Signatures, parameters and types as people read them.

Types are the text of the annotations, those of all overloads together, so that a page is the same on every Python.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple


class Item(NamedTuple):
    """A parameter, a field or a property."""

    name: str
    type: str | None
    default: str | None
    text: str | None  # None: nothing describes it


STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def parameters_of(fn: Callable[..., Any], described: dict[str, str]) -> Iterator[Item]:
    """Its parameters, but for ``self``; ``described``: what is said of each."""
    variants = typing.get_overloads(fn) or [fn]
    for parameter in _of_caller(fn):
        given = [
            inspect.signature(variant).parameters[parameter.name].annotation
            for variant in variants
            if parameter.name in inspect.signature(variant).parameters
        ]
        kinds = [kind for kind in given if kind not in (parameter.empty, "None")] or [parameter.annotation]
        default = None if parameter.default is parameter.empty else default_text(parameter.default)
        star = STARS.get(parameter.kind, "")
        text = described.get(parameter.name)
        yield Item(star + parameter.name, None if parameter.empty in kinds else types_text(kinds, fn), default, text)


def _of_caller(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    return [parameter for parameter in inspect.signature(fn).parameters.values() if parameter.name != "self"]


def signature_of(name: str, fn: Callable[..., Any]) -> str:
    """How it is called, and what that gives; on several lines if it is long."""
    shown, last = [], None
    for parameter in _of_caller(fn):
        if last is inspect.Parameter.POSITIONAL_ONLY and parameter.kind is not last:
            shown.append("/")
        if parameter.kind is parameter.KEYWORD_ONLY and last not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            shown.append("*")
        star = STARS.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={default_text(parameter.default)}"
        shown.append(f"{star}{parameter.name}{default}")
        last = parameter.kind
    called = name.removesuffix(".__call__")
    returns = "" if inspect.isclass(fn) or fn.__name__ == "__init__" else _returns(fn)
    awaited = re.fullmatch(r"Coroutine\[Any, Any, (.*)\]", returns)
    if awaited:
        called, returns = f"await {called}", awaited[1]
    behind = f" -> {returns}" if returns else ""
    line = f"{called}({', '.join(shown)}){behind}"
    return line if len(line) <= 100 else f"{called}(\n" + "".join(f"    {part},\n" for part in shown) + f"){behind}"


def _returns(fn: Callable[..., Any]) -> str:
    """What it gives; of overloads, the one that tells most."""
    found = [types_text([variant.__annotations__["return"]], fn) for variant in typing.get_overloads(fn) or [fn]]
    found = [text for text in found if not re.search(r"\b_\w", text)]
    return max(found, key=lambda text: len(re.findall(r"\b[A-Z]\b", text)))


def default_text(value: object) -> str:
    """A default as it would be written."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if inspect.isclass(value):
        return value.__name__
    if is_struct(type(value)):
        return f"{type(value).__name__}()"
    if isinstance(value, datetime):
        return f'"{value.isoformat()}"'
    return "..." if " object at " in repr(value) else repr(value)  # a mark for "not given"


def types_text(annotations: list[Any], where: Any) -> str:
    """Annotations as text: those of several overloads together, each member once, aliases of this package resolved."""
    members: dict[str, str] = {}
    for annotation in annotations:
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
        for member in _members(_resolved(text.strip("'\""), _names(where))):
            plain = re.sub(r"\b[A-Z]\b", "Any", member)
            if plain not in members or members[plain] == plain:
                members[plain] = member
    if "Any" in members and len(members) > 1 and len(annotations) > 1:
        members.pop("Any")
    none = members.pop("None", None)
    return " | ".join([*members.values(), *([none] if none else [])])


@functools.cache
def _names(where: Any) -> dict[str, Any]:
    return vars(sys.modules[where.__module__])


def _resolved(text: str, names: dict[str, Any]) -> str:
    def replaced(match: re.Match[str]) -> str:
        name, value = match[0], names.get(match[0])
        if typing.get_origin(value) is typing.Literal:
            return " | ".join(f'"{choice}"' for choice in typing.get_args(value))
        if name == "Json":
            return "dict[str, Any]"
        if name == "Field":
            return "str | Callable[[Any], object]"
        return name

    text = re.sub(r"Literal\[([^]]*)\]", lambda match: match[1].replace(", ", " | "), text)
    text = re.sub(r"\b[A-Z]\w+\b", replaced, text).replace("'", '"')
    return re.sub(r"\bUnpack\[(\w+)\]", r"\1", re.sub(r"\bUnpack\[Ts\]", "*Ts", text))


def _members(text: str) -> list[str]:
    """The members of a union, as text."""
    found, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "|" and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [member.strip() for member in found]


def is_struct(kind: type) -> bool:
    return hasattr(kind, "__struct_fields__")
