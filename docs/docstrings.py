"""What is written about a name in the code: docstrings, the strings below assignments, the comments beside fields.

A docstring is read as it is written everywhere here: prose, then ``Args:``, ``Attributes:`` and ``Raises:``. What comes out is
Markdown.
"""

from __future__ import annotations

import ast
import inspect
import io
import itertools
import re
import textwrap
import tokenize


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
        self.prose = markdown("\n".join(prose).strip())
        self.args, self.attributes = _split(self.args), _split(self.attributes)
        self.raises = [(names, markdown(said)) for names, said in self.raises]

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
    return {name.lstrip("*"): markdown(text) for names, text in said.items() for name in names.split(", ")}


def markdown(text: str) -> str:
    """reST's double backticks as single ones, and indented blocks as fenced ones."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(
        r"(?:^    .*\n?(?:\n(?=    ))?)+", lambda block: f"```text\n{textwrap.dedent(block[0]).rstrip()}\n```\n", text, flags=re.M
    )


def joined(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def texts_below(body: list[ast.stmt]) -> dict[str, str]:
    """What the string below an assignment says of it."""
    found = {}
    for node, following in itertools.pairwise(body):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(following, ast.Expr):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
            found[target.id] = joined(markdown(inspect.cleandoc(following.value.value)))
    return found


def texts_beside(kind: type) -> dict[str, str]:
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
