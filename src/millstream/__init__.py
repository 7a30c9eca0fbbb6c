"""Millstream runs AI agents as stream processors. Everything public is here; see README.md.

Names are imported when they are first used (PEP 562): ``import millstream`` costs nothing, and a command that needs no
connectors does not wait for them.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for typing's, whose import would be most of the cost
if TYPE_CHECKING:
    from millstream.agents.agent import Agent
    from millstream.agents.app import App
    from millstream.agents.context import Context, Signal
    from millstream.agents.options import Retry
    from millstream.agents.streams import Stream
    from millstream.agents.tools import Tool, tool
    from millstream.connectors.files import jsonl
    from millstream.connectors.standard import stdin, stdout
    from millstream.core.calls import INJECTED, Done, NotDone, ToolCall, Unknown
    from millstream.core.effects import Effect
    from millstream.engine.connection import Connection
    from millstream.errors import (
        AskFailed,
        Deadlock,
        DeclarationError,
        MillstreamError,
        NotFound,
        NotSent,
        RunError,
        RunPutAway,
        ToolFailed,
        UsageError,
    )

__all__ = [
    # declaring
    "App",
    "Agent",
    "Stream",
    # handling an event
    "Context",
    "Signal",
    # acting on the world
    "tool",
    "Tool",
    "Effect",
    "Retry",
    "INJECTED",
    "ToolCall",
    "Connection",
    "Done",
    "NotDone",
    "Unknown",
    # connectors
    "jsonl",
    "stdin",
    "stdout",
    # errors that programs meet; the others are in millstream.errors
    "MillstreamError",
    "DeclarationError",
    "UsageError",
    "NotFound",
    "RunError",
    "ToolFailed",
    "AskFailed",
    "Deadlock",
    "NotSent",
    "RunPutAway",
]

_MODULES = {
    "agents.agent": ("Agent",),
    "agents.app": ("App",),
    "agents.context": ("Context", "Signal"),
    "agents.options": ("Retry",),
    "agents.streams": ("Stream",),
    "agents.tools": ("Tool", "tool"),
    "connectors.files": ("jsonl",),
    "connectors.standard": ("stdin", "stdout"),
    "core.calls": ("INJECTED", "Done", "NotDone", "ToolCall", "Unknown"),
    "core.effects": ("Effect",),
    "engine.connection": ("Connection",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # a type checker that saw it would believe that millstream has every name

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module 'millstream' has no attribute {name!r}")
        value = getattr(import_module(f"millstream.{_MODULE_OF.get(name, 'errors')}"), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
