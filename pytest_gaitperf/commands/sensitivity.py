"""``gaitperf baseline sensitivity``: how small a regression the baseline can detect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.sensitivity import detectable
from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import Columns, cells_in, matches, profile_of, say, say_json
from pytest_gaitperf.config.policy import Policies, Rules
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gate.prediction import POWER
from pytest_gaitperf.metrics import ENOUGH_SESSIONS, MAX_SESSIONS, METRICS
from pytest_gaitperf.text import count
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.baseline.sensitivity import Detectable

_BLIND = 10.0
"""A gate that only finds what is ten times worse finds nothing: how much more is no matter."""


def show_sensitivity(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline sensitivity``."""
    settings = project_settings(Path())
    directory, profile = profile_of(arguments)
    everything = cells_in(directory, profile)
    cells = [cell for cell in everything if matches(cell.model, arguments.models)]
    if not cells:
        raise ConfigurationError(
            f"--models: no recorded model matches {arguments.models!r}; the models are: "
            + ", ".join(sorted({cell.model for cell in everything}))
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
        rows = [item._asdict() for item in found]
        document = {"profile": profile, "alpha": alpha, "probability": POWER, "detectable": rows}
        say_json(document, arguments.json)
        return
    say(f"{profile}, alpha {alpha:.2g} for a run of {count(len(cells), 'cell')}")
    say("the smallest change that is found nine times in ten (with one more session)")
    _say_table(found)
    for line in _remarks(found):
        say(line, indent="  ", first="")


def _say_table(found: Sequence[Detectable]) -> None:
    """Print the run, then each model with its cells."""
    metrics = [metric for metric in METRICS if any(item.metric == metric for item in found)]
    rows: dict[tuple[str, str], dict[str, Detectable]] = {}
    for item in found:
        rows.setdefault((item.model, item.key), {})[item.metric] = item
    titles = [METRICS[metric].title for metric in metrics]
    table = Columns(["", *titles, "have", "need"], left=titles)

    def add(name: str, place: tuple[str, str], style: str = "") -> None:
        row = rows.get(place, {})
        changes = [_change(row[metric]) if metric in row else "" for metric in metrics]
        table.add(name, *changes, *_sessions(list(row.values())), first=style)

    if ("", "") in rows:
        add("whole run", ("", ""))
    for model in sorted({model for model, _ in rows if model}):
        add(model, (model, ""), "bold")
        for name, key in rows:
            if name == model and key:
                add(f" {key}", (name, key))
    table.show()


def _change(item: Detectable) -> str:
    if item.change is None:
        return "?"
    sign = "-" if item.change < 0 else "+"
    more = "" if item.one_more is None else f" ({_percent(item.one_more)})"
    text = f"{sign}{_percent(item.change)}%{more}"
    if abs(item.change) >= _BLIND:
        text = f">{sign}{_percent(_BLIND)}%"
    return f"{text}*" if item.provisional else text


def _percent(change: float) -> str:
    """Return the size of a change in at most three digits, below 1000 %."""
    size = abs(change) * 100
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"


def _sessions(row: Sequence[Detectable]) -> tuple[str, str]:
    """Return how many sessions there are, and how many would do for every metric of the row."""
    if not row:
        return "", ""
    have = str(min(item.sessions for item in row))
    if any(item.provisional for item in row):
        return have, f"{ENOUGH_SESSIONS}+"
    needed = [item.needed for item in row]
    return have, f">{MAX_SESSIONS}" if None in needed else str(max(filter(None, needed)))


def _remarks(found: Sequence[Detectable]) -> Iterator[str]:
    yield (
        f"need: from so many sessions on (estimated; {MAX_SESSIONS} are kept) the noise of every "
        "metric is within its tolerance"
    )
    if provisional := [item.sessions for item in found if item.provisional]:
        yield (
            "* provisional: estimated from the windows of "
            f"{count(min(provisional), 'session')}; record "
            f"{ENOUGH_SESSIONS - min(provisional)} more, so that sessions tell their own noise"
        )
    if any(item.change is None for item in found):
        yield "?: nothing recorded tells the noise"
