"""Whole runs with a known truth: baseline sessions, this session, and its re-measurement.

Every number is the natural log of a cost (seconds, joules, or seconds per inference in place of a
rate), so larger is worse, 0 is the cell's true value, and SDs are relative. What moves a session:

- `common`: everything alike (the device's temperature, the neighbours of a virtual machine);
- `model`: all cells of one model (where its weights came to lie, a clock that it keeps low);
- `cell`: one cell alone. A part of it lasts as long as the session; a part is drawn anew with each
  life of the model's processes; the rest is the noise of the windows of a life, which are
  autocorrelated, so that their mean is less exact than their spread suggests.

The metrics of a cell are drawn independently: that gives a false alarm most chances and a
regression, which is in one metric, least help.

**A re-measurement** belongs to the same session: common, model and the lasting part of the cell
stay, the lives and their windows are new. Where a restarted server redraws more, fewer false alarms
are confirmed; `SHAKY`, whose whole cell effect is of lives and windows, shows what that costs in
power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

METRICS = (
    *("throughput", "latency_p50", "energy_per_inference"),
    *("server_cpu_per_inference", "latency_p90", "latency_p95"),
)
LIVES = 3
WINDOWS = 4
"""Windows of one life."""
_AUTOCORRELATION = 0.6


class Shape(NamedTuple):
    """What a run measures: so many of ``METRICS``, of so many cells of each of some models."""

    metrics: int
    models: int
    cells: int

    @property
    def comparisons(self) -> int:
        """How many values a run has to judge."""
        return self.metrics * self.models * self.cells


LARGE, QUICK, SMALL = Shape(3, 4, 9), Shape(3, 3, 4), Shape(2, 3, 2)


@dataclass(frozen=True, slots=True)
class Machine:
    """How much the sessions of a machine differ: SDs on the log scale.

    ``cell`` includes what the lives, of SD ``life``, and their windows, of SD ``window``, do to a
    session's mean. ``normal`` is False for session effects with the heavy tails of Student's t with
    5 degrees of freedom, scaled to the same SDs. The first cell of the first model is ``noisier``
    by that factor, in its sessions and, with ``seen``, in its lives too.
    """

    name: str
    common: float
    model: float
    cell: float
    life: float
    window: float
    normal: bool = True
    noisier: float = 1.0
    seen: bool = True

    @property
    def lasting(self) -> float:
        """The SD of the part of a cell's effect that a re-measurement shares."""
        within = mean_of_windows_sd(self.window) ** 2
        return math.sqrt(max(self.cell**2 - (self.life**2 + within) / LIVES, 0.0))


def mean_of_windows_sd(spread: float) -> float:
    """Return the SD of the mean of `WINDOWS` windows of SD ``spread``, autocorrelated by 0.6.

    ``spread^2 / n * (1 + 2 sum_k (1 - k/n) rho^k)`` (Box, Jenkins and Reinsel, Time Series
    Analysis, 2.1).
    """
    lags = np.arange(1, WINDOWS)
    inflation = 1 + 2 * float(((1 - lags / WINDOWS) * _AUTOCORRELATION**lags).sum())
    return spread * math.sqrt(inflation / WINDOWS)


def mixed(sd: float) -> Machine:
    """Mix common, model and cell as 2 : 1 : 2.5; single lives differ as much as sessions do."""
    one = sd / math.sqrt(2**2 + 1**2 + 2.5**2)
    return Machine(f"SD {sd:.0%}".replace("%", " %"), 2 * one, one, 2.5 * one, sd, 0.6 * sd)


# Session SDs: 1 % that of CPU per inference, 3 % a quiet machine, 14 % a shared virtual one.
STEADY, QUIET, NOISY = mixed(0.01), mixed(0.03), mixed(0.14)
QUIET_APART = Machine("SD 3 %, cells apart", 0.0, 0.0, 0.03, 0.03, 0.018)
NOISY_APART = Machine("SD 14 %, cells apart", 0.0, 0.0, 0.14, 0.14, 0.084)
MODELS_APART = Machine("SD 3 %, models apart", 0.0, 0.03, 0.019, 0.03, 0.018)
HEAVY = replace(QUIET, name="SD 3 %, heavy tails", normal=False)
ONE_NOISY = replace(QUIET, name="SD 3 %, one cell 14 %", noisier=14 / 3)
ONE_HIDDEN = replace(ONE_NOISY, name="SD 3 %, one cell 14 % with quiet lives", seen=False)
UNTOLD = replace(mixed(0.05), name="SD 5 %, lives 2 %", life=0.02, window=0.012)
MIXED = Machine("2 % common, 1 % model, 2.5 % cell", 0.02, 0.01, 0.025, 0.03, 0.02)
SHAKY = Machine("the same, cells all lives", 0.02, 0.01, 0.025, 0.042, 0.015)


@dataclass(frozen=True, slots=True)
class Runs:
    """Simulated runs, as logs of costs.

    ``past`` has the shape (runs, sessions, metrics, models, cells, lives, windows), ``now`` and
    ``again`` (the re-measurement) that without the sessions.
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
    *,
    shape: Shape = LARGE,
) -> Runs:
    """Draw ``runs`` runs against baselines of ``sessions`` sessions.

    ``slower`` is the true change of this run, as a log, in a shape that fits (metrics, models,
    cells).
    """

    def effects(sd: float, models: int, cells: int) -> Array:
        wanted = (runs, sessions + 1, shape.metrics, models, cells)
        if machine.normal:
            return sd * rng.standard_normal(wanted)
        return sd * math.sqrt(3 / 5) * rng.standard_t(5, wanted)

    own = effects(machine.lasting, shape.models, shape.cells)
    lives = rng.standard_normal((runs, sessions + 2, *shape, LIVES, 1)) * machine.life
    windows = machine.window * autocorrelated(rng, (runs, sessions + 2, *shape, LIVES))
    if machine.noisier != 1:
        extra = machine.cell * math.sqrt(machine.noisier**2 - 1)
        own[..., 0, 0] += extra * rng.standard_normal(own.shape[:-2])
        if machine.seen:
            lives[:, :, :, 0, 0] *= machine.noisier
    session = effects(machine.common, 1, 1) + effects(machine.model, shape.models, 1) + own
    session[:, -1] += np.broadcast_to(slower, shape)
    session = session[..., np.newaxis, np.newaxis]
    measured = lives + windows
    return Runs(
        session[:, :-1] + measured[:, :sessions],
        session[:, -1] + measured[:, -2],
        session[:, -1] + measured[:, -1],
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


def slowdown(where: str, change: float, shape: Shape = LARGE, *, metrics: int = 1) -> Array:
    """Return logs of shape (metrics, models, cells): some metrics worse by ``change`` (0.1: 10 %).

    ``where`` is "model" (the first), "cell" (its first) or "" (nowhere).
    """
    effect = np.zeros(shape)
    if where == "model":
        effect[:metrics, 0] = math.log1p(change)
    elif where == "cell":
        effect[:metrics, 0, 0] = math.log1p(change)
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
