"""The command ``gaitperf doctor``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.config.options import OPTIONS

if TYPE_CHECKING:
    import argparse

_SERVER = (
    *("--triton", "--triton-url", "--triton-grpc-port", "--triton-repository", "--triton-image"),
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
                option.flag,
                dest=option.dest,
                type=option.convert,
                choices=option.choices,
                metavar=option.metavar,
                help=option.help.replace("%", "%%"),
            )
    doctor.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.config.settings import project_settings  # noqa: PLC0415
    from pytest_gaitperf.doctor.examine import examine, look_at, show  # noqa: PLC0415 - psutil
    from pytest_gaitperf.files import write_json  # noqa: PLC0415 - only to write

    settings = project_settings(Path())
    given = {dest: value for dest, value in vars(arguments).items() if hasattr(settings, dest)}
    del given["json"]  # this command's own
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
