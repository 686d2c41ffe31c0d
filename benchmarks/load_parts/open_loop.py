"""Open loop: how well the schedule is kept, and whether a stall of the server shows.

The stall stops the model's own process for 300 ms (SIGSTOP, SIGCONT). A load generator that counts
a request's latency from its scheduled time, as MLPerf's LoadGen does in its server scenario, must
report what follows from the schedule: a request due in the stall is answered no sooner than at its
end, and the backlog takes the server some ms more. One that counts from the actual send, or sends
late because its threads wait, hides it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.load_parts.goal import Goal
from benchmarks.perf_analyzer import REAL_WINDOW, WINDOWS
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self

    from benchmarks.load_parts.bench import Bench
    from pytest_gaitperf.load.record import LoadRecord

_RATES = (100, 250, 500)
_STALL_RATE = 200
_STALL_S = 0.3
_TICK_S = 0.05
_SLEEPER = Path(__file__).with_name("sleeper.py")
_WHY_LATE = "a bare sleeper tells what the machine itself allows; is it busy with something else?"


def open_loop(bench: Bench) -> list[Goal]:
    """Measure the send-time errors, then the stall with ours and with perf_analyzer."""
    errors: dict[int, list[float]] = {rate: [] for rate in _RATES}
    sleepers: dict[int, list[float]] = {rate: [] for rate in _RATES}
    ours, theirs = [], []
    for number in range(bench.plan.open_rounds):
        for rate in _RATES:
            sleeper = subprocess.Popen(
                [sys.executable, str(_SLEEPER), str(rate), str(bench.plan.open_s)],
                stdout=subprocess.PIPE,
                text=True,
            )
            record = _load(bench, rate)
            sleepers[rate].append(float(sleeper.communicate(timeout=60)[0]))
            delays_ms = np.frombuffer(record.delays_ns, dtype=np.int64) / 1e6
            errors[rate].append(float(np.quantile(delays_ms, 0.99)))
            print(
                f"  round {number + 1} {rate} requests/s: sent late by {np.median(delays_ms):.3f} "
                f"ms in the median, p99 {errors[rate][-1]:.3f} ms, at most {delays_ms.max():.3f} "
                f"ms; a bare sleeper beside it p99 {sleepers[rate][-1]:.3f} ms; "
                f"{record.client_cpu_ns / 1e3 / max(record.requests, 1):.0f} us CPU/request",
                flush=True,
            )
        with Stall(bench) as stall:
            record = _load(bench, _STALL_RATE)
        starts, ends = record.times()
        expected_ms = loadgen_p99_ms(starts, ends, (stall.start_ns, stall.end_ns))
        reported_ms = float(np.quantile((ends - starts) / 1e6, 0.99))
        ours.append(reported_ms / expected_ms)
        line = (
            f"  round {number + 1} stopped for {(stall.end_ns - stall.start_ns) / 1e6:.0f} ms: p99 "
            f"by the schedule {expected_ms:.1f} ms, ours {reported_ms:.1f} ms"
        )
        if not isinstance(bench.tool, str):
            workload = Workload("identity", 1, request_rate=_STALL_RATE)
            with Stall(bench):
                other = bench.theirs(workload, bench.plan.open_s / WINDOWS / REAL_WINDOW)
            assert other is not None  # its stability threshold is lifted
            theirs.append(other.p99_ms / expected_ms)
            line += f", perf_analyzer {other.p99_ms:.1f} ms"
        print(line, flush=True)
    goals = []
    for rate in _RATES:
        name, late = f"p99 send-time error, {rate} requests/s", tuple(errors[rate])
        goals += [
            Goal(name, late, at_most=1.0, unit="ms", why=_WHY_LATE),
            Goal("  of a bare sleeper beside it", tuple(sleepers[rate]), unit="ms"),
        ]
    goals.append(Goal("p99 with a stall / LoadGen's", tuple(ours), at_most=1.1, at_least=0.9))
    if theirs:
        goals.append(Goal("  the same of perf_analyzer", tuple(theirs)))
    return goals


def _load(bench: Bench, rate: float) -> LoadRecord:
    """Send to the identity at a constant rate for as long as the plan says."""
    server, workload = bench.server, Workload("identity", 1, request_rate=rate)
    model = server.model(workload.model)
    span_ns = bench.plan.open_s * 1e9
    with open_load(server, model, workload, input_data(model, workload)) as load:
        return load.run(lambda record, now_ns: now_ns - record.first_send_ns < span_ns, _TICK_S)


def loadgen_p99_ms(
    scheduled_ns: npt.NDArray[np.int64],
    ends_ns: npt.NDArray[np.int64],
    stall_ns: tuple[int, int],
) -> float:
    """Return the p99 latency that the schedule and the stall make, whatever was measured in it.

    A request that the stall did not touch takes the median of those. One that was due in the stall,
    or in service when it came, takes as long from the stall's end on.
    """
    begin_ns, end_ns = stall_ns
    touched = (scheduled_ns <= end_ns) & (ends_ns >= begin_ns)
    usual_ns = float(np.median((ends_ns - scheduled_ns)[~touched]))
    latencies: npt.NDArray[np.float64] = np.full(len(scheduled_ns), usual_ns)
    held = (scheduled_ns > begin_ns - usual_ns) & (scheduled_ns < end_ns)
    latencies[held] += end_ns - scheduled_ns[held]
    return float(np.quantile(latencies, 0.99)) / 1e6


class Stall:
    """Stops the identity's process once for 300 ms in the middle of the load; a context manager.

    ``start_ns`` and ``end_ns`` (monotonic clock) say when that was.
    """

    def __init__(self, bench: Bench) -> None:
        self.start_ns = self.end_ns = 0
        self._pid = _model_pid(bench)
        self._wait_s = bench.plan.open_s / 2
        self._thread = threading.Thread(target=self._stop_and_go)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join()

    def _stop_and_go(self) -> None:
        time.sleep(self._wait_s)
        os.kill(self._pid, signal.SIGSTOP)
        self.start_ns = time.monotonic_ns()
        try:
            time.sleep(_STALL_S)
        finally:
            self.end_ns = time.monotonic_ns()
            os.kill(self._pid, signal.SIGCONT)


def _model_pid(bench: Bench) -> int:
    """Find the process in which Triton's Python backend runs the identity."""
    for process in psutil.Process(bench.server.server_pid).children(recursive=True):
        if any("/identity/" in argument for argument in process.cmdline()):
            return int(process.pid)
    raise SystemExit("the identity has no process of its own")
