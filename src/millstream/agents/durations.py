"""Durations as people write them, to the integer microseconds that everything below counts in.

A duration is text with its unit (``"250ms"``, ``"10s"``, ``"5m"``, ``"24h"``, ``"7d"``, ``"1.5s"``) or a ``timedelta``. A bare
number is refused: nobody can see whether it means seconds or milliseconds.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from millstream.agents.places import wrong

Duration = str | timedelta

LONGEST = 36_500 * 86_400_000_000  # us, a century: what is longer is a mistake, and must not overflow a time

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")
_EXAMPLES = 'write "250ms", "10s", "5m", "24h", "7d" or a timedelta'


def microseconds(duration: Duration) -> int:
    """A duration in microseconds, at least 0.

    Raises:
        TypeError: it is neither text nor a ``timedelta``.
        ValueError: the text has no number or unit, or it is negative or longer than a century.
    """
    if isinstance(duration, str):
        return _parsed(duration)
    if not isinstance(duration, timedelta):
        raise TypeError(f"{duration!r} is not a duration")
    return _bounded(duration // timedelta(microseconds=1), duration)


def declared(duration: Duration, option: str, where: str, *, zero: bool = True) -> int:
    """A duration in microseconds, of an option declared at ``where`` (``file:line``).

    Raises:
        DeclarationError: it is not a duration, or 0 where ``zero`` is not allowed.
    """
    try:
        us = microseconds(duration)
    except (TypeError, ValueError) as problem:
        raise wrong(where, f"{option}: {problem}", _EXAMPLES) from None
    if us == 0 and not zero:
        raise wrong(where, f"{option}={duration!r} is no time at all", "make it longer than 0")
    return us


@lru_cache(maxsize=256)
def _parsed(text: str) -> int:
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    number, unit = match.groups()
    whole, _, fraction = number.partition(".")
    scale = 10 ** len(fraction)
    return _bounded(int(whole + fraction) * _UNITS[unit] // scale, text)


def _bounded(us: int, duration: Duration) -> int:
    if not 0 <= us <= LONGEST:
        raise ValueError(f"{str(duration)!r} is {'negative' if us < 0 else 'longer than a century'}")
    return us
