"""What people do to runs: ``signal``, ``resolve``, ``retry``, ``cancel``, and dead letters read again.

A running engine is asked through its socket. Where none runs, the folder's lock is taken, the thing is committed, and the next
``millstream run`` goes on from there. Either way the command returns when it is durable.
"""

from __future__ import annotations

import getpass
import json as jsons
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from millstream.cli.folders import Data, Json, data_folder, looking, option
from millstream.cli.output import count, errors, fail, jsonl, printable, say, tell, usage
from millstream.cli.rows import waits

PATIENCE_S = 10.0  # while an engine starts or ends, it holds the lock and does not answer
PAUSE_S = 0.05

By = Annotated[
    str | None, typer.Option("--by", metavar="WHO", show_default=False, help="Who says so; kept. Default: your login name.")
]


def signal(
    words: Annotated[
        list[str],
        typer.Argument(metavar="(RUN | AGENT KEY) NAME JSON", show_default=False, help="To whom, which signal, and its value."),
    ],
    about: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is about: for `receive(NAME, about=TEXT)`.")] = None,
    id: Annotated[str | None, typer.Option(metavar="ID", help="Its id: a second one with the same id is ignored.")] = None,
    by: By = None,
    data: Data = None,
) -> None:
    """Send a signal to a run, or to an agent's key.

    NAME is what the handler waits for with `await ctx.receive(NAME)`, JSON is the value that it gets. A signal to an agent's key
    goes to whichever run of the key waits for it, now or later: one that nobody waits for is kept, and you are told so.

    \b
    millstream runs --status waiting     who waits for what
    millstream signal 42-1-17 approval '{"ok": true}'
    millstream signal fulfil c42 approval '{"ok": true}' --about o-1001
    millstream signal fulfil c42 note '"text needs quotes of its own"'
    millstream signal 42-1-17 change -- -5

    A handler that waits with `receive(NAME, about=X)` takes only a signal with --about X. With --id it can be sent again safely.
    A value that begins with `-` goes behind `--`.
    """
    if len(words) == 3:
        to, (name, text) = {"run": _run(words[0])}, words[1:]
    elif len(words) == 4:
        to, (name, text) = {"agent": words[0], "key": words[1]}, words[2:]
    else:
        usage(f"a signal is RUN NAME JSON, or AGENT KEY NAME JSON; there are {count(len(words), 'word')}: {' '.join(words)}")
    value = _json(text, "the signal's value")
    if not name:
        usage("the NAME of the signal is empty: no handler waits for that (a variable of the shell that is not set?)")
    running, answer = _do(data, {"op": "signal", **to, "name": name, "value": value, "about": about, "id": id, "by": by or _me()})
    if answer == "duplicate":
        tell(f"a signal with the id {printable(id or '')} was sent before; nothing was done")
    elif answer == "kept":
        tell("signal sent; nobody waits for it now; it is kept")
        tell(printable(_who_waits(data, to)))
    else:
        _done("signal sent", running)


def _who_waits(data: Path | None, to: dict[str, str]) -> str:
    """What is waited for where nobody waits for a signal: its name, --about or the key may be misspelt."""
    from millstream.core.identity import parse_run_id, run_id

    with looking(data) as store:
        if "run" in to:
            row = store.run(parse_run_id(to["run"]).number)
            if row is None or not waits(row):
                return f"run {to['run']} waits for no signal" + ("" if row is None else f"; it is {row.status}")
            return f"run {to['run']} waits for {' or '.join(waits(row))}"
        place = f"{to['agent']}, key {to['key']!r}"
        rows = store.waiting(to["agent"], to["key"], 6)
        handled = rows or list(store.runs(agent=to["agent"], key=to["key"], limit=1))
    if not rows:
        return f"no run of {place} waits" if handled else f"{place} has handled no event yet"
    found = [f"run {run_id(row.partition, row.run)} waits for {' or '.join(waits(row)) or 'something else'}" for row in rows[:5]]
    return "; ".join(found) + (" …" if len(rows) > 5 else "")


def resolve(
    step: Annotated[str, typer.Argument(metavar="STEP", help="Id of a step in doubt, from `millstream doubts`.")],
    result: Annotated[str | None, typer.Option(metavar="JSON", help="It happened, and this is what the tool returned.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="It did not happen: do it now, same key and arguments.")] = False,
    failed: Annotated[
        str | None, typer.Option("--fail", metavar="TEXT", help="It did not happen, and shall not: it failed, because of TEXT.")
    ] = None,
    by: By = None,
    data: Data = None,
) -> None:
    """Settle a step in doubt, after a look at the far side.

    Give exactly one of --result, --retry and --fail. It is recorded with who said it, and stands: a retry of the run neither asks
    nor performs it again. The handler goes on with the result, or gets the exception ToolFailed with your TEXT.

    \b
    millstream doubts                    what is in doubt, and its idempotency key
    millstream resolve 42-1-17/charge --result '{"receipt": "R-81"}'
    millstream resolve 42-1-17/charge --retry --by alice
    millstream resolve 42-1-17/charge --fail 'the bank knows nothing of it'
    """
    from millstream.core.identity import parse_step_id

    if [result is not None, retry, failed is not None].count(True) != 1:
        usage("say what happened with exactly one of --result JSON, --retry, --fail TEXT (see `millstream resolve --help`)")
    try:
        parse_step_id(step)
    except ValueError as error:
        usage(str(error))
    how = "result" if result is not None else "retry" if retry else "fail"
    value = _json(result, "the result") if result is not None else failed
    running, _ = _do(data, {"op": "resolve", "step": step, "how": how, "value": value, "by": by or _me()})
    _done({"result": "settled with a result", "retry": "will be done again", "fail": "settled as failed"}[how], running)


RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, from `millstream runs`.")]


def retry(run: RunId, data: Data = None) -> None:
    """Try a failed, diverged or cancelled run again.

    Its handler begins anew, with the code and the state of today. Steps that succeeded are not performed again: their recorded
    results are handed over. A step that failed is tried again, but not one that a person settled as failed.

    \b
    millstream runs --status failed      which, and why
    millstream show 42-1-17              what it had done
    millstream retry 42-1-17
    """
    running, _ = _do(data, {"op": "retry", "run": _run(run), "by": _me()})
    _done("will be tried again", running)


def cancel(run: RunId, data: Data = None) -> None:
    """Cancel a run.

    Its handler gets CancelledError where it waits, and may still call tools to clean up (in `except` or `finally`). A run that has
    not begun, or has failed, just ends. What its steps did stays done.

    \b
    millstream runs --status waiting     which, and for what
    millstream cancel 42-1-17
    """
    running, status = _do(data, {"op": "cancel", "run": _run(run), "by": _me()})
    if status == "cancelled":
        tell("cancelled")
    elif doubts := _in_doubt(data, run):
        tell(printable(f"cancellation is recorded; {doubts} in doubt, and its handler goes on when that is settled:"))
        tell("see `millstream doubts`")
    else:
        _done("cancellation is recorded; its handler is told", running)


def _in_doubt(data: Path | None, run: str) -> str | None:
    """Which steps of a run are in doubt."""
    from millstream.core.identity import parse_run_id

    with looking(data) as store:
        steps = [doubt.step for doubt in store.doubts_of(parse_run_id(run).number)]
    return f"{', '.join(steps)} {'is' if len(steps) == 1 else 'are'}" if steps else None


def retry_letters(data: Path | None, json: Json) -> None:
    """``dead-letters --retry``: only an engine knows the sources and operators that take them."""
    folder = data_folder(data)
    deadline = time.monotonic() + PATIENCE_S
    with errors():
        while True:
            try:
                answer = _ask(folder, {"op": "retry_letters"})
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline or not _is_held(folder):
                    fail(
                        f"no engine runs on {folder}, and only one that knows the app's sources can read dead letters again; start "
                        f"it with `millstream run TARGET`, and repeat `millstream dead-letters --retry{option(folder)}` meanwhile"
                    )
                time.sleep(PAUSE_S)
    if json:
        say(jsonl(answer))
    else:
        became = "an event" if answer["retried"] == 1 else "events"
        tell(f"{count(answer['retried'], 'dead letter')} became {became}, {answer['remaining']:,} remain")
        _tell_others(answer)


def _tell_others(answer: dict[str, Any]) -> None:
    """What became of the dead letters that did not become events."""
    if answer["duplicates"]:
        one, more = (
            "was a duplicate of an event that had come otherwise, and is",
            "were duplicates of events that had come otherwise, and are",
        )
        tell(f"{count(answer['duplicates'], one, more)} gone")
    if answer["refused"]:
        first = "because" if answer["refused"] == 1 else "the first because"
        tell(f"{count(answer['refused'], 'was', 'were')} refused again, {first}: {printable(answer['reason'])}")
    if answer["cannot"]:
        why = ", ".join(f"{number:,} {reason}" for reason, number in answer["cannot"].items())
        tell(f"{sum(answer['cannot'].values()):,} cannot be retried: {why}")


# --- asking, or doing it here ---------------------------------------------------------------------------------------------


def _do(data: Path | None, request: dict[str, Any]) -> tuple[bool, Any]:
    """Have a request carried out. Returns whether an engine did it, and its answer."""
    from millstream.errors import NotFound, UsageError

    folder = data_folder(data)
    deadline = time.monotonic() + PATIENCE_S
    with errors():
        while True:
            try:
                return True, _ask(folder, request)
            except ConnectionRefusedError:
                pass
            except (NotFound, UsageError) as error:
                _refused(error, request)
            try:
                visited, answer = _visit(folder, request, last=time.monotonic() > deadline)
            except (NotFound, UsageError) as error:
                _refused(error, request)
            if visited:
                return False, answer
            time.sleep(PAUSE_S)


def _refused(error: Exception, request: dict[str, Any]) -> NoReturn:
    """It cannot be done. The error says why, and of what."""
    what = request.get("step") or request.get("run") or ""
    fail(str(error) if what.partition("/")[0] in str(error) else f"{what}: {error}")


def _ask(folder: Path, request: dict[str, Any]) -> Any:
    """Ask the engine. ConnectionRefusedError: none answers."""
    from millstream.runtime.control import ask
    from millstream.stores.folder import SOCKET

    try:
        return ask(
            folder / SOCKET, request, slow=lambda: tell("the engine answers when it has committed this, and has not yet; waiting")
        )
    except ConnectionRefusedError:
        raise
    except ConnectionError as error:
        fail(f"{error}; see whether it took effect (`millstream show RUN`) before you repeat it")
    except TimeoutError:
        fail("the engine has not committed it yet, and may still do so; see why it is slow where it runs (a full disk?)")


def _visit(folder: Path, request: dict[str, Any], *, last: bool) -> tuple[bool, Any]:
    """Do it here, if nobody holds the folder; (False, None): somebody does, and is perhaps about to answer or to go."""
    from millstream.errors import StoreLocked
    from millstream.runtime.local import run_loop, visit

    try:
        return True, run_loop(visit(folder, request))
    except StoreLocked as error:
        if last:
            fail(f"{error}; it holds the folder and does not answer at its socket")
        return False, None


def _is_held(folder: Path) -> bool:
    """Does something hold the folder: an engine that starts or ends, another command?"""
    from millstream.errors import StoreLocked
    from millstream.stores.folder import DataFolder

    try:
        DataFolder(folder).lock().release()
    except StoreLocked:
        return True
    return False


def _done(what: str, running: bool) -> None:
    tell(what if running else f"{what}; no engine runs, so it takes effect with the next `millstream run`")


# --- arguments ------------------------------------------------------------------------------------------------------------


def _run(text: str) -> str:
    from millstream.core.identity import parse_run_id

    try:
        parse_run_id(text)
    except ValueError as error:
        usage(str(error))
    return text


def _json(text: str, what: str) -> Any:
    try:
        return jsons.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        hint = f"; text needs quotes of its own: '{jsons.dumps(text)}'" if text and text[0] not in "{[\"'" else ""
        usage(f"{what} is not JSON: {text!r}: {error}{hint}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _me() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return None
