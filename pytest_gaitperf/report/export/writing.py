"""The end of a run: its results in the formats that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import Session


def write_exports(session: Session) -> None:
    """Write every file of ``--gaitperf-export``; GaitperfError for the first that cannot be."""
    if not session.settings.exports:
        return
    from pytest_gaitperf.files import write_output  # noqa: PLC0415
    from pytest_gaitperf.report.export.exporters import exporter  # noqa: PLC0415 - only where asked for
    from pytest_gaitperf.report.export.results_file import session_of  # noqa: PLC0415
    from pytest_gaitperf.report.results import results  # noqa: PLC0415

    measured = session_of(results(session))
    if not measured.cells:
        raise GaitperfError("nothing was exported: no cell was measured")
    for name, path in session.settings.exports.items():
        write_output(path, exporter(name).export([measured], path.name).encode())
