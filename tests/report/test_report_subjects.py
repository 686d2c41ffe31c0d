"""Searches in the table, in the text of a red test and in the results file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.policy import Policies, Rules, parse_limit
from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.failure import failure_text
from pytest_gaitperf.report.results import results
from pytest_gaitperf.report.table import table

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import Session


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (120, ["subjects", "energy", "mJ", "p50", "ms", "p99", "ms", "verdict"]),
        (80, ["subjects", "energy", "mJ", "p50", "ms", "verdict"]),
        (50, ["subjects", "verdict"]),
    ],
)
def test_searches_have_a_table_of_their_own(
    searched: Session, width: int, columns: list[str]
) -> None:
    lines = [line.rstrip() for line in table(searched, width=width, colour=False).splitlines()]
    assert max(map(len, lines)) <= width
    assert lines[0].split()[0] == "inf/s"
    assert lines[2].startswith(" b1-c1")
    assert lines[3].split() == columns
    assert lines[4] == "3D_fp32_0_batchd"
    assert lines[5].startswith(" b1-most 42 (42.60) -15.0%!")
    assert lines[5].endswith(" REGRESSED")


def test_a_red_test_says_how_many_are_served_and_what_broke(searched: Session) -> None:
    result = next(iter(searched.results.values()))
    lines = failure_text(searched, result, [result.verdicts["subjects"]]).splitlines()
    assert lines[0] == "subjects regressed: -15.0%"
    assert lines[1] == "  baseline  50.10 subjects over 3 sessions"
    assert lines[2] == "  now       42.60 subjects (41.70 .. 45.20)"
    assert lines[5:7] == [
        "  42.6 served: p99 37 ms, 31 of 5300 requests late",
        "  44.3 not served: p99 81 ms, 180 of 400 requests late, and the backlog grew",
    ]


def test_the_results_have_every_load_that_was_looked_at(searched: Session) -> None:
    cells = results(searched).cells
    assert cells[0].workload.most_subjects is True
    assert cells[0].search is not None
    assert cells[0].search.served == 42
    assert [probe.served for probe in cells[0].search.probes] == [True, False]
    assert cells[0].metrics["subjects"].unit == "subjects"
    assert cells[1].search is None


def test_a_limit_on_subjects_counts_them(searched: Session) -> None:
    workload = next(iter(searched.results))
    (met,) = searched.check(workload, [parse_limit("subjects >= 42")])
    (broken,) = searched.check(workload, [parse_limit("subjects >= 43 subjects")])
    assert not searched.is_broken(met)
    assert searched.is_broken(broken)


def test_a_limit_is_only_asked_of_cells_that_have_the_quantity(searched: Session) -> None:
    asked = [parse_limit("subjects >= 42"), parse_limit("throughput >= 1")]
    limits = {limit.metric: limit for limit in asked}
    searched.policies = Policies(Rules({"": 0.05}, limits), {})
    lines = closing_lines(searched)
    assert "no test of this run checked subjects >= 42 (1 cell)" in lines
    assert "no test of this run checked throughput >= 1 (1 cell)" in lines
