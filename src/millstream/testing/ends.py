"""An app with a test's ends: a list for each source, and one for what each stream would have written.

Its declared connectors are not touched. Besides, each agent gets a source of its own, so that a test can send to it without a
stream, and each stream a sink, so that a test can look at it without declaring one. The lists outlive the process, as files would.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import msgspec

from millstream.agents.codecs import codec
from millstream.core.graph import UNTYPED, AgentSpec, Codec, Graph, SinkSpec, SourceSpec, StreamSpec
from millstream.core.runs import dump, json_decode
from millstream.errors import NotFound, UsageError
from millstream.testing.inputs import MemorySink, MemorySource, json_of

T = TypeVar("T")

PLAIN = codec(Any)
INBOX = "__test__"  # in names of streams that only a test has


class Ends:
    """See the module.

    Attributes:
        sources: by name of the app's source, of any version.
        sinks: by name of the stream.
    """

    def __init__(self) -> None:
        self.sources: dict[str, MemorySource] = {}
        self.sinks: dict[str, MemorySink] = {}
        self._names: list[str] = []  # of the sources of this version
        self._inboxes: dict[str, MemorySource] = {}  # by agent

    def rewritten(self, graph: Graph) -> Graph:
        """The graph with these ends. May be called for one version of an app after the other."""
        sources: dict[str, SourceSpec] = {}
        streams = dict(graph.streams)
        agents = dict(graph.agents)
        for name, source in graph.sources.items():
            sources[name] = msgspec.structs.replace(source, connector=self.sources.setdefault(name, MemorySource()))
        for name, agent in graph.agents.items():
            inbox, values = f"{name}.{INBOX}", f"{name}.{INBOX}.values"
            pairs = Codec("a key and a value", dump, functools.partial(_addressee, agent.event))
            connector = self._inboxes.setdefault(name, MemorySource())
            sources[inbox] = SourceSpec(inbox, connector, pairs, False, _first, None, 0)
            streams[inbox] = StreamSpec(inbox, "source", pairs)
            streams[values] = StreamSpec(values, "map", agent.event, (inbox,), _second)
            agents[name] = msgspec.structs.replace(agent, streams=(*agent.streams, values))
        self._names = sorted(graph.sources)
        sinks: dict[str, SinkSpec] = {}
        written = {sink.stream for sink in graph.sinks.values()}
        for name, stream in graph.streams.items():
            shown = name
            if name not in written and stream.codec.name == UNTYPED:  # nobody but us writes it, and it may hold anything
                shown = f"{name}.{INBOX}.shown"
                streams[shown] = StreamSpec(shown, "map", Codec("anything", _said, json_decode), (name,), _itself)
            sinks[name] = SinkSpec(name, shown, self.sinks.setdefault(name, MemorySink()))
        return msgspec.structs.replace(graph, sources=sources, streams=streams, agents=agents, sinks=sinks)

    def source(self, name: str) -> MemorySource:
        """What a source of the app reads.

        Raises:
            NotFound: it is none.
        """
        if name not in self._names:
            raise NotFound(f"send: {name} is no source; events come from {self._known()}, or are sent to an agent")
        return self.sources[name]

    def to_agent(self, name: str, agent: AgentSpec | None, key: str | int | None, values: tuple[Any, ...]) -> None:
        """Send values to (agent, key).

        Raises:
            NotFound: there is no such agent.
            UsageError: there is no key, or a value is not what the agent handles.
        """
        if agent is None:
            raise NotFound(f"send: there is no source or agent {name!r}; there are {self._known()}")
        if key is None:
            raise UsageError(f"send: give key=, of the instance of agent {name} that is to handle it")
        self._inboxes[name].put(*[_addressed(agent, str(key), value) for value in values])

    def _known(self) -> str:
        return ", ".join(self._names) or "no source"


def _addressed(agent: AgentSpec, key: str, value: Any) -> list[Any]:
    """What ``send`` puts into an agent's own source."""
    text = value if isinstance(value, bytes) else json_of(value)
    try:
        agent.event.decode(text)
    except ValueError as problem:
        raise UsageError(f"send: agent {agent.name} handles {agent.event.name}, which {value!r} is not: {problem}") from None
    return [key, json_decode(text)]


def _addressee(event: Codec, line: str | bytes) -> tuple[str, Any]:
    key, value = json_decode(line)
    return key, event.decode(msgspec.json.encode(value))


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]


def _second(pair: tuple[str, Any]) -> Any:
    return pair[1]


def _itself(value: T) -> T:
    return value


def _said(value: Any) -> str:
    """As it would be written; what could not be (a set, an object), as near to it as can be."""
    for text in (PLAIN.encode, dump):
        try:
            return text(value)
        except TypeError:
            continue
        except ValueError:  # NaN, which would be shown as null
            break
    return dump(repr(value))
