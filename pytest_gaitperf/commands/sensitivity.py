"""``gaitperf baseline sensitivity``: how small a regression the baseline can detect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.baseline.cells import geomean
from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import (
    Columns,
    cells_in,
    columns,
    matches,
    parted,
    profile_of,
    say,
    say_json,
)
from pytest_gaitperf.config.policy import Policies, Rules
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gate.hearing import Hearing, heard
from pytest_gaitperf.gate.joint import tests_of
from pytest_gaitperf.gate.prediction import POWER
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import GATED, MAX_SESSIONS, METRICS
from pytest_gaitperf.text import LARGEST, count
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.gate.scopes import Shift
    from pytest_gaitperf.results import Scope


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
    tolerance = {**settings.tolerance, **arguments.tolerance}
    policies = Policies(Rules(tolerance, must_hear=settings.must_hear), settings.model)
    with clock(f"computing what a run of {count(len(cells), 'cell')} can detect"):
        found = detectable(cells, policies, alpha)
    if arguments.json is not None:
        rows = [item._asdict() for item in found]
        document = {"profile": profile, "alpha": alpha, "probability": POWER, "detectable": rows}
        say_json(document, arguments.json)
        return
    say(f"{profile}, alpha {alpha:.2g} for a run of {count(len(cells), 'cell')}")
    say("the smallest change that is found nine times in ten (with one more session)")
    _say_table(found)
    for line in _remarks():
        say(line, indent="  ", first="")


def _say_table(found: Sequence[Detectable]) -> None:
    """Print the run, then each model with its cells."""
    for metrics in parted(columns({item.metric for item in found})):
        _say_part([item for item in found if item.metric in metrics], metrics)


def _say_part(found: Sequence[Detectable], metrics: Sequence[str]) -> None:
    rows: dict[tuple[str, str], dict[str, Detectable]] = {}
    for item in found:
        rows.setdefault((item.model, item.key), {})[item.metric] = item
    titles = [METRICS[metric].title.removeprefix("server ") for metric in metrics]
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
    sign = "-" if item.change < 0 else "+"
    if abs(item.change) >= LARGEST:
        return f">{sign}{_percent(LARGEST)}%"
    return f"{sign}{_percent(item.change)}% ({_percent(item.one_more)})"


def _percent(change: float) -> str:
    """Return the size of a change in at most three digits, below 1000 %."""
    size = abs(change) * 100
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"


def _sessions(row: Sequence[Detectable]) -> tuple[str, str]:
    """Return how many sessions there are, and how many would do for every metric of the row."""
    if not row:
        return "", ""
    have = str(min(item.sessions for item in row))
    needed = [item.needed for item in row]
    return have, f">{MAX_SESSIONS}" if None in needed else str(max(filter(None, needed)))


def _remarks() -> Iterator[str]:
    yield "in brackets: after one more session"
    yield (
        f"need: with so many sessions (estimated; {MAX_SESSIONS} are kept) what must be heard "
        "(--gaitperf-must-hear) is heard in every metric"
    )


class Detectable(NamedTuple):
    """The smallest change for the worse that is found nine times in ten.

    ``scope`` is what changes: the whole ``run``, all cells of ``model``, or the cell ``key`` of it
    alone. ``change`` is relative, with its sign (-0.1: the value falls by 10 %); ``one_more`` is an
    estimate of it after one more session. With ``needed`` sessions the change that must be heard
    is, None where a baseline does not keep so many.
    """

    scope: Scope
    model: str
    key: str
    metric: str
    sessions: int
    change: float
    one_more: float
    needed: int | None


def detectable(cells: Sequence[CellBaseline], policies: Policies, alpha: float) -> list[Detectable]:
    """Return what is found, with a probability of 90 %, in a run over these cells.

    ``alpha`` is the run's, shared as the first step of Holm's procedure does. A change must exceed
    the noise of its scope (``gate.scopes``) and the tolerance, in the first measurement and in the
    one that confirms it: as in the run itself (``gate.hearing``). A marker is a test's, and no test
    is known here: tolerances go by the model.
    """
    compared, keys = [], []
    for metric in GATED:
        for cell in cells:
            if sessions := cell.in_use(metric):
                workload = Workload(cell.model, 1, 1)
                # What a session measures does not matter to the noise.
                now = SessionValue(geomean(sessions.values()))
                rules = policies.tolerance(workload, metric), policies.must_hear(workload, metric)
                compared.append(Comparison(cell.model, metric, now, sessions, *rules, cell.key))
                keys.append(cell.key)
    tests = tests_of(compared)
    hearing = Hearing(tests, alpha)
    return [_detectable(test, level, compared, keys, alpha) for test, level in hearing.tests]


def _detectable(
    test: Shift, level: float, cells: Sequence[Comparison], keys: Sequence[str], alpha: float
) -> Detectable:
    first, alone = cells[test.cells[0]], len(test.cells) == 1
    sign = METRICS[first.metric].worse_sign
    least = max(cells[index].tolerance for index in test.cells)
    must_hear = min(cells[index].must_hear for index in test.cells)

    def change(more: int) -> float:
        return heard(test.error.after(more) if more else test.error, level, alpha, least)

    now = change(0)
    later = min(now, change(1))
    room = range(max(MAX_SESSIONS - test.sessions, 0) + 1)
    needed = (test.sessions + more for more in room if change(more) <= must_hear)
    return Detectable(
        "cell" if alone else test.scope,
        "" if test.scope == "run" and not alone else first.model,
        keys[test.cells[0]] if alone else "",
        first.metric,
        test.sessions,
        (1 + now) ** sign - 1,
        (1 + later) ** sign - 1,
        next(needed, None),
    )
