"""Daemon worker threads: reuse, bounds, withdrawal, and that nothing that hangs keeps the process alive."""

from __future__ import annotations

import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from millstream.engine import threads as threads_module
from millstream.engine.threads import Threads

WAIT = 10.0  # seconds until a test gives up; none of them waits for it


@pytest.fixture
def pool() -> Iterator[Threads]:
    threads = Threads(limit=2)
    yield threads
    threads.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.001)


class Hold:
    """A job that begins, says so, and ends when it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.began.set()
        assert self.go.wait(WAIT)


def hold(pool: Threads, name: str = "hold") -> Hold:
    job = Hold()
    pool.start(job, name, copy_context())
    assert job.began.wait(WAIT)
    return job


def test_an_idle_thread_is_used_again(pool: Threads) -> None:
    threads = set()
    for _ in range(5):
        job = hold(pool)
        threads.add(job.thread)
        job.go.set()
        until(lambda: len(pool._idle) == 1)
    assert len(threads) == 1
    assert pool.alive == 1


def test_the_thread_used_last_is_used_first(pool: Threads) -> None:
    first, second = hold(pool), hold(pool)
    first.go.set()
    until(lambda: len(pool._idle) == 1)
    second.go.set()
    until(lambda: len(pool._idle) == 2)
    third = hold(pool)
    assert third.thread is second.thread
    third.go.set()


def test_no_more_threads_than_the_limit_and_the_rest_wait_their_turn(pool: Threads) -> None:
    holds = [hold(pool), hold(pool)]
    order: list[int] = []
    done = threading.Semaphore(0)

    def note(number: int) -> Callable[[], None]:
        return lambda: (order.append(number), done.release())[0]

    for number in range(5):
        pool.start(note(number), "late", copy_context())
    assert pool.alive == 2
    assert order == []
    holds[0].go.set()  # one thread does them all, in order
    for _ in range(5):
        assert done.acquire(timeout=WAIT)
    assert order == [0, 1, 2, 3, 4]
    assert pool.alive == 2
    holds[1].go.set()


def test_a_job_is_withdrawn_before_its_code_begins_and_never_afterwards(pool: Threads) -> None:
    holds = [hold(pool), hold(pool)]
    ran: list[str] = []
    after = threading.Event()
    withdrawn = pool.start(lambda: ran.append("withdrawn"), "late", copy_context())
    pool.start(after.set, "after", copy_context())
    assert withdrawn.began is None
    assert withdrawn.withdraw()
    assert withdrawn.withdraw(), "saying it twice is no harm"
    for held in holds:
        held.go.set()
    assert after.wait(WAIT)
    assert ran == []
    begun = Hold()
    job = pool.start(begun, "begun", copy_context())
    assert begun.began.wait(WAIT)
    assert not job.withdraw()
    assert job.began is not None
    assert job.began <= time.monotonic()
    begun.go.set()


def test_a_thread_bears_the_name_of_what_it_does(pool: Threads) -> None:
    job = hold(pool, "charge")
    thread = job.thread
    assert thread is not None
    assert thread.name == "millstream charge"
    job.go.set()
    until(lambda: thread.name == "millstream (idle)")


def test_a_job_runs_in_the_context_it_was_given(pool: Threads) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    context = copy_context()
    context.run(variable.set, "given")
    seen: list[str] = []
    done = threading.Event()
    pool.start(lambda: (seen.append(variable.get()), variable.set("changed"), done.set())[0], "context", context)
    assert done.wait(WAIT)
    assert seen == ["given"]
    assert variable.get() == "none"


def test_a_job_that_raises_costs_no_thread(pool: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda details: raised.append(details.exc_type))

    def leave() -> None:
        raise SystemExit("not the thread's")

    pool.start(leave, "raises", copy_context())
    until(lambda: len(pool._idle) == 1)
    assert raised == [SystemExit]
    job = hold(pool)
    assert pool.alive == 1
    job.go.set()


def test_an_idle_thread_holds_nothing_of_its_last_job(pool: Threads) -> None:
    job = hold(pool)
    gone = weakref.ref(job)
    job.go.set()
    until(lambda: len(pool._idle) == 1)
    del job
    gc.collect()
    assert gone() is None


def test_an_idle_thread_ends_after_a_while() -> None:
    pool = Threads(limit=2, idle_after=0.001)
    job = hold(pool)
    job.go.set()
    until(lambda: pool.alive == 0)
    again = hold(pool)
    assert pool.alive == 1
    again.go.set()
    until(lambda: pool.alive == 0)


def test_a_job_given_to_a_thread_that_is_about_to_leave_is_performed(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    class Inbox:
        """Its thread gives up waiting just as a job arrives."""

        def __init__(self) -> None:
            self.queue: SimpleQueue[Any] = SimpleQueue()
            self.put = self.queue.put

        def get(self, timeout: float | None = None) -> Any:
            if timeout is None:
                return self.queue.get()
            if not done.is_set():
                pool.start(done.set, "late", copy_context())
            raise Empty

    monkeypatch.setattr(threads_module, "SimpleQueue", Inbox)
    pool = Threads(limit=1)
    pool.start(lambda: None, "first", copy_context())
    assert done.wait(WAIT)
    until(lambda: pool.alive == 0)


def test_every_job_is_performed_once_while_threads_come_and_go() -> None:
    pool = Threads(limit=3, idle_after=0.0)  # a thread leaves as soon as it idles: as many races as there can be
    counts = [0] * 2_000
    done = threading.Semaphore(0)

    def count(number: int) -> None:
        counts[number] += 1
        done.release()

    def feed(numbers: range) -> None:
        for number in numbers:
            pool.start(lambda number=number: count(number), "count", copy_context())  # type: ignore[misc]

    feeders = [threading.Thread(target=feed, args=(range(start, 2_000, 4),)) for start in range(4)]
    for feeder in feeders:
        feeder.start()
    for feeder in feeders:
        feeder.join(WAIT)
    for _ in counts:
        assert done.acquire(timeout=WAIT)
    assert set(counts) == {1}
    until(lambda: pool.alive == 0)


def test_closing_lets_idle_threads_end_and_takes_no_more_jobs() -> None:
    pool = Threads(limit=2)
    busy, idle = hold(pool), hold(pool)
    idle.go.set()
    until(lambda: len(pool._idle) == 1)
    pool.close()
    assert idle.thread is not None
    idle.thread.join(WAIT)
    assert not idle.thread.is_alive()
    with pytest.raises(RuntimeError, match="no thread for late: the pool is closed"):
        pool.start(lambda: None, "late", copy_context())
    busy.go.set()
    assert busy.thread is not None
    busy.thread.join(WAIT)
    assert pool.alive == 0


def test_a_system_without_threads_lets_jobs_wait_for_those_there_are(pool: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.start(lambda: None, "none", copy_context())
    assert pool.alive == 0
    held = hold(pool)
    done = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool.start(done.set, "waits", copy_context())
    assert not done.is_set()
    held.go.set()
    assert done.wait(WAIT)


def test_a_pool_has_at_least_one_thread() -> None:
    with pytest.raises(ValueError, match="at least one thread, not 0"):
        Threads(limit=0)


def test_a_job_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = """
import threading
from contextvars import copy_context
from queue import Empty, SimpleQueue
from millstream.engine.threads import Threads
began = threading.Event()
Threads().start(lambda: (began.set(), threading.Event().wait()), "hangs", copy_context())
assert began.wait(10)
print("bye")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "bye\n", "")
