"""What is believed of a capacity after looks that may be wrong: pure."""

from __future__ import annotations

import math
from itertools import accumulate

_STEP = 0.01
_REACH = math.log(60.0)
_PRIOR_WIDTH = 0.25
_BEGIN = 0.92
_SLOPE = 0.03
_LAPSE = 0.05
_IN_TIME = _SLOPE * math.log(3.0)


class Belief:
    """A distribution of the capacity's logarithm, on a grid of 1 %.

    It begins around a little less than ``guess``, with the heavy tails of a Cauchy distribution,
    for a guess may be far off. A look at a load ``x`` is in time with the probability

        lapse + (1 - 2 lapse) / (1 + exp((ln x - ln capacity) / slope)),

    that is, mostly below it and seldom above it, half of the time at it, and by the machine's doing
    one time in twenty the wrong way. ``surely`` is the load that is in time at three looks in four:
    a look of a second or two does not see every late request.
    """

    def __init__(self, guess: float) -> None:
        centre = math.log(guess * _BEGIN)
        first, count = centre - _REACH, round(2 * _REACH / _STEP)
        self._grid = [first + _STEP * index for index in range(count + 1)]
        self._log_p = [-math.log1p(((at - centre) / _PRIOR_WIDTH) ** 2) for at in self._grid]

    def note(self, load: float, *, served: bool, looks: int = 1) -> None:
        """Take a look at a load into account, or one as long as several."""
        x = math.log(load)
        for index, at in enumerate(self._grid):
            chance = 1 / (1 + math.exp(max(min((x - at) / _SLOPE, 50.0), -50.0)))
            in_time = _LAPSE + (1 - 2 * _LAPSE) * chance
            self._log_p[index] += looks * math.log(in_time if served else 1 - in_time)

    @property
    def middle(self) -> float:
        """The median."""
        return self._quantile(0.5)

    @property
    def surely(self) -> tuple[float, float, float]:
        """The load that is in time at three looks in four, and its 95 % interval."""
        down = math.exp(-_IN_TIME)
        return self.middle * down, self._quantile(0.025) * down, self._quantile(0.975) * down

    @property
    def width(self) -> float:
        """How far the interval reaches on either side of its middle, as a ratio."""
        _, low, high = self.surely
        return math.sqrt(high / low)

    def below(self, load: float) -> float:
        """Return the probability that the capacity is below a load."""
        weights = self._weights()
        x = math.log(load)
        return sum(w for w, at in zip(weights, self._grid, strict=True) if at < x) / sum(weights)

    def _quantile(self, share: float) -> float:
        sums = list(accumulate(self._weights()))
        index = next(i for i, so_far in enumerate(sums) if so_far >= share * sums[-1])
        before = sums[index - 1] if index else 0.0
        inside = (share * sums[-1] - before) / max(sums[index] - before, 1e-300)
        return math.exp(self._grid[index] + _STEP * (inside - 0.5))

    def _weights(self) -> list[float]:
        most = max(self._log_p)
        return [math.exp(value - most) for value in self._log_p]
