"""What the benchmark counts, and when it calls a goal met."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate_operating_characteristics import (
    PAIRED,
    STORED,
    PairedStudy,
    StoredStudy,
    Tally,
    rows_of,
    tally,
)


def test_false_alarms_and_findings_are_counted_by_run() -> None:
    slower = np.array([True, True, False])
    red = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    assert tally(red, slower) == Tally(runs=4, false=1, found=2, named=1.5)
    assert tally(red, np.zeros(3, dtype=bool)) == Tally(runs=4, false=3, found=0, named=0.0)


def test_a_goal_is_met_by_the_share_and_asked_of_our_gates_only() -> None:
    study = StoredStudy("study", "cell", 0.15, 0.80)
    counts = {STORED: Tally(1000, 5, 799), "fixed 10 % on medians": Tally(1000, 400, 900)}
    rows = {(row.rule, row.what): row for row in rows_of(study, counts)}
    assert rows[STORED, "false alarm"].met is True
    assert rows[STORED, "found"].met is False
    assert rows["fixed 10 % on medians", "found"].met is None
    assert rows[STORED, "false alarm"].low == pytest.approx(0.0016, abs=1e-4)
    assert rows[STORED, "false alarm"].high == pytest.approx(0.0116, abs=1e-4)


def test_a_study_without_a_goal_is_only_shown() -> None:
    counts = {PAIRED: Tally(100, 5, 3)}
    assert all(row.met is None for row in rows_of(PairedStudy("shown", "cell", 0.05), counts))


def test_the_peers_judge_the_same_blocks() -> None:
    counts = PairedStudy("blocks", "cell", 0.5, 0.9, 0.05).work(np.random.default_rng(1), 4)
    assert {name: (one.runs, one.found) for name, one in counts.items()} == dict.fromkeys(
        counts, (4, 4)
    )
    assert len(counts) == 5
