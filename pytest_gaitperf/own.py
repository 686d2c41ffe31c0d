"""What is the plugin's own: the names it goes by, and its fixtures among those of a test."""

from __future__ import annotations

import pytest

RUNNING = "gaitperf-running"
"""The name of the plugin that drives a run that measures."""

REFUSAL = "gaitperf-refusal"
"""The name of the plugin that keeps the workers of pytest-xdist from measuring."""

NARROWED = pytest.StashKey[bool]()
"""Whether the run leaves out some tests."""


def is_ours(node: object, fixture: str) -> bool:
    """Return whether a fixture that a test asks for is this plugin's, and nobody else's."""
    known = getattr(getattr(node, "_fixtureinfo", None), "name2fixturedefs", {})
    return fixture in known and known[fixture][-1].func.__module__ == "pytest_gaitperf.fixtures"
