"""For tests of apps, and of what is written for Millstream: see docs/testing-your-app.md.

``AppRun`` runs an app in memory, in virtual time, and lets it crash; ``every_crash`` lets it crash everywhere. The conformance
suites for stores, sources and sinks are in ``millstream.testing.conformance``, disks that fail in ``millstream.testing.faults``.
"""

from millstream.core.desk import Limits
from millstream.testing.bodies import Attempt
from millstream.testing.clock import VirtualClock, VirtualLoop
from millstream.testing.crashes import Crash, CrashAt, every_crash
from millstream.testing.inputs import MemorySink, MemorySource
from millstream.testing.kit import AppRun
from millstream.testing.views import DeadLetter, Run, Step

__all__ = [
    # running an app
    "AppRun",
    "Limits",
    # letting it crash
    "every_crash",
    "Crash",
    "CrashAt",
    # what is found
    "Run",
    "Step",
    "Attempt",
    "DeadLetter",
    # parts
    "MemorySource",
    "MemorySink",
    "VirtualClock",
    "VirtualLoop",
]
