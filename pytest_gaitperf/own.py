"""What is the plugin's own: its names, its fixtures among those of a test, and who may measure.

``pytest -n``: the workers would share one device, so a run that measures is refused, once.
"""

from __future__ import annotations

from typing import Any

import pytest

RUNNING = "gaitperf-running"
"""The name of the plugin that drives a run that measures."""

REFUSAL = "gaitperf-refusal"
"""The name of the plugin that keeps the workers of pytest-xdist from measuring."""

NARROWED = pytest.StashKey[bool]()
"""Whether the run leaves out some tests."""


MEASURING = ("perf", "power_meter", "triton_load", "triton_server")
"""The fixtures whose tests measure, or touch what others measure."""

_REFUSED = "gaitperf_refused"
WHY = (
    "measurements cannot share a device, and this would run {tests} of them in several processes "
    "at once: run without -n, or deselect what measures"
    "; --gaitperf-board runs the suite on several boards"
)


def is_ours(node: object, fixture: str) -> bool:
    """Return whether a fixture that a test asks for is this plugin's, or wraps it."""
    known = getattr(getattr(node, "_fixtureinfo", None), "name2fixturedefs", {})
    for one in reversed(known.get(fixture, ())):
        if one.func.__module__ == "pytest_gaitperf.fixtures":
            return True
        if fixture not in one.argnames:  # it stands in place of ours
            break
    return False


class Refusal:
    """The plugin of the pytest that distributes: it stops when a worker says that it must not."""

    def pytest_testnodedown(self, node: Any) -> None:
        """End the run with the worker's reason, before any test has begun."""
        why = getattr(node, "workeroutput", {}).get(_REFUSED)
        if why:
            raise pytest.UsageError(str(why))


class RefusingWorker:
    """The plugin of such a run's workers."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Refuse to run what is left after deselection, where some of it measures."""
        tests = sum(any(is_ours(item, fixture) for fixture in MEASURING) for item in session.items)
        if tests:
            why = WHY.format(tests=tests)
            session.config.workeroutput[_REFUSED] = why  # type: ignore[attr-defined]  # xdist's
            raise pytest.UsageError(why)
