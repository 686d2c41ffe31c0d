"""Loads that are kept up for long: a grid with ``sustained = "30 min"``, a marker with the same.

No other grid has such cells, and this file then no tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.perf import Perf
    from pytest_gaitperf.workload import Workload


@pytest.mark.gaitperf(quantity="sustained")
def test_sustained(perf: Perf, perf_cell: Workload) -> None:
    """At the end of the load it is as fast as at its beginning, and as it was before."""
    perf.gate(perf_cell, "sustained")
