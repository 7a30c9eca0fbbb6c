"""Daemon threads for the bodies of ``def`` tools.

Rules:

* a job is given to a thread that is idle, else to a new one, else (``limit`` threads are busy) it waits its turn, first come,
  first served;
* until its code has begun a job may be withdrawn; afterwards nothing can stop it. Its thread stays busy until it has ended;
* threads are daemons: a job that hangs for ever never keeps the process from ending. (This is why it is not a
  ``ThreadPoolExecutor``: the interpreter joins all of its threads at exit, whatever hangs in them.) A job that hangs does
  occupy one of the ``limit`` places for good, which bounds what a tool that always hangs can cost;
* a job runs in the context it was given, under its own name, so that a stack dump says which tool hangs;
* the thread used last is used first: the pool shrinks to what the load needs, and caches stay warm.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

PREFIX = "millstream "


class Job:
    """One call in a thread of the pool.

    Attributes:
        began: ``time.monotonic()`` when its code began, in seconds; None before that.
    """

    __slots__ = ("began", "_run", "_name", "_context", "_withdrawn", "_lock")

    def __init__(self, run: Callable[[], object], name: str, context: contextvars.Context, lock: threading.Lock) -> None:
        self.began: float | None = None
        self._run = run
        self._name = name
        self._context = context
        self._withdrawn = False
        self._lock = lock

    def withdraw(self) -> bool:
        """Take it back. True: its code has not begun and never will; False: it has begun."""
        with self._lock:
            if self.began is None:
                self._withdrawn = True
            return self._withdrawn

    def _begin(self) -> bool:
        with self._lock:
            if self._withdrawn:
                return False
            self.began = time.monotonic()
            return True

    def _perform(self) -> None:
        thread = threading.current_thread()
        thread.name = PREFIX + self._name
        try:
            self._context.run(self._run)
        except BaseException:  # a job reports its own failures: this one is a bug, which must not cost a thread
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), thread)))
        finally:
            thread.name = PREFIX + "(idle)"


class Threads:
    """A pool of at most ``limit`` daemon threads; an idle one ends after ``idle_after`` seconds. All methods are thread-safe."""

    def __init__(self, limit: int = 64, idle_after: float = 10.0) -> None:
        if limit < 1:
            raise ValueError(f"a pool needs at least one thread, not {limit}")
        self._limit = limit
        self._idle_after = idle_after
        self._lock = threading.Lock()
        self._alive = 0
        self._idle: list[SimpleQueue[Job | None]] = []  # the inbox of each idle thread; the last used is the last
        self._line: deque[Job] = deque()
        self._closed = False

    @property
    def alive(self) -> int:
        """How many threads there are, busy or idle."""
        return self._alive

    def start(self, run: Callable[[], object], name: str, context: contextvars.Context) -> Job:
        """Call ``run`` in a thread that bears ``name``, inside ``context`` (which no other thread may be in).

        Raises:
            RuntimeError: the pool is closed, or the system gives it not a single thread.
        """
        job = Job(run, name, context, self._lock)
        with self._lock:
            if self._closed:
                raise RuntimeError(f"no thread for {name}: the pool is closed")
            if self._give(job):
                return job
            self._alive += 1
        inbox: SimpleQueue[Job | None] = SimpleQueue()
        inbox.put(job)  # not an argument of the thread: a Thread keeps its arguments for as long as it lives
        try:
            threading.Thread(target=self._serve, args=(inbox,), name=PREFIX + name, daemon=True).start()
        except RuntimeError:  # the system has no thread left for us; those that we have will do
            with self._lock:
                self._alive -= 1
                if not self._idle and not self._alive:
                    raise
                self._give(job, full=True)
        return job

    def close(self) -> None:
        """Let idle threads end now and busy ones after what they do; jobs that still wait are performed. Does not wait."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._alive -= len(idle)
        for inbox in idle:
            inbox.put(None)

    def _give(self, job: Job, full: bool = False) -> bool:
        """Under the lock: give the job to an idle thread, or let it wait if there can be no more threads."""
        if self._idle:
            self._idle.pop().put(job)
        elif full or self._alive >= self._limit:
            self._line.append(job)
        else:
            return False
        return True

    def _serve(self, inbox: SimpleQueue[Job | None]) -> None:
        job = inbox.get()
        while job is not None:
            if job._begin():
                job._perform()
            job = None  # what it holds (arguments, results) must not live as long as this thread idles
            job = self._next(inbox)

    def _next(self, inbox: SimpleQueue[Job | None]) -> Job | None:
        with self._lock:
            if self._line:
                return self._line.popleft()
            if self._closed:
                self._alive -= 1
                return None
            self._idle.append(inbox)
        try:
            return inbox.get(timeout=self._idle_after)
        except Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    self._alive -= 1
                    return None
        return inbox.get()  # a job came in just before we could leave
