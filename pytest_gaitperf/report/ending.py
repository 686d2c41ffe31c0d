"""The end of a run: results first, then baselines, then everything is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.recording import record
from pytest_gaitperf.report.results import write_results
from pytest_gaitperf.report.summary import write_summary

if TYPE_CHECKING:
    from pytest_gaitperf.session import Session


def finish(session: Session, *, clean: bool) -> bool:
    """Write what the run leaves behind and stop what it started; False when a write failed."""
    metering = session.resources.opened_metering
    if clean and metering is not None and metering.idle:
        session.progress.live("measuring the idle power once more")
        metering.measure_idle()
    session.progress.clear()
    problems = []
    if session.results:
        if session.settings.json is not None:
            try:
                write_results(session, session.settings.json)
            except GaitperfError as error:
                problems.append(str(error))
        try:
            record(session, clean=clean)
        except GaitperfError as error:
            problems.append(str(error))
    session.problems += problems
    if session.results:
        write_summary(session, clean=clean)
    session.resources.close()
    return not problems
