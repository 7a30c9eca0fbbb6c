"""Settings for all tests: how hypothesis searches."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# "default": the same examples in every run, so that a red build is red again. No deadlines: a slow machine is not a bug.
settings.register_profile(
    "default",
    derandomize=True,
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # timed, so it would fail by load alone
)
# "search": look for what nobody has thought of, with ``pytest --hypothesis-profile=search``.
settings.register_profile(
    "search",
    derandomize=False,
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")
