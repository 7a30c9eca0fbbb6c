"""The command ``millstream``. Each command has its file, and imports what it needs when it is called: help costs no engine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

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
for command in COMMANDS:
    app.command()(command)


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
    millstream demo                 watch a crash being survived, in 15 seconds
    millstream new shop             a small project that runs, with a test
    millstream run shop/app.py      run an app; kill it, run it again: it goes on

    Everything an app does is kept in a data folder, .millstream/APP beside it. All other commands look into that folder, or
    pass something on to its runs, while the engine runs and while it does not.
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
