"""Every exception that Millstream raises, in one tree.

    Exception
    └── MillstreamError
        ├── DeclarationError          an app, tool, stream or type is declared wrongly; names the place and the fix
        ├── UsageError                something was called where, or as, it cannot be
        │   └── IoInRun               a handler touched a socket, file, thread or executor outside a step
        ├── NotFound                  a run, step, agent, tool or stream of that name does not exist
        ├── ClockJumped               the wall clock leapt further than max_clock_jump
        ├── StoreError
        │   ├── StoreLocked           another engine holds the data folder
        │   ├── StoreVersion          the file was written by a newer Millstream, or for another app
        │   ├── CommitRefused         cleanly refused (disk full, busy): the same batch may be tried again
        │   └── CommitFailed          failed at COMMIT or sync: what is on disk is unknown, the process must end
        ├── ConnectorError
        │   ├── SourceError
        │   └── SinkError
        ├── RunError                  what a handler can see
        │   ├── ToolFailed            a tool failed, definitely: (type, message, data)
        │   │   └── AskFailed         the asked run ended without an answer
        │   ├── Deadlock              an ask would wait for a key that waits for the asker
        │   └── HandlerStuck          a handler kept its loop busy without ever waiting
        └── NotSent                   raised BY a tool: nothing was sent, the attempt had no effect
    BaseException
    └── RunPutAway                    the run was put away; nothing that a ``finally`` does now is recorded

A message says what happened, where, what was found, and what to do.
"""

from __future__ import annotations

from typing import Any


class MillstreamError(Exception):
    """The root of every error that Millstream itself raises."""


class DeclarationError(MillstreamError):
    """An app, tool, agent, stream or type is declared wrongly; found at start, never in the middle of a run."""


class UsageError(MillstreamError):
    """Something was called where, or as, it cannot be called."""


class IoInRun(UsageError):
    """A handler touched a socket, file, subprocess, thread or executor outside a step; replay could not repeat it."""


class NotFound(MillstreamError):
    """A run, step, agent, tool or stream of that name does not exist."""


class ClockJumped(MillstreamError):
    """The wall clock leapt ahead further than ``max_clock_jump``; no timer was fired."""


class StoreError(MillstreamError):
    """The store cannot do what was asked of it."""


class StoreLocked(StoreError):
    """Another engine holds this data folder."""


class StoreVersion(StoreError):
    """The store's file cannot be opened by this version of Millstream, or belongs to another app."""


class CommitRefused(StoreError):
    """The store refused a commit cleanly and holds nothing of it: the same batch may be tried again."""


class CommitFailed(StoreError):
    """A commit failed at COMMIT or sync: whether it is on disk is unknown, so the process must end and recover."""


class ConnectorError(MillstreamError):
    """A source or a sink cannot go on."""


class SourceError(ConnectorError):
    """A source cannot be read from the recorded position."""


class SinkError(ConnectorError):
    """A sink cannot be appended to at the recorded position.

    Attributes:
        retryable: nothing is unknown (disk full): the same append may be tried again.
    """

    retryable: bool = False


class RunError(MillstreamError):
    """What a handler can see, live and replayed alike."""


class ToolFailed(RunError):
    """A step failed, definitely.

    Attributes:
        type: name of the exception that the tool raised, as ``str``.
        message: its text.
        data: JSON-able details, or None.
        tool: name of the tool, where it was a tool's; else None.
    """

    tool: str | None = None

    def __init__(self, type: str, message: str = "", data: Any = None) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.data = data


class AskFailed(ToolFailed):
    """The run that was asked ended failed or cancelled; ``data`` holds its run id, agent and key."""


class Deadlock(RunError):
    """An ``ask`` would wait for a key whose current run waits, directly or through others, for the asking run."""


class HandlerStuck(RunError):
    """A handler kept its loop busy without ever waiting for a step, a timer or a signal."""


class NotSent(MillstreamError):
    """Raise this in a tool when nothing left the process: the attempt had no effect and may be repeated in every class."""


class RunPutAway(BaseException):
    """The run was put away (or the engine stops); it comes back by replay. Nothing done now is recorded."""
