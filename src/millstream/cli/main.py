"""The command ``millstream``. Each command has its file, and imports what it needs when it is called: help costs no engine."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated

import typer
from typer.core import TyperCommand

from millstream.cli import demo, listing, new, operate, run, show
from millstream.cli.output import FAILED, printable, say, tell

COMMANDS = (
    demo.demo,
    new.new,
    run.run,
    listing.runs,
    show.show,
    listing.state,
    listing.doubts,
    operate.resolve,
    operate.signal,
    operate.retry,
    operate.cancel,
    listing.dead_letters,
)

app = typer.Typer(
    name="millstream",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would be half of the time that --help takes
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Command(TyperCommand):
    """A command whose help names its arguments as people write them, without Python's types and marks of Typer's own."""

    def get_usage(self, ctx: typer.Context) -> str:  # type: ignore[override]
        return _plain(super().get_usage(ctx))

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]
        return _plain(super().get_help(ctx))


def _plain(text: str) -> str:
    usage, blank, rest = text.partition("\n\n")
    usage = re.sub(r"\{([^{}]+)\}(?:\.\.\.)?", r"\1", usage)
    return usage + blank + re.sub(r" <(?:str|path|list\[str\])>|\s+\[required\]", "", rest)


for command in COMMANDS:
    app.command(cls=Command)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"millstream {version('millstream')}")
        raise typer.Exit


@app.callback()
def millstream(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run AI agents as durable stream processors: no event lost, no effect done twice unnoticed.

    \b
    millstream demo                 watch crashes being survived, in ten seconds
    millstream new shop             a small project that runs, with tests
    millstream run shop/app.py      run an app; kill it, run it again: it goes on

    An app has agents. One event handled by one agent is a run; each call of a tool in it is a step. Everything is kept in a data
    folder, .millstream/APP beside the app. The other commands look into it, or say something to its runs; they work while
    `millstream run` runs, and while it does not.

    Exit codes: 0 done, 1 it failed or is not there, 2 wrong usage. Results go to stdout, all else to stderr.
    """


def main() -> None:
    """The entry point of the command ``millstream``, and of ``python -m millstream``."""
    _open_closed_streams()
    try:
        try:
            app(prog_name="millstream")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `millstream runs | head`: nobody reads any more, and Python would complain about it at exit
        _drop_stdout()
    except OSError as error:  # what was said cannot be written, most likely: a disk that is full
        _drop_stdout()
        where = "" if error.filename is not None else "cannot write the output: "
        tell(printable(f"error: {where}{error}"))
        sys.exit(FAILED)


def _open_closed_streams() -> None:
    """Give the standard streams back to a process that was started without (``<&-``, as some daemons and cron do it).

    Else the next files that are opened take their numbers: a database would be file 1, and whoever prints writes into it. Standard
    input is then at its end. What is printed is dropped, as Python does it, but file 1 itself cannot be written to: outputs of a
    ``stdout()`` sink are kept, and an error, and not lost. (Linux does the same for setuid programs, gnulib's ``stdopen`` for all.)
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - these live as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _drop_stdout() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - likewise
