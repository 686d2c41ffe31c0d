"""The end of a run: its page."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import write_output
from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.results import results

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.engine.session import Session


def write_report(session: Session, path: Path) -> None:
    """Write the page of a run, with the baselines it was judged by.

    Raises GaitperfError when it cannot be written.
    """
    baselines: dict[str, CellBaseline] = {}
    if session.paired is None:
        with suppress(GaitperfError):  # damaged baselines: every cell has said so
            baselines = {f"{one.model}-{one.key}": one for one in session.resources.store.cells()}
    data = ReportData((results(session),), baselines)
    write_output(path, page(data).encode())
