"""What the public face asks of the engine for a run, as protocols: the engine's ``Handle`` satisfies them without knowing of them.

Texts are JSON, times are microseconds. Calls that return a coroutine have registered the step when they return. That the engine
gives all of it is checked by a type checker, in tests/unit/test_typing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from millstream.core.effects import Policy
from millstream.core.graph import ToolSpec


class Event(Protocol):
    """Of the event that a run handles: its identity and its times (UTC)."""

    @property
    def id(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def arrival(self) -> datetime: ...


class EventWithPayload(Event, Protocol):
    """The event as the engine has it."""

    @property
    def payload(self) -> str: ...


class Handle(Protocol):
    """What the engine gives a run: found as ``handle`` on the run's loop, and handed to ``AgentSpec.handler``."""

    run_id: str
    agent: str
    key: str
    resources: Any
    state_text: str | None  # as of the run's turn; replaced when a ``waiting="release"`` run wakes
    state_version: int  # counts the replacements
    dump_state: Callable[[], str | None] | None  # set by the Context: the state's text if it was changed, else None

    @property
    def event(self) -> EventWithPayload: ...
    def call(
        self, spec: ToolSpec, name: str, args: Any, kwargs: Any, arguments: str, key: str | None, policy: Policy | None
    ) -> Coroutine[Any, Any, str]: ...
    def receive(
        self, name: str, about: str | None, read: Callable[[str], Any]
    ) -> Coroutine[Any, Any, tuple[Any, str | None, int, str]]: ...
    async def diverge(self, text: str) -> Any: ...
    def diverging(self, text: str) -> BaseException: ...
    def ask(self, agent: str, key: str, payload: str) -> Coroutine[Any, Any, str]: ...
    def emit(self, stream: str, value: Any, key: str | None) -> None: ...
    def send(self, agent: str, key: str, value: Any) -> None: ...
    def now(self) -> int: ...
    def random(self) -> float: ...
    def uuid(self) -> UUID: ...
    def scope(self, name: str) -> AbstractContextManager[Any]: ...
