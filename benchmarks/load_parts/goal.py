"""What a benchmark found, what it should have found, and the table of both."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.stats import quantile_interval

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and where its median should lie; ``values`` holds one per round or pair.

    Without limits the figure is for information. Values that are not finite are left out.
    """

    name: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"
    why: str = ""

    @property
    def known(self) -> list[float]:
        """The finite values, in ascending order."""
        return sorted(value for value in self.values if math.isfinite(value))

    @property
    def value(self) -> float:
        """The median, NaN without values."""
        return statistics.median(self.known) if self.known else math.nan

    @property
    def interval(self) -> tuple[float, float] | None:
        """The median's 95 % order-statistic interval; None with fewer than 11 values."""
        return quantile_interval(self.known, 0.5)

    @property
    def judged(self) -> bool:
        """Whether it is a goal, and not for information."""
        return self.at_most is not None or self.at_least is not None

    @property
    def met(self) -> bool:
        """Whether the median is where it should be; an unknown one is not."""
        return (
            not math.isnan(self.value)
            and (self.at_most is None or self.value <= self.at_most)
            and (self.at_least is None or self.value >= self.at_least)
        )

    @property
    def wanted(self) -> str:
        """Where the median should be."""
        if self.at_most is not None and self.at_least is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    @property
    def verdict(self) -> str:
        """Say whether it is met, and whether the noise leaves that open."""
        if not self.judged:
            return "(information)"
        word = "met" if self.met else "MISSED"
        if self.at_most is None or self.at_least is None:
            return word
        if self.interval is None:
            return f"{word}, by few values"
        low, high = self.interval
        if max(high - self.value, self.value - low) > (self.at_most - self.at_least) / 2:
            return f"{word}, noise wider than the goal"
        return word


def print_table(goals: Sequence[Goal]) -> None:
    """Print every figure: median, range, the median's interval, the goal and whether it is met."""
    print(f"\n{'figure':47}{'median':>9}{'range':>18}{'95 % of the median':>20}  goal")
    for goal in goals:
        low, high = (goal.known[0], goal.known[-1]) if goal.known else (math.nan, math.nan)
        interval = goal.interval
        median_of = f"{interval[0]:.3f}-{interval[1]:.3f}" if interval else "-"
        print(
            f"{goal.name:47}{goal.value:9.3f}{f'{low:.3f}-{high:.3f}':>18}{median_of:>20}"
            f"  {f'{goal.wanted} {goal.unit}'.strip():16} {goal.verdict}"
        )
    reasons: dict[str, list[str]] = {}
    for goal in goals:
        if goal.why and goal.judged and not goal.met:
            reasons.setdefault(goal.why, []).append(goal.name)
    for why, names in reasons.items():
        print(f"  {'; '.join(names)}: {why}")
