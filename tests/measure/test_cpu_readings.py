"""The CPU time of processes, read again and again."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from pytest_gaitperf.measure.cpu import CpuReadings
from pytest_gaitperf.triton.process import tree_cpu_clocks


def test_cpu_readings_are_those_of_the_processes() -> None:
    readings = CpuReadings(tree_cpu_clocks(os.getpid()))
    edges = [time.monotonic_ns()]
    for _ in range(4):
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        readings.read()
        edges.append(time.monotonic_ns())
    windows = np.array([edges[0:2], edges[2:4]])
    readings.read()
    spent = readings.within(windows)
    assert spent is not None
    assert spent == pytest.approx([5e7, 5e7], rel=0.5)
    assert readings.within(windows + 10**9) is None, "later than the last reading"


def test_a_process_that_ended_leaves_no_cpu_readings() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    readings = CpuReadings(tree_cpu_clocks(child.pid))
    child.kill()
    child.wait()
    readings.read()
    assert readings.within(np.array([[0, 1]])) is None
    assert tree_cpu_clocks(child.pid) == ()
