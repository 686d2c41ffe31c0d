"""What the figures of the page are drawn from, for runs with values that are known."""

from __future__ import annotations

from dataclasses import replace as with_model
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint, Session
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.report.html import cell as of_cell
from pytest_gaitperf.report.html.data import ReportData
from tests.report.runs import JUDGED, PLACES, SEEN, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import Section
    from pytest_gaitperf.results import Cell, Run


PLACE = PLACES[5]
MANY = tuple(with_model(PLACE, model=f"model{number}") for number in range(101))


def reported(*runs: Run, baselines: Mapping[str, CellBaseline] | None = None) -> ReportData:
    return ReportData(runs, baselines or {})


def the_cell(data: ReportData, place: Place = PLACE) -> tuple[Cell, Measurement]:
    """A cell of the newest run with its measurement."""
    found = next(one for one in data.run.cells if one.id == place.workload.id)
    assert found.measurement is not None
    return found, found.measurement


def values(data: ReportData, kind: str, place: Place = PLACE) -> Any:
    """What a figure of one cell is drawn from."""
    return of_cell.FIGURES[kind](data, *the_cell(data, place))


def spec(section: Section | None, figure: int = 0) -> Any:
    assert section is not None
    return section.figures[figure].spec


def recorded(rails: str = "VDD_IN") -> Mapping[str, CellBaseline]:
    """Baselines of the board, by cell: sessions on four days, each worth the truth."""
    facts = Fingerprint(
        triton="2.51.0",
        signature="",
        protocol="http",
        transport="inline",
        rails={"energy_per_inference": rails},
        content="",
        data="",
    )
    return {
        place.workload.id: CellBaseline(
            place.model,
            place.workload.key,
            tuple(
                Session(
                    id=f"2026111{i}T080000Z",
                    time=f"2026-11-1{i}T08:00:00Z",
                    commit="",
                    dirty=None,
                    plugin="",
                    recorder="",
                    fingerprint=facts,
                    values={name: Value(place.truth[name], 0.01, 12) for name in JUDGED},
                )
                for i in range(SEEN)
            ),
        )
        for place in PLACES
    }
