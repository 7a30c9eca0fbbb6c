"""Durations: text with a unit, or a timedelta, becomes microseconds; everything else says how to write it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.agents.durations import LONGEST, declared, microseconds
from millstream.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("250ms", 250_000),
        ("10s", 10_000_000),
        ("5m", 300_000_000),
        ("24h", 86_400_000_000),
        ("7d", 604_800_000_000),
        ("1.5s", 1_500_000),
        ("0.1s", 100_000),
        ("10 s", 10_000_000),
        (" 10s ", 10_000_000),
        ("0s", 0),
    ],
)
def test_text_is_a_number_with_its_unit(text: str, us: int) -> None:
    assert microseconds(text) == us


@given(st.timedeltas(timedelta(0), timedelta(microseconds=LONGEST)))
def test_a_timedelta_keeps_every_microsecond(duration: timedelta) -> None:
    assert timedelta(microseconds=microseconds(duration)) == duration


@given(st.integers(0, LONGEST // 1000))
def test_text_and_timedelta_mean_the_same(milliseconds: int) -> None:
    assert microseconds(f"{milliseconds}ms") == microseconds(timedelta(milliseconds=milliseconds))
    assert microseconds(f"{milliseconds / 1000:.3f}s") == microseconds(f"{milliseconds}ms")


@pytest.mark.parametrize(
    "text", ["", "10", "s", "10 seconds", "-5s", "+5s", "1e3s", "1h30m", "10S", "\u0661\u0660s", "nan", "10s\nx", "1_0s"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        microseconds(text)


@pytest.mark.parametrize("thing", [10, 1.5, True, None, ["10s"]])
def test_a_number_has_no_unit(thing: object) -> None:
    with pytest.raises(TypeError, match="is not a duration"):
        microseconds(thing)  # type: ignore[arg-type]


def test_what_is_negative_or_absurdly_long_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        microseconds(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="longer than a century"):
        microseconds("36501d")
    with pytest.raises(ValueError, match="longer than a century"):
        microseconds("9" * 400 + "d")


def test_a_declared_duration_names_the_place_and_the_way_to_write_it() -> None:
    assert declared("10s", "timeout", "orders.py:3") == 10_000_000
    with pytest.raises(DeclarationError, match=r'^orders.py:3: timeout: 10 is not a duration; write "250ms", "10s"'):
        declared(10, "timeout", "orders.py:3")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match=r"^orders.py:3: timeout='0s' is no time at all; make it longer"):
        declared("0s", "timeout", "orders.py:3", zero=False)
