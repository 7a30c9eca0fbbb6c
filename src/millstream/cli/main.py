"""The command ``millstream``. Each command has its file, and imports what it needs when it is called: help costs no engine."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer
from typer.core import TyperCommand

from millstream.cli import demo, listing, new, operate, run, show
from millstream.cli.output import say

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
    try:
        app(prog_name="millstream")
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # `millstream runs | head`: nobody reads any more, and Python would complain about it at exit
            sys.stdout = open("/dev/null", "w")  # noqa: SIM115 - lives as long as the process
