"""What a baseline says it detects, on baselines whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint, Session
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.commands.sensitivity import Detectable, detectable
from pytest_gaitperf.config.policy import ANY, Policies, Rules
from pytest_gaitperf.gate.joint import confirm_jointly, judge_jointly
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINGERPRINT = Fingerprint("2.51.0", "in -> out", "http", "inline")
MODELS, CELLS = ("a", "b", "c"), ("b1-c1", "b1-c4", "b4-c1", "b4-c4")
ALPHA, TOLERANCE = 0.01, 0.03


def sessions_of(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Logs of latencies, (models, cells, sessions): all share 2 %, models 1 %, cells have 2.5 %.

    The last one is the session before it, measured once more: only the cells differ.
    """
    run = random.normal(0, 0.02, size=(1, 1, count))
    models = random.normal(0, 0.01, size=(len(MODELS), 1, count))
    shared = run + models
    shared[:, :, -1] = shared[:, :, -2]
    return np.asarray(shared + random.normal(0, 0.025, size=(len(MODELS), len(CELLS), count)))


def baseline(
    values: list[float],
    *,
    model: str = "a",
    key: str = "b1-c1",
    metric: str = "latency_p50",
    spread: float | None = 0.02,
    made: tuple[Fingerprint, ...] = (),
) -> CellBaseline:
    return CellBaseline(
        model,
        key,
        tuple(
            Session(
                id=f"s{index:02}",
                time=f"2026-11-{index + 1:02}T00:00:00Z",
                commit="",
                dirty=None,
                plugin="",
                recorder="",
                fingerprint=made[index] if made else FINGERPRINT,
                values={metric: Value(value, spread, 3)},
            )
            for index, value in enumerate(values)
        ),
    )


POLICIES = Policies(Rules({ANY: TOLERANCE}, must_hear={ANY: 0.25}), {})


def one(found: list[Detectable], scope: str, model: str = "", key: str = "") -> Detectable:
    (item,) = [i for i in found if (i.scope, i.model, i.key) == (scope, model, key)]
    return item


def is_red(
    past: NDArray[np.float64], first: NDArray[np.float64], again: NDArray[np.float64]
) -> list[bool]:
    """Which cells the gate turns red: judged with all others, and confirmed."""
    flat = np.exp(past.reshape(-1, past.shape[2]))
    sessions = [
        {f"s{i:02}": SessionValue(float(value), 0.02, 3) for i, value in enumerate(row)}
        for row in flat
    ]
    comparisons = [
        Comparison(model, "latency_p50", SessionValue(float(now), 0.02, 3), recorded, TOLERANCE)
        for model, now, recorded in zip(
            np.repeat(MODELS, len(CELLS)), np.exp(first), sessions, strict=True
        )
    ]
    judged = judge_jointly(comparisons, ALPHA)
    second = {i: SessionValue(math.exp(again[i]), 0.02, 3) for i in judged.suspects}
    confirmed = confirm_jointly(comparisons, judged, second, ALPHA)
    return [verdict.kind is VerdictKind.REGRESSED for verdict in confirmed.verdicts]


@pytest.mark.slow
def test_what_is_named_is_found_nine_times_in_ten() -> None:
    random = np.random.default_rng(5)
    found = {"run": 0, "model": 0, "cell": 0}
    rounds = 80
    for _ in range(rounds):
        everything = sessions_of(random, 10)
        past, now, again = everything[:, :, :8], everything[:, :, 8], everything[:, :, 9]
        named = detectable(
            [
                baseline(list(np.exp(past[m, c])), model=model, key=key)
                for m, model in enumerate(MODELS)
                for c, key in enumerate(CELLS)
            ],
            POLICIES,
            ALPHA,
        )
        for item, cells in (
            (one(named, "run"), set(range(12))),
            (one(named, "model", "b"), {4, 5, 6, 7}),
            (one(named, "cell", "c", "b4-c1"), {10}),
        ):
            assert item.change is not None
            moved, change = sorted(cells), math.log1p(item.change)
            first, second = now.reshape(-1).copy(), again.reshape(-1).copy()
            first[moved] += change
            second[moved] += change
            red = is_red(past, first, second)
            found[item.scope] += any(red[cell] for cell in cells)
    # Binomial, three standard errors of 0.034 below 0.9.
    assert min(found.values()) / rounds > 0.8, found
    assert found["cell"] / rounds < 0.99, found


def test_a_model_and_the_run_are_heard_better_than_a_cell() -> None:
    past = sessions_of(np.random.default_rng(1), 8)
    found = detectable(
        [
            baseline(list(np.exp(past[m, c])), model=model, key=key)
            for m, model in enumerate(MODELS)
            for c, key in enumerate(CELLS)
        ],
        POLICIES,
        ALPHA,
    )
    cell, model = one(found, "cell", "a", "b1-c1"), one(found, "model", "a")
    assert len(found) == 1 + len(MODELS) * (1 + len(CELLS))
    assert cell.change is not None
    assert model.change is not None
    assert 0.03 < model.change < cell.change
    for item in found:
        assert item.change is not None
        assert item.one_more is not None
        assert item.one_more < item.change
        assert item.sessions == 8


def test_throughput_falls_where_latency_rises_by_the_same_ratio() -> None:
    logs = np.random.default_rng(3).normal(0, 0.02, size=6)
    (slow,) = detectable([baseline(list(np.exp(logs)))], POLICIES, ALPHA)
    (fast,) = detectable([baseline(list(40 * np.exp(-logs)), metric="throughput")], POLICIES, ALPHA)
    assert slow.change is not None
    assert fast.change is not None
    assert 1 + fast.change == pytest.approx(1 / (1 + slow.change))
    assert fast.change < -TOLERANCE


def test_a_quiet_cell_needs_few_sessions_and_a_noisy_one_more_than_are_kept() -> None:
    quiet = [1.0, 1.001, 0.999, 1.0005]
    noisy = [1.0, 1.4, 0.7, 1.2]
    (still,) = detectable([baseline(quiet)], POLICIES, ALPHA)
    (loud,) = detectable([baseline(noisy)], POLICIES, ALPHA)
    assert still.needed == 4
    assert still.change < 0.2
    assert loud.needed is None
    assert loud.change > 0.3


def test_more_sessions_hear_more_from_the_first_on() -> None:
    changes = [
        detectable([baseline([0.02, 0.0202, 0.0199, 0.0201, 0.02][:count])], POLICIES, ALPHA)[0]
        for count in (1, 2, 3, 5)
    ]
    found = [item.change for item in changes]
    assert found == sorted(found, reverse=True)
    assert all(item.one_more <= item.change for item in changes)
    (alone,) = detectable([baseline([0.02], spread=None)], POLICIES, ALPHA)
    assert alone.change > 2 * found[0], "a single life does not tell how much lives differ"


def test_only_sessions_that_compare_with_the_newest_count() -> None:
    older = Fingerprint("2.40.0", "in -> out", "http", "inline")
    (item,) = detectable(
        [baseline([9.0, 1.0, 1.02, 0.99], made=(older, FINGERPRINT, FINGERPRINT, FINGERPRINT))],
        POLICIES,
        ALPHA,
    )
    assert item.sessions == 3
    assert item.change < 1
