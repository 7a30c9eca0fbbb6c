"""Conformance suites: what every store, source and sink must pass, for whoever writes one."""

from __future__ import annotations

import pytest

# The suites' assertions show what they compared, as those of a test module do.
pytest.register_assert_rewrite("millstream.testing.conformance.stores")
pytest.register_assert_rewrite("millstream.testing.conformance.sources")
pytest.register_assert_rewrite("millstream.testing.conformance.sinks")
