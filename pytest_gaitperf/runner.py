"""Measure one cell: warm the model up, load it, and gather what the evaluation needs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.device.state import read_state, throttled
from pytest_gaitperf.device.watch import StateWatch
from pytest_gaitperf.errors import MeasurementError, ServerError
from pytest_gaitperf.load.http import ClosedLoop
from pytest_gaitperf.load.request import encode_http
from pytest_gaitperf.load.stopping import MINIMUM_WINDOWS, Precision, WarmUp, steady_latency_s
from pytest_gaitperf.measurement import Measurement, Run, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.triton.statistics import ModelStatistics
    from pytest_gaitperf.workload import Workload

    Progress = Callable[[float, float | None], None]

_SHORTEST_WINDOW_S = 0.25
_WARM_UP_SHARE = 0.25
_WARM_UP_TICK_S = 0.1
_STATISTICS_SETTLE_S = 2.0
_OVERRUN = 2.0
_LAG_LATENCIES = 1.5


@dataclass(frozen=True, slots=True)
class Effort:
    """How well and how long to measure.

    ``precision`` is the relative half-width of the throughput's 95 % interval at which a cell is
    done; ``budget_s`` bounds the cell, warm-up included. Only a cell whose requests are too slow
    for six windows in it takes longer, at most three times as long.
    """

    precision: float = 0.02
    budget_s: float = 20.0


def measure(
    server: TritonServer,
    workload: Workload,
    metering: Metering,
    effort: Effort,
    *,
    progress: Progress = lambda _throughput, _half_width: None,
) -> Measurement:
    """Load the server with one workload until its throughput is known well enough.

    ``progress`` is called once a window with the throughput so far (inferences/s) and the relative
    half-width of its interval (None while unknown).

    Raises
    ------
    MeasurementError
        The cell could not be measured: failing requests, a silent server, a budget too small.
    ServerError
        The server died; nothing more can be measured on it.
    ConfigurationError
        The model's inputs cannot be generated.
    """
    model = server.model(workload.model, workload.version)
    if model.decoupled:
        raise MeasurementError(
            f"model {model.name!r} is decoupled: it streams its answers, which HTTP cannot carry"
        )
    request = encode_http(model, workload, server.url, dict(workload.shapes))
    try:
        return evaluate(_run(server, workload, request.data, metering, effort, progress))
    except (MeasurementError, ServerError):
        server.check_alive()  # its death explains more than the broken connection it caused
        raise
    finally:
        metering.stop()


def _run(  # noqa: PLR0917 - one caller
    server: TritonServer,
    workload: Workload,
    request: bytes,
    metering: Metering,
    effort: Effort,
    progress: Progress,
) -> Run:
    began = time.monotonic()
    device_before = read_state()
    before = server.statistics(workload.model, workload.version)
    with (
        StateWatch() as watch,
        ClosedLoop(server.host, server.http_port, request, workload.concurrency) as load,
    ):
        warm_up = load.run(
            WarmUp(workload.concurrency, effort.budget_s * _WARM_UP_SHARE), _WARM_UP_TICK_S
        )
        latency_s = steady_latency_s(warm_up)
        window_s = max(_SHORTEST_WINDOW_S, latency_s / 2)
        lag_s = max(_LAG_LATENCIES * latency_s, metering.lag_s)
        middle = server.statistics(workload.model, workload.version)
        cpu_before_s = server.cpu_seconds()
        metering.start()
        ramp_s = max(latency_s, 0.02, metering.lag_s)
        rule = Precision(
            start_ns=time.monotonic_ns() + int(ramp_s * 1e9),
            window_s=window_s,
            lag_s=lag_s,
            precision=effort.precision,
            minimum_span_s=metering.minimum_span_s,
            limit_s=effort.budget_s - (time.monotonic() - began) - ramp_s,
            hard_limit_s=_OVERRUN * effort.budget_s,
            batch_size=workload.batch_size,
            progress=progress,
        )
        record = load.run(rule, window_s)
    cpu_after_s = server.cpu_seconds()
    edges = rule.edges_ns
    if len(edges) <= MINIMUM_WINDOWS:
        raise MeasurementError(
            f"{MINIMUM_WINDOWS} windows of {window_s:.2f} s are needed (a request takes "
            f"{latency_s:.2f} s), and twice the budget of {effort.budget_s:g} s holds "
            f"{len(edges) - 1}; give --gaitperf-budget="
            f"{math.ceil((2 * MINIMUM_WINDOWS * window_s + 2 * lag_s) / _OVERRUN)} or more"
        )
    power = metering.read(workload.id, edges)
    inferences = (warm_up.requests + record.requests) * workload.batch_size
    after = settled_statistics(server, workload, before.inference_count + inferences)
    notes = []
    if not rule.reached:
        notes.append(
            f"the budget of {effort.budget_s:g} s ended before the asked precision of "
            f"{effort.precision:.1%}"
        )
    known = cpu_before_s is not None and cpu_after_s is not None
    return Run(
        workload=workload,
        edges_ns=edges,
        warm_up=warm_up,
        record=record,
        sent=after.minus(before),
        statistics=after.minus(middle),
        server_cpu_s=(cpu_after_s or 0.0) - (cpu_before_s or 0.0) if known else None,
        server_cpu_absent=server.cpu_absent_reason or "",
        power=power,
        throttled=throttled(device_before, read_state()) or watch.hindered(),
        notes=tuple(notes),
    )


def settled_statistics(server: TritonServer, workload: Workload, expected: int) -> ModelStatistics:
    """Return the statistics once they count what was sent: Triton books after it has answered."""
    deadline = time.monotonic() + _STATISTICS_SETTLE_S
    while True:
        statistics = server.statistics(workload.model, workload.version)
        if statistics.inference_count >= expected or time.monotonic() > deadline:
            return statistics
        time.sleep(0.01)
