"""``gaitperf baseline export``: baselines, or the results of runs, for other tools."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.cells import workload_data
from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import cells_in, profile_of, say
from pytest_gaitperf.environment import Environment, Profile, Triton
from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.files import write_output
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.naming import seconds_of, seconds_written
from pytest_gaitperf.report.export import missing_columns
from pytest_gaitperf.report.exporters import exported, exporter
from pytest_gaitperf.results import Cell, Run
from pytest_gaitperf.results_file import read_runs
from pytest_gaitperf.text import count
from pytest_gaitperf.workload import FRAME_RATE, MODEL, PERCENTILE, Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline, Session

_MOST_NAMED = 3


def export_baselines(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline export``."""
    exporter(arguments.format)  # a name that has none is said at once
    target = arguments.output
    with clock(f"exporting to {arguments.format}"):
        if arguments.results:
            runs = read_runs(arguments.results)
        else:
            directory, profile = profile_of(arguments)
            runs = baseline_runs(profile, cells_in(directory, profile))
        for note in _notes(runs, arguments.format):
            say(note, indent="  ", first="", to=sys.stderr)
        if all(cell.unmeasured is not None for run in runs for cell in run.cells):
            raise ConfigurationError("there is nothing to export: no cell has a measurement")
        content = exported(arguments.format, runs, "" if target is None else target.name)
    if target is None:
        sys.stdout.write(sanitize(content.decode()))
    else:
        write_output(target, content)


def _notes(runs: Sequence[Run], name: str) -> list[str]:
    """Say what the file will not have."""
    notes = []
    left_out = {cell.id: cell.unmeasured for run in runs for cell in run.cells if cell.unmeasured}
    if left_out:
        named = [f"{cell}: {why}" for cell, why in left_out.items()][:_MOST_NAMED]
        if (more := len(left_out) - _MOST_NAMED) > 0:
            named.append(f"and {more} more")
        what = f"{count(len(left_out), 'cell')} without a valid measurement left out"
        notes.append(f"{what}: {'; '.join(named)}")
    if name in ("csv", "otava") and (missing := missing_columns(runs)):
        notes.append(
            f"{count(len(missing), 'column')} left out since some of the {len(runs)} sessions "
            f"lack them: {', '.join(missing[:_MOST_NAMED])}"
            + (" ..." if len(missing) > _MOST_NAMED else "")
        )
    return notes


_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_KEY = re.compile(
    rf"(?:(?P<alone>{MODEL})|b(?P<batch>\d+)-"
    rf"(?:c(?P<concurrency>\d+)(?:-think(?P<think>{_NUMBER})(?P<think_unit>ms|s))?|s(?P<subjects>\d+)|(?P<most>most)|(?P<best>best)"
    rf"|r(?P<rate>{_NUMBER})(?:-(?P<poisson>poisson)|-trace=h(?P<trace>\w+))?))"
    rf"(?:-fps(?P<fps>{_NUMBER}))?(?:-p(?P<percentile>{_NUMBER}))?"
    rf"(?:-(?P<deadline>{_NUMBER})(?P<unit>ms|s))?"
    r"(?:-seq(?P<low>\d+)(?:\.\.(?P<high>\d+))?(?:x(?P<sequences>\d+))?)?"
    rf"(?:-(?P<lasting>{_NUMBER})(?P<span>h|min|sec))?"
    r"(?:-grpc)?(?P<stream>-stream)?(?:-.*)?"
)
"""What ``Workload.load`` writes."""


def baseline_runs(profile: str, cells: Iterable[CellBaseline]) -> tuple[Run, ...]:
    """Return a profile's baselines as one run for each session, oldest first."""
    sessions: dict[str, Session] = {}
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        for session in cell.sessions:
            sessions.setdefault(session.id, session)
            found.setdefault(session.id, []).append(_cell(cell, session))
    return tuple(
        Run(
            profile=Profile(profile, facts={"recorder": one.recorder}),
            environment=Environment(
                triton=Triton(one.fingerprint.triton),
                **{name: getattr(one, name) for name in ("time", "commit", "dirty", "plugin")},
            ),
            cells=tuple(found[one.id]),
        )
        for one in sorted(sessions.values(), key=lambda one: (one.time, one.id))
    )


def load_named(key: str) -> dict[str, Any] | None:
    """Return the fields of a workload that its key tells of, None for what is no key."""
    if (named := _KEY.fullmatch(key)) is None:
        return None
    low = int(named["low"] or 0)
    return {
        "alone": bool(named["alone"]),
        "batch_size": int(named["batch"] or 1),
        "concurrency": int(named["concurrency"] or bool(named["alone"])),
        "subjects": int(named["subjects"] or 0),
        "most_subjects": bool(named["most"]),
        "best_rate": bool(named["best"]),
        "request_rate": float(named["rate"] or 0),
        "arrival": named["poisson"] or ("trace" if named["trace"] else "constant"),
        "trace": f"sha256:{named['trace']}" if named["trace"] else "",
        "frame_rate": float(named["fps"] or FRAME_RATE),
        "percentile": float(named["percentile"] or PERCENTILE),
        "deadline_s": seconds_written(named["deadline"], named["unit"]),
        "sequence_length": (low, int(named["high"] or low)),
        "sequences": int(named["sequences"] or 0),
        "streaming": bool(named["stream"]),
        "think_s": seconds_written(named["think"], named["think_unit"]),
        "sustained_s": seconds_of(named["lasting"], named["span"]) if named["lasting"] else 0.0,
    }


def _cell(cell: CellBaseline, session: Session) -> Cell:
    """Return one cell of one session; its load is what its name says (see ``Workload.load``)."""
    if (load := load_named(cell.key)) is None:
        raise ConfigurationError(
            f"the baselines of {cell.model} have {cell.key!r}, which is no name of a cell: "
            "remove it with gaitperf baseline prune"
        )
    workload = Workload(
        cell.model,
        **load,
        protocol="grpc" if session.fingerprint.protocol == "grpc" else "http",
        transport="shm" if session.fingerprint.transport == "shm" else "inline",
        shapes=tuple(session.fingerprint.shapes.items()),
        data=workload_data(session.fingerprint.data),
    )
    rails = session.fingerprint.rails.get("energy_per_inference", "")
    measurement = Measurement(
        metrics={
            name: Estimate(METRICS[name].unit, value.value)
            for name, value in session.values.items()
            if name in METRICS
        },
        energy_estimated=rails.startswith("estimate"),
    )
    return Cell(id=f"{cell.model}-{cell.key}", workload=workload, measurement=measurement)
