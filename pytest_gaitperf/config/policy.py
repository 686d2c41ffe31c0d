"""What is asked of each metric of each cell: tolerances and absolute limits, from every place.

Pure: an option, a table or a marker that speaks of either is read with it.
"""

from __future__ import annotations

import argparse
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.config.values import as_text, change, ratio
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import GATED, METRICS, Direction, Metric, quantity_of
from pytest_gaitperf.results import LimitCheck, LimitState
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.workload import Workload

ANY = ""
"""The key of a tolerance, or of what must be heard, that holds for every metric."""

_MUST_HEAR, _TOLERANCES = 0.25, 2.0
"""The change that may not go unheard, unless somebody says otherwise: no less than so many times
the tolerance, for what does not matter need not be heard."""

RULE_KEYS = ("tolerance", "tolerances", "must_hear", "limits")
"""The arguments of a marker that are no grid's, and the keys of a model's table."""

# How many make one: 1000 ms are one s. (Dividing rounds once, so that 40 ms is the float 0.04.)
_PARTS: dict[str, float] = {"Ki": 2**-10, "Mi": 2**-20, "Gi": 2**-30}
_PARTS |= {"": 1, "m": 1e3, "u": 1e6, "\N{MICRO SIGN}": 1e6, "\N{GREEK SMALL LETTER MU}": 1e6}
_VALUE = re.compile(r"(\d*\.?\d*(?:[eE][+-]?\d+)?)\s*(\S*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """A requirement: the value of a metric lies on the good side of ``bound``, or on it.

    ``bound`` is in the metric's unit, ``written`` as it was asked for (``40 ms``). Which side is
    good is the metric's own: latency is at most, throughput at least.
    """

    metric: str
    bound: float
    written: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.metric} {_sign(METRICS[self.metric])} {self.written}"

    def check(self, estimate: Estimate | None, absent: str = "") -> LimitCheck:
        """Compare with what was measured; ``absent`` says why there is no estimate."""
        asked: dict[str, Any] = {"limit": str(self), "metric": self.metric, "bound": self.bound}
        if estimate is None:
            state = LimitState.UNMEASURED
            return LimitCheck(**asked, state=state, absent=absent)
        met = self._admits(estimate.value)
        ends = (estimate.low, estimate.high)
        return LimitCheck(
            **asked,
            state=LimitState.MET if met else LimitState.VIOLATED,
            certain=all(end is not None and self._admits(end) is met for end in ends),
            now=estimate,
        )

    def _admits(self, value: float) -> bool:
        """Whether the value is good enough; NaN never is."""
        at_most = METRICS[self.metric].direction is Direction.LOWER_IS_BETTER
        return value <= self.bound if at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Bound(Limit):
    """A limit on the p99, and the least ``accuracy`` (0 to 1) of models to choose from."""

    accuracy: float = 0.0

    def __str__(self) -> str:
        more = f", accuracy >= {self.accuracy * 100:.12g}%" if self.accuracy else ""
        return f"{Limit.__str__(self)}{more}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What one place asks, by metric; what is a ratio also for ``ANY`` metric."""

    tolerances: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    must_hear: Mapping[str, float] = field(default_factory=dict)


class Policies:
    """What is asked of each cell; where several places speak, the most specific wins.

    From the strongest: the marker of a test of that cell, the tables of its model (one of its very
    name first, then the later pattern in the file), and what holds in ``general``, which names a
    tolerance for ``ANY`` metric. Within one place a metric's own tolerance wins over the general
    one.
    """

    def __init__(self, general: Rules, models: dict[str, Rules]) -> None:
        self._general = general
        self._models = models
        self._marked: dict[Workload, Rules] = {}
        self._sources: dict[tuple[Workload, str, str], str] = {}

    def unmatched(self, models: Collection[str]) -> str | None:
        """Return a model's table that none of these models has the name of, None without one."""
        for pattern in self._models:
            if not any(name == pattern or fnmatchcase(name, pattern) for name in models):
                return pattern
        return None

    def mark(
        self, workloads: Iterable[Workload], rules: Rules, where: str, *, judged: bool = False
    ) -> None:
        """Let the marker at ``where`` speak for its cells, which may be ``judged`` by now.

        A cell is judged once, whichever tests gate it: a ConfigurationError names two markers that
        ask different things of one metric of one cell, and one that comes too late.
        """
        for workload in workloads:
            known = self._marked.get(workload, Rules())
            for what, old, new in (
                ("tolerance", known.tolerances, rules.tolerances),
                ("must_hear", known.must_hear, rules.must_hear),
                ("limit", known.limits, rules.limits),
            ):
                for metric in new:
                    source = self._sources.setdefault((workload, what, metric), where)
                    if metric in old and old[metric] != new[metric]:
                        of = f" of {metric}" if metric else ""
                        raise ConfigurationError(
                            f"{where}: another {what}{of} for {workload.id} than {source} has: a "
                            "cell is judged once, for all its tests; give it one, and metrics that "
                            "differ their own: tolerances={'latency_p99': '10%'}"
                        )
            before = self._asked(workload)
            self._marked[workload] = Rules(
                {**known.tolerances, **rules.tolerances},
                {**known.limits, **rules.limits},
                {**known.must_hear, **rules.must_hear},
            )
            if judged and self._asked(workload) != before:
                self._marked[workload] = known
                raise ConfigurationError(
                    f"{where}: {workload.id} was judged before, by another tolerance: give all of "
                    "its tests the same"
                )

    def _asked(self, workload: Workload) -> list[tuple[float, float]]:
        return [(self.tolerance(workload, one), self.must_hear(workload, one)) for one in GATED]

    def tolerance(self, workload: Workload, metric: str) -> float:
        """Return the relative change that does not matter (0.05 is 5 %)."""
        times = METRICS[metric].tolerance
        asked = (
            place.tolerances.get(metric, place.tolerances.get(ANY, math.nan) * times)
            for place in self._places(workload)
        )
        return next(ratio for ratio in asked if not math.isnan(ratio))

    def must_hear(self, workload: Workload, metric: str) -> float:
        """Return the relative change that may not go unheard (0.25 is 25 %)."""
        times = METRICS[metric].must_hear
        for place in self._places(workload):
            if metric in place.must_hear:
                return place.must_hear[metric]
            if ANY in place.must_hear:
                return place.must_hear[ANY] * times
        return max(_MUST_HEAR * times, _TOLERANCES * self.tolerance(workload, metric))

    def limits(self, workload: Workload, quantity: str) -> tuple[Limit, ...]:
        """Return the limits that the test of a quantity (a key of ``QUANTITIES``) checks."""
        found: dict[str, Limit] = {}
        for place in self._places(workload):
            found = {**place.limits, **found}
        return tuple(limit for limit in found.values() if quantity_of(limit.metric) == quantity)

    def _places(self, workload: Workload) -> Iterator[Rules]:
        """Yield what speaks of a cell, the strongest first."""
        if workload in self._marked:
            yield self._marked[workload]
        name = workload.model
        if name in self._models:
            yield self._models[name]
        for pattern, asked in reversed(self._models.items()):
            if fnmatchcase(name, pattern):
                yield asked
        yield self._general


# What options, tables and markers hold becomes rules; argparse's error says what is wrong with it.


def tolerances(given: object) -> dict[str, float]:
    """Read ``5%``, ``0.05`` or ``5%,latency_p99=10%``: for ``ANY`` metric, and for named ones."""
    return _by_metric(given, ratio)


def metric_tolerances(given: object) -> dict[str, float]:
    """Read a table of tolerances by metric, ``{"latency_p99": "10%"}``."""
    return _table_by_metric(given, ratio)


def must_hear(given: object) -> dict[str, float]:
    """Read ``25%`` or ``25%,latency_p99=100%``, or a table of what must be heard by metric."""
    if isinstance(given, dict):
        return _table_by_metric(given, change)
    return _by_metric(given, change)


def _by_metric(given: object, read: Callable[[object], float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in str(given).split(","):
        metric, equals, value = (text.strip() for text in part.rpartition("="))
        if metric in found:
            raise argparse.ArgumentTypeError(f"{given!r} says {metric or 'the general one'} twice")
        found |= _table_by_metric({metric: value}, read) if equals else {ANY: read(value)}
    return found


def _table_by_metric(given: object, read: Callable[[object], float]) -> dict[str, float]:
    if not isinstance(given, dict):
        raise argparse.ArgumentTypeError(
            f"{given!r} is not a table such as {{latency_p99 = '10%'}}"
        )
    for metric in given:
        if metric not in GATED:
            raise argparse.ArgumentTypeError(
                f"{metric!r} is not gated against a baseline{did_you_mean(metric, GATED)} "
                f"those that are: {', '.join(GATED)}"
            )
    return {metric: read(value) for metric, value in given.items()}


def limits(given: object) -> dict[str, Limit]:
    """Read limits, a list or a text: ``latency_p99 <= 40 ms, throughput >= 25``.

    A limit on a metric that belongs to no quantity is refused: no test would check it.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise argparse.ArgumentTypeError(
            f"{given!r} is not a list of limits such as 'latency_p99 <= 40 ms'"
        )
    found: dict[str, Limit] = {}
    for text in ",".join(texts).replace("\n", ",").split(","):
        if not text.strip():
            continue
        limit = parse_limit(text)
        if quantity_of(limit.metric) is None:
            raise argparse.ArgumentTypeError(
                f"{text.strip()!r}: no test of the suite looks at {limit.metric}; in a test of "
                f'your own, write perf.require(cell, "{limit}")'
            )
        if limit.metric in found:
            raise argparse.ArgumentTypeError(
                f"two limits on {limit.metric}: {found[limit.metric]}, and {limit}"
            )
        found[limit.metric] = limit
    return found


def parse_limit(text: str) -> Limit:
    """Read one limit: a metric, ``<=`` or ``>=``, and a value with its unit.

    Throughput, subjects and ratios may go without; else a bare number could be seconds or
    milliseconds.
    """
    parts = [part.strip() for part in re.split("([<>]=)", text)]
    metric = METRICS.get(parts[0])
    if len(parts) != 3 or metric is None:
        raise argparse.ArgumentTypeError(
            f"{text.strip()!r} is no limit such as 'latency_p99 <= 40 ms'"
            f"{did_you_mean(parts[0], METRICS) if metric is None else ';'} the metrics are "
            + ", ".join(METRICS)
        )
    name, sign, value = parts
    if sign != _sign(metric):
        raise argparse.ArgumentTypeError(
            f"{text.strip()!r}: of {name}, {metric.direction.value}: write {_sign(metric)}"
        )
    match, bound = _VALUE.fullmatch(value), math.nan
    if match is not None and (parts_of_unit := _parts(match[2], metric)):
        with suppress(ValueError):
            bound = float(match[1]) / parts_of_unit
    if match is None or not 0 < bound < math.inf:
        example = f"{name} {sign} 40 {metric.display_unit}"
        raise argparse.ArgumentTypeError(
            f"{text.strip()!r}: {value!r} is not a positive number with a unit of "
            f"{metric.unit}, as in {example!r}"
        )
    return Limit(name, bound, f"{match[1]} {match[2]}".strip())


_ACCURACY = re.compile(r"accuracy *>= *(\d+(?:\.\d+)?) *(%?)", re.ASCII)


def latency_bound(given: object) -> Bound:
    """Read ``40 ms`` or ``40 ms, accuracy >= 95%``; or what became of that, in a results file."""
    latency, _, rest = as_text(given).partition(",")
    limit, accuracy = parse_limit(f"latency_p99 <= {latency.removeprefix('latency_p99 <= ')}"), 0.0
    if rest:
        found = _ACCURACY.fullmatch(rest.strip())
        accuracy = float(found[1]) / (100 if found[2] else 1) if found else math.nan
        if not 0 < accuracy <= 1:
            raise argparse.ArgumentTypeError(
                f"{given!r}: {rest.strip()!r} is no accuracy such as 'accuracy >= 95%'"
            )
    return Bound(limit.metric, limit.bound, limit.written, accuracy)


def rules(table: Mapping[str, Any], where: str) -> Rules:
    """Read a model's table or a marker's arguments; a ConfigurationError names the key there."""
    if unknown := sorted(set(table) - set(RULE_KEYS)):
        raise ConfigurationError(
            f"{where}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], RULE_KEYS)} "
            f"the keys are {', '.join(RULE_KEYS)}"
        )
    key = ""
    try:
        found: dict[str, float] = {}
        for key, read in (("tolerance", tolerances), ("tolerances", metric_tolerances)):
            if key in table:
                found |= read(table[key])
        key = "must_hear"
        heard = must_hear(table[key]) if key in table else {}
        key = "limits"
        return Rules(found, limits(table.get(key, [])), heard)
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(f"{where}: {key}: {error}") from None


def _sign(metric: Metric) -> str:
    return "<=" if metric.direction is Direction.LOWER_IS_BETTER else ">="


def _parts(unit: str, metric: Metric) -> float | None:
    """Return how many ``unit`` make one of the metric's; None for a foreign unit."""
    if metric.unit == "ratio":
        return {"": 1, metric.unit: 1, "%": 100}.get(unit)
    if metric.unit in ("inf/s", "answers/s", "inf/J", "subjects"):
        return 1 if unit in ("", metric.unit) else None
    return _PARTS.get(unit.removesuffix(metric.unit)) if unit.endswith(metric.unit) else None
