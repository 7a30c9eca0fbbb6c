"""``millstream run TARGET``: run an app until it is stopped, or idle."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from millstream.cli.folders import VARIABLE, beside
from millstream.cli.output import FAILED, USAGE, errors, fail, usage
from millstream.cli.tracebacks import tell_traceback

if TYPE_CHECKING:
    from millstream.cli.progress import Progress
    from millstream.core.graph import Graph
    from millstream.engine.clock import Clock

PATIENCE_S = 3.0  # other commands hold the folder for a moment, to pass something on


def run(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The app: path.py, or module:app.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            envvar=VARIABLE,
            metavar="DIR",
            show_default=False,
            help="The data folder, made if need be. Default: .millstream/APP beside TARGET.",
        ),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when the sources are consumed and nothing can go on by itself.")
    ] = False,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="When it is stopped: how long steps under way get to end, such as 500ms, 25s, 2m.")
    ] = "25s",
    existing: Annotated[bool, typer.Option("--existing", help="Fail if there is no data yet (a mistyped --data).")] = False,
    max_clock_jump: Annotated[
        str,
        typer.Option(metavar="TIME", help="Stop with an error if the clock leaps ahead further than this, and fire no timer."),
    ] = "1h",
) -> None:
    """Run an app, or go on where it was stopped or killed.

    It reads its sources, handles its events and writes its sinks; everything that happens is durable in the data folder. Kill it
    however you like: the same command goes on where it was.

    \b
    millstream run app.py                until Ctrl-C or SIGTERM; twice: at once
    millstream run app.py --until-idle   for files: until they are worked off
    millstream run shop.flows:app --data /var/lib/shop --existing

    With --until-idle, sleeps and back-offs are waited for; runs that wait for a signal or are in doubt, and what is queued behind
    them, are not: they are kept, and the next run goes on with them.

    Exit code 0 whatever becomes of its runs (130 after a second Ctrl-C): `millstream runs --status failed` lists those that failed.
    """
    grace_us, jump_us = _duration(grace, "--grace"), _duration(max_clock_jump, "--max-clock-jump")
    here = os.getcwd()
    graph = _graph(target)
    folder = data if data is not None else beside(target, graph.app)
    if os.getcwd() != here:  # the app has gone elsewhere
        folder = Path(here, folder)
    with errors():
        _serve(graph, folder, until_idle, grace_us / 1e6, existing, jump_us)


def _duration(text: str, option: str) -> int:
    from millstream.agents.durations import microseconds

    try:
        return microseconds(text)
    except (TypeError, ValueError) as problem:
        usage(f"{option}: {problem}; write it like 250ms, 10s, 5m, 24h or 7d")


# --- the app --------------------------------------------------------------------------------------------------------------


def _graph(target: str) -> Graph:
    """What TARGET declares."""
    from millstream.agents.resolve import resolve
    from millstream.errors import MillstreamError, UsageError

    try:
        return resolve(target).graph()
    except UsageError as error:
        fail(str(error), USAGE)
    except MillstreamError as error:
        cause = error.__cause__
        if cause is not None and cause is not error:
            tell_traceback(cause)
        fail(str(error))


# --- running it -----------------------------------------------------------------------------------------------------------


def _serve(graph: Graph, folder: Path, until_idle: bool, grace_s: float, existing: bool, jump_us: int) -> None:
    from millstream.cli.progress import progress
    from millstream.errors import MillstreamError, StoreLocked

    shown = progress(graph, folder)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            _serve_once(graph, folder, until_idle, grace_s, existing, _clock(jump_us), shown)
            break
        except StoreLocked:
            if time.monotonic() > deadline or _answers(folder):
                raise
            time.sleep(0.05)
        except (MillstreamError, KeyboardInterrupt):
            raise
        except Exception as error:  # of the app's lifespan or connectors, or a bug of ours
            _unexpected(error)
        finally:
            shown.close()
    shown.summary()


def _serve_once(
    graph: Graph, folder: Path, until_idle: bool, grace_s: float, existing: bool, clock: Clock, shown: Progress
) -> None:
    from millstream.runtime.local import run_loop, serve

    run_loop(
        serve(
            graph,
            folder,
            until_idle=until_idle,
            grace=grace_s,
            existing=existing,
            clock=clock,
            log=shown.log,
            opened=shown.start,
            watch=shown.watch,
            at_once=shown.close,
        )
    )


def _clock(jump_us: int) -> Clock:
    from millstream.engine.clock import YEAR, SystemClock

    return SystemClock(max_jump=jump_us, max_gap=max(YEAR, jump_us))


def _answers(folder: Path) -> bool:
    from millstream.runtime.control import answers
    from millstream.stores.folder import SOCKET

    return answers(folder / SOCKET)


def _unexpected(error: Exception) -> NoReturn:
    text = f"{type(error).__name__}: {error}"
    if tell_traceback(error):
        fail(f"the engine stopped: {text} (raised by the app's own code; what was committed is kept)")
    traceback.print_exception(error, file=sys.stderr)
    fail(f"the engine stopped: {text}; this looks like a bug in Millstream; what was committed is kept", FAILED)
