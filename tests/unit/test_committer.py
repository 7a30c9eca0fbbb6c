"""The committer writes one commit after the other; a refused one is tried again, a failed one is the end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from millstream.core.tables import META, Commit, MetaRow
from millstream.engine.committer import Committer
from millstream.errors import CommitFailed, CommitRefused


class Reluctant:
    """A store that raises what it is told to before it takes anything."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.written: list[int] = []
        self.thread: str | None = None

    def write(self, commit: Commit) -> None:
        self.thread = threading.current_thread().name
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(commit.number)


class Told:
    """What the engine would be told."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.refused: list[str | None] = []
        self.failed: list[BaseException] = []
        self.event = asyncio.Event()

    def committer(self, store: Any) -> Committer:
        def done(commit: Commit, took: float) -> None:
            self.done.append(commit.number)
            self.event.set()

        def failed(error: BaseException) -> None:
            self.failed.append(error)
            self.event.set()

        return Committer(store, asyncio.get_running_loop(), done, self.refused.append, failed)


def commit(number: int) -> Commit:
    made = Commit(number)
    made.put(META, MetaRow("n", str(number)))
    return made


def test_a_commit_is_written_in_a_thread_of_its_own_and_then_told() -> None:
    async def main() -> None:
        store, told = Reluctant(), Told()
        committer = told.committer(store)
        committer.write(commit(1))
        assert committer.busy
        await told.event.wait()
        assert (store.written, told.done, committer.busy) == ([1], [1], False)
        assert store.thread == "millstream-committer"
        committer.close()

    asyncio.run(main())


def test_a_refused_commit_is_tried_again_and_nothing_overtakes_it() -> None:
    async def main() -> None:
        store, told = Reluctant(CommitRefused("disk full"), CommitRefused("disk full")), Told()
        committer = told.committer(store)
        committer.write(commit(1))
        await told.event.wait()
        assert (store.written, told.done) == ([1], [1])
        assert told.refused == ["disk full", "disk full", None]
        committer.close()

    asyncio.run(main())


def test_a_failed_commit_is_never_tried_again() -> None:
    async def main() -> None:
        store, told = Reluctant(CommitFailed("fsync failed")), Told()
        committer = told.committer(store)
        committer.write(commit(1))
        await told.event.wait()
        assert (store.written, told.done) == ([], [])
        assert [type(error) for error in told.failed] == [CommitFailed]
        committer.close(abandon=True)

    asyncio.run(main())


def test_closing_gives_a_refused_commit_up() -> None:
    async def main() -> None:
        store, told = Reluctant(*[CommitRefused("disk full")] * 1000), Told()
        committer = told.committer(store)
        committer.write(commit(1))
        while not told.refused:
            await asyncio.sleep(0)
        committer.close(abandon=True)
        assert store.written == []

    asyncio.run(main())


def test_a_commit_without_rows_is_told_in_its_turn_and_not_written() -> None:
    async def main() -> None:
        store, told = Reluctant(), Told()
        committer = told.committer(store)
        committer.write(Commit(1))
        await told.event.wait()
        assert (store.written, told.done) == ([], [1])
        committer.close()

    asyncio.run(main())
