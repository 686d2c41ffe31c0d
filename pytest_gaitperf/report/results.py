"""Everything that was measured and judged, as one JSON file."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_gaitperf.files import write_output
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.power.idle import above_idle_j
from pytest_gaitperf.report.environment import environment, utc
from pytest_gaitperf.report.frontier import frontier_data
from pytest_gaitperf.verdict import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_gaitperf.course import Course
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.policy import LimitCheck
    from pytest_gaitperf.session import CellResult, Session
    from pytest_gaitperf.subjects.search import Answer
    from pytest_gaitperf.verdict import Verdict

SCHEMA = 1


def results(session: Session) -> dict[str, object]:
    """Return the run's results in schema 1; numbers in the units that stand beside them."""
    profile = session.resources.profile
    return {
        "schema": SCHEMA,
        "profile": {
            "id": session.resources.profile_id,
            "fields": dict(profile.fields),
            "facts": dict(profile.facts),
        },
        "against": session.paired.description if session.paired is not None else None,
        "environment": environment(session),
        "full_run": session.orphans is not None,
        "orphans": session.orphans or {},
        "sessions": {
            "asked": session.repetition.sessions,
            "began": [utc(moment_s) for moment_s in session.repetition.began_s],
            "cut_short": session.repetition.cut_short or None,
        },
        "cells": [_cell(session, result) for result in session.results.values()],
        "frontier": frontier_data(session),
        "findings": [
            {
                "depth": finding.depth,
                "model": finding.model or None,
                "metric": finding.metric,
                "worse": finding.worse,
                "change": _finite(finding.change),
                "limit": _finite(finding.limit),
                "sessions": finding.sessions,
                "text": finding.text,
            }
            for finding in session.judging.findings
        ],
    }


def write_results(session: Session, path: Path) -> None:
    """Write the results, replacing the file in one step. Raises GaitperfError when it cannot."""
    text = json.dumps(results(session), indent=1, allow_nan=False) + "\n"
    write_output(path, _LISTS.sub(_one_line, text).encode())


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


def _cell(session: Session, result: CellResult) -> dict[str, object]:
    workload, measurement = result.workload, result.measurement
    entry: dict[str, object] = {
        "id": workload.id,
        "workload": {
            "model": workload.model,
            "version": workload.version,
            "batch_size": workload.batch_size,
            "concurrency": workload.concurrency,
            "request_rate": workload.request_rate,
            "arrival": workload.arrival,
            "subjects": workload.subjects,
            "most_subjects": workload.most_subjects,
            "frame_rate": workload.frame_rate,
            "deadline_s": workload.frame_deadline_s,
            "percentile": workload.percentile,
            "protocol": workload.protocol,
            "transport": workload.transport,
        },
    }
    if measurement is None:
        return entry | {"error": str(result.error)}
    further = [
        {"session": number} | _measured(session, one, number)
        for number, one in enumerate(result.further, 2)
    ]
    return (
        entry
        | _measured(session, measurement, 1)
        | {
            "further_sessions": further,
            "model_change": result.model_change,
            "limits": [_limit(check) for check in result.limits.values()],
            "verdicts": {name: item.state.value for name, item in result.verdicts.items()},
            "judgements": {
                name: _judgement(item)
                | {
                    "accepted": item.state is State.REGRESSED
                    and session.settings.accept_regressions
                }
                for name, item in result.verdicts.items()
            },
        }
    )


def _measured(session: Session, measurement: Measurement, number: int) -> dict[str, object]:
    """Return what was measured of a cell in the run's session of that number, from 1."""
    return {
        "metrics": {name: _estimate(item) for name, item in measurement.metrics.items()},
        "absent": dict(measurement.absent),
        "windows": measurement.windows,
        "window_s": measurement.window_s,
        "duration_s": measurement.duration_s,
        "requests": measurement.requests,
        "latency_distribution": None
        if measurement.latencies is None
        else asdict(measurement.latencies),
        "failures": measurement.failures,
        "client_cpu_per_request_us": measurement.client_cpu_per_request_us,
        "client_load": measurement.client_load,
        "late_sends": measurement.late_sends,
        "data": measurement.data,
        "time_split_s": dict(measurement.time_split_s),
        "course": None if measurement.course is None else _course(measurement.course),
        "power_trace": _power_trace(measurement),
        "rails_j": dict(measurement.rails_j),
        "energy_rails": list(measurement.energy_rails),
        "energy_is_estimated": measurement.estimated,
        "energy_relative_error": measurement.energy_error,
        "energy_note": measurement.energy_note,
        "energy_above_idle_per_inference_j": _above_idle_j(session, measurement, number),
        "notes": list(measurement.notes),
        "behind": measurement.behind,
        "invalid": measurement.invalid,
    } | ({} if measurement.search is None else {"search": _search(measurement.search)})


def _course(course: Course) -> Mapping[str, object]:
    return {
        "edges_s": [round(edge, 6) for edge in course.edges_s],
        "throughput": [_short(value) for value in course.throughput],
        "latency_p50_s": [
            None if value is None else _short(value) for value in course.latency_p50_s
        ],
    }


def _power_trace(measurement: Measurement) -> Mapping[str, object] | None:
    power = measurement.power
    if power is None:
        return None
    return {
        "reduced_by": "mean",
        "kind": power.kind,
        "readings": power.readings,
        "window_s": [0.0, power.span_s],
        "start_s": power.start_s,
        "bin_s": power.bin_s,
        "watts": {rail: [_short(value) for value in bins] for rail, bins in power.watts.items()},
        "estimated": measurement.estimated,
    }


def _short(value: float) -> float:
    """Round to five significant digits: enough to draw, and a third of the file."""
    return float(f"{value:.5g}")


def _search(answer: Answer) -> Mapping[str, object]:
    """Return how the most subjects were found, every load that was looked at in turn."""
    return {
        "served": math.floor(answer.capacity),
        "capacity": answer.capacity,
        "settled": answer.settled,
        "probes": [asdict(probe) for probe in answer.probes],
    }


def _limit(check: LimitCheck) -> Mapping[str, object]:
    return {
        "limit": str(check.limit),
        "metric": check.limit.metric,
        "bound": check.limit.bound,
        "unit": METRICS[check.limit.metric].unit,
        "state": check.state.value,
        "sure": check.sure,
        "absent": check.absent or None,
    }


def _estimate(estimate: Estimate) -> Mapping[str, object]:
    return {
        "unit": estimate.unit,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }


def _judgement(verdict: Verdict) -> dict[str, object]:
    numbers = {
        "baseline": verdict.baseline,
        "now": verdict.now,
        "change": verdict.change,
        "low": verdict.low,
        "high": verdict.high,
        "limit": verdict.limit,
    }
    return {name: _finite(value) for name, value in numbers.items()} | {
        "reason": verdict.reason,
        "sessions": verdict.sessions,
        "provisional": verdict.provisional,
        "depth": verdict.depth,
        "pairs": verdict.pairs,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
