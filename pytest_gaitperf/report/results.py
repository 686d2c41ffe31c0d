"""Everything that was measured and judged, as one JSON file."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from msgspec import structs, to_builtins

from pytest_gaitperf.files import write_output
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.power.metering import above_idle_j
from pytest_gaitperf.report import schema
from pytest_gaitperf.report.environment import environment, utc
from pytest_gaitperf.report.frontier import frontier_of
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.session import CellResult, Session
    from pytest_gaitperf.gate.joint import Finding
    from pytest_gaitperf.measure.capacity.search import Answer
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import LimitCheck, Verdict
    from pytest_gaitperf.workload import Workload


def results(session: Session) -> schema.Results:
    """Return the run's results; the schema says the units."""
    profile = session.resources.profile
    return schema.Results(
        schema=schema.SCHEMA,
        profile=schema.Profile(
            session.resources.profile_id, dict(profile.fields), dict(profile.facts)
        ),
        against=session.paired.description if session.paired is not None else None,
        environment=environment(session),
        full_run=session.orphans is not None,
        orphans=session.orphans or {},
        sessions=schema.Sessions(
            asked=session.repetition.sessions,
            began=[utc(moment_s) for moment_s in session.repetition.began_s],
            cut_short=session.repetition.cut_short or None,
        ),
        cells=[_cell(session, result) for result in session.results.values()],
        frontier=_frontier(session),
        findings=[_finding(finding) for finding in session.judging.findings],
    )


def results_text(results: schema.Results) -> str:
    """Return the text of a results file."""
    document = _told(to_builtins(results))
    document["cells"] = [_told_cell(_told(cell)) for cell in document["cells"]]
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return _LISTS.sub(_one_line, text)


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in entry.items()
        if value is not None or key not in schema.SOMETIMES
    }


def _told_cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Put what a cell is before what was measured of it; alone where nothing was: 0 is a value."""
    first = {key: cell[key] for key in ("id", "workload")}
    if "error" in cell:
        return first | {"error": cell["error"]}
    return first | cell | {"further_sessions": [_told(one) for one in cell["further_sessions"]]}


def write_results(session: Session, path: Path) -> None:
    """Write the results, replacing the file in one step. Raises GaitperfError when it cannot."""
    write_output(path, results_text(results(session)).encode())


# No string holds a line's end as it is, so what is found are lists and never parts of a text.
_LISTS = re.compile(r"\[\n[-+.\deEnul,\s]+\]")


def _one_line(found: re.Match[str]) -> str:
    """Lay a list of numbers out in one line: a thousand cells have half a million of them."""
    return re.sub(r"\s+", "", found.group())


def _above_idle_j(session: Session, measurement: Measurement, number: int) -> float | None:
    """Return the energy per inference less its session's idle power, None without a meter.

    That is the mean of what was measured before the session and after it.
    """
    metering = session.resources.opened_metering
    if metering is None or not metering.idle or not measurement.rails_j:
        return None
    return above_idle_j(
        measurement.rails_j,
        measurement.duration_s,
        measurement.inferences,
        measurement.energy_rails,
        # Where one of them failed, nothing tells whose the others are.
        metering.idle[number - 1 : number + 1]
        if len(metering.idle) >= len(session.repetition.began_s)
        else metering.idle,
    )


def _cell(session: Session, result: CellResult) -> schema.Cell:
    workload, measurement = _workload(result.workload), result.measurement
    if measurement is None:
        return schema.Cell(id=result.workload.id, workload=workload, error=str(result.error))
    return schema.Cell(
        id=result.workload.id,
        workload=workload,
        **structs.asdict(_measured(session, measurement, 1)),
        further_sessions=[
            schema.FurtherSession(
                session=number, **structs.asdict(_measured(session, further, number))
            )
            for number, further in enumerate(result.further, 2)
        ],
        model_change=result.model_change,
        recorded=result.recorded,
        limits=[_limit(check) for check in result.limits.values()],
        verdicts={name: verdict.state.value for name, verdict in result.verdicts.items()},
        judgements={
            name: _judgement(verdict, accept=session.settings.accept_regressions)
            for name, verdict in result.verdicts.items()
        },
    )


def _workload(workload: Workload) -> schema.Workload:
    return schema.Workload(
        model=workload.model,
        version=workload.version,
        batch_size=workload.batch_size,
        concurrency=workload.concurrency,
        request_rate=workload.request_rate,
        arrival=workload.arrival,
        subjects=workload.subjects,
        most_subjects=workload.most_subjects,
        frame_rate=workload.frame_rate,
        deadline_s=workload.frame_deadline_s,
        percentile=workload.percentile,
        protocol=workload.protocol,
        transport=workload.transport,
    )


def _measured(session: Session, measurement: Measurement, number: int) -> schema.Measured:
    """Return what was measured of a cell in the run's session of that number, from 1."""
    return schema.Measured(
        metrics=dict(measurement.metrics),
        absent=dict(measurement.absent),
        windows=measurement.windows,
        window_s=measurement.window_s,
        duration_s=measurement.duration_s,
        requests=measurement.requests,
        latency_distribution=measurement.latencies,
        failures=measurement.failures,
        client_cpu_per_request_us=measurement.client_cpu_per_request_us,
        client_load=measurement.client_load,
        late_sends=measurement.late_sends,
        data=measurement.data,
        time_split_s=dict(measurement.time_split_s),
        course=None if measurement.course is None else _course(measurement.course),
        power_trace=_power_trace(measurement),
        rails_j=dict(measurement.rails_j),
        energy_rails=list(measurement.energy_rails),
        energy_is_estimated=measurement.estimated,
        energy_relative_error=measurement.energy_error,
        energy_note=measurement.energy_note,
        energy_above_idle_per_inference_j=_above_idle_j(session, measurement, number),
        notes=list(measurement.notes),
        behind=measurement.behind,
        invalid=measurement.invalid,
        search=None if measurement.search is None else _search(measurement.search),
    )


def _course(course: Course) -> Course:
    """Round to what a picture needs."""
    return Course(
        edges_s=tuple(round(edge, 6) for edge in course.edges_s),
        throughput=tuple(_short(value) for value in course.throughput),
        latency_p50_s=tuple(
            None if value is None else _short(value) for value in course.latency_p50_s
        ),
    )


def _power_trace(measurement: Measurement) -> schema.PowerTrace | None:
    power = measurement.power
    if power is None:
        return None
    return schema.PowerTrace(
        kind=power.kind,
        readings=power.readings,
        window_s=(0.0, power.span_s),
        start_s=power.start_s,
        bin_s=power.bin_s,
        watts={rail: [_short(value) for value in bins] for rail, bins in power.watts.items()},
        estimated=measurement.estimated,
    )


def _short(value: float) -> float:
    """Round to five significant digits: enough to draw, and a third of the file."""
    return float(f"{value:.5g}")


def _search(answer: Answer) -> schema.Search:
    """Return how the most subjects were found, every load that was looked at in turn."""
    return schema.Search(
        served=math.floor(answer.capacity),
        capacity=answer.capacity,
        settled=answer.settled,
        probes=list(answer.probes),
    )


def _limit(check: LimitCheck) -> schema.Limit:
    return schema.Limit(
        limit=str(check.limit),
        metric=check.limit.metric,
        bound=check.limit.bound,
        unit=METRICS[check.limit.metric].unit,
        state=check.state.value,
        sure=check.sure,
        absent=check.absent or None,
    )


def _judgement(verdict: Verdict, *, accept: bool) -> schema.Judgement:
    return schema.Judgement(
        baseline=_finite(verdict.baseline),
        now=_finite(verdict.now),
        change=_finite(verdict.change),
        low=_finite(verdict.low),
        high=_finite(verdict.high),
        limit=_finite(verdict.limit),
        reason=verdict.reason,
        sessions=verdict.sessions,
        provisional=verdict.provisional,
        depth=verdict.depth,
        pairs=verdict.pairs,
        accepted=verdict.state is VerdictKind.REGRESSED and accept,
    )


def _frontier(session: Session) -> schema.Frontier | None:
    found = frontier_of(session)
    if found is None:
        return None
    return schema.Frontier(
        objectives=list(found.objectives),
        cells=[item.workload.id for item in found.members],
        compared=found.compared,
        left_out=dict(found.left_out),
        accuracy=dict(session.accuracy),
        latency_bound=str(found.bound) if found.bound is not None else None,
        best={
            name: item.workload.id if item is not None else None
            for name, item in found.best.items()
        },
    )


def _finding(finding: Finding) -> schema.Finding:
    return schema.Finding(
        depth=finding.depth,
        model=finding.model or None,
        metric=finding.metric,
        worse=finding.worse,
        change=_finite(finding.change),
        limit=_finite(finding.limit),
        sessions=finding.sessions,
        text=finding.text,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
