"""A run and its tests as the properties that pytest writes with ``--junitxml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.results import Cell, Run, Verdict


def properties_of_test(cell: Cell, verdicts: Sequence[Verdict]) -> Iterator[tuple[str, object]]:
    """Yield the properties of one test: its cell, what that comes to in it, each judged metric.

    ``cell`` has, and ``verdicts`` are, what the test is about. Values are in the metric's unit.
    """
    yield "gaitperf.model", cell.workload.model
    yield "gaitperf.cell", cell.key
    yield "gaitperf.outcome", cell.outcome.value
    for verdict in verdicts:
        measurement = cell.measurement
        estimate = None if measurement is None else measurement.metrics.get(verdict.metric)
        if measurement is None or estimate is None:
            continue
        estimated = "estimated_" if measurement.estimates(verdict.metric) else ""
        name = f"gaitperf.{estimated}{verdict.metric}"
        yield name, f"{estimate.value:.6g}"
        yield f"{name}.unit", estimate.unit
        yield f"{name}.verdict", verdict.kind.value
        yield f"{name}.sessions", verdict.sessions
        if verdict.baseline is not None:
            yield f"{name}.baseline", f"{verdict.baseline:.6g}"
        if verdict.change is not None:
            yield f"{name}.change", f"{verdict.change:.6g}"


def properties_of_run(run: Run) -> Iterator[tuple[str, object]]:
    """Yield the properties of the whole run: its outcome, the device, the server and the meter."""
    yield "gaitperf.outcome", run.outcome.value
    yield "gaitperf.profile", run.profile.id
    for name, value in run.profile.fields.items():
        yield f"gaitperf.profile.{name}", value
    if run.environment.triton is not None:
        yield "gaitperf.triton", run.environment.triton.version
    if run.environment.power.meter is not None:
        yield "gaitperf.power_meter", run.environment.power.meter
