"""Real time: how many walking subjects a model serves, and what each inference then costs.

A subject needs one inference per frame (``--gaitperf-frame-rate``, 25 a second), 99 in 100 of them
within ``--gaitperf-deadline`` (the time of one frame), without a backlog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.perf import Perf
    from pytest_gaitperf.workload import Workload


@pytest.mark.gaitperf(batch_sizes=[1], most_subjects=True)
class TestMostSubjects:
    """The largest load that is served."""

    def test_subjects(self, perf: Perf, perf_cell: Workload) -> None:
        """As many subjects as before are served."""
        perf.gate(perf_cell, "subjects")

    def test_energy(self, perf: Perf, perf_cell: Workload) -> None:
        """Joules per inference at that load have not risen."""
        perf.gate(perf_cell, "energy")


@pytest.mark.gaitperf(batch_sizes=[1], subjects=[1, 4, 16])
class TestFixedSubjects:
    """Lower loads, which stay the same while the capacity changes.

    More subjects than the search found served are not measured: those tests are skipped.
    """

    def test_latency(self, perf: Perf, perf_cell: Workload) -> None:
        """The median latency, and p90 to p99 where requests are enough for them, have not risen."""
        perf.gate(perf_cell, "latency")

    def test_energy(self, perf: Perf, perf_cell: Workload) -> None:
        """Joules per inference have not risen."""
        perf.gate(perf_cell, "energy")

    def test_cpu(self, perf: Perf, perf_cell: Workload) -> None:
        """The server's CPU time per inference has not risen."""
        perf.gate(perf_cell, "cpu")


@pytest.mark.gaitperf(quantity="best_rate")
class TestBestRate:
    """With ``best_under``: the highest rate whose latency stays within it."""

    def test_best_rate(self, perf: Perf, perf_cell: Workload) -> None:
        """The rate has not fallen."""
        perf.gate(perf_cell, "best_rate")

    def test_energy(self, perf: Perf, perf_cell: Workload) -> None:
        """Joules per inference at that rate have not risen."""
        perf.gate(perf_cell, "energy")
