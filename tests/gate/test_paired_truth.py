"""What the benchmark of the paired gate counts, and how it goes on where it was."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from benchmarks.paired_truth import CASES, Case, Result, Row
from benchmarks.truth import entry_of, read, write

if TYPE_CHECKING:
    from pathlib import Path

SLOWER = Case("slower", "numpy", 0.1, 0.02, 60.0, 2, 0.9)
EQUAL = Case("equal", "numpy", 0.0, 0.02, 60.0, 0, 1.0)


def row(case: Case, **came: int) -> Row:
    """Runs that came to so many of each."""
    kinds = {"red": "regressed", "improved": "improved"}
    runs = [
        asdict(
            Result(
                what,
                9.0,
                4,
                spinner=False,
                verdicts={"latency_p50": kinds.get(what, "pass")},
                changes={},
            )
        )
        for what, count in came.items()
        for _ in range(count)
    ]
    return Row(case, "here", tuple(runs))


@pytest.mark.parametrize(
    ("found", "met", "wrong"),
    [
        (row(SLOWER, red=9, neither=1), True, 0),
        (row(SLOWER, red=8, neither=2), False, 0),
        (row(SLOWER, red=9, improved=1), False, 1),
        (row(EQUAL, neither=10), True, 0),
        (row(EQUAL, neither=9, red=1), False, 1),
        (row(EQUAL, neither=9, improved=1), False, 1),
    ],
)
def test_a_goal_is_met_by_the_share_of_right_verdicts_and_by_no_wrong_one(
    found: Row, met: bool, wrong: int
) -> None:
    assert (found.met, found.wrong) == (met, wrong)
    assert ("MISSED" in found.line()) is not met


def test_a_red_run_that_is_also_improved_is_wrong() -> None:
    both = {"latency_p50": "regressed", "server_cpu_per_inference": "improved"}
    runs = (asdict(Result("red", 9.0, 4, spinner=False, verdicts=both, changes={})),)
    assert Row(SLOWER, "here", runs).wrong == 1


def test_runs_are_added_to_those_of_the_same_case_on_the_same_machine(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    for host in ("two cores", "two cores", "sixteen cores"):
        entries = read(path)
        entry = entry_of(entries, SLOWER, host)
        entry["runs"].append(
            asdict(Result("red", 9.0, 4, spinner=True, verdicts={}, changes={"latency_p50": 0.1}))
        )
        write(path, entries, "paired_truth")
    found = {entry["host"]: len(entry["runs"]) for entry in read(path)}
    assert found == {"two cores": 2, "sixteen cores": 1}
    assert read(tmp_path / "none.json") == []


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
