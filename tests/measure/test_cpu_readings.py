"""The CPU time of processes, read again and again."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from pytest_gaitperf.measure.cpu import CpuReadings
from pytest_gaitperf.triton.process import tree_cpu_clocks, tree_cpu_seconds


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
    spent = readings.within(windows, 0.2)
    assert spent is not None
    assert spent == pytest.approx([5e7, 5e7], rel=0.5)
    assert readings.within(windows + 10**9, 0.2) is None, "later than the last reading"


def test_the_cpu_time_of_a_process_that_began_meanwhile_is_in_no_cpu_readings() -> None:
    before_s = tree_cpu_seconds(os.getpid())
    readings = CpuReadings(tree_cpu_clocks(os.getpid()))
    start_ns = time.monotonic_ns()
    work = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    windows = np.array([[start_ns, time.monotonic_ns()]])
    readings.read()
    after_s = tree_cpu_seconds(os.getpid())
    assert before_s is not None
    assert after_s is not None
    assert readings.within(windows, after_s - before_s) is None
    assert readings.within(windows, 0.0) is not None


def test_a_process_that_ended_leaves_no_cpu_readings() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    readings = CpuReadings(tree_cpu_clocks(child.pid))
    child.kill()
    child.wait()
    readings.read()
    assert readings.within(np.array([[0, 1]]), 0.0) is None
    assert tree_cpu_clocks(child.pid) == ()
