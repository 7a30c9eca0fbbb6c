"""Engine time as text: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(us: int) -> datetime:
    """Microseconds since the Unix epoch as an aware datetime, exactly."""
    return EPOCH + timedelta(microseconds=us)


def rfc3339(us: int) -> str:
    """Microseconds since the Unix epoch as text (``2026-01-02T03:04:05.678901Z``)."""
    return utc(us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
