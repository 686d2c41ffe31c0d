"""``gaitperf baseline power``: how small a regression the baseline can detect."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.commands.output import (
    NAME_WIDTH,
    add_json,
    plain_table,
    print_table,
    write_json,
)
from pytest_gaitperf.baseline.commands.selection import (
    add_profile,
    matches,
    patterns,
    profile_of,
)
from pytest_gaitperf.baseline.store import MAX_SESSIONS, BaselineStore
from pytest_gaitperf.clock import clock
from pytest_gaitperf.config.policy import tolerances
from pytest_gaitperf.config.values import ratio
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.text import count
from pytest_gaitperf.stats import ENOUGH_SESSIONS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_gaitperf.baseline.detection import Detectable


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``power``."""
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
    add_profile(power)
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
    add_json(power)
    power.set_defaults(run=_power)


def _power(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.baseline.detection import detectable  # noqa: PLC0415 - numpy, scipy
    from pytest_gaitperf.config.policy import Policies, Rules  # noqa: PLC0415
    from pytest_gaitperf.config.settings import project_settings  # noqa: PLC0415
    from pytest_gaitperf.workload import Workload  # noqa: PLC0415

    settings = project_settings(Path())
    directory, profile = profile_of(arguments, settings)
    cells = list(BaselineStore(directory, profile, {}).cells())
    if arguments.models is not None:
        known = sorted({cell.model for cell in cells})
        cells = [cell for cell in cells if matches(cell.model, patterns(arguments.models))]
        if not cells:
            raise ConfigurationError(
                f"--models: no recorded model matches {arguments.models!r}; the models are: "
                + ", ".join(known)
            )
    alpha = settings.alpha if arguments.alpha is None else arguments.alpha
    policies = Policies(Rules({**settings.tolerance, **arguments.tolerance}), settings.model)
    with clock(f"computing what a run of {count(len(cells), 'cell')} can detect"):
        found = detectable(
            cells,
            # A marker is a test's, and no test is known here: the rest goes by the model.
            lambda cell, metric: policies.tolerance(Workload(cell.model, 1, 1), metric),
            alpha,
        )
    if arguments.json is not None:
        write_json(_document(found, profile, alpha), arguments.json)
        return
    print(f"{profile}, alpha {alpha:.2g} for a run of {count(len(cells), 'cell')}")
    print("the smallest change that is found nine times in ten (with one more session)")
    _print_table(found)
    for line in _remarks(found):
        print(textwrap.fill(line, 80, subsequent_indent="  "))


def _document(found: Sequence[Detectable], profile: str, alpha: float) -> dict[str, object]:
    rows = [item._asdict() for item in found]
    return {"profile": profile, "alpha": alpha, "power": 0.9, "detectable": rows}


def _print_table(found: Sequence[Detectable]) -> None:
    """Print the run, then each model with its cells."""
    from rich.text import Text  # noqa: PLC0415 - only for a table

    metrics = [metric for metric in METRICS if any(item.metric == metric for item in found)]
    rows: dict[tuple[str, str], dict[str, Detectable]] = {}
    for item in found:
        rows.setdefault((item.model, item.key), {})[item.metric] = item
    table = plain_table()
    table.add_column("", max_width=NAME_WIDTH, overflow="fold")
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
    print_table(table)


_BLIND = 10.0
"""A gate that only finds what is ten times worse finds nothing: how much more is no matter."""


def _change(item: Detectable) -> str:
    if item.change is None:
        return "?"
    more = "" if item.one_more is None else f" ({_percent(item.one_more)})"
    sign = "-" if item.change < 0 else "+"
    if abs(item.change) >= _BLIND:
        return f">{sign}{_percent(_BLIND)}%{'*' if item.provisional else ''}"
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
