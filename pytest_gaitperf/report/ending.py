"""The end of a run: results first, then baselines, then everything is stopped."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_gaitperf.engine.orphans import orphans
from pytest_gaitperf.engine.recording import record
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.report.export.writing import write_exports
from pytest_gaitperf.report.results import write_results
from pytest_gaitperf.report.summary import write_summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.engine.session import Session


def finish(
    session: Session,
    *,
    clean: bool,
    whole: bool,
    interrupted: Callable[[], bool] = lambda: False,
) -> bool:
    """Write what the run leaves behind and stop what it started; False when a write failed.

    ``clean``: nothing failed. ``whole``: the run left out nothing of the suite. ``interrupted``
    says whether the user has asked meanwhile for the run to end: it is not clean then.
    """
    problems = []
    if clean:
        problems += _measure_idle_again(session, interrupted)
        clean = not problems
    session.progress.clear()
    if session.results:
        if whole and session.paired is None and not session.settings.models:
            with suppress(GaitperfError):  # damaged baselines: every cell has said so
                session.orphans = orphans(session)
        problems += _write(session, clean=clean)
    session.problems += problems
    if session.results:
        write_summary(session, clean=clean)
    session.resources.close()
    return not problems


def _measure_idle_again(session: Session, interrupted: Callable[[], bool]) -> list[str]:
    """Measure the idle power after the load; return that this was interrupted, if it was."""
    metering = session.resources.opened_metering
    if metering is None or not metering.idle:
        return ["interrupted while the run was ending"] if interrupted() else []
    session.progress.live("measuring the idle power once more")
    try:
        metering.measure_idle()
    except KeyboardInterrupt:
        pass
    else:
        if not interrupted():
            return []
    return ["interrupted while the idle power was measured once more"]


def _write(session: Session, *, clean: bool) -> list[str]:
    """Write what was asked for, each whatever became of the others; return what went wrong."""
    problems = []
    for write in (
        _write_results,  # first of all: they are kept, whatever becomes of the rest
        lambda measured: record(measured, clean=clean),
        _write_what_was_recorded,
        _write_report,
        write_exports,
    ):
        try:
            write(session)
        except GaitperfError as error:
            problems.append(str(error))
    return problems


def _write_results(session: Session) -> None:
    if session.settings.json is not None:
        write_results(session, session.settings.json)


def _write_what_was_recorded(session: Session) -> None:
    if any(result.recorded for result in session.results.values()):
        _write_results(session)


def _write_report(session: Session) -> None:
    if session.settings.report is not None:
        from pytest_gaitperf.report.html.writing import write_report  # noqa: PLC0415 - asked for

        write_report(session, session.settings.report)
