"""What the run and its surroundings come to, as the record has it."""

from __future__ import annotations

import os
import platform
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.baseline.cells import Provenance
from pytest_gaitperf.environment import Environment, Power, Sessions, Triton
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.git import answer
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.host.state import read_state
from pytest_gaitperf.power.metering import above_idle_j
from pytest_gaitperf.results import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.engine.engine import Engine
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Idle
    from pytest_gaitperf.results import Cell

_EXPLAINS = (
    "kernel",
    "os",
    "l4t",
    "nvidia_driver",
    "governor",
    "cpu_max_frequency",
    "python",
)
"""The facts of the machine that a baseline keeps: what may explain a change, and changes rarely."""


def record(engine: Engine) -> Run:
    """Return the record of a run, as far as the engine knows it; its outcomes are still to be set.

    Only what was opened is asked.
    """
    settings, resources, measuring = engine.settings, engine.resources, engine.measuring
    cells = tuple(_cell(engine, cell.record()) for cell in measuring.cells.values())
    outputs = {"json": settings.json, "report": settings.report, **settings.exports}
    return Run(
        profile=replace(resources.profile, id=resources.profile_id),
        environment=_environment(resources),
        policy=engine.policy,
        arguments=tuple(map(str, settings.invocation)),
        baselines=str(resources.baselines_named),
        against="" if engine.paired is None else engine.paired.description,
        relative_to=settings.relative_to,
        sessions=Sessions(
            asked=measuring.sessions,
            lives=measuring.lives,
            seed=measuring.seed,
            began=tuple(map(utc, measuring.began_s)),
            cut_short=measuring.cut_short or None,
        ),
        measuring_s=round(measuring.seconds, 3),
        cells=cells,
        findings=tuple(engine.findings),
        sensitivity=tuple(engine.sensitivity),
        outputs={name: str(path) for name, path in outputs.items() if path is not None},
        board=resources.board,
    )


def utc(moment_s: float) -> str:
    """Return a Unix time as UTC in ISO 8601."""
    return datetime.fromtimestamp(moment_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def provenance(began_s: float, board: str = "") -> Provenance:
    """Return who records, when the session began (Unix time) and on what, for the baselines.

    The boards of a fleet may begin in the same second: each has its name in its session's.
    """
    moment = utc(began_s)
    commit, dirty = _commit()
    run = os.environ.get("GITHUB_RUN_ID", "")
    return Provenance(
        id=moment.replace("-", "").replace(":", "") + (f"-{board}" if board else ""),
        time=moment,
        commit=commit,
        dirty=dirty,
        plugin=version("pytest-gaitperf"),
        recorder=f"GitHub run {run}" if run else f"host {platform.node()}",
        environment={name: value for name, value in identify().facts.items() if name in _EXPLAINS},
    )


def _cell(engine: Engine, cell: Cell) -> Cell:
    """Return a cell with what its energy is above the idle power of its session."""
    metering = engine.resources.opened_metering
    if metering is None or not metering.idle or cell.measurement is None:
        return cell
    measured = [cell.measurement, *cell.further]
    whole = len(metering.idle) >= len(engine.measuring.began_s)
    first, *further = (
        # Where an idle measurement failed, nothing tells whose the others are.
        _above_idle(one, metering.idle[number : number + 2] if whole else metering.idle)
        for number, one in enumerate(measured)
    )
    return replace(cell, measurement=first, further=tuple(further))


def _above_idle(measurement: Measurement, idle: Sequence[Idle]) -> Measurement:
    if not measurement.rails_j or measurement.neighbours:
        return measurement
    joules = above_idle_j(
        measurement.rails_j,
        measurement.duration_s,
        measurement.inferences,
        measurement.energy_rails,
        idle,
    )
    return replace(measurement, energy_above_idle_per_inference_j=joules)


def _environment(resources: Resources) -> Environment:
    server, metering = resources.opened_server, resources.opened_metering
    power = Power()
    if metering is not None and metering.meter is None:
        power = Power(absent=metering.absent)
    elif metering is not None and metering.meter is not None:
        meter = metering.meter
        power = Power(
            meter=meter.name,
            description=meter.description,
            rails=tuple(meter.rails),
            total_rails=tuple(meter.total_rails),
            estimated=meter.estimated,
            idle_w=tuple(dict(one.watts) for one in metering.idle),
            idle_drift=metering.idle_drift,
            calibration=metering.correction,
        )
    state = read_state()
    commit, dirty = _commit()
    return Environment(
        time=utc(time.time()),
        commit=commit,
        dirty=dirty,
        plugin=version("pytest-gaitperf"),
        pytest=version("pytest"),
        python=platform.python_version(),
        triton=Triton(server.version, server.mode, server.url) if server is not None else None,
        power=power,
        load_average=state.load_average,
        temperatures_c=dict(state.temperatures_c),
    )


def _commit() -> tuple[str, bool | None]:
    """Return the commit of the current directory and whether files differ from it."""
    try:
        commit = answer(Path(), "rev-parse", "HEAD").decode().strip()
        return commit, bool(answer(Path(), "status", "--porcelain", "--untracked-files=no"))
    except ConfigurationError:
        return "", None


def commit_refused() -> str:
    """Say why git tells no commit here where it could: of a checkout that another user owns."""
    try:
        answer(Path(), "rev-parse", "HEAD")
    except ConfigurationError as error:
        return str(error) if "safe.directory" in str(error) else ""
    return ""
