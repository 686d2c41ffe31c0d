from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing

import pytest

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.estimate import CpuReader
from pytest_gaitperf.power.meter import open_meter

# A server whose work is done by a child, as Triton's Python backend does.
SERVER = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
    "print('working', flush=True)\n"
    "sys.stdin.read()\n"
    "child.kill()\n"
    "child.wait()\n"
)


def test_cpu_seconds_of_the_server_s_tree_times_watts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        found = open_meter("estimate:10", server_pid=server.pid)
        assert found.meter is not None
        with closing(found.meter) as meter:
            assert meter.estimated
            assert "ESTIMATED" in meter.description
            reader = CpuReader(server.pid, 1.0)
            meter.start()
            start, cpu_s = time.monotonic_ns(), reader._cpu_s()
            time.sleep(1.0)
            end, cpu_s = time.monotonic_ns(), reader._cpu_s() - cpu_s
            meter.stop()
            energy = integrate(meter.trace(start, end), start, end)
        server.communicate()
    assert cpu_s > 0.05
    # The edges fall between readings: their slices of CPU time are shared out evenly.
    assert energy.total_j(meter.total_rails) == pytest.approx(10.0 * cpu_s, rel=0.2)


def test_time_of_ended_children_is_kept() -> None:
    reader = CpuReader(os.getpid(), 1.0)
    before = reader._cpu_s()
    subprocess.run(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True
    )
    assert reader._cpu_s() - before >= 0.29


def test_an_estimate_without_a_server_process() -> None:
    for pid in (None, 2**22 + 1):
        with pytest.raises(MeterError, match="process cannot be seen on this host"):
            open_meter("estimate:10", server_pid=pid)


def test_a_server_that_is_gone() -> None:
    with pytest.raises(MeterError, match=r"process 4194305 is gone"):
        CpuReader(2**22 + 1, 1.0)
