"""The world outside: a bank, a warehouse, a courier and a letter box, and the ledger that they keep.

What happens here happens: no transaction with Millstream takes it back. Each line of the ledger is on the disk before the next
instruction, so that it tells the truth however the process dies. Every call takes a while before its effect and after it, so that
a process can die on either side.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import time

LEDGER = "ledger.jsonl"
WAREHOUSE = "warehouse.db"


# --- the ledger -----------------------------------------------------------------------------------------------------------


def write(tool: str, order: str, what: str, **more: object) -> None:
    """Append a line, and have it on the disk."""
    line = {"tool": tool, "order": order, "what": what, "process": os.getpid(), **more}
    ledger = os.open(LEDGER, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(ledger).st_size
        cut = size > 0 and os.pread(ledger, 1, size - 1) != b"\n"  # a kill has cut the last one: it lies on two pages
        os.write(ledger, ("\n" * cut + json.dumps(line) + "\n").encode())
        os.fsync(ledger)
    finally:
        os.close(ledger)


def entries(tool: str, what: str) -> list[dict[str, str]]:
    """The lines of a tool so far."""
    return [line for line in read(LEDGER) if line["tool"] == tool and line["what"] == what]


def read(path: str) -> list[dict[str, str]]:
    """All lines of a ledger. One that is cut did not happen."""
    lines = []
    with open(path) as ledger:
        for text in ledger:
            try:
                lines.append(json.loads(text))
            except ValueError:
                pass
    return lines


def asked(tool: str, order: str) -> None:
    """Somebody wants something."""
    write(tool, order, "asked")


def pause(seconds: float) -> None:
    """Work."""
    time.sleep(seconds * random.uniform(0.5, 1.5))


async def _work() -> None:
    await asyncio.sleep(random.uniform(0.02, 0.08))


# --- the far sides --------------------------------------------------------------------------------------------------------


async def quote(order: str) -> int:
    """Today's price, in cents: another one each time."""
    asked("quote", order)
    await _work()
    return random.randint(1_000, 9_999)


async def charge(key: str, order: str, cents: int) -> str:
    """The bank: what was charged under a key is not charged again."""
    asked("charge", order)
    await _work()
    if all(line["key"] != key for line in entries("charge", "done")):
        write("charge", order, "done", key=key, cents=cents)
    await _work()
    return f"R-{key[:8]}"


def warehouse() -> sqlite3.Connection:
    """The warehouse's database."""
    database = sqlite3.connect(WAREHOUSE, timeout=10)
    database.execute("CREATE TABLE IF NOT EXISTS reserved (order_id TEXT NOT NULL)")
    return database


async def book(order: str) -> str:
    """The courier: two calls are two bookings."""
    asked("book", order)
    await _work()
    write("book", order, "done")
    await _work()
    return f"B-{order}"


def find_booking(order: str) -> str | None:
    """The courier's answer to "have you a booking for it?"."""
    return next((f"B-{order}" for line in entries("book", "done") if line["order"] == order), None)


async def post_letter(order: str) -> str:
    """The letter box: what is in it is in it."""
    asked("post_letter", order)
    await asyncio.sleep(0.02)
    write("post_letter", order, "done")
    await asyncio.sleep(0.02)
    return "posted"
