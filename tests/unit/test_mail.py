"""Signals find who waits for them: a run that goes on without what it was promised leaves it to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.core.desk import Limits
from millstream.core.facts import MailLoaded, Signalled
from millstream.core.identity import parse_run_id
from millstream.core.mail import READ, Mail
from millstream.core.tables import MAIL, Commit, MailRow
from millstream.stores.memory import MemoryStore
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]


@tool(effect=Effect.IDEMPOTENT)
async def pay(cents: int) -> int:
    return cents


@tool(effect=Effect.READ)
async def think() -> str:
    await asyncio.sleep(30)
    return "thought"


def shop(cents: int = 1) -> tuple[App, Any, Any]:
    """Two runs of a key wait at the same time, and each signal is for whichever comes first."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", state=dict, waiting="release")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        if event["id"] == "busy":
            return await think()
        await pay(cents if event["id"] == "first" else 0)
        try:
            return str((await ctx.receive("go")).value)
        except asyncio.CancelledError:
            await ctx.sleep("1d")  # no hurry with giving the money back
            await pay(-cents)
            raise

    return app, source, a


def test_what_was_promised_to_a_run_that_does_not_follow_its_record_is_for_the_next_one() -> None:
    app, source, _ = shop()
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "first"}, {"k": "one", "id": "second"})
        world.settle()
        edited, _, agent = shop(cents=2)
        world.restart(edited)
        world.signal(agent, "go", "went", key="one")
        world.settle()
        world.run_of("first").expect("diverged")
        assert world.run_of("second").expect("done").output == "went"


def test_what_was_promised_to_a_run_that_is_cancelled_meanwhile_is_for_the_next_one() -> None:
    app, source, agent = shop()
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "first"}, {"k": "one", "id": "second"})
        world.settle()
        world.send(source, {"k": "one", "id": "busy"})
        world.advance("1s")
        first, promised = world.run_of("first"), world._alive.engine.machine.mail.promised
        world.signal(agent, "go", "went", key="one")
        world.advance("1s")
        assert list(promised) == [parse_run_id(first.expect("queued").id).number]  # and waits for its turn
        world.cancel(first)
        world.advance("1m")
        first.expect("waiting")  # it is on its way out, and has let go of the key
        assert world.run_of("second").expect("done").output == "went"
        world.settle()
        first.expect("cancelled")


def test_who_waits_for_just_this_is_served_before_who_takes_any() -> None:
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", state=dict, waiting="release")
    async def a(ctx: Ctx, event: dict[str, Any]) -> Any:
        return (await ctx.receive("go", about=event["about"])).value

    @app.agent(on=source, name="both", state=dict)
    async def both(ctx: Ctx, event: dict[str, Any]) -> Any:
        if event["about"]:
            return [signal.value for signal in await asyncio.gather(ctx.receive("go"), ctx.receive("go", about="this"))]

    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "any", "about": None}, {"k": "one", "id": "this", "about": "this"})
        world.settle()
        for agent in (a, both):
            world.signal(agent, "go", "for this", key="one", about="this")
            world.signal(agent, "go", "for any", key="one", about="that")
        world.settle()
        assert [world.run_of(id, a).output for id in ("this", "any")] == ["for this", "for any"]
        assert world.run_of("this", both).output == ["for any", "for this"]


def asking(until: str) -> tuple[App, Any, Any]:
    """An agent asks, does not wait long enough for the answer, which takes an hour, and goes on for a while."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")
    broken = {"broken": False}

    @app.agent(name="slow")
    async def slow(ctx: Ctx, event: dict[str, Any]) -> str:
        await ctx.sleep("1h")
        return "answered"

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        try:
            return str(await ctx.ask("slow", "s", {}, timeout="1m"))
        except TimeoutError:
            await ctx.sleep(until)
            if broken["broken"]:
                raise RuntimeError("broken") from None
            return "too late"

    return app, source, broken


def in_the_mail(world: AppRun) -> list[Any]:
    return list(world._store.tables()["mail"].values())


@pytest.mark.parametrize("put_away", [False, True], ids=["in memory", "put away"])
@pytest.mark.parametrize("until", ["1s", "2h"], ids=["comes when the run is done", "comes while the run goes on"])
def test_an_answer_that_nobody_waited_for_is_not_kept_when_the_run_is_done(until: str, put_away: bool) -> None:
    app, source, _ = asking(until)
    with AppRun(app, put_away=put_away) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        assert [run.output for run in world.runs()] == ["too late", "answered"]
        assert in_the_mail(world) == []


def test_an_answer_that_nobody_waited_for_is_there_for_a_retry_of_a_run_that_failed() -> None:
    app, source, broken = asking("1s")
    broken["broken"] = True
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        run = world.run("a").expect("failed")
        assert [mail.kind for mail in in_the_mail(world)] == ["reply"]
        world.retry(run)
        world.settle()
        assert run.expect("done").output == "answered"
        assert in_the_mail(world) == []


def test_an_answer_that_a_crash_has_left_is_found_at_the_next_start() -> None:
    app, source, _ = asking("1s")
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        left = MailRow(
            (1 << 32) + 99_999, 0, "a", "one", world.run("a")._number, "reply", "ask.slow", None, "x", None, 0, 0, "1", None
        )
        commit = Commit(1)
        commit.put(MAIL, left)
        world._store.write(commit)
        world.crash()
        world.settle()
        assert in_the_mail(world) == []


# ------------------------------------------------------------------------------------------------------- many of one key


def approvals(waiting: Any = "release") -> tuple[App, Any, Any]:
    """Runs that wait each for its own approval, or (about nothing) for whichever comes; or for several, one after another."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", state=dict, waiting=waiting)
    async def a(ctx: Ctx, event: dict[str, Any]) -> Any:
        first = event.get("about")
        got = [(await ctx.receive("approval", about=first)).value]
        while len(got) < event.get("wants", 1):
            got.append((await ctx.receive("approval")).value)
        return got

    return app, source, a


def at_once(world: AppRun, *values: Any, about: bool = False, name: str = "approval") -> None:
    """Signals to the key ``one``, all in one commit."""
    engine = world._alive.engine
    for value in values:
        engine.feed(Signalled(engine.clock.now(), None, "a", "one", name, str(value), str(value) if about else None, None, None))
    world.settle()


def outputs(world: AppRun, count: int) -> list[Any]:
    return [world.run_of(f"e{n}").expect("done").output for n in range(count)]


@pytest.mark.parametrize("waiting", ["release", "hold"])
@pytest.mark.parametrize("about", [False, True], ids=["about nothing", "about each"])
@pytest.mark.parametrize("early", [False, True], ids=["the runs come first", "the signals come first"])
def test_signals_that_come_together_wake_a_run_each(waiting: str, about: bool, early: bool) -> None:
    count = 100
    app, source, _ = approvals(waiting)
    with AppRun(app) as world:
        order = list(range(count)) if waiting == "hold" or not about else [n * 7 % count for n in range(count)]
        if early:
            at_once(world, *order, about=about)
        world.send(source, *[{"k": "one", "id": f"e{n}", **({"about": str(n)} if about else {})} for n in range(count)])
        world.settle()
        if not early:
            at_once(world, *order, about=about)
        assert outputs(world, count) == [[n] for n in range(count)]


@pytest.mark.parametrize("waiting", ["release", "hold"])
def test_a_run_that_wants_many_gets_them_in_the_order_in_which_they_came(waiting: str) -> None:
    count = 3 * READ[1] + 5
    app, source, _ = approvals(waiting)
    with AppRun(app) as world:
        at_once(world, *range(READ[1] + 2))
        world.send(source, {"k": "one", "id": "e0", "wants": count})
        world.settle()
        at_once(world, *range(READ[1] + 2, count))
        assert outputs(world, 1) == [list(range(count))]


def test_what_was_promised_before_a_crash_is_promised_anew() -> None:
    app, source, agent = approvals()
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "e0"}, {"k": "one", "id": "e1"}, {"k": "one", "id": "e2"})
        world.settle()
        at_once(world, "1", "2")
        world.crash()  # all that was promised is forgotten
        world.send(source, {"k": "one", "id": "e3", "about": "3"})
        world.signal(agent, "approval", 3, key="one", about="3")
        world.signal(agent, "approval", 4, key="one", about="4")
        world.settle()
        assert sorted(outputs(world, 4)) == [[1], [2], [3], [4]]


def test_what_waits_in_the_store_is_found_by_the_next_life() -> None:
    app, source, agent = approvals()
    count = 520  # more than are read at once
    with AppRun(app) as world:
        world.send(source, *[{"k": "one", "id": f"e{n}", "about": str(n)} for n in range(count)])
        world.settle()
        world.signal(agent, "other", 0, key="one")
        engine = world._alive.engine
        for n in range(count):
            engine.feed(Signalled(engine.clock.now(), None, "a", "one", "approval", str(n), str(n), None, None))
        commit = engine.machine.take()
        while commit is not None:  # it dies when they are durable, and nobody has been told
            engine.store.write(commit)
            commit = engine.machine.take()
        world.crash()
        world.settle()
        assert outputs(world, count) == [[n] for n in range(count)]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows the store gives back, in [0]."""
    rows = [0]

    def counting(read: Any) -> Any:
        def wrapped(self: MemoryStore, *args: Any, **options: Any) -> Any:
            found = read(self, *args, **options)
            for one in found if isinstance(found, list) else [found]:
                rows[0] += 1 + len(getattr(one, "records", ())) + len(getattr(one, "line", ()))
            return found

        return wrapped

    with monkeypatch.context() as patch:
        for name in (
            "run",
            "receivers",
            "waiting",
            "mail",
            "mail_for",
            "histories",
            "lines",
            "line_after",
            "events",
            "wakes",
            "seen",
        ):
            patch.setattr(MemoryStore, name, counting(getattr(MemoryStore, name)))
        yield rows


@pytest.mark.parametrize("about", [False, True], ids=["about nothing", "about each"])
@pytest.mark.parametrize("together", [False, True], ids=["one after another", "together"])
def test_what_a_signal_reads_does_not_grow_with_those_who_wait(
    monkeypatch: pytest.MonkeyPatch, about: bool, together: bool
) -> None:
    def rows_of_a_signal(count: int) -> float:
        app, source, agent = approvals()
        with AppRun(app) as world:
            world.send(source, *[{"k": "one", "id": f"e{n}", **({"about": str(n)} if about else {})} for n in range(count)])
            world.settle()
            at_once(world, *range(count), name="other")  # that nobody waits for
            signals = range(count) if together else range(0, count, count // 20)
            with counted(monkeypatch) as rows:
                if together:
                    at_once(world, *signals, about=about)
                else:
                    for n in signals:
                        world.signal(agent, "approval", n, key="one", about=str(n) if about else None)
                    world.settle()
            assert len(world.runs(status="done")) == len(signals)
            return rows[0] / len(signals)

    few, many = rows_of_a_signal(40), rows_of_a_signal(400)
    assert many <= few * 1.2, "rows a signal"
    assert many < 30


@pytest.mark.parametrize("waiting", ["release", "hold"])
def test_what_a_run_reads_of_its_mail_does_not_grow_with_the_mail_of_its_key(monkeypatch: pytest.MonkeyPatch, waiting: str) -> None:
    def rows_of_a_run(count: int) -> float:
        app, source, _ = approvals(waiting)
        with AppRun(app) as world:
            at_once(world, *range(count))
            at_once(world, *range(count), name="other")
            with counted(monkeypatch) as rows:
                world.send(source, *[{"k": "one", "id": f"e{n}"} for n in range(count)])
                world.settle()
            assert outputs(world, count) == [[n] for n in range(count)]
            return rows[0] / count

    few, many = rows_of_a_run(100), rows_of_a_run(500)
    assert many <= few * 1.2, "rows a run"
    assert many < 50  # a page, as much as runs before it have taken that is not durable yet


def test_what_earlier_lives_have_left_is_read_as_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start would else hold all of it in memory: there may be any amount."""
    count, page = 60, 5
    app, source, _ = approvals()
    held: list[int] = []
    promise = Mail._promise

    def promised(self: Mail, *args: Any) -> None:
        promise(self, *args)
        held.append(len(self._offered))

    monkeypatch.setattr(Mail, "_promise", promised)
    with AppRun(app, limits=Limits(page=page)) as world:
        world.send(source, *[{"k": "one", "id": f"e{n}", "about": str(n)} for n in range(count)])
        world.settle()
        left = Commit(1)
        for n in range(count):
            left.put(
                MAIL,
                MailRow((1 << 32) + 99_000 + n, 0, "a", "one", None, "signal", "approval", str(n), "x", None, 0, 0, f"{n}", None),
            )
        world._store.write(left)
        world.crash()
        world.settle()
        assert outputs(world, count) == [[n] for n in range(count)]
        assert len(held) == count
        assert max(held) < 2 * page


# ------------------------------------------------------------------------------------------- what other code or a person holds


def test_what_was_promised_to_a_run_that_waits_for_something_else_now_is_for_the_next_one() -> None:
    def edition(name: str) -> tuple[App, Any, Any]:
        app = App("shop")
        source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

        @app.agent(on=source, name="a", waiting="release")
        async def a(ctx: Ctx, event: dict[str, Any]) -> Any:
            return (await ctx.receive(name if event["id"] == "first" else "go")).value

        return app, source, a

    app, source, _ = edition("go")
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "first"}, {"k": "one", "id": "second"})
        world.settle()
        edited, _, agent = edition("stop")
        world.restart(edited)
        world.signal(agent, "go", "went", key="one")
        world.settle()
        world.run_of("first").expect("waiting")
        assert world.run_of("second").expect("done").output == "went"


def test_what_is_promised_to_runs_behind_one_in_doubt_does_not_keep_the_next_page_from_being_read() -> None:
    @tool(effect=Effect.AT_MOST_ONCE)
    async def transfer() -> None:
        raise TimeoutError("who knows")

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", waiting="release")
    async def a(ctx: Ctx, event: dict[str, Any]) -> Any:
        if event["id"] == "blocks":
            await transfer()
        return (await ctx.receive("go", about=event["id"])).value

    with AppRun(app, limits=Limits(page=2)) as world:
        world.send(source, {"k": "one", "id": "x"}, {"k": "one", "id": "y"}, {"k": "two", "id": "z"})
        world.settle()
        world.send(source, {"k": "one", "id": "blocks"})
        world.settle()
        left = Commit(1)
        for n, (key, about) in enumerate([("one", "x"), ("one", "y"), ("two", "z")]):
            row = MailRow((1 << 32) + 99_000 + n, 0, "a", key, None, "signal", "go", about, "x", None, 0, 0, f"{n}", None)
            left.put(MAIL, row)
        world._store.write(left)  # as ``millstream signal`` does, while no engine runs
        world.crash()
        world.advance("1d")
        assert [world.run_of(id).status for id in ("x", "y", "blocks", "z")] == ["queued", "queued", "in_doubt", "done"]


# -------------------------------------------------------------------------------------------------- the work and the memory


def test_a_run_keeps_in_memory_only_mail_that_it_waits_for() -> None:
    app, source, _ = approvals("hold")
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "e0"})
        at_once(world, 0, name="other")
        at_once(world, *range(50), name="other")
        (run,) = world._alive.engine.machine.lifecycle.residents.values()
        assert run.mail == []
        at_once(world, 1)
        assert outputs(world, 1) == [[1]]


def test_looking_for_the_mail_of_many_steps_that_wait_at_once_looks_at_each_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    count, looked = 50, list[str]()
    fits = Mail.fits

    def counting(mail: MailRow, *wait: Any) -> bool:
        looked.append(mail.name)
        return fits(mail, *wait)

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> Any:
        return len(await asyncio.gather(*[ctx.receive("approval", about=str(n)) for n in range(count)]))

    with AppRun(app) as world:
        at_once(world, *range(count), about=True)
        monkeypatch.setattr(Mail, "fits", staticmethod(counting))
        world.send(source, {"k": "one", "id": "e0"})
        world.settle()
        assert outputs(world, 1) == [count]
    assert len(looked) <= 4 * count


def test_a_signal_that_comes_before_the_run_waits_for_it_is_found_when_it_does() -> None:
    """It is not kept in memory meanwhile, and what the run knew of its mail is not all that there is any more."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", state=dict)
    async def a(ctx: Ctx, event: dict[str, Any]) -> list[Any]:
        return [(await ctx.receive(name)).value for name in ("first", "second")]

    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        at_once(world, 1, name="second")
        at_once(world, 2, name="first")
        assert world.run().expect("done").output == [2, 1]


def test_what_a_run_that_is_done_has_left_is_answers_and_no_signals() -> None:
    """Signals of its key are for whoever receives them first."""
    app, source, _ = asking("1s")
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        run, mail = world.run("a")._number, world._alive.engine.machine.mail
        at_once(world, 1)
        (signal,) = in_the_mail(world)
        mail._left.add(run)
        wait = ("ask.slow", "ask", "slow", "s")
        mail.loaded(MailLoaded(0, run, [(wait, 0)], [[MailRow(*signal)]], 1))
        at_once(world, 2)  # the commit that would delete it
        assert MailRow(*signal) in [MailRow(*row) for row in in_the_mail(world)]
