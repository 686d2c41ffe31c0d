"""``pytest -n``: the workers would share one device, so a run that measures is refused, once."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gaitperf.own import is_ours

_REFUSED = "gaitperf_refused"
_FIXTURES = frozenset({"perf", "power_meter", "triton_load", "triton_server"})
"""The fixtures whose tests measure, or touch what others measure."""

WHY = (
    "measurements cannot share a device, and this would run {tests} of them in several processes "
    "at once: run without -n, or deselect what measures"
    "; --gaitperf-board runs the suite on several boards"
)


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
        tests = sum(any(is_ours(item, fixture) for fixture in _FIXTURES) for item in session.items)
        if tests:
            why = WHY.format(tests=tests)
            session.config.workeroutput[_REFUSED] = why  # type: ignore[attr-defined]  # xdist's
            raise pytest.UsageError(why)
