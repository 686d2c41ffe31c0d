"""Which new sessions are refused, on simulated sessions whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint, Session
from pytest_gaitperf.baseline.outliers import NewCell, Outlier, outliers
from pytest_gaitperf.baseline.schema import Value

FINGERPRINT = Fingerprint("2.51.0", "in -> out", "http", "inline", content="aa")
MODELS, CELLS = 3, 4
New = dict[tuple[str, str], NewCell]


def simulated(
    seed: int, stored: int, new: int, factors: dict[int, float]
) -> tuple[dict[tuple[str, str], CellBaseline], list[New]]:
    """Sessions that differ by 2 % in common and 2 % by cell; some were off by a factor."""
    rng = np.random.default_rng(seed)
    logs = 0.02 * rng.standard_normal((stored + new, 1, 1))
    logs = logs + 0.02 * rng.standard_normal((stored + new, MODELS, CELLS))
    for session, factor in factors.items():
        logs[session] += np.log(factor)
    values = np.exp(logs)
    cells = {}
    sessions: list[New] = [{} for _ in range(new)]
    for m in range(MODELS):
        for c in range(CELLS):
            key = f"m{m}", f"b{c + 1}-c1"
            entries = [{"throughput": Value(float(one), 0.02, 3)} for one in values[:, m, c]]
            past = tuple(
                Session(
                    id=f"s{number:02}",
                    time=f"2026-11-{number + 1:02}T00:00:00Z",
                    commit="",
                    dirty=None,
                    plugin="",
                    recorder="",
                    fingerprint=FINGERPRINT,
                    values=entries[number],
                )
                for number in range(stored)
            )
            if past:
                cells[key] = CellBaseline(*key, past)
            for number in range(new):
                sessions[number][key] = NewCell(FINGERPRINT, entries[stored + number])
    return cells, sessions


def whole(found: list[Outlier]) -> list[int]:
    return [outlier.session for outlier in found if outlier.model is None]


@pytest.mark.parametrize("factor", [1.25, 0.8])
def test_a_session_that_is_off_is_refused_and_the_next_is_not(factor: float) -> None:
    stored, new = simulated(1, 6, 2, {6: factor})
    (outlier,) = outliers(stored, new)
    assert (outlier.session, outlier.model) == (0, None)
    assert ("above" if factor > 1 else "below") in outlier.reason


def test_a_model_that_is_off_is_refused_alone() -> None:
    stored, (new,) = simulated(2, 8, 1, {})
    off = {
        key: replace(cell, values={"throughput": Value(cell.values["throughput"].value * 0.75)})
        if key[0] == "m1"
        else cell
        for key, cell in new.items()
    }
    (outlier,) = outliers(stored, [off])
    assert (outlier.session, outlier.model) == (0, "m1")


@pytest.mark.slow
def test_ordinary_sessions_are_seldom_refused() -> None:
    assert sum(bool(outliers(*simulated(seed, 5, 1, {}))) for seed in range(40)) <= 2


def test_an_earlier_outlier_hides_none() -> None:
    stored, new = simulated(3, 7, 1, {2: 1.3, 7: 1.25})
    assert whole(outliers(stored, new)) == [0]


def test_without_history_the_new_session_that_disagrees_is_refused() -> None:
    stored, new = simulated(4, 0, 5, {3: 1.3})
    assert not stored
    assert whole(outliers(stored, new)) == [3]


def test_too_few_sessions_refuse_nothing() -> None:
    assert outliers(*simulated(5, 3, 1, {3: 2.0})) == []
    assert outliers(*simulated(5, 0, 3, {1: 2.0})) == []


def test_what_differs_more_from_session_to_session_is_refused_later() -> None:
    """Equal sessions of a model had peaks of 544 to 810 MiB, and the same memory when loaded."""

    def refused(metric: str) -> list[int]:
        values = (100.0, 100.3, 99.8, 80.0)
        new = [{("m", "model"): NewCell(FINGERPRINT, {metric: Value(v, 0.001, 3)})} for v in values]
        return whole(outliers({}, new))

    assert refused("server_memory_loaded") == [3]
    assert refused("server_memory_peak") == []


def test_what_is_expected_or_has_other_files_is_not_compared_with_its_past() -> None:
    stored, (new,) = simulated(6, 6, 1, {6: 1.5})
    assert whole(outliers(stored, [new])) == [0]
    meant = {key: replace(cell, afresh=True) for key, cell in new.items()}
    assert outliers(stored, [meant]) == []
    changed = {
        key: replace(cell, fingerprint=replace(FINGERPRINT, content="bb"))
        for key, cell in new.items()
    }
    assert outliers(stored, [changed]) == []
