"""Writes docs/reference.md from the docstrings: ``python docs/make_reference.py``.

Rules:

* public is what ``millstream`` and ``millstream.testing`` export, with every member whose name has no underscore;
* the order and the headings are those of ``__all__`` and its comments;
* a docstring is read as it is written everywhere here: prose, then ``Args:``, ``Attributes:`` and ``Raises:``. A field is described
  in ``Attributes:``, by the string below it, or by the comment beside it;
* types are the text of the annotations, those of all overloads together, so that the page is the same on every Python;
* what has no description gets none, and tests/docs/test_reference.py says so.
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import inspect
import io
import itertools
import re
import sys
import textwrap
import tokenize
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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


class Item(NamedTuple):
    """A parameter, a field or a property."""

    name: str
    type: str | None
    default: str | None
    text: str | None  # None: nothing describes it


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
    return _below(ast.parse(inspect.getsource(home)).body).get(name, "")


def _class(name: str, kind: type) -> Entry:
    doc = Doc(inspect.cleandoc(kind.__doc__ or ""))
    parameters: list[Item] = []
    signature = None
    if name not in MADE_FOR_YOU and not issubclass(kind, enum.Enum) and ("__init__" in vars(kind) or _is_struct(kind)):
        parameters = [] if _is_struct(kind) else list(_parameters(kind.__init__, doc))
        signature = _signature(name, kind.__init__ if "__init__" in vars(kind) else kind)
    attributes = {item.name: item for item in _attributes(kind, doc)}
    for place, item in enumerate(parameters):  # what is kept under its name is described once
        kept = attributes.pop(item.name, None)
        if item.text is None and kept is not None:
            parameters[place] = item._replace(text=kept.text)
    members = [_function(f"{name}.{member}", fn) for member, fn in _methods(name, kind)]
    return Entry(name, kind, signature, doc.prose, parameters, list(attributes.values()), doc.raises, members)


def _function(name: str, fn: Callable[..., Any]) -> Entry:
    doc = Doc(inspect.cleandoc(fn.__doc__ or ""))
    return Entry(name, fn, _signature(name, fn), doc.prose, list(_parameters(fn, doc)), [], doc.raises, [])


def _methods(name: str, kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    theirs = {member for base in kind.__mro__ if not base.__module__.startswith("millstream") for member in vars(base)}
    for member, value in vars(kind).items():
        public = not member.startswith("_") or (member == "__call__" and value.__doc__)
        if inspect.isfunction(value) and public and member not in theirs and f"{name}.{member}" not in BETWEEN_LAYERS:
            yield member, value


def _attributes(kind: type, doc: Doc) -> Iterator[Item]:
    """Fields, properties, and what ``__init__`` puts into ``self``."""
    tree = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0])
    described = {**_beside(kind), **_below(tree.body)}
    found: dict[str, Item] = {}
    if issubclass(kind, enum.Enum):
        for member in kind:
            found[member.name] = Item(member.name, None, None, described.get(member.name))
    for name, annotation in inspect.get_annotations(kind).items():
        if not name.startswith("_"):
            default = _field_default(kind, name) if kind.__name__ not in MADE_FOR_YOU else None
            found[name] = Item(name, _types([annotation], kind), default, described.get(name))
    for name in _assigned(tree):
        found.setdefault(name, Item(name, None, None, described.get(name)))
    for name, value in vars(kind).items():
        if isinstance(value, property) and f"{kind.__name__}.{name}" not in BETWEEN_LAYERS and not name.startswith("_"):
            returns = inspect.get_annotations(value.fget).get("return")  # type: ignore[arg-type]
            text = None if value.__doc__ is None else _joined(Doc(inspect.cleandoc(value.__doc__)).prose)
            found[name] = Item(name, _types([returns], kind), None, text)
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


def _below(body: list[ast.stmt]) -> dict[str, str]:
    """What the string below an assignment says of it."""
    found = {}
    for node, following in itertools.pairwise(body):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(following, ast.Expr):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
            found[target.id] = _joined(_markdown(inspect.cleandoc(following.value.value)))
    return found


def _beside(kind: type) -> dict[str, str]:
    """What the comment beside a field, or beside ``self.field = ...``, says of it."""
    found = {}
    text = textwrap.dedent(inspect.getsource(kind))
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        before = lines[token.start[0] - 1][: token.start[1]] if token.type == tokenize.COMMENT else ""
        field = re.match(r"\s*(?:self\.)?(\w+)(?:: [^=]+)?(?: = .*)?$", before.rstrip())
        if field is not None and not token.string.startswith("# type:"):
            found[field[1]] = token.string.lstrip("# ")
    return found


def _is_struct(kind: type) -> bool:
    return hasattr(kind, "__struct_fields__")


def _field_default(kind: type, name: str) -> str | None:
    if not _is_struct(kind):
        return None
    parameter = inspect.signature(kind).parameters[name]
    return None if parameter.default is parameter.empty else _default(parameter.default)


# --- signatures -----------------------------------------------------------------------------------------------------------------


STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _parameters(fn: Callable[..., Any], doc: Doc) -> Iterator[Item]:
    variants = typing.get_overloads(fn) or [fn]
    for parameter in _of_caller(fn):
        given = [
            inspect.signature(variant).parameters[parameter.name].annotation
            for variant in variants
            if parameter.name in inspect.signature(variant).parameters
        ]
        kinds = [kind for kind in given if kind not in (parameter.empty, "None")] or [parameter.annotation]
        default = None if parameter.default is parameter.empty else _default(parameter.default)
        star = STARS.get(parameter.kind, "")
        text = doc.args.get(parameter.name)
        yield Item(star + parameter.name, None if parameter.empty in kinds else _types(kinds, fn), default, text)


def _of_caller(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    return [parameter for parameter in inspect.signature(fn).parameters.values() if parameter.name != "self"]


def _signature(name: str, fn: Callable[..., Any]) -> str:
    shown, last = [], None
    for parameter in _of_caller(fn):
        if last is inspect.Parameter.POSITIONAL_ONLY and parameter.kind is not last:
            shown.append("/")
        if parameter.kind is parameter.KEYWORD_ONLY and last not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            shown.append("*")
        star = STARS.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={_default(parameter.default)}"
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
    found = [_types([variant.__annotations__["return"]], fn) for variant in typing.get_overloads(fn) or [fn]]
    found = [text for text in found if not re.search(r"\b_\w", text)]
    return max(found, key=lambda text: len(re.findall(r"\b[A-Z]\b", text)))


def _default(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if inspect.isclass(value):
        return value.__name__
    if _is_struct(type(value)):
        return f"{type(value).__name__}()"
    if type(value).__name__ == "datetime":
        return repr(value.isoformat()).replace("'", '"')  # type: ignore[attr-defined]
    return "..." if " object at " in repr(value) else repr(value)  # a mark for "not given"


def _types(annotations: list[Any], where: Any) -> str:
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


# --- docstrings -----------------------------------------------------------------------------------------------------------------


class Doc:
    """A docstring, taken apart.

    Attributes:
        prose: Markdown: all that stands in no section.
        args: what ``Args:`` says of each name.
        attributes: what ``Attributes:`` says of each name.
        raises: what ``Raises:`` says, in order.
    """

    def __init__(self, text: str) -> None:
        self.args: dict[str, str] = {}
        self.attributes: dict[str, str] = {}
        self.raises: list[tuple[str, str]] = []
        prose: list[str] = []
        section: str | None = None
        for line in text.splitlines():
            if line in ("Args:", "Attributes:", "Raises:"):
                section = line
            elif section is not None and (line.startswith("    ") or not line):
                self._item(section, line)
            else:
                section = None
                prose.append(line)
        self.prose = _markdown("\n".join(prose).strip())
        self.args, self.attributes = _split(self.args), _split(self.attributes)
        self.raises = [(names, _markdown(said)) for names, said in self.raises]

    def _item(self, section: str, line: str) -> None:
        item = re.match(r"    ([*\w]+(?:, \w+)*): (.*)", line)
        if section == "Raises:":
            if item:
                self.raises.append((item[1], item[2]))
            elif line.startswith("     "):
                names, said = self.raises[-1]
                self.raises[-1] = (names, f"{said} {line.strip()}")
            elif line:
                self.raises.append(("", line.strip()))
            return
        said_of = self.args if section == "Args:" else self.attributes
        if item:
            said_of[item[1]] = item[2]
        elif line:
            last = next(reversed(said_of))
            said_of[last] += f" {line.strip()}"


def _split(said: dict[str, str]) -> dict[str, str]:
    return {name.lstrip("*"): _markdown(text) for names, text in said.items() for name in names.split(", ")}


def _markdown(text: str) -> str:
    """reST's double backticks as single ones, and indented blocks as fenced ones."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(
        r"(?:^    .*\n?(?:\n(?=    ))?)+", lambda block: f"```text\n{textwrap.dedent(block[0]).rstrip()}\n```\n", text, flags=re.M
    )


def _joined(text: str) -> str:
    return " ".join(text.split())


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
    return textwrap.fill(_joined(text), WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
