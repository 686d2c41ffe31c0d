"""The metrics of a measurement, as they are found in what was gathered: values with intervals."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.load.record import completed_between
from pytest_gaitperf.measure.gathered import joined
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.power.energy import integrate, pooled_budget, window_for
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    minimum_count,
    quantile_interval,
    ratio_values,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.power.energy import ErrorBudget

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]


def _quantiles(what: str) -> dict[str, float]:
    return {
        metric.name: metric.quantile
        for metric in METRICS.values()
        if metric.quantile is not None and metric.name.startswith(what)
    }


QUANTILES = _quantiles("latency")
FIRST_ANSWERS = _quantiles("first_answer")

_LARGE_ENERGY_ERROR = 0.02
_FEWEST_LIVES = 3
_FEWEST_ENERGY_WINDOWS = 4
_MOST_ENERGY_WINDOWS = 30


@dataclass(slots=True)
class Estimates:
    """The metrics of one measurement as they are found: see ``Measurement``."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float, interval: tuple[float, float] | None = None) -> None:
        """Add a metric, with its interval where there is any."""
        low = high = None
        if interval is not None and all(map(math.isfinite, interval)):
            low, high = interval
        self.metrics[name] = Estimate(METRICS[name].unit, value, low, high)

    def add_of_lives(self, name: str, values: Sequence[float]) -> None:
        """Add the mean of values that each life has one of, and their spread.

        Two lives have no interval that is of use: it is thirteen times as wide as their spread.
        """
        mean, interval = fmean(values), None
        if len(values) > 1 and math.isfinite(spread := log_spread(values)):
            self.spread[name] = spread
        if len(values) >= _FEWEST_LIVES:
            half = float(special.stdtrit(len(values) - 1, 0.975)) * stdev(values)
            half /= math.sqrt(len(values))
            interval = (max(mean - half, 0.0), mean + half)
        self.add(name, mean, interval)

    def add_percentiles(
        self, latencies_s: Values, quantiles: Mapping[str, float] = QUANTILES
    ) -> None:
        """Add those percentiles of sorted latencies that enough requests stand behind."""
        for name, quantile in quantiles.items():
            interval = quantile_interval(latencies_s, quantile)
            if interval is not None:
                self.add(name, float(np.quantile(latencies_s, quantile)), interval)
                continue
            self.absent[name] = (
                f"{len(latencies_s)} requests, {minimum_count(quantile)} are needed: "
                "raise --gaitperf-budget"
            )


def add_latencies(found: Estimates, runs: Sequence[Gathered], latencies_s: Values) -> None:
    """Add the mean latency of the windows, and the percentiles."""
    sums, counts = [], []
    for run in runs:
        times = run.record.times()
        for low, high in run.windows_ns:  # one at a time: together they are all requests again
            inside = completed_between(*times, int(low), int(high))
            sums.append(float(inside.sum()))
            counts.append(len(inside))
    interval = mean_interval(ratio_values(sums, counts))
    found.add("latency_mean", float(latencies_s.mean()), interval)
    found.add_percentiles(latencies_s)


def add_answers(found: Estimates, runs: Sequence[Gathered], windows_s: Values) -> None:
    """Add what a stream gives: the times to the first answers, and the answers a second."""
    if not runs[0].workload.streaming:
        return
    firsts = joined([run.first_answers() for run in runs])
    if firsts.size:
        found.add_percentiles(firsts, FIRST_ANSWERS)
    else:
        found.absent |= dict.fromkeys(FIRST_ANSWERS, "no request had an answer with a tensor in it")
    answers = np.concatenate([run.answers(run.windows_ns) for run in runs])
    interval = mean_interval(answers / windows_s)
    found.add("answer_rate", float(answers.sum() / windows_s.sum()), interval)


def add_goodput(found: Estimates, runs: Sequence[Gathered], windows_s: Values) -> None:
    """Add the inferences a second that kept the deadline, where there is one."""
    if within_s := runs[0].workload.deadline_s:
        good = np.concatenate([run.inferences(run.windows_ns, within_s) for run in runs])
        low, high = mean_interval(good / windows_s)
        found.add("goodput", float(good.sum() / windows_s.sum()), (max(low, 0.0), high))


def add_cpu(found: Estimates, runs: Sequence[Gathered], inferences: int) -> None:
    """Add the server's CPU time per inference: over the windows, else over the whole loads."""
    name, spent_s = "server_cpu_per_inference", 0.0
    for run in runs:
        if run.server_cpu_s is None:
            found.absent[name] = run.server_cpu_absent
            return
        spent_s += run.server_cpu_s
    windows_ns = [run.server_cpu_ns for run in runs if run.server_cpu_ns is not None]
    if len(windows_ns) < len(runs):
        found.add(name, spent_s / inferences)
        return
    spent = np.concatenate(windows_ns) / 1e9
    done = np.concatenate([run.inferences(run.windows_ns) for run in runs])
    each_s = float(spent.sum() / done.sum())
    found.add(name, each_s, mean_interval(ratio_values(spent, done)))


def add_energy(found: Estimates, runs: Sequence[Gathered]) -> dict[str, float]:
    """Add energy and power over the windows; return the joules of every rail."""

    def absent(why: str) -> dict[str, float]:
        in_time = ("goodput_per_joule",) if runs[0].workload.deadline_s else ()
        found.absent |= dict.fromkeys(("energy_per_inference", "power_mean", *in_time), why)
        return {}

    rails_j: Counter[str] = Counter()
    joules: list[float] = []
    done: list[Values] = []
    good: list[Values] = []
    within_s = runs[0].workload.deadline_s
    parts_s: list[Values] = []
    span_s = sum(run.seconds for run in runs)
    inferences = sum(float(run.inferences(run.windows_ns).sum()) for run in runs)
    for run in runs:
        power, trace = run.power, run.power.trace
        if trace is None:
            return absent(power.absent)
        parts = _parts(run.stretches_ns, power.minimum_window_s, span_s / _MOST_ENERGY_WINDOWS)
        try:
            for low, high in run.stretches_ns:
                rails_j.update(integrate(trace, int(low), int(high)).joules)
            joules += [
                integrate(trace, int(low), int(high)).total_j(power.rails) for low, high in parts
            ]
        except MeterError as error:
            return absent(str(error))
        done.append(run.inferences(parts))
        good.append(run.inferences(parts, within_s))
        parts_s.append(np.diff(parts)[:, 0] / 1e9)
    if len(joules) < _FEWEST_ENERGY_WINDOWS:
        needed_s = _FEWEST_ENERGY_WINDOWS * runs[0].power.minimum_window_s
        pieces = sum(len(run.stretches_ns) for run in runs)
        in_pieces = f" in {pieces} pieces" if pieces > len(runs) else ""
        return absent(
            f"{span_s:.1f} s were measured{in_pieces}, the meter needs {needed_s:.1f} s: "
            "raise --gaitperf-budget"
        )
    parts_j = np.array(joules)
    watts = parts_j / np.concatenate(parts_s)
    total_j = sum(rails_j[rail] for rail in runs[0].power.rails)
    each_j = _ratio_interval(parts_j, np.concatenate(done))
    found.add("energy_per_inference", total_j / inferences, each_j)
    found.add("power_mean", total_j / span_s, mean_interval(watts))
    if within_s and total_j > 0:
        all_good = sum(float(run.inferences(run.windows_ns, within_s).sum()) for run in runs)
        per_j = _ratio_interval(np.concatenate(good), parts_j)
        found.add("goodput_per_joule", all_good / total_j, per_j)
    elif within_s:
        found.absent["goodput_per_joule"] = "the meter gave no joules"
    # A rail that one life lacks has no joules.
    common = set.intersection(*({*run.power.trace.rails} for run in runs if run.power.trace))
    found_j: dict[str, float] = {rail: joules for rail, joules in rails_j.items() if rail in common}
    gpu_rails = runs[0].power.gpu_rails
    if gpu_rails and {*gpu_rails} <= common:
        gpu_j = sum(rails_j[rail] for rail in gpu_rails)
        found.add("gpu_energy_per_inference", gpu_j / inferences)
    return found_j


def _ratio_interval(totals: Values, counts: Values) -> tuple[float, float] | None:
    """Return the interval of the ratio of two sums, None where the second is nothing."""
    return mean_interval(ratio_values(totals, counts)) if counts.sum() > 0 else None


def _parts(stretches_ns: Times, shortest_s: float, wanted_s: float) -> Times:
    """Cut stretches into equal parts of about ``wanted_s``, none below ``shortest_s``; as rows."""
    parts = [np.empty((0, 2), dtype=np.int64)]
    for low, high in stretches_ns:
        # A thousandth of a part more: the quotient of what was divided before may lack a hair.
        count = int(float(high - low) / 1e9 / max(shortest_s, wanted_s, 1e-3) + 1e-3)
        if count or float(high - low) / 1e9 >= shortest_s:
            edges = np.linspace(low, high, max(count, 1) + 1).astype(np.int64)
            parts.append(np.column_stack((edges[:-1], edges[1:])))
    return np.concatenate(parts)


def energy_budget(runs: Sequence[Gathered]) -> ErrorBudget | None:
    """Return the error that the meter leaves in all lives together."""
    budgets = [
        run.power.budget.cut(run.seconds, len(run.stretches_ns))
        for run in runs
        if run.power.budget is not None
    ]
    return pooled_budget(budgets) if budgets else None


def energy_note(budget: ErrorBudget | None) -> str | None:
    """Say how long a window would have to be, where the meter leaves a large error."""
    if budget is None or budget.relative <= _LARGE_ENERGY_ERROR:
        return None
    enough_s = window_for(budget, _LARGE_ENERGY_ERROR)
    longer = f"; {enough_s:.0f} s would give {_LARGE_ENERGY_ERROR:.0%}: raise --gaitperf-budget"
    return budget.describe() + (longer if math.isfinite(enough_s) else "")
