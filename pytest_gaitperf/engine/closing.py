"""The end of a run: its record, then baselines, then what is written of it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pytest_gaitperf.baseline.admission import plan_recording
from pytest_gaitperf.baseline.store import orphans
from pytest_gaitperf.engine.limits import unchecked_limits
from pytest_gaitperf.engine.record import commit_refused, provenance, record
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import write_output
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.report.exporters import exported
from pytest_gaitperf.report.frontier import energy_counts, frontier
from pytest_gaitperf.report.markdown import summary
from pytest_gaitperf.report.text import command
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.results_file import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_gaitperf.engine.engine import Engine
    from pytest_gaitperf.results import Run


def close(
    engine: Engine,
    *,
    ended: bool,
    whole: bool,
    interrupted: Callable[[], bool] = lambda: False,
    more: Callable[[Run], Iterable[Mapping[str, object] | None]] = lambda _run: (),
) -> Run:
    """Record the run, write what was asked for, and stop what was started.

    ``ended``: pytest came to its end by itself. ``whole``: the run left out nothing of the suite.
    ``interrupted`` says whether the user has asked meanwhile for the run to end, ``more`` what is
    added to the record. What cannot be written is a problem of the run, and keeps nothing else from
    being written.
    """
    kept = False
    cut_short = _judged(engine) if ended else ["the run was interrupted"]
    run = _recorded(engine, cut_short)
    others = run.cells or engine.resources.loaded or engine.resources.by_hand
    if ended and engine.without_cells and not others:
        asked = ",".join(engine.settings.models)
        none = f"nothing was measured: the grid has no model of --gaitperf-models={asked}"
        run = _with_problem(run, GaitperfError(none))
    if run.cells and run.outcome is Outcome.GREEN:
        cut_short += _measure_idle_again(engine, interrupted)
        run = _recorded(engine, cut_short)
    engine.resources.progress.clear()
    if run.cells:
        run, kept = _written(engine, _with_more(_complete(engine, run, whole=whole), more))
    journal = engine.resources.journal
    if ended and (kept or not run.problems):
        journal.end()
    elif journal:
        goes_on = "" if ended else "; the same command with --gaitperf-resume goes on from there"
        note = f"what was measured is in {journal.path}, for 'gaitperf report'{goes_on}"
        run = replace(run, notes=(*run.notes, note))
    if journal.problem:
        run = replace(run, warnings=(*run.warnings, journal.problem))
    engine.resources.close()
    return run


def _judged(engine: Engine) -> list[str]:
    """Judge what no test asked about, where it may be recorded; return what was not judged."""
    if engine.settings.update != "none":
        try:
            engine.judge_rest()
        except GaitperfError as error:  # damaged baselines
            return [str(error)]
    elif engine.gates and engine.gates == engine.skipped_gates:
        return ["nothing was judged: every gate was skipped, as pytest -rs explains"]
    return []


def _written(engine: Engine, run: Run) -> tuple[Run, bool]:
    """Write the results, baselines and all else; return whether a results file was written."""
    metering = engine.resources.opened_metering
    if metering is not None and metering.unsaved:
        run = _with_problem(run, GaitperfError(metering.unsaved))
    first = _attempt(run, lambda: _write_results(run))
    kept, run = "json" in run.outputs and first.problems == run.problems, first
    if engine.settings.update != "none":
        run = _record_baselines(engine, run)
    run = _attempt(run, lambda: _write_page(engine, run))
    for name, path in run.outputs.items():
        if name not in ("json", "report"):
            run = _attempt(run, partial(_write_export, run, name, Path(path)))
    if kept and run != first:  # what was recorded, and what could not be written
        run = _attempt(run, lambda: _write_results(run))
    return _write_summaries(engine, run), kept


def _recorded(engine: Engine, cut_short: list[str]) -> Run:
    lives_ended = engine.measuring.lives_ended  # of fewer sessions the recording tells
    run = replace(
        record(engine),
        failed_tests=tuple(engine.failed_tests),
        unmeasured_tests=tuple(engine.unmeasured_tests),
        unjudged=(*cut_short, *filter(None, [lives_ended])),
    )
    return settled(run)


def _with_more(run: Run, more: Callable[[Run], Iterable[Mapping[str, object] | None]]) -> Run:
    """Return the run with what a project's hook adds; a fault of it costs no measurement."""
    try:
        added = {key: value for one in more(run) if one for key, value in one.items()}
        msgspec.json.encode(added)
    except Exception as error:  # noqa: BLE001 - somebody else's code
        return _with_problem(run, GaitperfError(f"pytest_gaitperf_record: {error!r}"))
    return replace(run, extra=added)


def _measure_idle_again(engine: Engine, interrupted: Callable[[], bool]) -> list[str]:
    """Measure the idle power after the load; return that this was interrupted, if it was."""
    metering = engine.resources.opened_metering
    if metering is None or not metering.idle:
        return ["interrupted while the run was ending"] if interrupted() else []
    engine.resources.progress.live("measuring the idle power once more")
    try:
        metering.measure_idle()
    except KeyboardInterrupt:
        pass
    else:
        if not interrupted():
            return []
    return ["interrupted while the idle power was measured once more"]


def _complete(engine: Engine, run: Run, *, whole: bool) -> Run:
    """Return the run with what only the whole of it shows."""
    found = frontier(
        run.cells,
        engine.accuracy,
        engine.settings.latency_bound,
        energy_counts=energy_counts(run.cells, estimates=engine.settings.accept_estimates),
    )
    seen = [one.measurement.surroundings for one in run.cells if one.measurement is not None]
    unread = dict.fromkeys(what for one in seen if one is not None for what in one.unread)
    notes = (*engine.expectation.notes(), *(f"not watched: {what}" for what in unread))
    if engine.reference is not None:
        notes += tuple(engine.reference.notes)
    if engine.resources.journal.origin:
        notes += (engine.resources.journal.origin,)
    unchecked = unchecked_limits(engine.measuring.cells.values(), engine.policies)
    run = replace(run, frontier=found, unchecked_limits=unchecked, notes=notes)
    if engine.paired is not None:
        return replace(run, notes=(*notes, *engine.paired.remarks))
    if not whole or engine.settings.models:
        return run
    try:
        gone = orphans(run, engine.resources.store, quick=engine.settings.grid == "quick")
    except GaitperfError:  # damaged baselines: every cell has said so
        return run
    return settled(replace(run, full_run=True, orphans=gone))


def _record_baselines(engine: Engine, run: Run) -> Run:
    measuring, resources = engine.measuring, engine.resources
    try:
        recording = plan_recording(
            run,
            resources.store,
            fingerprints={
                cell.workload.id: cell.fingerprint
                for cell in measuring.cells.values()
                if cell.fingerprint is not None
            },
            policies=engine.policies,
            judged={cell.workload.id: cell.judged or {} for cell in measuring.cells.values()},
            estimates=engine.settings.accept_estimates,
            accept_command=command(
                run.arguments, "--gaitperf-update=all", "--gaitperf-accept-regressions"
            ),
        )
        moments = [provenance(began_s, resources.board) for began_s in measuring.began_s]
        run = settled(recording.apply(resources.store, moments))
    except GaitperfError as error:
        return _with_problem(run, error)
    if run.written and (why := commit_refused()):
        run = replace(run, notes=(*run.notes, f"recorded without a commit: {why}"))
    return run


def _attempt(run: Run, write: Callable[[], None]) -> Run:
    try:
        write()
    except GaitperfError as error:
        return _with_problem(run, error)
    return run


def _with_problem(run: Run, error: GaitperfError) -> Run:
    return settled(replace(run, problems=(*run.problems, str(error))))


def _write_results(run: Run) -> None:
    if "json" in run.outputs:
        write_output(Path(run.outputs["json"]), encode(run).encode())


def _write_page(engine: Engine, run: Run) -> None:
    path = engine.settings.report
    if path is None:
        return
    from pytest_gaitperf.report.html.page import page  # noqa: PLC0415 - optional packages

    known = {}
    if engine.paired is None:
        try:
            known = {
                cell.workload.id: cell.baseline
                for cell in engine.measuring.cells.values()
                if cell.baseline is not None
            }
            known |= {f"{one.model}-{one.key}": one for one in engine.resources.store.cells()}
        except GaitperfError:  # damaged baselines: every cell has said so
            known = {}
    write_output(path, page([run], known).encode())


def _write_export(run: Run, name: str, path: Path) -> None:
    write_output(path, exported(name, [run], path.name))


def _write_summaries(engine: Engine, run: Run) -> Run:
    """Append the summary to GitHub's file, and write it to ``--gaitperf-summary``.

    It is for reading only: where it cannot be written, the run gets a warning and no more.
    """
    asked, given = engine.settings.summary, os.environ.get("GITHUB_STEP_SUMMARY")
    warnings = list(run.warnings)
    text = summary(run, columns=engine.settings.columns) if asked is not None or given else ""
    if asked is not None:
        try:
            write_output(asked, text.encode())
        except GaitperfError as error:
            warnings.append(f"no summary: {error}")
    if given:
        try:
            with Path(given).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            warnings.append(f"no job summary in {given}: {error.strerror or error}")
    return replace(run, warnings=tuple(warnings))
