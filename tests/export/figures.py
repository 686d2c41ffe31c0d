"""Made-up sessions for the exporters."""

from __future__ import annotations

import numpy as np

from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.export.history import CellFigures, SessionFigures

VALUES = {
    "throughput": 45.5,
    "latency_mean": 0.0215,
    "latency_p50": 0.021,
    "latency_p99": 0.034,
    "energy_per_inference": 0.0097,
    "server_cpu_per_inference": 0.015,
}


def cell(
    model: str = "3D_fp32_0_batchd",
    key: str = "b1-c4",
    factor: float = 1.0,
    *,
    estimated: bool = False,
    requests: int = 200,
) -> CellFigures:
    """A cell whose every value is ``factor`` times the usual one."""
    latencies = np.random.default_rng(1).gamma(20, 0.0215 / 20, requests) * factor
    return CellFigures(
        model=model,
        key=key,
        labels={"batch_size": "1", "concurrency": "4", "protocol": "http", "transport": "inline"},
        metrics={
            name: Estimate(
                METRICS[name].unit, value * factor, value * factor * 0.98, value * factor * 1.02
            )
            for name, value in VALUES.items()
        },
        estimated=estimated,
        requests=requests,
        latencies=distribution(latencies),
    )


def session(*cells: CellFigures, day: int = 1) -> SessionFigures:
    """A session of this day of a month."""
    return SessionFigures(
        time=f"2026-11-{day:02}T10:00:00Z",
        profile="agx-orin-15w",
        cells=cells,
        commit=f"{day:040x}",
        dirty=False,
        triton="2.42.0",
        plugin="0.1.0",
    )
