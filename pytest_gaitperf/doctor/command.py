"""The command ``gaitperf doctor``: run every check, print the findings and a line that sums up."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from pytest_gaitperf.config.options import OPTIONS
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.doctor import Finding, Machine, installation, machine
from pytest_gaitperf.errors import GaitperfError, sanitize
from pytest_gaitperf.files import write_json
from pytest_gaitperf.host.state import read_state
from pytest_gaitperf.host.watch import watch_usage
from pytest_gaitperf.text import count
from pytest_gaitperf.triton.server import find

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.doctor import Check

_SERVER = (
    *("--triton", "--triton-url", "--triton-grpc-port", "--triton-repository", "--triton-image"),
    *("--triton-header", "--triton-ssl-ca", "--triton-ssl-cert", "--triton-ssl-key"),
    "--triton-ssl-no-verify",
    *("--triton-timeout", "--power", "--power-rails"),
)
_UNFIT = 1


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``doctor`` to the program's commands."""
    doctor = commands.add_parser(
        "doctor",
        help="say whether this machine is fit to measure",
        description=(
            "Look at everything that a measurement depends on: server, power sensor, clocks, heat, "
            "other load, room, software. Each line is ok, warn (noisier, or says less) or fix "
            "(wrong, or impossible), with the command that mends it. Nothing is changed. The exit "
            "status is 1 where something is to be fixed."
        ),
        epilog=(
            "Defaults come from [tool.gaitperf] of ./pyproject.toml. How small a change the gate "
            "detects here, 'gaitperf baseline sensitivity' says from recorded sessions."
        ),
    )
    doctor.add_argument(
        "--need",
        choices=("energy",),
        help="energy: without a working power sensor this machine is unfit",
    )
    doctor.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write everything as JSON instead, to FILE or the output",
    )
    plugins = doctor.add_argument_group("as pytest takes them")
    for option in OPTIONS:
        if option.flag in _SERVER:
            plugins.add_argument(
                option.flag, dest=option.dest, help=option.help, **option.arguments
            )
    doctor.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    settings = project_settings(Path())
    given = {dest: value for dest, value in vars(arguments).items() if hasattr(settings, dest)}
    del given["json"]  # this command's own
    if given["triton_header"] is not None:
        given["triton_header"] = tuple(chain.from_iterable(given["triton_header"]))
    settings = replace(settings, **{dest: one for dest, one in given.items() if one is not None})
    found = examine(look_at(settings, needs_energy=arguments.need == "energy"))
    fit = all(one.state != "fix" for group in found.values() for one in group)
    if arguments.json is None:
        show(found)
    else:
        rows = [{"group": group, **asdict(one)} for group, ones in found.items() for one in ones]
        write_json({"schema": 1, "fit": fit, "findings": rows}, arguments.json)
    if not fit:
        raise SystemExit(_UNFIT)


CHECKS: Mapping[str, Sequence[Check]] = {
    "server": (installation.triton, installation.repository),
    "energy": (machine.power_sensor, machine.rights),
    "clocks": (
        machine.power_mode,
        machine.governor,
        machine.throttling,
        machine.heat,
        machine.clock_source,
    ),
    "others": (machine.cpu, machine.quota, machine.gpu),
    "space": (
        installation.leftovers,
        installation.memory,
        installation.shared_memory,
        installation.disk,
    ),
    "software": (installation.packages,),
    "runner": (installation.runner,),
}

_LOOK_S = 0.5
_STYLES = {"ok": "green", "warn": "yellow", "fix": "bold red"}
_WIDTH = 80
_NAME, _LONG = 20, 4
"""Where the text begins, after a state and a name of at most 14 characters; a long command."""


def look_at(settings: Settings, *, root: Path = Path("/"), needs_energy: bool = False) -> Machine:
    """Look at the machine for half a second, before any check makes it busy.

    Raises ConfigurationError for a URL that is none.
    """
    usage = watch_usage(_LOOK_S)
    how, against = find(settings.triton, settings.triton_url, settings.way)
    return Machine(settings, root, read_state(root=root), usage, how, against, needs_energy)


def examine(
    looked_at: Machine, checks: Mapping[str, Sequence[Check]] = CHECKS
) -> dict[str, list[Finding]]:
    """Run the checks; return their findings by group. It never raises: a broken check says so."""
    return {
        group: [finding for check in members for finding in _findings(group, check, looked_at)]
        for group, members in checks.items()
    }


def _findings(group: str, check: Check, looked_at: Machine) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check(looked_at))
    except GaitperfError as error:
        found.append(Finding(group, "fix", str(error)))
    except Exception as error:  # noqa: BLE001 - one odd machine must not hide the rest
        name = getattr(check, "__name__", group)
        what = f"could not be checked ({name}: {type(error).__name__}: {error})"
        found.append(Finding(group, "warn", what, "please report this as a bug"))
    return found


def show(found: Mapping[str, Sequence[Finding]]) -> None:
    """Print the findings in order, and how many there are of each state."""
    console = Console(highlight=False, markup=False, emoji=False)
    width = min(_WIDTH, console.width)
    findings = [finding for group in found.values() for finding in group]
    for finding in findings:
        _show(console, finding, width)
    states = Counter(finding.state for finding in findings)
    many = f"{count(states['warn'], 'warning')}, {states['ok']} ok"
    if states["fix"]:
        console.print(f"UNFIT to measure: {states['fix']} to fix, {many}", style="bold red")
    else:
        console.print(f"fit to measure: {many}", style="bold green")


def _show(console: Console, finding: Finding, width: int) -> None:
    lines = _wrapped(finding.what, width)
    console.print(
        Text.assemble(
            (f"{finding.state:<5}", _STYLES[finding.state]), f"{finding.name:<15}{lines[0]}"
        )
    )
    for line in (*lines[1:], *(_wrapped(finding.advice, width) if finding.advice else ())):
        console.print(" " * _NAME + line)
    if finding.command:
        # As it is to be pasted: never broken, and as far to the left as it must be.
        indent = _NAME if _NAME + len(finding.command) <= width else _LONG
        console.print(" " * indent + sanitize(finding.command), style="bold", soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    return [
        sanitize(line)
        for paragraph in text.splitlines()
        for line in textwrap.wrap(paragraph, max(width - _NAME, _NAME), break_on_hyphens=False)
    ]
