"""The command ``gaitperf doctor``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.config.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.doctor.finding import Finding

NOISE_S = 20.0

_SERVER = (
    *("--triton", "--triton-url", "--triton-grpc-port", "--triton-repository", "--triton-image"),
    *("--triton-timeout", "--power", "--power-rails"),
)
_UNFIT = 1


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``doctor`` to the program's commands."""
    doctor = commands.add_parser(
        "doctor",
        help="say whether this machine is fit to measure, and how small a change it resolves",
        description=(
            "Look at everything that a measurement depends on: server, power sensor, clocks, heat, "
            "other load, room, software. Each line is ok, warn (noisier, or says less) or fix "
            "(wrong, or impossible), with the command that mends it. Nothing is changed. The exit "
            "status is 1 where something is to be fixed."
        ),
        epilog="Defaults come from [tool.gaitperf] of ./pyproject.toml.",
    )
    doctor.add_argument(
        "--noise",
        type=_noise_s,
        nargs="?",
        const=NOISE_S,
        metavar="SECONDS",
        help="load one model against itself, and say how small a change is seen (20 s)",
    )
    doctor.add_argument("--model", default="", help="the model that --noise loads (the first)")
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


def _noise_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 3600")
    return seconds


def _run(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.config.settings import project_settings
    from pytest_gaitperf.doctor.checks import examine, look_at
    from pytest_gaitperf.doctor.finding import Finding

    settings = project_settings(Path())
    given = {dest: value for dest, value in vars(arguments).items() if hasattr(settings, dest)}
    del given["json"]  # this command's own
    settings = replace(settings, **{dest: one for dest, one in given.items() if one is not None})
    with _progress() as progress:
        progress("looking", None)
        found = examine(look_at(settings, needs_energy=arguments.need == "energy"))
        noise: dict[str, object] | None = None
        if arguments.noise is not None:
            try:
                noise = _noise(settings, arguments.model, arguments.noise, progress, found)
            except GaitperfError as error:
                found["noise"] = [Finding("noise", "fix", str(error))]
    fit = all(one.state != "fix" for group in found.values() for one in group)
    if arguments.json is not None:
        from pytest_gaitperf.files import write_json

        rows = [{"group": group, **asdict(one)} for group, ones in found.items() for one in ones]
        document = {"schema": 1, "fit": fit, "findings": rows, "noise": noise}
        write_json(document, arguments.json)
    else:
        from pytest_gaitperf.doctor.show import show

        show(found)
    if not fit:
        raise SystemExit(_UNFIT)


@contextmanager
def _progress() -> Iterator[Callable[[str, float | None], None]]:
    """Show one line on a terminal's stderr while it runs, and none elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:  # rich 13 ends even a disabled one with an empty line
        yield lambda _text, _share: None
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(
        *columns,
        console=console,
        transient=True,
        refresh_per_second=2,  # what it costs is in the noise that is measured
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda text, share: bar.update(
            task, description=text, completed=share or 0.0, total=None if share is None else 1.0
        )


def _noise(
    settings: Settings,
    model: str,
    seconds: float,
    progress: Callable[[str, float | None], None],
    found: dict[str, list[Finding]],
) -> dict[str, object]:
    from pytest_gaitperf.config.policy import ANY
    from pytest_gaitperf.doctor.noise import findings, measure_noise, open_for

    with ExitStack() as stack:
        server, workload = open_for(settings, model, lambda text: progress(text, None), stack)
        result = measure_noise(server, workload, seconds, data=settings.data, progress=progress)
        where = f"{workload.id} on Triton {server.version}"
    found["noise"] = findings(result, where, settings.tolerance[ANY])
    return {"model": workload.model, "cell": workload.key, **result._asdict()}
