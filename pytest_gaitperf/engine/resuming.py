"""What a run writes first into its journal, and what it takes of one that was cut short."""

from __future__ import annotations

from calendar import timegm
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.record import record
from pytest_gaitperf.errors import ConfigurationError, GaitperfError
from pytest_gaitperf.journal import NOT_REACHED
from pytest_gaitperf.results import Cell
from pytest_gaitperf.results_file import read_journal
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from pytest_gaitperf.engine.engine import Engine
    from pytest_gaitperf.results import Run


def keep_journal(engine: Engine) -> None:
    """Let the journal begin with the record of what is planned, nothing of it measured."""

    def beginning() -> Run:
        planned = engine.resources.planned
        cells = tuple(Cell(id=one.id, workload=one, error=NOT_REACHED) for one in planned)
        return replace(record(engine), cells=cells)

    engine.resources.journal.begin = beginning


def check_resume(engine: Engine) -> None:
    """Raise ConfigurationError where there is nothing to go on from, or it is another device's."""
    settings, path = engine.settings, engine.resources.journal.path
    if not settings.resume:
        return
    if settings.update != "none" or settings.against is not None:
        raise ConfigurationError(
            "--gaitperf-resume puts two runs together, whose cells were not measured in one "
            "session: nothing of that is recorded (--gaitperf-update) or compared in pairs "
            "(--gaitperf-against); measure anew"
        )
    if path is None:
        raise ConfigurationError(
            "--gaitperf-resume: without pytest's cache no journal was kept; name one with "
            "--gaitperf-journal"
        )
    profile, before = engine.resources.profile, read_journal(path)[0].profile
    there = before.id, before.fields
    if there != (engine.resources.profile_id, profile.fields):
        raise ConfigurationError(
            f"--gaitperf-resume: {path} was written on {before.id}, in another power mode or on "
            f"another machine than this {engine.resources.profile_id}: measure anew"
        )


def resume(engine: Engine) -> None:
    """Take the cells of the journal that are as they would be measured now, where that is asked.

    Server, files, data, power meter and this package must be the same. A cell that was measured in
    less than half of its lives is measured anew. Where there is no device or no server, no cell
    can be measured.
    """
    resources, measuring, planned = engine.resources, engine.measuring, engine.resources.planned
    path = resources.journal.path
    if path is None or not engine.settings.resume:
        return
    try:
        resources.take_device()
        before, fingerprints = read_journal(path)
        power = resources.metering.meter
        _ = resources.server
    except GaitperfError as error:  # said once, with all there is to say
        measuring.fail(planned, error)
        return
    now = None if power is None else (power.name, tuple(power.total_rails))
    then = before.environment.power
    same = version("pytest-gaitperf") == before.environment.plugin
    same &= now == (None if then.meter is None else (then.meter, then.total_rails))
    taken = []
    for cell in before.cells if same else ():
        found = cell.measurement
        if cell.workload not in planned or cell.unmeasured or found is None:
            continue
        in_one = cell.workload.search or cell.workload.sustained_s
        whole = in_one or 2 * found.lives >= before.sessions.lives
        if not whole or cell.id not in fingerprints:
            continue
        try:
            fingerprint = engine.fingerprints.of(cell.workload, found)
        except GaitperfError:  # it is not on this server: measuring it will say so
            continue
        if msgspec.json.decode(msgspec.json.encode(fingerprint)) == fingerprints[cell.id]:
            state = CellState(cell.workload, measurement=found, fingerprint=fingerprint)
            measuring.cells[cell.workload] = state
            taken.append((cell, fingerprint))
    if taken:
        with suppress(ValueError, OverflowError):  # as an editor left it: it began now
            measuring.began_s = [
                timegm(datetime.fromisoformat(one.replace("Z", "+00:00")).utctimetuple())
                for one in before.sessions.began
            ]
    said = (
        f"{count(len(taken), 'cell')} of the run of {before.environment.time} taken from its "
        f"journal {path}, {len(planned) - len(taken)} to measure"
    )
    resources.journal.take(taken, said)
    resources.progress.say(said)
