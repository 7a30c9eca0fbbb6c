"""The tables of a SQLite store, as text."""

from __future__ import annotations

import hashlib

import pytest

from millstream.core.tables import Table
from millstream.stores import sqlite_schema


def test_the_tables_of_this_schema_version_are_pinned() -> None:
    """Changed on purpose? Raise ``SCHEMA`` (once there is a release, with a migration) and pin the new text."""
    text = "\n".join(sqlite_schema.schema().values())
    assert (sqlite_schema.SCHEMA, hashlib.sha256(text.encode()).hexdigest()[:16]) == (1, "f920ad29e44c5c17")


def test_a_table_of_another_shape_is_a_mistake_of_its_author() -> None:
    for hint in (float, "int | str", bytes):
        row = type("Row", (), {"__annotations__": {"a": hint}, "_fields": ("a",)})
        with pytest.raises(TypeError, match="a column is int, str"):
            sqlite_schema.columns(Table("t", row, 1))
