"""The gait suite's grid: throughput, latency, energy and CPU of every cell, against the baselines.

One cell is measured once; each quantity is a test of its own, so that a red test's name says what
regressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.perf import Perf
    from pytest_gaitperf.workload import Workload


def test_throughput(perf: Perf, perf_cell: Workload) -> None:
    """Inferences per second have not fallen."""
    perf.gate(perf_cell, "throughput")


def test_latency(perf: Perf, perf_cell: Workload) -> None:
    """The median latency, and p90 to p99 where requests are enough for them, have not risen."""
    perf.gate(perf_cell, "latency")


def test_energy(perf: Perf, perf_cell: Workload) -> None:
    """Joules per inference have not risen; skipped where no power sensor can be read."""
    perf.gate(perf_cell, "energy")


def test_cpu(perf: Perf, perf_cell: Workload) -> None:
    """The server's CPU time per inference has not risen; skipped where it cannot be seen."""
    perf.gate(perf_cell, "cpu")


@pytest.mark.gaitperf(quantity="first_answer")
def test_first_answer(perf: Perf, perf_cell: Workload) -> None:
    """Of a stream: the time to the first answer has not risen."""
    perf.gate(perf_cell, "first_answer")


@pytest.mark.gaitperf(quantity="answers")
def test_answers(perf: Perf, perf_cell: Workload) -> None:
    """Of a stream: the answers per second have not fallen."""
    perf.gate(perf_cell, "answers")


@pytest.mark.gaitperf(quantity="goodput")
def test_goodput(perf: Perf, perf_cell: Workload) -> None:
    """With a deadline: inferences that keep it, per second and per joule, have not fallen."""
    perf.gate(perf_cell, "goodput")


@pytest.mark.gaitperf(quantity="neighbours")
def test_neighbours(perf: Perf, perf_cell: Workload) -> None:
    """Beside neighbours: all models are in time, and slow this one no more than they did."""
    perf.gate(perf_cell, "neighbours")
