"""``gaitperf baseline``: look after what is recorded."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import json
import sys
import textwrap
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.store import MAX_SESSIONS, BaselineStore
from pytest_gaitperf.errors import ConfigurationError, GaitperfError
from pytest_gaitperf.export import command as export
from pytest_gaitperf.files import replace_file
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.options import ratio
from pytest_gaitperf.policy import tolerances
from pytest_gaitperf.report.text import count
from pytest_gaitperf.stats import ENOUGH_SESSIONS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_gaitperf.baseline.detection import Detectable
    from pytest_gaitperf.export.history import SessionFigures
    from pytest_gaitperf.settings import Settings

_NAME_WIDTH = 20


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``baseline`` to the program's commands."""
    baseline = commands.add_parser(
        "baseline",
        help="look into the recorded baselines",
        description="Look into the recorded baselines of one kind of device.",
    )
    actions = baseline.add_subparsers(title="actions", metavar="ACTION", required=True)

    power = actions.add_parser(
        "power",
        help="how small a regression the baseline can detect, and what more sessions would buy",
        description=(
            "For each cell, each model and the run as a whole: the smallest change for the worse "
            "that the gate finds nine times in ten, with the sessions recorded so far, and in "
            "brackets with one more. NEED is from how many sessions on the noise of a cell is "
            "within its tolerance. What lies in the future is an estimate: it holds if sessions "
            "go on differing as they did."
        ),
        epilog=(
            "Defaults come from [tool.gaitperf] of ./pyproject.toml, its tables for models "
            "included. A run of fewer cells finds a little more, since they share alpha."
        ),
    )
    _add_profile(power)
    power.add_argument(
        "--models",
        metavar="PATTERNS",
        help="only models that match one of these, comma-separated",
    )
    power.add_argument(
        "--alpha", type=ratio, metavar="P", help="the false-alarm budget of a run (0.01)"
    )
    power.add_argument(
        "--tolerance",
        type=tolerances,
        default={},
        metavar="RATIO",
        help="the change that does not matter: 5%%, or latency_p99=10%%,throughput=3%% (5%%)",
    )
    power.add_argument(
        "--json", metavar="FILE", help="write everything to FILE instead, - for the output"
    )
    power.set_defaults(run=_power)

    export.add_to(actions, _add_profile, _recorded)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--baselines", type=Path, metavar="DIR", help="the directory of the baselines (./baselines)"
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="the kind of device, a folder there (this device's, or the only one)",
    )


def _profile(arguments: argparse.Namespace, settings: Settings) -> tuple[Path, str]:
    """Return the directory of the baselines, and which profile is meant."""
    directory: Path = arguments.baselines or settings.baselines
    there = sorted(path.name for path in directory.glob("*") if any(path.glob("*.json")))
    if not there:
        raise ConfigurationError(
            f"{directory}: there are no baselines; record one with 'pytest suites "
            "--gaitperf-update=missing', or name their directory with --baselines"
        )
    wanted = arguments.profile or settings.profile
    if not wanted:
        if len(there) == 1:
            return directory, there[0]
        from pytest_gaitperf.device.identity import identify  # noqa: PLC0415 - only if not named

        wanted = identify().id
    if wanted not in there:
        raise ConfigurationError(
            f"{directory}: there is no baseline of {wanted!r}; name one with --profile: "
            + ", ".join(there)
        )
    return directory, wanted


def _recorded(arguments: argparse.Namespace) -> tuple[SessionFigures, ...]:
    """Return what the profile's baselines hold, for an export."""
    from pytest_gaitperf.export.history import baseline_sessions  # noqa: PLC0415
    from pytest_gaitperf.settings import project_settings  # noqa: PLC0415

    directory, profile = _profile(arguments, project_settings(Path()))
    return baseline_sessions(BaselineStore(directory, profile, {}).cells(), profile)


def _power(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.baseline.detection import detectable  # noqa: PLC0415 - numpy, scipy
    from pytest_gaitperf.policy import Policies, Rules  # noqa: PLC0415
    from pytest_gaitperf.settings import project_settings  # noqa: PLC0415
    from pytest_gaitperf.workload import Workload  # noqa: PLC0415

    settings = project_settings(Path())
    directory, profile = _profile(arguments, settings)
    cells = list(BaselineStore(directory, profile, {}).cells())
    if arguments.models is not None:
        patterns = [pattern.strip() for pattern in arguments.models.split(",")]
        known = sorted({cell.model for cell in cells})
        cells = [cell for cell in cells if any(fnmatchcase(cell.model, p) for p in patterns)]
        if not cells:
            raise ConfigurationError(
                f"--models: no recorded model matches {arguments.models!r}; the models are: "
                + ", ".join(known)
            )
    alpha = settings.alpha if arguments.alpha is None else arguments.alpha
    policies = Policies(Rules({**settings.tolerance, **arguments.tolerance}), settings.model)
    found = detectable(
        cells,
        # A marker is a test's, and no test is known here: the rest goes by the model.
        lambda cell, metric: policies.tolerance(Workload(cell.model, 1, 1), metric),
        alpha,
    )
    if arguments.json is not None:
        _write(_document(found, profile, alpha), arguments.json)
        return
    print(f"{profile}, alpha {alpha:.2g} for a run of {count(len(cells), 'cell')}")
    print("the smallest change that is found nine times in ten (with one more session)")
    _print_table(found)
    for line in _remarks(found):
        print(textwrap.fill(line, 80, subsequent_indent="  "))


def _document(found: Sequence[Detectable], profile: str, alpha: float) -> str:
    rows = [item._asdict() for item in found]
    document = {"schema": 1, "profile": profile, "alpha": alpha, "power": 0.9, "detectable": rows}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _write(text: str, target: str) -> None:
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        replace_file(Path(target), text.encode())
    except OSError as error:
        raise GaitperfError(
            f"{target}: cannot be written ({error.strerror}): give --json a path in a directory "
            "that you may write to, or -"
        ) from None


def _print_table(found: Sequence[Detectable]) -> None:
    """Print the run, then each model with its cells."""
    from rich.console import Console  # noqa: PLC0415 - only for a table
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    metrics = [metric for metric in METRICS if any(item.metric == metric for item in found)]
    rows: dict[tuple[str, str], dict[str, Detectable]] = {}
    for item in found:
        rows.setdefault((item.model, item.key), {})[item.metric] = item
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", max_width=_NAME_WIDTH, overflow="fold")
    for metric in metrics:
        table.add_column(METRICS[metric].title, no_wrap=True)
    table.add_column("have", justify="right", no_wrap=True)
    table.add_column("need", justify="right", no_wrap=True)

    def add(name: str, place: tuple[str, str], style: str = "") -> None:
        row = rows.get(place, {})
        changes = [_change(row[metric]) if metric in row else "" for metric in metrics]
        table.add_row(Text(name, style=style), *changes, *_sessions(list(row.values())))

    if ("", "") in rows:
        add("whole run", ("", ""))
    for model in sorted({model for model, _ in rows if model}):
        add(model, (model, ""), "bold")
        for name, key in rows:
            if name == model and key:
                add(f" {key}", (name, key))
    Console(highlight=False).print(table)


def _change(item: Detectable) -> str:
    if item.change is None:
        return "?"
    more = "" if item.one_more is None else f" ({_percent(item.one_more)})"
    sign = "-" if item.change < 0 else "+"
    return f"{sign}{_percent(item.change)}%{more}{'*' if item.provisional else ''}"


def _percent(change: float) -> str:
    """Return the size of a change in at most three digits, below 1000 %."""
    size = abs(change) * 100
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"  # noqa: PLR2004 - 9.9, then 10


def _sessions(row: Sequence[Detectable]) -> tuple[str, str]:
    """Return how many sessions there are, and how many would do for every metric of the row."""
    if not row:
        return "", ""
    have = str(min(item.sessions for item in row))
    if any(item.provisional for item in row):
        return have, f"{ENOUGH_SESSIONS}+"
    needed = [item.needed for item in row]
    return have, f">{MAX_SESSIONS}" if None in needed else str(max(filter(None, needed)))


def _remarks(found: Sequence[Detectable]) -> list[str]:
    need = f"need: from so many sessions on (estimated; {MAX_SESSIONS} are kept) the noise of every"
    lines = [f"{need} metric is within its tolerance"]
    provisional = [item.sessions for item in found if item.provisional]
    if provisional:
        lines.append(
            "* provisional: estimated from the windows of "
            f"{count(min(provisional), 'session')}; record "
            f"{ENOUGH_SESSIONS - min(provisional)} more, so that sessions tell their own noise"
        )
    if any(item.change is None for item in found):
        lines.append("?: nothing recorded tells the noise")
    return lines
