"""Models by themselves: their start, their memory, and whether they still answer the same.

Each model is one cell, measured in every life of its processes. Its peak of memory is that under
the loads of the other suites of the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.perf import Perf
    from pytest_gaitperf.workload import Workload


@pytest.mark.gaitperf(quantity="memory")
def test_memory(perf: Perf, perf_cell: Workload) -> None:
    """The memory that is the model's has not risen, loaded and at its peak, nor have its files."""
    perf.gate(perf_cell, "memory")


@pytest.mark.gaitperf(quantity="cold_start")
def test_cold_start(perf: Perf, perf_cell: Workload) -> None:
    """The time to load the model, and the latency of its first inference, have not risen."""
    perf.gate(perf_cell, "cold_start")


@pytest.mark.gaitperf(quantity="accuracy")
def test_accuracy(perf: Perf, perf_cell: Workload) -> None:
    """The model answers as its reference does, and gets as many labels right, as before."""
    perf.gate(perf_cell, "accuracy")
