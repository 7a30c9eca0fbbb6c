"""Names and numbers that must never change: partitions, run ids, step ids, idempotency keys."""

from __future__ import annotations

import zlib
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

EPOCH_BITS = 32
LOW = (1 << EPOCH_BITS) - 1
DIGITS = 19  # of a number in an id, at most: Python takes quadratic time for thousands, and refuses more


@lru_cache(maxsize=4096)  # a run asks for that of its key five times
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 of its UTF-8 bytes, modulo the count.

    It is the partitioner of librdkafka (``consistent``), so that a key keeps its place when the graph moves to Kafka.
    """
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions


def run_id(partition: int, number: int) -> str:
    """A run's public id, safe in a shell: partition, epoch, number within it (``42-1-17``)."""
    return f"{partition}-{number >> EPOCH_BITS}-{number & LOW}"


class RunId(NamedTuple):
    """A run's public id, taken apart. The number alone finds the run; the partition is what tells an id of another store."""

    partition: int
    number: int


def parse_run_id(text: str) -> RunId:
    """Partition and number of a run from its public id. Whoever looks the number up must compare the partition with the row's.

    Raises:
        ValueError: it is not a run id.
    """
    parts = text.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is not a run id; one looks like 42-1-17 (see `millstream runs`)")
    if any(len(part) > DIGITS for part in parts):
        raise ValueError(f"{text!r} is not a run id: its numbers are too large")
    partition, epoch, number = map(int, parts)
    if epoch >= 1 << 30 or number > LOW:
        raise ValueError(f"{text!r} is not a run id: its numbers are too large")
    return RunId(partition, epoch << EPOCH_BITS | number)


def no_such_run(text: str, there: RunId | None, agent: str = "", key: str = "") -> str:
    """What to say of an id that names no run; ``there``: the run that has its number, in another partition."""
    if there is None:
        return f"there is no run {text}; `millstream runs` lists them"
    return f"there is no run {text}; {run_id(*there)} is of agent {agent}, key {key!r}"


def step_id(run: str, step: str) -> str:
    """A step's public id: its run's, and its place in it (``42-1-17/charge``)."""
    return f"{run}/{step}"


def parse_step_id(text: str) -> tuple[RunId, str]:
    """The run of a step and its structural identity in it, from its public id.

    Raises:
        ValueError: it is not a step id.
    """
    run, slash, step = text.partition("/")
    if not slash or not step:
        raise ValueError(f"{text!r} is not a step id; one looks like 42-1-17/charge (see `millstream doubts`)")
    return parse_run_id(run), step


class KeyMaker:
    """Makes idempotency keys: a hash of app, store id, run id and step identity.

    A fresh data folder has a fresh store id, so it never reuses a key of an old one.
    """

    __slots__ = ("_salt",)

    def __init__(self, app: str, store_id: str) -> None:
        self._salt = blake2b(f"{app}\0{store_id}".encode(), digest_size=32).digest()

    def key(self, run: str, step: str) -> str:
        return blake2b(f"{run}/{step}".encode(), digest_size=16, key=self._salt).hexdigest()
