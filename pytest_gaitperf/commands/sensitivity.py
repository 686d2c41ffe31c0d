"""``gaitperf baseline sensitivity``: how small a regression the baseline can detect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import Columns, cells_in, matches, profile_of, say, say_json
from pytest_gaitperf.config.policy import Policies, Rules
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gate.prediction import POWER, Hurdle, smallest_detectable, upper_quantile
from pytest_gaitperf.gate.scopes import CellLogs, Shift, shares, shifts
from pytest_gaitperf.gate.verdict import noise_of, variance_prior
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import ENOUGH_SESSIONS, GATED, MAX_SESSIONS, METRICS
from pytest_gaitperf.text import count
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.baseline.schema import Value
    from pytest_gaitperf.gate.prediction import VariancePrior
    from pytest_gaitperf.results import Scope


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
    *_, tail = ["", *(metric for metric in metrics if metric.startswith("latency"))]
    between = [one for one in ("latency_p90", "latency_p95") if one != tail]
    metrics = [metric for metric in metrics if metric not in between]  # the JSON has all
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
            "* provisional: estimated from the lives of "
            f"{count(min(provisional), 'session')}; record "
            f"{ENOUGH_SESSIONS - min(provisional)} more, so that sessions tell their own noise"
        )
    if any(item.change is None for item in found):
        yield "?: nothing recorded tells the noise"


class Detectable(NamedTuple):
    """The smallest change for the worse that is found nine times in ten.

    ``scope`` is what changes: the whole ``run``, all cells of ``model``, or the cell ``key`` of it
    alone. ``change`` is relative, with its sign (-0.1: the value falls by 10 %), None where nothing
    tells the noise; ``one_more`` is an estimate of it after one more session. From ``needed``
    sessions on the noise is within the tolerance, None where a baseline does not keep so many.
    ``provisional``: there are too few sessions for a prediction limit, and the rest is unknown.
    """

    scope: Scope
    model: str
    key: str
    metric: str
    sessions: int
    change: float | None
    one_more: float | None
    needed: int | None
    provisional: bool


class _Noise(NamedTuple):
    """How one more session errs about ``sessions`` sessions (log scale)."""

    scale: float
    dof: float
    sessions: int

    def after(self, more: int) -> _Noise:
        """Return the noise after ``more`` sessions that differ as these do: an estimate."""
        count = self.sessions + more
        scale = self.scale * math.sqrt((1 + 1 / count) / (1 + 1 / self.sessions))
        return _Noise(scale, self.dof + more, count)

    def limit(self, level: float) -> float:
        return upper_quantile(level, self.dof) * self.scale


@dataclass(frozen=True, slots=True)
class _Cell:
    """One metric of one cell: its tolerance (log scale) and its comparable sessions by id."""

    model: str
    key: str
    metric: str
    tolerance: float
    sessions: Mapping[str, Value]

    @property
    def logs(self) -> dict[str, float]:
        """The sessions' logs by id, up is worse."""
        sign = METRICS[self.metric].worse_sign
        return {session: sign * math.log(item.value) for session, item in self.sessions.items()}

    def noise(self, prior: VariancePrior | None) -> _Noise:
        """Return how one more session errs by itself, if its lives are like the others'."""
        past = list(self.sessions.values())
        squares = [item.spread**2 for item in past if item.spread is not None]
        typical = math.sqrt(fmean(squares)) if squares else None
        now = SessionValue(past[-1].value, typical, past[-1].lives)
        scale, dof = noise_of(now, past, prior)
        return _Noise(scale, dof, len(past))


def detectable(
    cells: Sequence[CellBaseline], tolerance: Callable[[CellBaseline, str], float], alpha: float
) -> list[Detectable]:
    """Return what is found, with a probability of 90 %, in a run over these cells.

    ``tolerance`` is a ratio by cell and metric. ``alpha`` is the run's, shared as the first step of
    Holm's procedure does. A change must exceed the noise of its scope (``gate.scopes``), and a
    cell's whole change its tolerance; in the first measurement and in the one that confirms it.
    """
    known = [
        _Cell(cell.model, cell.key, metric, math.log1p(tolerance(cell, metric)), sessions)
        for metric in GATED
        for cell in cells
        if (sessions := cell.in_use(metric))
    ]
    priors = {
        metric: variance_prior(list(one.sessions.values()) for one in known if one.metric == metric)
        for metric in GATED
    }
    noises = [one.noise(priors[one.metric]) for one in known]
    # What a session measures does not matter to the noise: let it measure what the others did.
    tests = shifts(
        [CellLogs(one.model, one.logs, fmean(one.logs.values()), one.metric) for one in known]
    )
    tested = {test.cells for test in tests}
    tests += [
        Shift("cell", (index,), 0.0, noise.scale, noise.dof, noise.sessions)
        for index, noise in enumerate(noises)
        if (index,) not in tested
    ]
    scopes = [test.scope for test in tests]
    levels = {scope: alpha * share for scope, share in zip(scopes, shares(scopes), strict=True)}
    return [_detectable(test, known, noises, levels[test.scope], alpha) for test in tests]


def _detectable(
    test: Shift, cells: Sequence[_Cell], noises: Sequence[_Noise], level: float, alpha: float
) -> Detectable:
    alone = len(test.cells) == 1
    # Of several cells the typical one must move beyond its tolerance.
    ordered = sorted(test.cells, key=lambda index: noises[index].scale)
    typical = ordered[len(ordered) // 2]
    cell, own, noise = cells[typical], noises[typical], _Noise(test.scale, test.dof, test.sessions)
    found = (_found(noise.after(more), own.after(more), cell, level, alpha) for more in (0, 1))
    sign = METRICS[cell.metric].worse_sign
    now, one_more = (None if math.isinf(log) else math.expm1(sign * log) for log in found)
    provisional = test.sessions < ENOUGH_SESSIONS
    return Detectable(
        "cell" if alone else test.scope,
        "" if test.scope == "run" and not alone else cell.model,
        cell.key if alone else "",
        cell.metric,
        test.sessions,
        now,
        None if provisional else one_more,
        None if provisional else _needed(noise, cell.tolerance, level),
        provisional,
    )


def _found(test: _Noise, own: _Noise, cell: _Cell, level: float, alpha: float) -> float:
    """Return the smallest change that is found, held to ``level``, and confirmed, to ``alpha``."""
    hurdles = []
    for held_to in (level, alpha):
        both = [
            Hurdle(test.limit(held_to), test.scale, test.dof),
            Hurdle(cell.tolerance, own.scale, own.dof),
        ]
        # Where the test is of the cell's own change, that has just the higher one to clear.
        hurdles += [max(both)] if test == own else both
    return smallest_detectable(hurdles)


def _needed(noise: _Noise, tolerance: float, level: float) -> int | None:
    """Return from how many sessions on the noise is within the tolerance."""
    for more in range(max(MAX_SESSIONS - noise.sessions, 0) + 1):
        later = noise.after(more)
        if later.limit(level) <= tolerance:
            return later.sessions
    return None
