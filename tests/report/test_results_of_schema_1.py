"""Results files of version 0.1, which wrote schema 1, are read with all that they say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.results_file import encode, read_results, results_of

if TYPE_CHECKING:
    from pathlib import Path

WORKLOAD = {
    "model": "3D",
    "version": "",
    "batch_size": 8,
    "concurrency": 4,
    "request_rate": 0.0,
    "protocol": "http",
    "transport": "inline",
}
MEASURED = {
    "metrics": {
        "throughput": {"unit": "inf/s", "value": 41.2, "low": 41.0, "high": 41.4},
        "latency_p50": {"unit": "s", "value": 0.024, "low": None, "high": None},
    },
    "absent": {"latency_p99": "too few requests"},
    "windows": 12,
    "window_s": 0.5,
    "duration_s": 6.0,
    "requests": 31,
    "latency_distribution": {
        "percentiles_s": [0.02 + 0.0001 * place for place in range(101)],
        "sd_s": 0.004,
        "sd_outliers": 3,
        "tukey_outliers": 2,
        "tukey_low_s": 0.02,
        "tukey_high_s": 0.03,
    },
    "course": {
        "edges_s": [0.0, 3.0, 6.0],
        "throughput": [41.0, 41.4],
        "latency_p50_s": [0.024, 0.024],
    },
    "power_trace": {
        "reduced_by": "mean",
        "kind": "energy",
        "readings": 60,
        "window_s": [0.0, 6.0],
        "start_s": -0.5,
        "bin_s": 0.5,
        "watts": {"VDD_IN": [5.0] * 14},
        "estimated": False,
    },
    "rails_j": {"VDD_IN": 30.0},
    "energy_rails": ["VDD_IN"],
    "energy_is_estimated": True,
    "energy_relative_error": 0.03,
}


def document(*cells: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "profile": {"id": "orin-nano-15w", "fields": {"power_mode": "15W"}, "facts": {}},
        "against": None,
        "environment": {
            "time": "2026-11-01T10:00:00Z",
            "commit": "0123abc",
            "dirty": False,
            "plugin": "0.1.0",
            "triton": {"version": "2.51.0", "mode": "local", "url": "127.0.0.1:8000"},
            "power": {"meter": "ina3221", "rails": ["VDD_IN"], "idle_w": [], "absent": None},
        },
        "full_run": True,
        "sessions": {"asked": 2, "began": ["2026-11-01T10:00:00Z"], "cut_short": None},
        "cells": list(cells),
    } | more


def cell(**more: Any) -> dict[str, Any]:
    return {"id": "3D-b8-c4", "workload": WORKLOAD, **MEASURED, "recorded": 1} | more


def test_what_was_measured_is_read_under_its_names_of_today() -> None:
    second = MEASURED | {"session": 2, "requests": 29}
    run = results_of(document(cell(further_sessions=[second], model_change="files changed")))
    assert (run.profile.id, run.environment.plugin) == ("orin-nano-15w", "0.1.0")
    assert run.sessions.began == ("2026-11-01T10:00:00Z",)
    (found,) = run.cells
    assert (found.workload.batch_size, found.workload.concurrency) == (8, 4)
    assert (found.recorded, found.model_change) == (1, "files changed")
    measured = found.measurement
    assert measured is not None
    assert measured.metrics["throughput"].value == 41.2
    assert measured.absent == {"latency_p99": "too few requests"}
    assert (measured.energy_estimated, measured.energy_error) == (True, 0.03)
    latencies, timeline, power = measured.latencies, measured.timeline, measured.power
    assert latencies is not None
    assert latencies.percentiles_s[100] == pytest.approx(0.03)
    assert timeline is not None
    assert timeline.throughput == (41.0, 41.4)
    assert power is not None
    assert (power.kind, power.span_s, power.bin_s) == ("energy", 6.0, 0.5)
    assert [one.requests for one in found.further] == [29]


def test_verdicts_and_judgements_become_one() -> None:
    judged = cell(
        verdicts={"throughput": "regressed", "latency_p50": "pass"},
        judgements={
            "throughput": {
                "baseline": 50.0,
                "now": 41.2,
                "change": -0.18,
                "limit": -0.05,
                "reason": "beyond the noise",
                "sessions": 5,
                "depth": "model",
            }
        },
    )
    finding = {"depth": "model", "model": "3D", "metric": "throughput", "worse": True, "text": "3D"}
    run = results_of(document(judged, findings=[finding]))
    (found,) = run.cells
    verdict = found.verdicts["throughput"]
    assert (verdict.kind, verdict.scope, verdict.sessions) == (VerdictKind.REGRESSED, "model", 5)
    assert (verdict.change, verdict.limit, verdict.reason) == (-0.18, -0.05, "beyond the noise")
    assert (found.verdicts["latency_p50"].kind, found.verdicts["latency_p50"].scope) == (
        VerdictKind.PASS,
        "cell",
    )
    assert [(one.scope, one.model, one.worse) for one in run.findings] == [("model", "3D", True)]
    assert (found.outcome, run.outcome) == (Outcome.RED, Outcome.RED), "as such a run comes to now"


def test_limits_failures_and_what_could_not_be_measured_keep_their_words() -> None:
    limits = [
        {"limit": "throughput >= 50", "metric": "throughput", "bound": 50.0, "unit": "inf/s",
         "state": "violated", "sure": False, "absent": None},
        {"limit": "power_mean <= 5 W", "metric": "power_mean", "state": "unmeasured",
         "absent": "no meter"},
    ]  # fmt: skip
    run = results_of(
        document(
            cell(limits=limits, verdicts={"throughput": "invalid"}, invalid="another client"),
            {"id": "2D-b8-c4", "workload": WORKLOAD | {"model": "2D"}, "error": "it hangs"},
        )
    )
    first, second = run.cells
    assert [(one.state, one.certain) for one in first.limits] == [
        (LimitState.VIOLATED, False),
        (LimitState.UNMEASURED, True),
    ]
    assert first.measurement is not None
    assert first.measurement.invalid == "another client"
    assert first.verdicts == {}, "the measurement says so itself"
    assert (second.error, second.measurement) == ("it hangs", None)
    assert second.outcome is Outcome.UNMEASURED


def test_the_search_for_subjects_is_read() -> None:
    probe = {"subjects": 40.0, "served": True, "seconds": 5.0, "requests": 5000, "late": 12,
             "latency_s": 0.03, "growing": False, "client_load": 0.2}  # fmt: skip
    search = {"served": 41, "capacity": 41.7, "settled": True, "probes": [probe]}
    (found,) = results_of(document(cell(search=search))).cells
    assert found.measurement is not None
    capacity = found.measurement.capacity
    assert capacity is not None
    assert (capacity.subjects, capacity.settled) == (41.7, True)
    assert [(trial.subjects, trial.late) for trial in capacity.trials] == [(40.0, 12)]


def test_such_a_file_becomes_one_of_today(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document(cell(verdicts={"throughput": "pass"}))))
    run = read_results(path)
    path.write_text(encode(run))
    assert json.loads(path.read_text())["schema"] == 2
    assert read_results(path) == run


@pytest.mark.parametrize("damage", [{"cells": 3}, {"cells": [{"id": 5}]}, {"profile": None}])
def test_what_is_wrong_in_one_is_said_with_its_place(damage: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^\$.*give a file that --gaitperf-json wrote"):
        results_of(document(cell()) | damage)
