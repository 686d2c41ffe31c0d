"""The schema of the results file knows every key that is written, and means what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.power.metering import Idle
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.reading import results_of
from pytest_gaitperf.report.results import results, results_text
from pytest_gaitperf.report.schema import json_schema
from tests.report.results_schema import misfits

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import Session

TRACE = Trace(("VDD_IN",), np.array([0]), np.array([[5.0]]), "power")


def written(session: Session) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(results_text(results(session)))
    return document


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_cells_with_energy_and_every_verdict_fit_it(run: Session) -> None:
    assert misfits(written(run)) == []


def test_a_meter_and_what_it_read_at_idle_fit_it(
    run: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = SimpleNamespace(
        name="ina3221",
        description="INA3221",
        rails=("VDD_IN", "VDD_SOC"),
        total_rails=("VDD_IN",),
        estimated=False,
    )
    idle = [Idle({"VDD_IN": watts, "VDD_SOC": 1.0}, 3.0, TRACE) for watts in (5.0, 5.5)]
    metering = SimpleNamespace(meter=meter, absent="", idle=idle, idle_drift="10 % apart")
    monkeypatch.setattr(run.resources, "_metering", metering)
    document = written(run)
    power = document["environment"]["power"]
    assert power["idle_w"] == [{"VDD_IN": 5.0, "VDD_SOC": 1.0}, {"VDD_IN": 5.5, "VDD_SOC": 1.0}]
    assert misfits(document) == []


def test_what_is_written_is_read_again_the_same(run: Session, searched: Session) -> None:
    for session in (run, searched):
        found = results(session)
        assert results_of(json.loads(results_text(found))) == found


def test_what_a_later_version_adds_is_left_alone(run: Session) -> None:
    document = written(run)
    document["invented"] = document["cells"][0]["invented"] = 1
    document["environment"]["triton"] = {"version": "3", "mode": "remote", "url": "", "new": True}
    verdicts = document["cells"][0]["verdicts"]
    verdicts |= dict.fromkeys(verdicts, "suspended")
    for judgement in document["cells"][0]["judgements"].values():
        judgement["depth"] = "fleet"
    read = results_of(document)
    assert read.environment.triton is not None
    assert read.environment.triton.mode == "remote"
    assert set(read.cells[0].verdicts.values()) == {"suspended"}
    assert "not judged" in page(ReportData((read,)))


def test_a_search_fits_it(searched: Session) -> None:
    document = written(searched)
    assert any("search" in cell for cell in document["cells"])
    assert misfits(document) == []


def test_a_further_session_and_a_distribution_fit_it(run: Session) -> None:
    result = next(iter(run.results.values()))
    assert result.measurement is not None
    seen = distribution(np.linspace(0.01, 0.02, 50))
    result.further = [replace(result.measurement, latencies=seen)]
    document = written(run)
    (further,) = document["cells"][0]["further_sessions"]
    assert further["session"] == 2
    assert further["latency_distribution"]["percentiles_s"][50] == pytest.approx(0.015)
    assert misfits(document) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"schema": 2}, "$.schema"),
        ({"full_run": "yes"}, "$.full_run"),
        ({"cells": [{"id": "a"}]}, "$.cells[0]"),
        ({"invented": 1}, "$"),
    ],
)
def test_what_is_not_of_the_schema_is_found(
    run: Session, change: dict[str, object], place: str
) -> None:
    found = misfits(written(run) | change)
    assert [text for text in found if text.startswith(f"{place}:")], found
