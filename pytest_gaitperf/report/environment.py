"""Where and by whom a session was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.store import Provenance
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.host.state import read_state

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.report.schema import Environment

_GIT_TIMEOUT_S = 10
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
        session=moment.replace("-", "").replace(":", "") + (f"-{board}" if board else ""),
        time=moment,
        commit=commit,
        dirty=dirty,
        plugin=version("pytest-gaitperf"),
        recorder=f"GitHub run {run}" if run else f"host {platform.node()}",
        environment={name: value for name, value in identify().facts.items() if name in _EXPLAINS},
    )


def environment(session: Session) -> Environment:
    """Describe the run for the results file; only what was opened is asked."""
    # msgspec is not loaded where this is not asked for.
    from pytest_gaitperf.report.schema import Environment, Power, Triton  # noqa: PLC0415

    server, metering = session.resources.opened_server, session.resources.opened_metering
    power = Power()
    if metering is not None and metering.meter is None:
        power = Power(absent=metering.absent)
    elif metering is not None and metering.meter is not None:
        meter = metering.meter
        power = Power(
            meter=meter.name,
            description=meter.description,
            rails=list(meter.rails),
            total_rails=list(meter.total_rails),
            estimated=meter.estimated,
            idle_w=[dict(one.watts) for one in metering.idle],
            idle_drift=metering.idle_drift,
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
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "", None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - the git of the user's PATH is meant
        cwd=Path.cwd(),
        capture_output=True,
        text=True,
        timeout=_GIT_TIMEOUT_S,
        check=True,
    )
    return done.stdout.strip()
