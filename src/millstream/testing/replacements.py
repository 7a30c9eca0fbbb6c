"""Other bodies for a test: what ``AppRun(tools=...)`` puts in the place of tools.

A replacement keeps what is promised after a crash: the class of the tool and its policy, and that it is called as the tool is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from millstream.agents.options import Signature
from millstream.agents.tools import Tool, tool
from millstream.core.graph import ToolSpec
from millstream.errors import UsageError


def replacements(
    given: Mapping[Any, Callable[..., Any]], known: Mapping[str, ToolSpec]
) -> dict[str, Callable[[ToolSpec], ToolSpec]]:
    """What ``AppRun(tools=...)`` replaces, by the names of the tools.

    Args:
        given: by tool or name.
        known: the tools that agents name.

    Raises:
        UsageError, DeclarationError: as of `replacement`; or no agent names such a tool.
    """
    found = {}
    for which, body in given.items():
        spec = which.spec if isinstance(which, Tool) else known.get(which)
        if spec is None:
            raise UsageError(
                f"tools={{{which!r}: ...}}: no agent names such a tool; they name {', '.join(sorted(known)) or 'none'}"
            )
        found[spec.name] = replacement(spec, body)
    return found


def replacement(spec: ToolSpec, given: Callable[..., Any] | Tool[..., Any]) -> Callable[[ToolSpec], ToolSpec]:
    """What makes of a tool the same tool with another body: a function, with the class, probe and database of the tool; or a tool,
    with its own probe and database. The policy stays that of the tool.

    Raises:
        UsageError: it is no function, or is not called as the tool is, or a tool of another class.
        DeclarationError: a body like this cannot be one of the tool's class.
    """
    if isinstance(given, Tool):
        other = given.spec
    elif callable(given) and not isinstance(given, type):
        decorate = tool(effect=spec.policy.effect, verify=spec.probe, database=spec.database, name=spec.name)
        other = decorate(given).spec
    else:
        raise UsageError(f"tools={{{spec.name}: {given!r}}}: give a function or a tool to be called instead")
    if other.policy.effect is not spec.policy.effect:
        raise UsageError(
            f"tools={{{spec.name}: {given!r}}}: it is {other.policy.effect.name}, and {spec.name} is {spec.policy.effect.name}: "
            "another thing would be promised after a crash; declare it with the same effect"
        )
    wanted, offered = Signature(spec.fn, spec.name, "tools="), Signature(other.fn, "the replacement", "tools=")
    for args, kwargs in wanted.forms():
        try:
            offered.given.bind(*args, **kwargs)
        except TypeError as problem:
            called = f"{spec.name}({', '.join(wanted.given.parameters)})"
            raise UsageError(f"tools={{{spec.name}: ...}}: the replacement is called as {called} is: {problem}") from None

    def replace(spec: ToolSpec) -> ToolSpec:
        return msgspec.structs.replace(
            spec,
            fn=other.fn,
            is_async=other.is_async,
            probe=other.probe,
            database=other.database,
            call_parameter=other.call_parameter,
            connection_parameter=other.connection_parameter,
        )

    return replace
