"""``millstream new NAME``: a small project that runs, and has tests."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.output import choices, fail, say, usage

TEMPLATE = Path(__file__).parent / "templates" / "new"
PLACEHOLDER = "PROJECT"
FILES = {
    "app.py": "app.py",
    "orders.jsonl": "orders.jsonl",
    "test_app.py": "test_app.py",
    "README.md": "README.md",
    "gitignore": ".gitignore",
}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of a folder and of an app alike (agents.places)


def new(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the app, and of the folder that is made.")]) -> None:
    """Make a small project that runs: an app, its input, tests.

    \b
    millstream new shop
    cd shop
    millstream run app.py --until-idle   reads orders.jsonl, writes receipts.jsonl
    python -m pip install pytest
    python -m pytest                     in memory, virtual time, with a crash

    Nothing is overwritten: the folder NAME must not exist yet.
    """
    if not NAME.fullmatch(name):
        usage(f"{name!r} cannot be the name of an app; use up to 64 ASCII letters, digits, '_', '-' and '.', such as shop")
    folder = Path(name)
    if folder.exists() or folder.is_symlink():
        usage(f"{folder} exists already; choose another name, or go elsewhere: nothing is overwritten")
    try:
        folder.mkdir()
        for source, target in FILES.items():
            text = (TEMPLATE / source).read_text(encoding="utf-8").replace(PLACEHOLDER, name)
            (folder / target).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"the project cannot be written into {folder}: {error}; check who may write there")
    say(f"{folder}: {', '.join(FILES.values())}\n")
    steps = [
        (f"cd {shlex.quote(name)}", ""),
        ("millstream run app.py --until-idle", "reads orders.jsonl, writes receipts.jsonl"),
        ("python -m pytest", "tests it; needs: python -m pip install pytest"),
    ]
    say(choices(steps, sys.stdout))
    say("\nREADME.md says what to try then.")
