"""Runs of several models and cells, as the joint gate is given them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from pytest_gaitperf.gate.joint import Judgement, judge_jointly
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import METRICS, Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.results import VerdictKind

RATE, TIME, JOULES = "throughput", "latency_p50", "energy_per_inference"


def value(metric: str, worse: float) -> SessionValue:
    """A quiet session's value that is worse than 1 by this much on the log scale."""
    up = METRICS[metric].direction is Direction.LOWER_IS_BETTER
    return SessionValue(math.exp(worse if up else -worse), 0.01, 12)


def simulated(
    seed: int,
    models: int = 4,
    cells: int = 9,
    *,
    sessions: int = 8,
    sd: tuple[float, float, float] = (0.02, 0.01, 0.025),
    metrics: Sequence[str] = (RATE, TIME, JOULES),
) -> list[Comparison]:
    """An unchanged run; its sessions differ by SDs common to all, per model, per cell."""
    rng = np.random.default_rng(seed)
    shape = (sessions + 1, models, cells, len(metrics))
    logs = sd[2] * rng.standard_normal(shape)
    logs += sd[1] * rng.standard_normal((sessions + 1, models, 1, len(metrics)))
    logs += sd[0] * rng.standard_normal((sessions + 1, 1, 1, len(metrics)))
    return [
        Comparison(
            f"model{m}",
            metric,
            value(metric, float(logs[-1, m, c, k])),
            {f"s{s}": value(metric, float(logs[s, m, c, k])) for s in range(sessions)},
            cell=f"cell{c}",
        )
        for m in range(models)
        for c in range(cells)
        for k, metric in enumerate(metrics)
    ]


def slowed(comparisons: Sequence[Comparison], change: float, *which: int) -> list[Comparison]:
    """Make what is now of some comparisons (of all where none is named) worse by a ratio."""
    slow = []
    for i, comparison in enumerate(comparisons):
        up = METRICS[comparison.metric].direction is Direction.LOWER_IS_BETTER
        factor = (1 + change) if up else 1 / (1 + change)
        now = structs.replace(comparison.now, value=comparison.now.value * factor)
        slow.append(replace(comparison, now=now) if not which or i in which else comparison)
    return slow


def judged(comparisons: Sequence[Comparison], alpha: float = 0.01) -> Judgement:
    return judge_jointly(comparisons, alpha)


def kinds(judgement: Judgement) -> list[VerdictKind]:
    return [verdict.kind for verdict in judgement.verdicts]
