"""What a run writes into the baselines, once all verdicts are known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import GATED
from pytest_gaitperf.verdict import State

if TYPE_CHECKING:
    from pytest_gaitperf.session import Session

RECORDED = (
    "throughput",
    "latency_p50",
    "latency_p99",
    "energy_per_inference",
    "server_cpu_per_inference",
    "subjects",
)
"""The metrics that a baseline keeps."""


def record(session: Session, *, clean: bool) -> None:
    """Write the baselines that were asked for; ``clean`` is whether nothing failed.

    Raises BaselineError when they cannot be written.
    """
    update = session.settings.update
    if update == "none" or not session.results:
        return
    measured = [result for result in session.results.values() if result.measurement is not None]
    chosen = [
        result
        for result in measured
        if update == "all"
        or any(verdict.state is State.MISSING for verdict in result.verdicts.values())
    ]
    # An interrupted run may have judged nothing yet.
    unjudged = not clean and any(result.judged is None for result in measured)
    if not chosen and not unjudged:
        return
    if not clean:
        session.remark = (
            "no baseline was written, since the run was not green: only a clean run becomes "
            "a baseline"
        )
        return
    from pytest_gaitperf.baseline.store import Value  # noqa: PLC0415
    from pytest_gaitperf.report.environment import provenance  # noqa: PLC0415

    for result in chosen:
        measurement = result.measurement
        assert measurement is not None  # noqa: S101 - chosen so
        facts = result.facts
        assert facts is not None  # noqa: S101 - as the measurement
        values = {
            metric: Value(
                measurement.metrics[metric].value,
                measurement.spread.get(metric),
                measurement.spread_windows.get(metric, 0),
                facts.rails.get(metric, ""),
            )
            for metric in RECORDED
            if metric in measurement.metrics
            and (metric not in GATED or session.counts(measurement, metric))
        }
        workload = result.workload
        session.resources.store.record(
            workload.model, workload.key, facts, values, workload.version
        )
    session.written = session.resources.store.write(provenance(time.time()))
