"""Whole runs with a known truth: baseline sessions, this session, and its re-measurement.

Every number is the natural log of a cost (seconds, joules, or seconds per inference in place of a
rate), so larger is worse, 0 is the cell's true value, and SDs are relative. What moves a session:

- `common`: everything alike (the device's temperature, the neighbours of a virtual machine);
- `model`: all cells of one model (where its weights came to lie, a clock that it keeps low);
- `cell`: one cell alone. A part of it lasts as long as the session; the rest is the noise of its
  windows, which are autocorrelated, so that their mean is less exact than their spread suggests.

The three metrics of a cell are drawn independently: that gives a false alarm most chances and a
regression, which is in one metric, least help.

**A re-measurement** belongs to the same session: common, model and the lasting part of the cell
stay, only the windows are new. Where a restarted server redraws more, fewer false alarms are
confirmed; `SHAKY`, whose whole cell effect is window noise, shows what that costs in power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

METRICS = ("throughput", "latency_p50", "energy_per_inference")
MODELS = 4
CELLS = 9
"""Cells of one model."""
COMPARISONS = len(METRICS) * MODELS * CELLS
WINDOWS = 10
_AUTOCORRELATION = 0.6


@dataclass(frozen=True, slots=True)
class Machine:
    """How much the sessions of a machine differ: SDs on the log scale.

    ``cell`` includes what the windows' noise does to a session's mean; ``spread`` is the SD of
    one window. ``normal`` is False for session effects with the heavy tails of Student's t with 5
    degrees of freedom, scaled to the same SDs.
    """

    name: str
    common: float
    model: float
    cell: float
    spread: float
    normal: bool = True

    @property
    def lasting(self) -> float:
        """The SD of the part of a cell's effect that a re-measurement shares."""
        return math.sqrt(max(self.cell**2 - mean_of_windows_sd(self.spread) ** 2, 0.0))


def mean_of_windows_sd(spread: float) -> float:
    """Return the SD of the mean of `WINDOWS` windows of SD ``spread``, autocorrelated by 0.6.

    ``spread^2 / n * (1 + 2 sum_k (1 - k/n) rho^k)`` (Box, Jenkins and Reinsel, Time Series
    Analysis, 2.1).
    """
    lags = np.arange(1, WINDOWS)
    inflation = 1 + 2 * float(((1 - lags / WINDOWS) * _AUTOCORRELATION**lags).sum())
    return spread * math.sqrt(inflation / WINDOWS)


# Windows of 50 requests had a CV of 15 % and sessions of ten of them an SD of 14 % on a shared
# virtual machine; 3.2 % is the same for a quiet one. The mixes keep 2 : 1 : 2.5.
_MIX = 1 / math.sqrt(2**2 + 1**2 + 2.5**2)
QUIET = Machine("SD 3 %", 2 * _MIX * 0.03, _MIX * 0.03, 2.5 * _MIX * 0.03, 0.032)
NOISY = Machine("SD 14 %", 2 * _MIX * 0.14, _MIX * 0.14, 2.5 * _MIX * 0.14, 0.15)
QUIET_APART = Machine("SD 3 %, cells apart", 0.0, 0.0, 0.03, 0.032)
NOISY_APART = Machine("SD 14 %, cells apart", 0.0, 0.0, 0.14, 0.15)
HEAVY = Machine("SD 3 %, heavy tails", QUIET.common, QUIET.model, QUIET.cell, 0.032, normal=False)
MIXED = Machine("2 % common, 1 % model, 2.5 % cell", 0.02, 0.01, 0.025, 0.032)
SHAKY = Machine("the same, cells all window noise", 0.02, 0.01, 0.025, 0.0438)


@dataclass(frozen=True, slots=True)
class Runs:
    """Simulated runs, as logs of costs.

    ``past`` has the shape (runs, sessions, metrics, models, cells, windows), ``now`` and ``again``
    (the re-measurement) that without the sessions.
    """

    past: Array
    now: Array
    again: Array


def draw(
    machine: Machine,
    sessions: int,
    runs: int,
    rng: np.random.Generator,
    slower: Array | float = 0.0,
) -> Runs:
    """Draw ``runs`` runs against baselines of ``sessions`` sessions.

    ``slower`` is the true change of this run, as a log, in a shape that fits (metrics, models,
    cells).
    """

    def effects(sd: float, models: int, cells: int) -> Array:
        shape = (runs, sessions + 1, len(METRICS), models, cells)
        if machine.normal:
            return sd * rng.standard_normal(shape)
        return sd * math.sqrt(3 / 5) * rng.standard_t(5, shape)

    session = (
        effects(machine.common, 1, 1)
        + effects(machine.model, MODELS, 1)
        + effects(machine.lasting, MODELS, CELLS)
    )[..., np.newaxis]
    session[:, -1] += np.broadcast_to(slower, (len(METRICS), MODELS, CELLS))[..., np.newaxis]
    shape = (runs, sessions + 2, len(METRICS), MODELS, CELLS)
    windows = machine.spread * autocorrelated(rng, shape)
    return Runs(
        session[:, :-1] + windows[:, :sessions],
        session[:, -1] + windows[:, -2],
        session[:, -1] + windows[:, -1],
    )


def autocorrelated(
    rng: np.random.Generator, shape: tuple[int, ...], windows: int = WINDOWS
) -> Array:
    """Return AR(1) windows of SD 1 along a new last axis of that length."""
    noise = rng.standard_normal((*shape, windows))
    for i in range(1, windows):
        noise[..., i] *= math.sqrt(1 - _AUTOCORRELATION**2)
        noise[..., i] += _AUTOCORRELATION * noise[..., i - 1]
    return noise


def slowdown(where: str, change: float) -> Array:
    """Return logs of shape (metrics, models, cells): one metric worse by ``change`` (0.1: 10 %).

    ``where`` is "model" (the first), "cell" (its first) or "" (nowhere).
    """
    effect = np.zeros((len(METRICS), MODELS, CELLS))
    places: dict[str, tuple[int, ...]] = {"model": (0, 0), "cell": (0, 0, 0)}
    if where:
        effect[places[where]] = math.log1p(change)
    return effect


def draw_pairs(
    rng: np.random.Generator, shape: tuple[int, ...], pairs: int, sd: float, slower: Array
) -> tuple[Array, Array]:
    """Draw windows of a reference and a candidate, measured in turns, as logs of costs.

    ``sd`` is the SD of a pair's log-ratio, ``slower`` the candidate's true relative change, of a
    shape that fits ``shape``. Both come back with the shape (*shape, pairs). All windows are one
    autocorrelated series, as a machine's drift is; a fair coin says which of a pair is measured
    first, as in the product.
    """
    series = autocorrelated(rng, shape, 2 * pairs).reshape(*shape, pairs, 2)
    series *= sd / math.sqrt(2 * (1 - _AUTOCORRELATION))
    first = rng.integers(0, 2, (*shape, pairs, 1))
    old = np.take_along_axis(series, first, axis=-1)[..., 0]
    new = np.take_along_axis(series, 1 - first, axis=-1)[..., 0]
    return old, new + np.log1p(slower)[..., np.newaxis]
