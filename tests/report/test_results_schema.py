"""The schema of the results file knows every key that is written, and means what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from pytest_gaitperf.report.results import results
from pytest_gaitperf.report.schema import json_schema
from pytest_gaitperf.stats.distribution import distribution
from tests.report.results_schema import misfits

if TYPE_CHECKING:
    from pytest_gaitperf.session import Session


def written(session: Session) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(results(session)))
    return document


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_cells_with_energy_and_every_verdict_fit_it(run: Session) -> None:
    assert misfits(written(run)) == []


def test_a_search_fits_it(searched: Session) -> None:
    document = written(searched)
    assert any("search" in cell for cell in document["cells"])
    assert misfits(document) == []


def test_a_further_session_and_a_distribution_fit_it(run: Session) -> None:
    import numpy as np  # noqa: PLC0415 - this test's alone

    document = written(run)
    cell = document["cells"][0]
    seen = distribution(np.linspace(0.01, 0.02, 50))
    cell["latency_distribution"] = {
        name: getattr(seen, name) for name in seen.__dataclass_fields__
    } | {"percentiles_s": list(seen.percentiles_s)}
    again = {key: cell[key] for key in ("metrics", "absent", "windows", "latency_distribution")}
    cell["further_sessions"] = [again | {"session": 2}]
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
