"""The product's own gates on simulated runs: the functions that a pytest run calls, nothing else.

Beside them the plain test of each cell alone, with alpha shared by Bonferroni over the run, as the
gate works where it has one cell only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gate_simulation import METRICS, Shape
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.gate.joint import Judgement, confirm_jointly, judge_jointly
from pytest_gaitperf.gate.pairing import BlockTest, plan
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import METRICS as DEFINED
from pytest_gaitperf.metrics import Direction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from benchmarks.gate_simulation import Runs

    Array = NDArray[np.float64]
    Red = NDArray[np.bool_]

ALPHA = Settings().alpha
"""The default of a run."""


def session_values(windows: Array) -> list[list[SessionValue]]:
    """Turn log costs into what measurements hand to the gate, one list per metric.

    ``windows`` are one session's, of shape (metrics, models, cells, lives, windows); its value is
    their mean.
    """
    lives = windows.mean(-1)
    lives = lives.reshape(len(lives), -1, lives.shape[-1])
    values = lives.mean(-1)
    for row, metric in enumerate(METRICS[: len(lives)]):
        if DEFINED[metric].direction is Direction.HIGHER_IS_BETTER:
            values[row] *= -1
    count = lives.shape[-1]
    values, spreads = np.exp(values), lives.std(-1, ddof=1)
    return [
        [SessionValue(value, spread, count) for value, spread in zip(*pair, strict=True)]
        for pair in zip(values.tolist(), spreads.tolist(), strict=True)
    ]


def comparisons_between(
    shape: Shape, now: Sequence[SessionValue], past: Sequence[Sequence[tuple[str, SessionValue]]]
) -> list[Comparison]:
    """Return what a run has to judge, metric by metric, model by model, cell by cell.

    ``past`` are each comparison's sessions with their names.
    """
    of_metric = shape.models * shape.cells
    return [
        Comparison(
            f"model {place % of_metric // shape.cells}",
            METRICS[place // of_metric],
            value,
            dict(sessions),
            cell=f"cell {place % of_metric % shape.cells}",
        )
        for place, (value, sessions) in enumerate(zip(now, past, strict=True))
    ]


def comparisons_of(runs: Runs, run: int) -> list[Comparison]:
    """Return what a simulated run has to judge."""
    sessions = [flat(session_values(session)) for session in runs.past[run]]
    named = [
        [(f"{place:03}", one) for place, one in enumerate(of)] for of in zip(*sessions, strict=True)
    ]
    return comparisons_between(
        Shape(*runs.now.shape[1:4]), flat(session_values(runs.now[run])), named
    )


def flat(values: Iterable[Iterable[SessionValue]]) -> list[SessionValue]:
    """Return the values of all metrics in one list."""
    return [value for metric in values for value in metric]


def judged(
    comparisons: Sequence[Comparison], again: Sequence[SessionValue], alpha: float
) -> Judgement:
    """Judge comparisons, and the suspects once more with the values that they had ``again``."""
    judgement = judge_jointly(comparisons, alpha)
    if judgement.suspects:
        cells = {(one.model, one.cell) for one in map(comparisons.__getitem__, judgement.suspects)}
        seconds = {
            place: again[place]
            for place, one in enumerate(comparisons)
            if (one.model, one.cell) in cells
        }
        judgement = confirm_jointly(comparisons, judgement, seconds, alpha)
    return judgement


def plain(runs: Runs) -> Red:
    """Judge each cell alone against its own sessions; confirm each red one by measuring again."""
    red = np.zeros(runs.now.shape[:4], dtype=bool)
    for run in range(len(runs.now)):
        again = flat(session_values(runs.again[run]))
        alone = comparisons_of(runs, run)
        found = [
            bool(judged([one], [second], ALPHA / len(alone)).suspects)
            for one, second in zip(alone, again, strict=True)
        ]
        red[run] = np.reshape(found, red.shape[1:])
    return red


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
    red = np.zeros((len(runs.now), math.prod(runs.now.shape[1:4])), dtype=bool)
    for run in range(len(runs.now)):
        again = flat(session_values(runs.again[run]))
        judgement = judged(comparisons_of(runs, run), again, ALPHA)
        red[run, list(judgement.suspects)] = True
    return red.reshape(runs.now.shape[:4])
