"""Runs of several power modes or devices as one record, with one frontier over all of them."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.config.policy import latency_bound
from pytest_gaitperf.environment import Profile
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.report.frontier import ACCURACY, ENERGY, energy_counts, frontier
from pytest_gaitperf.report.perf_analyzer import read_any
from pytest_gaitperf.results import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_gaitperf.config.policy import Bound
    from pytest_gaitperf.results import Cell, Run


def joined(
    runs: Mapping[str, Run],
    accuracy: Mapping[str, float],
    bound: Bound | None,
    *,
    estimates: bool,
    unjudged: Sequence[str] = (),
) -> Run:
    """Return one run of all cells, each model once for each mode: ``3D_fp32_0@15W``.

    ``runs`` are by mode (or device), at least one. ``unjudged`` says what keeps the whole from
    being green, as does what kept one of them from it. Raises ConfigurationError where they were
    judged by different rules.
    """
    first = next(iter(runs.values()))
    judged = [run for run in runs.values() if any(one.verdicts or one.limits for one in run.cells)]
    by = judged[0] if judged else first
    cells = tuple(_renamed(cell, mode) for mode, run in runs.items() for cell in run.cells)
    known = {f"{model}@{mode}": value for model, value in accuracy.items() for mode in runs}
    fields = {
        name: value
        for name, value in first.profile.fields.items()
        if all(run.profile.fields.get(name) == value for run in runs.values())
    }
    whole = settled(
        replace(
            first,
            policy=by.policy,
            against=by.against,
            profile=Profile(", ".join(run.profile.id for run in runs.values()), fields),
            measuring_s=sum(run.measuring_s for run in runs.values()),
            relative_to=f"{first.relative_to}@{next(iter(runs))}" if first.relative_to else "",
            cells=cells,
            findings=tuple(
                replace(one, model=f"{one.model or 'every model'}@{mode}", scope="model")
                for mode, run in runs.items()
                for one in run.findings
            ),
            sensitivity=tuple(one for run in runs.values() for one in run.sensitivity),
            frontier=frontier(
                cells,
                known,
                bound,
                energy_counts=energy_counts(cells, estimates=estimates),
            ),
            failed_tests=_all(runs, "failed_tests"),
            unmeasured_tests=_all(runs, "unmeasured_tests"),
            unjudged=(*_all(runs, "unjudged"), *unjudged),
            notes=_all(runs, "notes"),
            warnings=_all(runs, "warnings"),
            problems=_all(runs, "problems"),
            full_run=False,
            orphans={},
            outputs={},
            written=(),
        )
    )
    same = all(bool(run.against) == bool(by.against) for run in judged)
    pairs = zip(cells, whole.cells, strict=True)
    if not same or any(one.outcome is not now.outcome for one, now in pairs):
        raise ConfigurationError(
            "the results were judged by different rules (--gaitperf-update, --gaitperf-strict, "
            "--gaitperf-against ...): give those of one kind together"
        )
    # What only one of them knew, such as a limit that none of its tests checked.
    open_ = {mode: run for mode, run in runs.items() if run.outcome is not Outcome.GREEN}
    if whole.outcome is not Outcome.GREEN or not open_:
        return whole
    return settled(replace(whole, unjudged=(*whole.unjudged, *_all(open_, "reasons"))))


def together(paths: Iterable[Path]) -> Run:
    """Read results of different devices or power modes, or perf_analyzer's, as one run.

    What their own frontiers were asked for is asked of the common one. Raises ConfigurationError
    for a file that is none, and for two of one device in one mode.
    """
    found = [read_any(path) for path in paths]
    modes = ["-".join(value for _, value in run.profile.settings) for run in found]
    others = [{**run.profile.fields, "power_mode": "", "clocks": ""} for run in found]
    one_device = all(modes) and all(one == others[0] for one in others)
    names = modes if one_device else [_id(run) for run in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(
            f"two of the results are of {twice[0]}: give one of each, or leave --together out, "
            "which makes the older ones the history of the newest"
        )
    fronts = [run.frontier for run in found if run.frontier is not None]
    accuracy: dict[str, float] = {}
    bound = ""
    for front in fronts:
        accuracy |= front.accuracy if ACCURACY in front.objectives else {}
        bound = bound or front.latency_bound or ""
    try:
        asked = latency_bound(bound) if bound else None
    except ArgumentTypeError as error:
        raise ConfigurationError(f"the results were asked for the bound {error}") from None
    return joined(
        dict(zip(names, found, strict=True)),
        accuracy,
        asked,
        estimates=any(ENERGY in front.objectives for front in fronts),
    )


def _id(run: Run) -> str:
    return f"{run.profile.id}/{run.board}" if run.board else run.profile.id


def _renamed(cell: Cell, mode: str) -> Cell:
    load = dataclasses.replace(cell.workload, model=f"{cell.workload.model}@{mode}")
    return replace(cell, id=load.id, workload=load)


def _all(runs: Mapping[str, Run], name: str) -> tuple[str, ...]:
    return tuple(f"{mode}: {line}" for mode, run in runs.items() for line in getattr(run, name))
