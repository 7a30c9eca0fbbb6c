"""Tests of the app: in memory and in virtual time, so that a day's waiting takes no time, and a crash happens where we want it.

They never touch `.millstream`, `orders.jsonl` or `receipts.jsonl`. `charge` is replaced by a bank of the test's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from app import app, charge, fulfil, orders

from millstream import INJECTED, ToolCall
from millstream.testing import AppRun

SMALL = {"order_id": "o-1", "customer": "ann", "cents": 1_250}
LARGE = {"order_id": "o-3", "customer": "bo", "cents": 250_000}


class Bank:
    """A payment provider that honours idempotency keys: it does nothing twice under one."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}

    async def charge(self, order_id: str, cents: int, call: ToolCall = INJECTED) -> dict[str, Any]:
        await asyncio.sleep(2)  # of virtual time
        self.charges.setdefault(call.idempotency_key, cents)
        return {"charged": cents}


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
def world(bank: Bank) -> Iterator[AppRun]:
    with AppRun(app, tools={charge: bank.charge}) as world:
        yield world


def test_a_small_order_is_charged(world: AppRun, bank: Bank) -> None:
    world.send(orders, SMALL)
    world.settle()
    assert world.outputs(fulfil.output) == [{"order": "o-1", "receipt": {"charged": 1_250}, "spent": 1_250}]
    assert list(bank.charges.values()) == [1_250]


def test_a_large_order_waits_until_somebody_approves_it(world: AppRun, bank: Bank) -> None:
    world.send(orders, LARGE)
    world.settle()
    run = world.run_of("o-3").expect("waiting")
    assert bank.charges == {}

    world.signal(run, "approval", {"ok": True}, about="o-3", by="ann")
    world.settle()
    assert run.expect("done").output["receipt"] == {"charged": 250_000}


def test_a_large_order_that_is_refused_is_not_charged(world: AppRun, bank: Bank) -> None:
    world.send(orders, LARGE)
    world.settle()
    world.signal(fulfil, "approval", {"ok": False}, key="bo", about="o-3", by="ann")
    world.settle()
    assert world.outputs(fulfil.output) == [{"order": "o-3", "refused_by": "ann"}]
    assert bank.charges == {}


def test_nobody_answers_for_a_day(world: AppRun) -> None:
    world.send(orders, LARGE)
    world.settle()
    world.advance("24h")
    error = world.run_of("o-3").expect("failed").error
    assert error is not None
    assert error["type"] == "TimeoutError"


def test_a_crash_behind_the_charge_charges_nobody_twice(world: AppRun, bank: Bank) -> None:
    world.send(orders, SMALL)
    with world.crash_at(charge, "performed"):  # the money is gone, and nobody was told
        world.settle()
    assert sum(world.effects(charge).values()) == 2  # asked again, under the same key
    assert list(bank.charges.values()) == [1_250]
    assert world.state(fulfil, "ann") == {"spent": 1_250}
