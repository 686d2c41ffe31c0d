"""The product's own gates on simulated runs: the functions that a pytest run calls, nothing else.

Beside them the plain test of each cell alone, with alpha shared by Bonferroni over the run, as the
gate works where it has one cell only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gate_simulation import CELLS, COMPARISONS, METRICS, MODELS, WINDOWS
from pytest_gaitperf.gate.joint import confirm_jointly, judge_jointly
from pytest_gaitperf.gate.pairing import BlockTest, plan
from pytest_gaitperf.gate.verdict import Comparison, variance_prior
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import METRICS as DEFINED
from pytest_gaitperf.metrics import Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.gate_simulation import Runs

    Array = NDArray[np.float64]
    Red = NDArray[np.bool_]

_ALPHA = 0.01


def session_values(windows: Array) -> list[list[SessionValue]]:
    """Turn log costs into what measurements hand to the gate, one list per metric.

    ``windows`` are one session's, of shape (metrics, models, cells, windows); its value is their
    mean.
    """
    windows = windows.reshape(len(METRICS), -1, WINDOWS)
    values = windows.mean(-1)
    for row, metric in enumerate(METRICS):
        if DEFINED[metric].direction is Direction.HIGHER_IS_BETTER:
            values[row] *= -1
    values, spreads, count = np.exp(values), windows.std(-1, ddof=1), WINDOWS
    return [
        [SessionValue(value, spread, count) for value, spread in zip(*pair, strict=True)]
        for pair in zip(values.tolist(), spreads.tolist(), strict=True)
    ]


def plain(runs: Runs) -> Red:
    """Judge each cell alone against its own sessions; confirm each red one by measuring again."""
    red = np.zeros((len(runs.now), len(METRICS), MODELS * CELLS), dtype=bool)
    alpha = _ALPHA / COMPARISONS
    for run, past in enumerate(runs.past):
        sessions = [session_values(session) for session in past]
        now, again = session_values(runs.now[run]), session_values(runs.again[run])
        for row, metric in enumerate(METRICS):
            cells = list(zip(*(session[row] for session in sessions), strict=True))
            priors = {metric: variance_prior(cells)}
            for cell, known in enumerate(cells):
                past_of_cell = dict(zip(map(str, range(len(known))), known, strict=True))
                alone = [Comparison("model", metric, now[row][cell], past_of_cell)]
                judgement = judge_jointly(alone, alpha, priors)
                if judgement.suspects:
                    second = {0: again[row][cell]}
                    judgement = confirm_jointly(alone, judgement, second, alpha, priors)
                red[run, row, cell] = bool(judgement.suspects)
    return red.reshape(-1, len(METRICS), MODELS, CELLS)


def paired(old: Array, new: Array, alpha: float, tolerance: float) -> NDArray[np.str_]:
    """Compare block after block until a decision or their end: 60 % of them, then to confirm it.

    ``old`` and ``new`` are logs of costs of shape (runs, comparisons, blocks); what comes back is
    each comparison's verdict, "" where the blocks did not decide, shape (runs, comparisons).
    """
    ratios = new - old
    kinds = np.full(ratios.shape[:-1], "", dtype="<U12")
    for place in np.ndindex(*kinds.shape):
        effect = in_blocks(ratios[place].tolist(), alpha, tolerance).decided
        if effect is not None and effect.kind is not None:
            kinds[place] = effect.kind.value
    return kinds


def in_blocks(ratios: Sequence[float], alpha: float, tolerance: float) -> BlockTest:
    """Return the test of these blocks, one after another."""
    test = BlockTest(alpha, tolerance)
    looks = {stage.blocks: stage.share for stage in plan(round(0.6 * len(ratios)))}
    for number, ratio in enumerate(ratios, 1):
        test.add(ratio, 0.0)
        test.confirm()
        if number in looks:
            test.look(looks[number])
        if test.decided is not None:
            break
    return test


def stored(runs: Runs) -> Red:
    """Judge each run as a whole, and its suspects once more: the stored-baseline gate."""
    red = np.zeros((len(runs.now), COMPARISONS), dtype=bool)
    for run, past in enumerate(runs.past):
        sessions = [session_values(session) for session in past]
        now, again = session_values(runs.now[run]), session_values(runs.again[run])
        comparisons = [
            Comparison(
                f"model {cell // CELLS}",
                metric,
                now[row][cell],
                {str(number): session[row][cell] for number, session in enumerate(sessions)},
            )
            for row, metric in enumerate(METRICS)
            for cell in range(MODELS * CELLS)
        ]
        # No priors: they are for cells that are tested plainly, and here each has neighbours.
        judgement = judge_jointly(comparisons, _ALPHA, {})
        if judgement.suspects:
            flat = [value for metric in again for value in metric]
            seconds = {suspect: flat[suspect] for suspect in judgement.suspects}
            judgement = confirm_jointly(comparisons, judgement, seconds, _ALPHA, {})
        red[run, list(judgement.suspects)] = True
    return red.reshape(-1, len(METRICS), MODELS, CELLS)
