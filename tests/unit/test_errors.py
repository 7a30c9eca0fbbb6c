"""The errors file draws its own tree, and draws it right."""

from __future__ import annotations

import inspect
import re

import pytest

from millstream import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__]


def drawn() -> list[str]:
    """The tree in the docstring, without what is said about each class."""
    _, tree, *_ = inspect.getdoc(errors).split("\n\n")
    return [re.match(r"[│├└─ ]*\w*", line).group() for line in inspect.cleandoc(tree).splitlines()]


def draw(parent: type, margin: str = "") -> list[str]:
    """The tree as the classes make it, in the order of the file."""
    lines = []
    children = [cls for cls in CLASSES if cls.__bases__[0] is parent]
    for child in children:
        last = child is children[-1]
        lines += [f"{margin}{'└── ' if last else '├── '}{child.__name__}", *draw(child, margin + ("    " if last else "│   "))]
    return lines


def test_the_drawn_tree_is_the_real_one() -> None:
    real = ["Exception", *draw(Exception), "BaseException", *draw(BaseException)]
    assert "\n".join(drawn()) == "\n".join(real)  # as text: pytest then shows the line that differs


def test_every_error_is_in_the_tree() -> None:
    assert len(draw(Exception)) + len(draw(BaseException)) == len(CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_says_what_it_means(cls: type) -> None:
    assert (vars(cls).get("__doc__") or "").strip()
