"""What a test measured, as the properties that pytest writes with ``--junitxml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Verdict


def properties_of_test(
    measurement: Measurement, verdicts: Sequence[Verdict]
) -> Iterator[tuple[str, object]]:
    """Yield the properties of one test: its cell's load, then each judged metric with its unit."""
    workload = measurement.workload
    yield "gaitperf.model", workload.model
    yield "gaitperf.cell", workload.key
    for verdict in verdicts:
        estimate = measurement.metrics.get(verdict.metric)
        if estimate is None:
            continue
        energy = measurement.estimated and estimate.unit == "J"
        name = f"gaitperf.{'estimated_' if energy else ''}{verdict.metric}"
        yield name, f"{estimate.value:.6g}"
        yield f"{name}.unit", estimate.unit
        yield f"{name}.verdict", verdict.state.value
        yield f"{name}.sessions", verdict.sessions
        if verdict.baseline is not None:
            yield f"{name}.baseline", f"{verdict.baseline:.6g}"
        if verdict.change is not None:
            yield f"{name}.change", f"{verdict.change:.6g}"


def properties_of_run(session: Session) -> Iterator[tuple[str, object]]:
    """Yield the properties of the whole run: the kind of device, and what it measured with."""
    yield "gaitperf.profile", session.resources.profile_id
    for name, value in session.resources.profile.fields.items():
        yield f"gaitperf.profile.{name}", value
    server, metering = session.resources.opened_server, session.resources.opened_metering
    if server is not None:
        yield "gaitperf.triton", server.version
    if metering is not None and metering.meter is not None:
        yield "gaitperf.power_meter", metering.meter.name
