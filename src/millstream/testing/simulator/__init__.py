"""Deterministic simulation of the whole core: one seed is one world, the same every time.

The core, the handlers and their loops are the real ones; the threads, sockets, disks and clocks around them are simulated, and
the world does to them whatever its seed says: deliveries twice and in another order, tools that fail, hang, or act too late,
commits that are lost, clocks that go back, deaths of the process at any moment. Named invariants (``INVARIANTS``) are checked at
every step; then the faults stop, and everything must come to its end.

    python -m millstream.testing.simulator --seeds 10000
    python -m millstream.testing.simulator --seed 4711 --trace
"""

from millstream.testing.simulator.violation import INVARIANTS, Failed, Violation
from millstream.testing.simulator.world import World, simulate

__all__ = ["INVARIANTS", "Failed", "Violation", "World", "simulate"]
