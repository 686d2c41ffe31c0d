"""All checks, by group, and their run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.doctor import clocks, energy, others, runner, server, software, space
from pytest_gaitperf.doctor.finding import Finding, Machine
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.host.state import read_state
from pytest_gaitperf.host.usage import watch_usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.doctor.finding import Check

CHECKS: Mapping[str, Sequence[Check]] = {
    "server": server.CHECKS,
    "energy": energy.CHECKS,
    "clocks": clocks.CHECKS,
    "others": others.CHECKS,
    "space": space.CHECKS,
    "software": software.CHECKS,
    "runner": runner.CHECKS,
}

_LOOK_S = 0.5


def look_at(settings: Settings, *, root: Path = Path("/"), needs_energy: bool = False) -> Machine:
    """Look at the machine for half a second, before any check makes it busy.

    Raises ConfigurationError for a URL that is none.
    """
    usage = watch_usage(_LOOK_S)
    state, way = read_state(root=root), server.way_of(settings)
    return Machine(settings, root, state, usage, way, needs_energy)


def examine(
    machine: Machine, checks: Mapping[str, Sequence[Check]] = CHECKS
) -> dict[str, list[Finding]]:
    """Run the checks; return their findings by group. It never raises: a broken check says so."""
    return {
        group: [finding for check in members for finding in _findings(group, check, machine)]
        for group, members in checks.items()
    }


def _findings(group: str, check: Check, machine: Machine) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check(machine))
    except GaitperfError as error:
        found.append(Finding(group, "fix", str(error)))
    except Exception as error:  # noqa: BLE001 - one odd machine must not hide the rest
        name = getattr(check, "__name__", group)
        what = f"could not be checked ({name}: {type(error).__name__}: {error})"
        found.append(Finding(group, "warn", what, "please report this as a bug"))
    return found
