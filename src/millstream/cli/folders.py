"""Which data folder a command means, and looking into it.

``--data``, else ``MILLSTREAM_DATA``, else the only ``.millstream/*`` in the current folder that holds a store. ``run`` knows its
app, and so its folder: ``.millstream/<app>`` beside TARGET.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.output import errors, fail, usage

if TYPE_CHECKING:
    from millstream.stores.sqlite import SqliteStore

VARIABLE = "MILLSTREAM_DATA"
HOME = ".millstream"
DATABASE = "millstream.db"  # stores.folder has it too; that module is not imported to find out that there is none

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar=VARIABLE,
        metavar="DIR",
        show_default=False,
        help=f"The data folder. Default: the only one in ./{HOME}.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def beside(target: str, app: str) -> Path:
    """The data folder of an app that TARGET means, unless another one is given."""
    folder = os.path.dirname(target) if target.endswith(".py") else ""
    return Path(folder, HOME, app)


def data_folder(given: Path | None) -> Path:
    """The data folder that a command without TARGET means. Ends the command if there is none, or more than one."""
    if given is not None:
        return _named(given)
    found = stores_in(Path(HOME))
    if len(found) == 1:
        return found[0]
    here = os.path.join(os.getcwd(), HOME)
    if not found:
        usage(
            f"there is no data folder in {here}; go to the folder of the app, or name one with --data DIR or {VARIABLE}\n"
            "(`millstream run TARGET` makes one)"
        )
    names = "\n".join(f"--data {folder}" for folder in found)
    usage(f"there are {len(found)} data folders in {here}; name one:\n{names}")


def _named(folder: Path) -> Path:
    if (folder / DATABASE).is_file():
        return folder
    near = [*stores_in(folder), *stores_in(folder / HOME)]
    if near:
        fail(f"{folder} is not a data folder, but it holds some; name one:\n" + "\n".join(f"--data {found}" for found in near))
    what = f"there is no {DATABASE} in it" if folder.is_dir() else "there is no such folder"
    fail(f"{folder} is not a data folder: {what}; check --data and {VARIABLE} (`millstream run TARGET` makes data folders)")


def stores_in(folder: Path) -> list[Path]:
    """The data folders right below ``folder``."""
    try:
        return sorted(child for child in folder.iterdir() if (child / DATABASE).is_file())
    except OSError:
        return []


@contextmanager
def looking(given: Path | None) -> Iterator[SqliteStore]:
    """The store of a data folder, to be read only: an engine may write to it meanwhile."""
    from millstream.stores.sqlite import SqliteStore

    folder = data_folder(given)
    with errors():
        store = SqliteStore(folder / DATABASE, app=None, partitions=None, read_only=True)
        try:
            yield store
        finally:
            store.close()


def option(folder: Path) -> str:
    """What a suggested command needs to mean this folder, from where the user is: nothing, or ``--data DIR``."""
    given = os.environ.get(VARIABLE)
    default = [Path(given)] if given else stores_in(Path(HOME))
    if [path.absolute() for path in default] == [folder.absolute()]:
        return ""
    import shlex

    return f" --data {shlex.quote(str(folder))}"
