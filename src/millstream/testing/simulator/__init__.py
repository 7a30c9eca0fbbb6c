"""Deterministic simulation of the whole core: one seed, one world, the same every time."""
