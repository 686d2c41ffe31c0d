"""What a run of synthetic load gathers, with values that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.gathered import Gathered
from pytest_gaitperf.power.metering import PowerReading
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import START_NS, steady

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.workload import Arrival


MS = 10**6


def following(windows: int, window_ms: int = 250) -> npt.NDArray[np.int64]:
    """Windows one after the other from 0.1 s after the first request on."""
    edges = START_NS + (100 + np.arange(windows + 1, dtype=np.int64) * window_ms) * MS
    return np.column_stack((edges[:-1], edges[1:]))


def counted(requests: int, batch_size: int) -> ModelStatistics:
    """Each request: 8 ms in the server, of which 1 queueing and 6 inferring."""
    return ModelStatistics(
        inference_count=requests * batch_size,
        execution_count=requests,
        success_count=requests,
        fail_count=0,
        success_ns=requests * 8 * MS,
        queue_ns=requests * MS,
        compute_input_ns=requests * MS // 2,
        compute_infer_ns=requests * 6 * MS,
        compute_output_ns=requests * MS // 2,
    )


def run_of(
    record: LoadRecord,
    *,
    concurrency: int = 4,
    batch_size: int = 2,
    windows: int = 8,
    power: PowerReading | None = None,
) -> Gathered:
    """A run without faults, and by default without a meter."""
    return Gathered(
        workload=Workload("model", batch_size, concurrency),
        windows_ns=following(windows),
        warm_up=LoadRecord(),
        record=record,
        sent=counted(record.requests, batch_size),
        statistics=counted(record.requests, batch_size),
        server_cpu_s=0.004 * record.requests,
        server_cpu_absent="",
        power=power or PowerReading(None, "no power meter: none was asked for"),
    )


def value(estimate: Estimate) -> float:
    return estimate.value


STEADY = steady(4, 0.01, 4.0)  # 400 requests/s


def open_run(
    record: LoadRecord, rate: float = 100.0, arrival: Arrival = "constant", batch_size: int = 2
) -> Gathered:
    workload = Workload("model", batch_size, request_rate=rate, arrival=arrival)
    return replace(run_of(record, batch_size=batch_size), workload=workload)


def with_windows(run: Gathered, *kept: int) -> Gathered:
    return replace(run, windows_ns=run.windows_ns[list(kept)])


def powered(
    watts: npt.NDArray[np.float64], *, minimum_window_s: float = 0.1, until_s: float = 4.0
) -> PowerReading:
    """Rails IN (the total) and GPU (a quarter of it), read at even intervals from the start on."""
    times = START_NS + np.linspace(0, until_s * 1e9, len(watts)).astype(np.int64)
    values = np.stack([watts, watts / 4], axis=1)
    return PowerReading(
        Trace(("IN", "GPU"), times, values, "power"),
        rails=("IN",),
        minimum_window_s=minimum_window_s,
    )
