"""docs/effects-matrix.md: what becomes of a step wherever its process dies or its time runs out, for each class of effects.

Every cell is driven for real: the engine and the record in memory, a far side that keeps its own count, a process that dies at the
named point. What is expected is written down here, from the promises of docs/effects.md, and not taken from the engine's own table.
The page is the table of what was observed: ``WRITE_DOCS=1 python -m pytest tests/docs/test_effects_matrix.py`` writes it anew.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from millstream import (
    INJECTED,
    App,
    Connection,
    Context,
    Done,
    Effect,
    NotDone,
    NotSent,
    Retry,
    ToolCall,
    ToolFailed,
    Unknown,
    jsonl,
    tool,
)
from millstream.core.effects import TRANSITIONS, Ended, Next
from millstream.testing import AppRun, Crash

PAGE = Path(__file__).parents[2] / "docs" / "effects-matrix.md"
READ, IDEMPOTENT, TRANSACTIONAL, VERIFIED, AT_MOST_ONCE = CLASSES = tuple(Effect)

# --- what the promises say --------------------------------------------------------------------------------------------------------

AGAIN = "2x, 2 bodies: result"  # a READ that happened twice: harmless by its class, and only one answer is recorded
ONCE = "1x, 1 body: result"
ONCE_IN_TWO = "1x, 2 bodies: result"  # the far side, its key row or its probe knows that one of them took no effect
DOUBT_0, DOUBT_1 = "0x, 1 body: in doubt", "1x, 1 body: in doubt"
NO = None  # the class has no such point

# A row for each point; READ, IDEMPOTENT, TRANSACTIONAL, VERIFIED, AT_MOST_ONCE.
EXPECTED: dict[str, Sequence[str | None]] = {
    # the process dies
    "before it was asked for": (ONCE, ONCE, ONCE, ONCE, ONCE),
    "asked for; intent not durable": (ONCE, ONCE, ONCE, ONCE, ONCE),
    "intent durable; not sent": (ONCE, ONCE, ONCE, ONCE, "0x, 0 bodies: in doubt"),
    "sent; not arrived": (ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO, DOUBT_0),
    "sent; arrived": (AGAIN, ONCE_IN_TWO, ONCE_IN_TWO, ONCE, DOUBT_1),
    "performed; nobody told": (AGAIN, ONCE_IN_TWO, ONCE, ONCE, DOUBT_1),
    "result handed over; not durable": (AGAIN, ONCE_IN_TWO, ONCE, ONCE, DOUBT_1),
    "result durable": (ONCE, ONCE, ONCE, ONCE, ONCE),
    # the run is put away, and the engine stopped, while it waits; its `finally` calls the tool
    "put away inside try/finally": (ONCE, ONCE, ONCE, ONCE, ONCE),
    # an attempt ends
    "not sent, then sent": (ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO),
    "not sent, each time": ("0x, 3 bodies: ToolFailed(NotSent)",) * 5,
    "definite failure": ("0x, 1 body: ToolFailed(ValueError)",) * 5,
    "connection lost, not arrived": (ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO, ONCE_IN_TWO, DOUBT_0),
    "connection lost, arrived": (AGAIN, ONCE_IN_TWO, ONCE_IN_TWO, ONCE, DOUBT_1),
    "connection lost, each time": (
        "3x, 3 bodies: ToolFailed(ConnectionResetError)",
        "1x, 3 bodies: in doubt",
        "0x, 3 bodies: ToolFailed(ConnectionResetError)",  # SQL that was not committed is rolled back: it was not sent
        ONCE,
        DOUBT_1,
    ),
    "connection lost, next attempt beyond `key_ttl`": (NO, DOUBT_1, NO, NO, NO),
    "committed, the database's answer lost": (NO, NO, ONCE, NO, NO),
    "timed out and cancelled, arrived": (AGAIN, ONCE_IN_TWO, NO, ONCE, DOUBT_1),
    "timed out in a thread, which ends late": (
        "1x, 1 body: ToolFailed(TimeoutError)",
        "1x, 1 body: in doubt, then its late result",
        "1x, 2 bodies: in doubt, then result",  # its right to commit was taken: it is rolled back, and performed again
        "1x, 1 body: in doubt, then its late result",
        "1x, 1 body: in doubt, then its late result",
    ),
    # a probe answers
    "lost; probe says `Done`": (NO, NO, NO, ONCE, NO),
    "lost; probe says `NotDone`": (NO, NO, NO, ONCE_IN_TWO, NO),
    "lost; probe says `NotDone`, attempts used up": (NO, NO, NO, "0x, 1 body: ToolFailed(NotDone)", NO),
    "lost; probe says `Unknown`": (NO, NO, NO, DOUBT_1, NO),
    "lost; probe raises or times out, then says `Done`": (NO, NO, NO, ONCE, NO),
    "lost; probe raises, each time": (NO, NO, NO, DOUBT_1, NO),
    "lost; probe dies with the process": (NO, NO, NO, ONCE, NO),
}
SECTIONS = {
    "before it was asked for": "The process dies",
    "put away inside try/finally": "The run is put away",
    "not sent, then sent": "An attempt ends",
    "lost; probe says `Done`": "A probe answers",
}

# --- the world outside ------------------------------------------------------------------------------------------------------------


class FarSide:
    """What really happened, by its own count. It honours keys (IDEMPOTENT), has a database (TRANSACTIONAL), answers (VERIFIED)."""

    def __init__(self, folder: str, effect: Effect) -> None:
        self.effect = effect
        self.acts: list[str] = []
        self.database = Path(folder, "far.db")
        self.says: Any = None  # what a probe answers instead of the truth
        self.broken: list[str] = []  # of the next probes: "raises", "hangs"
        self.let_go = threading.Event()
        self.commits_unheard = 0  # of the next COMMITs that are made

    def act(self, key: str) -> None:
        if self.effect is not IDEMPOTENT or key not in self.acts:
            self.acts.append(key)

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.database, timeout=30, factory=functools.partial(Unheard, self))
        connection.execute("CREATE TABLE IF NOT EXISTS acts (key TEXT)")
        return connection

    async def probe(self, call: ToolCall) -> Done[str] | NotDone | Unknown:
        await asyncio.sleep(1)
        if self.broken:
            if self.broken.pop(0) == "hangs":
                await asyncio.sleep(3600)
            raise ConnectionResetError("the line broke")
        if self.says is not None:
            return self.says  # type: ignore[no-any-return]
        return Done("result") if call.idempotency_key in self.acts else NotDone()

    def happened(self) -> int:
        if self.effect is not TRANSACTIONAL:
            return len(self.acts)
        connection = self.connect()
        try:
            return int(connection.execute("SELECT count(*) FROM acts").fetchone()[0])
        finally:
            connection.close()


class Unheard(sqlite3.Connection):
    """A connection that can break behind a COMMIT."""

    def __init__(self, far: FarSide, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._far = far

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        cursor = super().execute(sql, *parameters)
        if sql == "COMMIT" and self._far.commits_unheard:
            self._far.commits_unheard -= 1
            raise ConnectionResetError("the line broke")
        return cursor


def tool_of(far: FarSide, script: Sequence[str] = ("ok",), *, blocking: bool = False, **options: Any) -> Any:
    """A tool of the far side's class. What each of its attempts does: the next word of the script, the last one for all others."""
    words = iter(script)
    last = [script[-1]]

    def word() -> str:
        return next(words, last[0])

    def fail(what: str) -> None:
        if what == "not sent":
            raise NotSent("no route to the far side")
        if what == "refused":
            raise ValueError("no such account")
        if what == "lost":
            raise ConnectionResetError("the line broke")

    async def at_the_far_side(call: ToolCall = INJECTED) -> str:
        what = word()
        if what != "arrives":
            await asyncio.sleep(1)  # on its way
            fail(what)
        far.act(call.idempotency_key)
        await asyncio.sleep(1)  # the answer is on its way
        fail(what.removeprefix("arrives, "))
        if what == "hangs":
            await asyncio.sleep(3600)
        return "result"

    def in_a_thread(call: ToolCall = INJECTED) -> str:
        if word() == "hangs":
            assert far.let_go.wait(30)
        far.act(call.idempotency_key)
        return "result"

    def in_our_transaction(conn: Connection = INJECTED) -> str:
        what = word()
        fail(what)
        conn.execute("INSERT INTO acts VALUES ('x')")
        fail(what.removeprefix("arrives, "))
        if what == "hangs":
            assert far.let_go.wait(30)
        return "result"

    if far.effect is TRANSACTIONAL:
        return tool(effect=far.effect, name="effect", database=far.connect, **options)(in_our_transaction)
    if far.effect is VERIFIED:
        options["verify"] = far.probe
    return tool(effect=far.effect, name="effect", **options)(in_a_thread if blocking else at_the_far_side)


# --- the app ----------------------------------------------------------------------------------------------------------------------


class Scene(NamedTuple):
    """One tool in one app, which is about to run."""

    world: AppRun
    far: FarSide
    one: Any
    handed: list[str]  # what any life of the handler was given

    def bodies(self) -> int:
        return sum(not attempt.probe for attempt in self.world.attempts(self.one))

    def told(self) -> str:
        """What became of it: of the run, and at the far side."""
        run = self.world.run_of("1")
        if run.status == "in_doubt":
            sees = "in doubt"
        else:
            run.expect("done")
            (sees,) = self.world.outputs("agent.output")
            assert self.world.state("agent", "a") == {"runs": 1}, "state and output move together"
        return f"{self.far.happened()}x, {self.bodies()} {'body' if self.bodies() == 1 else 'bodies'}: {sees}"

    def settle_doubt(self) -> None:
        """What a person says of a step in doubt is what its handler gets, and nothing is performed for it."""
        before = self.far.happened(), self.bodies()
        (doubt,) = self.world.doubts()
        assert doubt.name == "effect"
        self.world.resolve(doubt, result="by hand")
        self.world.settle()
        assert self.world.outputs("agent.output") == ["by hand"]
        assert (self.far.happened(), self.bodies()) == before


def app_of(one: Any, handed: list[str]) -> tuple[App, Any]:
    app = App("matrix")
    source = app.source("in", jsonl("in"), key="k", id="id")

    @tool(effect=READ)
    async def first() -> None:
        pass

    @tool(effect=READ)
    async def last() -> None:
        await asyncio.sleep(1)

    @app.agent(on=source, state=dict)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        await first()
        try:
            sees = str(await one())
        except ToolFailed as failure:
            sees = f"ToolFailed({failure.type})"
        handed.append(sees)
        await last()
        ctx.state["runs"] = ctx.state.get("runs", 0) + 1
        return sees

    return app, source


def played(effect: Effect, play: Callable[[Scene], str], *script: str, crash: Crash | None = None, **options: Any) -> str:
    """Run the app on one event; ``play`` says what it saw."""
    with tempfile.TemporaryDirectory() as folder:
        far, handed = FarSide(folder, effect), list[str]()
        one = tool_of(far, script or ("ok",), **options)
        app, source = app_of(one, handed)
        with AppRun(app, crash=crash) as world:
            world.send(source, {"k": "a", "id": "1"})
            scene = Scene(world, far, one, handed)
            seen = play(scene)
            if world.doubts():
                scene.settle_doubt()
            return seen


TIMEOUT_MS = 200  # of a tool in a thread: really waited for, since no clock of ours hurries a thread

# --- how each point is reached ----------------------------------------------------------------------------------------------------


def settled(scene: Scene) -> str:
    scene.world.settle()
    return scene.told()


def dies(point: Any, *script: str, step: str = "effect") -> Callable[[Effect], str]:
    def play(scene: Scene) -> str:
        with scene.world.crash_at(step, point):
            scene.world.settle()
        return scene.told()

    return lambda effect: played(effect, play, *script)


class BeforeItsResult(Crash):
    """Dies before the commit of the result: the first one behind the end of the body."""

    def __init__(self) -> None:
        self.performed = self.happened = False

    def reached(self, where: str, moments: Sequence[Any]) -> bool:
        if any((moment.tool, moment.point) == ("effect", "performed") for moment in moments):
            self.performed = True
        elif self.performed and not self.happened and where.startswith("before commit"):
            self.happened = True
            return True
        return False


def dies_with_the_result_in_hand(effect: Effect) -> str:
    crash = BeforeItsResult()

    def play(scene: Scene) -> str:
        scene.world.settle()
        assert crash.happened
        lives = 1 if effect is AT_MOST_ONCE else 2
        assert scene.handed == ["result"] * lives, "the handler had it, and with the process that vanished"
        return scene.told()

    return played(effect, play, crash=crash)


def put_away(effect: Effect) -> str:
    """The handler waits in a ``try`` whose ``finally`` calls the tool: while the run is put away nothing may come of that."""
    with tempfile.TemporaryDirectory() as folder:
        far, finallys = FarSide(folder, effect), 0
        one = tool_of(far)
        app = App("matrix")
        source = app.source("in", jsonl("in"), key="k", id="id")

        @app.agent(on=source, state=dict)
        async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
            nonlocal finallys
            sees = ""
            try:
                await ctx.receive("go")
            finally:
                finallys += 1
                sees = str(await one())
            ctx.state["runs"] = ctx.state.get("runs", 0) + 1
            return sees

        with AppRun(app, put_away=True) as world:
            scene = Scene(world, far, one, [])
            world.send(source, {"k": "a", "id": "1"})
            world.settle()
            world.restart()
            world.settle()
            world.crash()
            world.settle()
            assert finallys >= 1, "it was put away, and its finally ran"
            assert (far.happened(), scene.bodies()) == (0, 0)
            world.run_of("1").expect("waiting")
            world.signal(world.run_of("1"), "go")
            world.settle()
            return scene.told()


def in_time(*script: str, **options: Any) -> Callable[[Effect], str]:
    return lambda effect: played(effect, settled, *script, **options)


def ends_late(effect: Effect) -> str:
    def play(scene: Scene) -> str:
        world = scene.world
        for _ in range(100):
            world.advance(f"{TIMEOUT_MS}ms")
            if world.doubts() or scene.handed:
                break
        overdue = world.run_of("1").status
        assert (scene.far.happened(), scene.bodies()) == (0, 1), "nothing starts beside code that still runs"
        scene.far.let_go.set()
        world.settle()
        told = scene.told()
        if overdue != "in_doubt":
            return told
        return told.replace(": result", ": in doubt, then its late result" if scene.bodies() == 1 else ": in doubt, then result")

    return played(effect, play, "hangs", "ok", blocking=True, timeout=f"{TIMEOUT_MS}ms")


def probed(answer: Any, *script: str, **options: Any) -> Callable[[Effect], str]:
    def play(scene: Scene) -> str:
        scene.far.says = answer
        return settled(scene)

    return lambda effect: played(effect, play, *script, **options)


def unanswered(broken: Sequence[str], probes: int) -> Callable[[Effect], str]:
    def play(scene: Scene) -> str:
        scene.far.broken = list(broken)
        scene.world.settle()
        assert sum(attempt.probe for attempt in scene.world.attempts(scene.one)) == probes
        return scene.told()

    return lambda effect: played(effect, play, "arrives, lost")


def commits_unheard(effect: Effect) -> str:
    def play(scene: Scene) -> str:
        scene.far.commits_unheard = 1
        scene.world.settle()
        assert scene.far.commits_unheard == 0
        assert scene.world.run_of("1").step("effect").attempts == 2, "the second one finds the key row of the first, and its result"
        return scene.told()

    return played(effect, play)


def dies_with_its_probe(effect: Effect) -> str:
    def play(scene: Scene) -> str:
        with scene.world.crash_at("effect", "probed", times=2):
            scene.world.settle()
        assert [attempt.probe for attempt in scene.world.attempts(scene.one)] == [False, True, True, True]
        return scene.told()

    return played(effect, play, "arrives, lost")


DRIVEN: dict[str, Callable[[Effect], str]] = {
    "before it was asked for": dies("performed", step="first"),
    "asked for; intent not durable": dies("before_intent"),
    "intent durable; not sent": dies("intended"),
    "sent; not arrived": dies("sent"),
    "sent; arrived": dies("sent", "arrives"),
    "performed; nobody told": dies("performed"),
    "result handed over; not durable": dies_with_the_result_in_hand,
    "result durable": dies("recorded"),
    "put away inside try/finally": put_away,
    "not sent, then sent": in_time("not sent", "ok"),
    "not sent, each time": in_time("not sent"),
    "definite failure": in_time("refused"),
    "connection lost, not arrived": in_time("lost", "ok"),
    "connection lost, arrived": in_time("arrives, lost", "ok"),
    "connection lost, each time": in_time("arrives, lost"),
    "connection lost, next attempt beyond `key_ttl`": in_time(
        "arrives, lost", "ok", key_ttl="24h", retry=Retry(backoff="30h", max_backoff="30h", jitter=0.0)
    ),
    "committed, the database's answer lost": commits_unheard,
    "timed out and cancelled, arrived": in_time("hangs", "ok", timeout="30s"),
    "timed out in a thread, which ends late": ends_late,
    "lost; probe says `Done`": probed(Done("result"), "arrives, lost"),
    "lost; probe says `NotDone`": probed(NotDone(), "lost", "ok"),
    "lost; probe says `NotDone`, attempts used up": probed(NotDone(), "lost", retry=Retry(attempts=1)),
    "lost; probe says `Unknown`": probed(Unknown(), "arrives, lost"),
    "lost; probe raises or times out, then says `Done`": unanswered(["raises", "hangs"], 3),
    "lost; probe raises, each time": unanswered(["raises"] * 9, 3),
    "lost; probe dies with the process": dies_with_its_probe,
}


@functools.cache
def observed(point: str, effect: Effect) -> str:
    return DRIVEN[point](effect)


CELLS = [
    pytest.param(point, effect, expected, id=f"{point}-{effect.name}")
    for point, row in EXPECTED.items()
    for effect, expected in zip(CLASSES, row, strict=True)
    if expected is not None
]


@pytest.mark.parametrize(("point", "effect", "expected"), CELLS)
def test_what_the_class_promises_is_what_happens(point: str, effect: Effect, expected: str) -> None:
    assert observed(point, effect) == expected


@pytest.mark.parametrize(
    ("point", "effect", "ended", "wrongly"),
    [
        ("intent durable; not sent", AT_MOST_ONCE, Ended.LOST, Next.PERFORM),
        ("performed; nobody told", AT_MOST_ONCE, Ended.LOST, Next.PERFORM),
        ("connection lost, arrived", AT_MOST_ONCE, Ended.AMBIGUOUS, Next.RECORD),
        ("sent; arrived", VERIFIED, Ended.LOST, Next.PERFORM),
        ("connection lost, each time", IDEMPOTENT, Ended.AMBIGUOUS, Next.RECORD),
        ("committed, the database's answer lost", TRANSACTIONAL, Ended.AMBIGUOUS, Next.RECORD),
        ("lost; probe says `Unknown`", VERIFIED, Ended.UNKNOWN, Next.PERFORM),
        ("lost; probe raises, each time", VERIFIED, Ended.UNANSWERED, Next.PERFORM),
    ],
    ids=str,
)
def test_a_broken_promise_would_show(
    point: str, effect: Effect, ended: Ended, wrongly: Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSITIONS, (effect, ended), (wrongly, wrongly))
    with pytest.raises(AssertionError):
        assert DRIVEN[point](effect) == EXPECTED[point][CLASSES.index(effect)]


# --- the page ---------------------------------------------------------------------------------------------------------------------

HEAD = """\
# What each crash leads to

One step, a process that dies at a named point of it, and what the far side counted. Made by the test that drives every cell, from
what it observed: `WRITE_DOCS=1 python -m pytest tests/docs/test_effects_matrix.py`. What it expected is written down in the test,
from the promises in [effects.md](effects.md).

How to read `1x, 2 bodies: result`:

* `1x`: it happened once at the far side. That of `IDEMPOTENT` honours the key; that of `TRANSACTIONAL` counts committed rows.
* `2 bodies`: the tool's body was begun twice, in all lives of the process together. That a `READ` happened twice is harmless: one
  answer is recorded.
* What the handler gets: the tool's result; a `ToolFailed`; or nothing yet, for the step is in doubt. Each doubt was then settled
  with a result: the handler got that, and nothing was performed for it.

In every cell the run's state and output were there once, or (in doubt) not at all. `-`: the class has no such point.
"""

FOOT = """\
* *sent*: the request is under way. The SQL of `TRANSACTIONAL` is then executed, and not committed.
* *result handed over; not durable*: the handler goes on with a result at once, before its commit. When the process dies, the
  result and all that was built on it vanish together, and the step is as it was before.
* *put away*: a waiting run leaves memory, and its handler's `finally` calls the tool. Nothing is performed then, nor when the
  engine is stopped or killed; it is performed once, when the run has received what it waited for.
* *each time*: three attempts, the default; three probes of one attempt.
* *timed out in a thread*: its code cannot be stopped, so nothing starts beside it. What it says in the end is evidence. A `READ`
  does not wait for that. `TRANSACTIONAL` loses its right to commit with the time-out, is rolled back, and is performed again.
"""


def page() -> str:
    parts = [HEAD]
    for point, row in EXPECTED.items():
        if point in SECTIONS:
            names = " | ".join(f"`{effect.name}`" for effect in CLASSES)
            parts += [f"\n## {SECTIONS[point]}\n\n| | {names} |\n|---|---|---|---|---|---|\n"]
        cells = ["-" if cell is None else observed(point, effect) for effect, cell in zip(CLASSES, row, strict=True)]
        parts.append(f"| {point} | {' | '.join(cell.replace('in doubt', '**in doubt**') for cell in cells)} |\n")
    return "".join([*parts, "\n## Notes\n\n", FOOT])


def test_the_page_is_what_was_observed() -> None:
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "run WRITE_DOCS=1 python -m pytest tests/docs/test_effects_matrix.py"


def test_every_class_has_every_point_that_all_classes_have() -> None:
    assert set(DRIVEN) == set(EXPECTED)
    for point, row in EXPECTED.items():
        assert len(row) == len(CLASSES) == 5, point
        if not any(word in point for word in ("probe", "key_ttl", "cancelled", "database")):
            assert None not in row, point
