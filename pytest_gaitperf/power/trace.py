"""A stretch of sensor readings with their own timestamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["power", "energy"]


@dataclass(frozen=True, slots=True)
class Trace:
    """Readings of a meter's rails.

    ``times_ns`` is int64[n], CLOCK_MONOTONIC, non-decreasing: the midpoint of each read.
    ``values`` is float64[n, rails]: watts (signed) where ``kind`` is "power"; where it is
    "energy", a cumulative counter in joules that never wraps (the reader unwraps it).
    """

    rails: tuple[str, ...]
    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    kind: Kind

    def __post_init__(self) -> None:
        if self.values.shape != (self.times_ns.size, len(self.rails)):
            raise ValueError(
                f"a trace of {self.times_ns.size} times and {len(self.rails)} rails needs values "
                f"of that shape, not {self.values.shape}"
            )
        if np.any(np.diff(self.times_ns) < 0):
            raise ValueError("a trace's times must not decrease")
