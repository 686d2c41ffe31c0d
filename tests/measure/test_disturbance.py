"""A real server beside a process that spins, and one that is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.measure.cell import Budget, measure
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer

SLEEPY = Workload("sleepy", 1, 1)
NAME = "gaitspin"
SPIN = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{NAME}')\nwhile 1: pass"


@contextmanager
def spinning() -> Iterator[int]:
    """Keep a CPU busy, in a session of its own: in ours the scheduler would share ours with it."""
    with subprocess.Popen([sys.executable, "-S", "-c", SPIN], start_new_session=True) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture(scope="module")
def sleepy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("sleepy")
    write_model(repository, "sleepy", sleep_s=0.02)
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server


@pytest.mark.slow
def test_beside_a_process_that_spins_a_cell_is_invalid_and_names_it(
    sleepy_server: TritonServer,
) -> None:
    with spinning():
        measured = measure(sleepy_server, SLEEPY, Metering(), Budget(0.2, 3.0, disturbed=0.05))
    assert measured.invalid is not None
    assert f"`{NAME}`" in measured.invalid
    assert measured.surroundings is not None
    assert measured.surroundings.disturbed == measured.surroundings.windows
    assert measured.metrics["throughput"].value > 0, "what was seen is shown"


@pytest.mark.slow
def test_a_process_that_ends_costs_windows_not_the_cell(sleepy_server: TritonServer) -> None:
    with spinning() as pid:
        ended = threading.Timer(1.5, os.kill, (pid, signal.SIGKILL))
        ended.start()
        measured = measure(sleepy_server, SLEEPY, Metering(), Budget(1e-9, 5.0, disturbed=0.05))
        ended.join()
    seen = measured.surroundings
    assert seen is not None
    assert seen.disturbed > 0
    if measured.invalid is None:  # else others disturbed it
        assert measured.windows == seen.windows - seen.disturbed


@pytest.mark.slow
def test_a_server_that_was_stopped_while_it_was_measured_is_named(
    sleepy_server: TritonServer,
) -> None:
    pid = sleepy_server.server_pid
    assert pid is not None
    stops: list[threading.Thread] = []

    def stop() -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(pid, signal.SIGCONT)

    def progress(_throughput: float, half_width: float | None) -> None:
        if half_width is not None and not stops:
            stops.append(threading.Thread(target=stop))
            stops[0].start()

    measured = measure(
        sleepy_server, SLEEPY, Metering(), Budget(1e-9, 6.0, disturbed=1.0), progress=progress
    )
    stops[0].join()
    assert measured.invalid is not None
    assert f"tritonserver (pid {pid}) was stopped meanwhile" in measured.invalid
    assert re.search(r"no answer for \d", measured.invalid)
