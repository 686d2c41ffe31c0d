"""Which new sessions are refused, on simulated sessions whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_gaitperf.baseline.acceptance import NewCell, Refusal, refused
from pytest_gaitperf.baseline.cells import CellBaseline, Session
from pytest_gaitperf.baseline.compare import Facts
from pytest_gaitperf.baseline.schema import Value

FACTS = Facts("2.51.0", "in -> out", "http", "inline", content="aa")
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
            entries = [{"throughput": Value(float(one))} for one in values[:, m, c]]
            past = tuple(
                Session(
                    id=f"s{number:02}",
                    time=f"2026-11-{number + 1:02}T00:00:00Z",
                    commit="",
                    dirty=None,
                    plugin="",
                    recorder="",
                    version="",
                    facts=FACTS,
                    values=entries[number],
                )
                for number in range(stored)
            )
            if past:
                cells[key] = CellBaseline(*key, past)
            for number in range(new):
                sessions[number][key] = NewCell(FACTS, entries[stored + number])
    return cells, sessions


def whole(refusals: list[Refusal]) -> list[int]:
    return [refusal.session for refusal in refusals if refusal.model is None]


@pytest.mark.parametrize("factor", [1.25, 0.8])
def test_a_session_that_is_off_is_refused_and_the_next_is_not(factor: float) -> None:
    stored, new = simulated(1, 6, 2, {6: factor})
    (refusal,) = refused(stored, new)
    assert (refusal.session, refusal.model, refusal.key) == (0, None, None)
    assert ("above" if factor > 1 else "below") in refusal.reason
    assert refusal.covers(0, "m1", "b1-c1")
    assert not refusal.covers(1, "m1", "b1-c1")


def test_a_model_that_is_off_is_refused_alone() -> None:
    stored, (new,) = simulated(2, 8, 1, {})
    off = {
        key: replace(cell, values={"throughput": Value(cell.values["throughput"].value * 0.75)})
        if key[0] == "m1"
        else cell
        for key, cell in new.items()
    }
    (refusal,) = refused(stored, [off])
    assert (refusal.session, refusal.model, refusal.key) == (0, "m1", None)


def test_ordinary_sessions_are_seldom_refused() -> None:
    assert sum(bool(refused(*simulated(seed, 5, 1, {}))) for seed in range(40)) <= 2


def test_an_earlier_outlier_hides_none() -> None:
    stored, new = simulated(3, 7, 1, {2: 1.3, 7: 1.25})
    assert whole(refused(stored, new)) == [0]


def test_without_history_the_new_session_that_disagrees_is_refused() -> None:
    stored, new = simulated(4, 0, 5, {3: 1.3})
    assert not stored
    assert whole(refused(stored, new)) == [3]


def test_too_few_sessions_refuse_nothing() -> None:
    assert refused(*simulated(5, 3, 1, {3: 2.0})) == []
    assert refused(*simulated(5, 0, 3, {1: 2.0})) == []


def test_what_is_expected_or_has_other_files_is_not_compared_with_its_past() -> None:
    stored, (new,) = simulated(6, 6, 1, {6: 1.5})
    assert whole(refused(stored, [new])) == [0]
    meant = {key: replace(cell, expected=True) for key, cell in new.items()}
    assert refused(stored, [meant]) == []
    changed = {key: replace(cell, facts=replace(FACTS, content="bb")) for key, cell in new.items()}
    assert refused(stored, [changed]) == []


def test_an_invalid_cell_is_refused_and_speaks_for_nothing() -> None:
    stored, (new,) = simulated(7, 6, 1, {6: 1.5})
    invalid = {key: replace(cell, invalid="throttled") for key, cell in new.items()}
    found = refused(stored, [invalid])
    assert found == [Refusal(0, model, key, "throttled") for model, key in sorted(new)]
