"""Writes docs/reference.md from the docstrings: ``python docs/make_reference.py``.

Rules:

* public is what ``millstream`` and ``millstream.testing`` export, with every member whose name has no underscore;
* the order and the headings are those of ``__all__`` and its comments;
* a field is described in ``Attributes:`` of its class, by the string below it, or by the comment beside it (``docstrings.py`` reads
  them);
* signatures and types are those of the code, as text (``signatures.py`` writes them);
* what has no description gets none, and tests/docs/test_reference.py says so.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docstrings import Doc, joined, texts_below, texts_beside
from signatures import Item, default_text, is_struct, parameters_of, signature_of, types_text

PAGE = Path(__file__).parent / "reference.md"
WIDTH = 132
MODULES = ("millstream", "millstream.testing")

# Found or handed over, never constructed by a program: no signature is shown.
MADE_FOR_YOU = {
    "Agent", "Stream", "Context", "Signal", "Tool", "Connection", "Crash", "CrashAt", "Run", "Step", "Attempt", "DeadLetter",
}  # fmt: skip

# Members that one layer has for the next: no program calls them.
BETWEEN_LAYERS = {
    "Agent.event_codec", "Agent.spec", "Stream.codec", "Stream.spec", "Tool.spec",
    "Crash.reached", "CrashAt.reached", "MemorySource.as_source", "MemorySink.as_sink",
}  # fmt: skip

HEAD = """\
# Reference

Everything that `millstream` and `millstream.testing` export, from their docstrings. Made by `python docs/make_reference.py`: edit
the docstrings, not this page.

* `Duration`: text with its unit (`"250ms"`, `"10s"`, `"5m"`, `"24h"`, `"7d"`, `"1.5s"`) or a `timedelta`. A bare number is refused:
  nobody can see whether it means seconds or milliseconds.
* `datetime`: in UTC.
* `Handler[S, E, R]`: an `async def (ctx: Context[S], event: E) -> R | None`.
* `Probe`: an `async def (call, *args, **kwargs) -> Done | NotDone | Unknown`.
* `S` is the type of an agent's state, `E` of its events, `R` of what a function returns, `T` of a stream's values; `P` are the
  parameters of a function.
* `await` in front of a signature: the call gives something to await, and its result stands behind the arrow. What it raises, it
  raises at once, if nothing else is said.
"""


class Entry(NamedTuple):
    """A public name, or a member of one."""

    name: str
    value: Any
    signature: str | None
    prose: str
    parameters: list[Item]
    attributes: list[Item]
    raises: list[tuple[str, str]]
    members: list[Entry]


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The text of docs/reference.md."""
    parts = [HEAD]
    for module in MODULES:
        parts.append(f"## {module}\n")
        parts += [_wrapped(f"* {heading}: {', '.join(map(_link, names))}", "  ") for heading, names in groups(module)]
        parts.append("")
        for _, names in groups(module):
            for name in names:
                parts += _shown(entry(module, name), 3)
    return "\n".join(parts).rstrip("\n") + "\n"


def entries() -> Iterator[Entry]:
    """All public names with their members, one after the other."""
    for module in MODULES:
        for _, names in groups(module):
            for name in names:
                found = entry(module, name)
                yield found
                yield from found.members


# --- what there is --------------------------------------------------------------------------------------------------------------


def groups(module: str) -> list[tuple[str, list[str]]]:
    """The names in ``__all__`` under the comments that stand above them."""
    text = inspect.getsource(importlib.import_module(module))
    listed = text[text.index("__all__ = [") : text.index("]", text.index("__all__ = ["))]
    found: list[tuple[str, list[str]]] = []
    for line in listed.splitlines()[1:]:
        if line.strip().startswith("#"):
            found.append((line.strip("# "), []))
        else:
            found[-1][1].append(line.strip(' ",'))
    return found


def entry(module: str, name: str) -> Entry:
    """One public name."""
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value):
        return _class(name, value)
    if inspect.isfunction(value):
        return _function(name, value)
    return Entry(name, value, None, _value_text(name), [], [], [], [])


def _value_text(name: str) -> str:
    """Of a value, which has no docstring of its own: the string below its assignment."""
    lazy = importlib.import_module("millstream")
    home = importlib.import_module(f"millstream.{lazy._MODULE_OF[name]}")
    return texts_below(ast.parse(inspect.getsource(home)).body).get(name, "")


def _class(name: str, kind: type) -> Entry:
    doc = Doc(inspect.cleandoc(kind.__doc__ or ""))
    parameters: list[Item] = []
    signature = None
    if name not in MADE_FOR_YOU and not issubclass(kind, enum.Enum) and ("__init__" in vars(kind) or is_struct(kind)):
        parameters = [] if is_struct(kind) else list(parameters_of(kind.__init__, doc.args))
        signature = signature_of(name, kind.__init__ if "__init__" in vars(kind) else kind)
    attributes = {item.name: item for item in _attributes(kind, doc)}
    for place, item in enumerate(parameters):  # what is kept under its name is described once
        kept = attributes.pop(item.name, None)
        if item.text is None and kept is not None:
            parameters[place] = item._replace(text=kept.text)
    members = [_function(f"{name}.{member}", fn) for member, fn in _methods(name, kind)]
    return Entry(name, kind, signature, doc.prose, parameters, list(attributes.values()), doc.raises, members)


def _function(name: str, fn: Callable[..., Any]) -> Entry:
    doc = Doc(inspect.cleandoc(fn.__doc__ or ""))
    return Entry(name, fn, signature_of(name, fn), doc.prose, list(parameters_of(fn, doc.args)), [], doc.raises, [])


def _methods(name: str, kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    theirs = {member for base in kind.__mro__ if not base.__module__.startswith("millstream") for member in vars(base)}
    for member, value in vars(kind).items():
        public = not member.startswith("_") or (member == "__call__" and value.__doc__)
        if inspect.isfunction(value) and public and member not in theirs and f"{name}.{member}" not in BETWEEN_LAYERS:
            yield member, value


def _attributes(kind: type, doc: Doc) -> Iterator[Item]:
    """Fields, properties, and what ``__init__`` puts into ``self``."""
    tree = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0])
    described = {**texts_beside(kind), **texts_below(tree.body)}
    found: dict[str, Item] = {}
    if issubclass(kind, enum.Enum):
        for member in kind:
            found[member.name] = Item(member.name, None, None, described.get(member.name))
    for name, annotation in inspect.get_annotations(kind).items():
        if not name.startswith("_"):
            default = _field_default(kind, name) if kind.__name__ not in MADE_FOR_YOU else None
            found[name] = Item(name, types_text([annotation], kind), default, described.get(name))
    for name in _assigned(tree):
        found.setdefault(name, Item(name, None, None, described.get(name)))
    for name, value in vars(kind).items():
        if isinstance(value, property) and f"{kind.__name__}.{name}" not in BETWEEN_LAYERS and not name.startswith("_"):
            returns = inspect.get_annotations(value.fget).get("return")  # type: ignore[arg-type]
            text = None if value.__doc__ is None else joined(Doc(inspect.cleandoc(value.__doc__)).prose)
            found[name] = Item(name, types_text([returns], kind), None, text)
    for name, text in doc.attributes.items():
        known = found.get(name, Item(name, None, None, None))
        found[name] = known._replace(text=text)
    yield from found.values()


def _assigned(tree: ast.ClassDef) -> list[str]:
    """Public names that ``__init__`` assigns to ``self``."""
    made = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    targets = (
        target
        for node in ast.walk(ast.Module(list(made), []))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for whole in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for target in (whole.elts if isinstance(whole, ast.Tuple) else [whole])
    )
    names = [
        target.attr
        for target in targets
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
    ]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def _field_default(kind: type, name: str) -> str | None:
    if not is_struct(kind):
        return None
    parameter = inspect.signature(kind).parameters[name]
    return None if parameter.default is parameter.empty else default_text(parameter.default)


# --- the page -------------------------------------------------------------------------------------------------------------------


def _link(name: str) -> str:
    return f"[`{name}`](#{name.lower()}{'-1' if name == 'Tool' else ''})"  # the second heading of that name, in lower case


def _shown(entry: Entry, level: int) -> Iterator[str]:
    yield f"{'#' * level} {entry.name}\n"
    code = [] if entry.signature is None else [entry.signature]
    if inspect.isclass(entry.value) and issubclass(entry.value, BaseException):
        code.insert(0, f"class {entry.name}({', '.join(base.__name__ for base in entry.value.__bases__)})")
    if code:
        yield "\n".join(["```text", *code, "```\n"])
    for paragraph in entry.prose.split("\n\n"):
        yield (paragraph if "```" in paragraph else _wrapped(paragraph, "")) + "\n"
    if entry.parameters:
        yield "\n".join(map(_listed, entry.parameters)) + "\n"
    if entry.attributes:
        yield ("Values:\n" if _is_enum(entry.value) else "Attributes:\n")
        yield "\n".join(map(_listed, entry.attributes)) + "\n"
    if entry.raises:
        yield "Raises:\n"
        yield (
            "\n".join(
                _wrapped(f"* {', '.join(f'`{name}`' for name in names.split(', '))}: {said}" if names else f"* {said}", "  ")
                for names, said in entry.raises
            )
            + "\n"
        )
    for member in entry.members:
        yield from _shown(member, level + 1)


def _is_enum(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, enum.Enum)


def _listed(item: Item) -> str:
    aside = ([f"`{item.type}`"] if item.type else []) + ([f"default `{item.default}`"] if item.default else [])
    told = f" ({', '.join(aside)})" if aside else ""
    return _wrapped(f"* `{item.name}`{told}" + (f": {item.text}" if item.text else ""), "  ")


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(joined(text), WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
