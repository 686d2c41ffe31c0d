"""Tolerances and limits: how they are read, and which place wins."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.config.policy import (
    ANY,
    Policies,
    Rules,
    limits,
    parse_limit,
    rules,
)
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import METRICS, QUANTITIES, Direction, Estimate, quantity_of
from pytest_gaitperf.results import LimitState
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

CELL, OTHER = Workload("3D_fp32", 1, 1), Workload("2D_fp32", 1, 1)

names = st.sampled_from(sorted(METRICS))
numbers = st.floats(min_value=1e-6, max_value=1e9).map("{:.6g}".format)
PARTS = {"": 1.0, "m": 1e3, "u": 1e6, "\N{MICRO SIGN}": 1e6}


def sign(metric: str) -> str:
    return "<=" if METRICS[metric].direction is Direction.LOWER_IS_BETTER else ">="


@given(names, numbers, st.sampled_from(sorted(PARTS)), st.sampled_from(["", " ", "  "]))
def test_a_limit_is_read_in_its_unit_and_its_text_reads_back_the_same(
    metric: str, number: str, prefix: str, space: str
) -> None:
    unit = METRICS[metric].unit
    if unit in ("inf/s", "answers/s", "inf/J", "subjects", "ratio"):
        prefix = ""
    limit = parse_limit(f"{space}{metric}{space}{sign(metric)}{space}{number}{space}{prefix}{unit}")
    assert limit.bound == float(number) / PARTS[prefix]
    assert parse_limit(str(limit)) == limit
    assert str(limit) == f"{metric} {sign(metric)} {number} {prefix}{unit}"


@given(names, st.floats(min_value=1e-6, max_value=1e6))
def test_a_limit_admits_its_bound_and_what_is_better_and_nothing_worse(
    metric: str, bound: float
) -> None:
    limit = parse_limit(f"{metric} {sign(metric)} {bound:.9g} {METRICS[metric].unit}")
    better = -math.inf if METRICS[metric].direction is Direction.LOWER_IS_BETTER else math.inf

    def state(value: float) -> LimitState:
        return limit.check(Estimate(METRICS[metric].unit, value)).state

    assert state(limit.bound) is LimitState.MET
    assert state(math.nextafter(limit.bound, better)) is LimitState.MET
    assert state(math.nextafter(limit.bound, -better)) is LimitState.VIOLATED
    assert state(math.nan) is LimitState.VIOLATED


@pytest.mark.parametrize(
    ("low", "value", "high", "state", "sure"),
    [
        (0.030, 0.035, 0.040, LimitState.MET, True),
        (0.030, 0.035, 0.041, LimitState.MET, False),
        (0.039, 0.041, 0.045, LimitState.VIOLATED, False),
        (0.041, 0.042, 0.045, LimitState.VIOLATED, True),
        (None, 0.035, 0.036, LimitState.MET, False),
        (None, 0.050, None, LimitState.VIOLATED, False),
    ],
)
def test_a_limit_is_sure_where_the_whole_interval_is_on_one_side(
    low: float | None, value: float, high: float | None, state: LimitState, sure: bool
) -> None:
    check = parse_limit("latency_p99 <= 40 ms").check(Estimate("s", value, low, high))
    assert (check.state, check.certain) == (state, sure)


def test_what_was_not_measured_is_never_met() -> None:
    check = parse_limit("latency_p99 <= 40 ms").check(None, "too few requests")
    assert (check.state, check.absent, check.certain) == (
        LimitState.UNMEASURED,
        "too few requests",
        False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no limit such as 'latency_p99 <= 40 ms'"),
        ("latency_p99", "is no limit such as"),
        ("latency_p99 < 40 ms", "is no limit such as"),
        ("latency_p99 == 40 ms", "is no limit such as"),
        ("1 ms <= latency_p99 <= 40 ms", "is no limit such as"),
        ("latency <= 40 ms", "is no limit such as .*; the metrics are throughput, latency_mean"),
        ("latency_p99 >= 40 ms", "of latency_p99, lower is better: write <="),
        ("throughput <= 25", "of throughput, higher is better: write >="),
        ("latency_p99 <= 40", "'40' is not a positive number with a unit of s, as in '.* 40 ms'"),
        ("latency_p99 <= 40 mJ", "not a positive number with a unit of s"),
        ("latency_p99 <= 40 Ms", "not a positive number with a unit of s"),
        ("latency_p99 <= 40 %", "not a positive number with a unit of s"),
        ("latency_p99 <= 4 0 ms", "not a positive number with a unit of s"),
        ("latency_p99 <= 1.2.3 ms", "not a positive number with a unit of s"),
        ("latency_p99 <= ms", "not a positive number with a unit of s"),
        ("latency_p99 <= 0 ms", "not a positive number"),
        ("latency_p99 <= -1 ms", "not a positive number"),
        ("latency_p99 <= inf s", "not a positive number"),
        ("latency_p99 <= nan s", "not a positive number"),
        ("latency_p99 <= 1e999 s", "not a positive number"),
        ("throughput >= 25 ms", "a unit of inf/s, as in 'throughput >= 40 inf/s'"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_one_looks_like(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse_limit(text)


@given(st.text(max_size=30))
def test_any_text_is_a_limit_or_refused_in_one_line(text: str) -> None:
    try:
        parse_limit(text)
    except argparse.ArgumentTypeError as error:
        assert str(error)  # noqa: PT017 - a limit may also be drawn


@given(names)
def test_a_setting_may_limit_just_what_some_test_of_the_suite_looks_at(metric: str) -> None:
    text = f"{metric} {sign(metric)} 1 {METRICS[metric].unit}"
    if quantity_of(metric) in QUANTITIES:
        assert list(limits(text)) == [metric]
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="no test of the suite looks at"):
            limits(text)


def test_every_gated_metric_belongs_to_the_quantity_that_gates_it() -> None:
    for quantity, metrics in QUANTITIES.items():
        assert {quantity_of(metric) for metric in metrics} == {quantity}
    assert quantity_of("power_mean") == "energy"
    assert quantity_of("latency_p95") == "latency"


# Which place wins. Each row adds one place to those above it, and is the strongest of them.
PLACES: list[tuple[str, Mapping[str, object], float, float]] = [
    ("general", {"tolerance": "5%"}, 0.05, 0.05),
    ("general, by metric", {"tolerances": {"latency_p99": "10%"}}, 0.05, 0.10),
    ("model *", {"tolerance": "6%"}, 0.06, 0.06),
    ("model *, by metric", {"tolerances": {"latency_p99": "11%"}}, 0.06, 0.11),
    ("model 3D*", {"tolerance": "7%"}, 0.07, 0.07),
    ("model 3D_fp32", {"tolerance": "8%"}, 0.08, 0.08),
    ("marker", {"tolerance": "9%"}, 0.09, 0.09),
    ("marker, by metric", {"tolerances": {"latency_p99": "12%"}}, 0.09, 0.12),
]


@pytest.mark.parametrize("count", range(1, len(PLACES) + 1), ids=[place[0] for place in PLACES])
def test_the_most_specific_tolerance_wins(count: int) -> None:
    tables: dict[str, dict[str, object]] = {"general": {}}
    for place, table, *_ in PLACES[:count]:
        tables.setdefault(place.partition(",")[0], {}).update(table)
    read = {place: rules(table, place) for place, table in tables.items()}
    marker = read.pop("marker", Rules())
    general = read.pop("general")
    # The name itself is the strongest wherever it stands, then the later pattern.
    models = {place.removeprefix("model "): asked for place, asked in read.items()}
    if "3D_fp32" in models:
        models = {"3D_fp32": models.pop("3D_fp32"), **models}
    policies = Policies(general, models)
    policies.mark([CELL], marker, "a marker")
    assert policies.tolerance(CELL, "throughput") == PLACES[count - 1][2]
    assert policies.tolerance(CELL, "latency_p99") == PLACES[count - 1][3]


def test_a_model_and_a_marker_speak_for_their_own_cells_only() -> None:
    policies = Policies(Rules({ANY: 0.05}), {"3D*": rules({"tolerance": "6%"}, "")})
    policies.mark([CELL], rules({"limits": ["throughput >= 1"]}, ""), "a marker")
    assert policies.tolerance(CELL, "throughput") == 0.06
    assert policies.tolerance(OTHER, "throughput") == 0.05
    assert policies.limits(OTHER, "throughput") == ()
    assert len(policies.limits(CELL, "throughput")) == 1


def test_of_two_limits_on_a_metric_the_more_specific_one_counts_looser_or_not() -> None:
    general = {"limits": "latency_p99 <= 40 ms, latency_p50 <= 20 ms, power_mean <= 15 W"}
    policies = Policies(
        Rules({ANY: 0.05}, rules(general, "").limits),
        {"3D*": rules({"limits": ["latency_p99 <= 80 ms"]}, "")},
    )
    policies.mark([CELL], rules({"limits": ["latency_p90 <= 30 ms"]}, ""), "a marker")
    asked = {str(limit) for limit in policies.limits(CELL, "latency")}
    assert asked == {"latency_p99 <= 80 ms", "latency_p50 <= 20 ms", "latency_p90 <= 30 ms"}
    assert [str(limit) for limit in policies.limits(CELL, "energy")] == ["power_mean <= 15 W"]
    assert policies.limits(CELL, "throughput") == ()


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({"tolerance": "3%"}, {"tolerance": "4%"}, "another tolerance for 3D_fp32-b1-c1 than one"),
        (
            {"tolerances": {"latency_p99": 0.1}},
            {"tolerances": {"latency_p99": 0.2}},
            "another tolerance of latency_p99 for",
        ),
        (
            {"limits": "throughput >= 1"},
            {"limits": "throughput >= 2"},
            "another limit of throughput for",
        ),
    ],
)
def test_two_markers_that_disagree_on_a_cell_are_both_named(
    one: Mapping[str, object], two: Mapping[str, object], message: str
) -> None:
    policies = Policies(Rules({ANY: 0.05}), {})
    policies.mark([CELL], rules(one, "one"), "one")
    policies.mark([OTHER], rules(two, "two"), "two")
    policies.mark([CELL], rules(one, "three"), "three")
    with pytest.raises(ConfigurationError, match=f"^two: {message}"):
        policies.mark([OTHER, CELL], rules(two, "two"), "two")


def test_markers_that_speak_of_different_metrics_of_a_cell_are_both_heard() -> None:
    policies = Policies(Rules({ANY: 0.05}), {})
    policies.mark([CELL], rules({"tolerance": "3%"}, ""), "one")
    policies.mark([CELL], rules({"tolerances": {"latency_p99": "10%"}}, ""), "two")
    policies.mark([CELL], rules({"limits": "power_mean <= 900 mW"}, ""), "three")
    assert policies.tolerance(CELL, "throughput") == 0.03
    assert policies.tolerance(CELL, "latency_p99") == 0.1
    assert [limit.bound for limit in policies.limits(CELL, "energy")] == [0.9]


def test_tails_must_hear_a_multiple_of_what_holds_for_all_unless_they_are_named() -> None:
    workload = Workload("m", 1, 1)
    for general, of_model, expected in (
        ({}, {}, (0.25, 0.5, 1.0)),
        ({ANY: 0.1}, {}, (0.1, 0.2, 0.4)),
        ({ANY: 0.1, "latency_p99": 0.3}, {}, (0.1, 0.2, 0.3)),
        ({ANY: 0.1, "latency_p99": 0.3}, {ANY: 0.2}, (0.2, 0.4, 0.8)),
        ({"latency_p90": 0.3}, {}, (0.25, 0.3, 1.0)),
    ):
        policies = Policies(Rules({ANY: 0.05}, {}, general), {"m": Rules(must_hear=of_model)})
        metrics = ("throughput", "latency_p90", "latency_p99")
        assert tuple(policies.must_hear(workload, one) for one in metrics) == expected


def test_what_does_not_matter_need_not_be_heard() -> None:
    workload = Workload("m", 1, 1)
    policies = Policies(Rules({ANY: 0.3, "latency_p99": 0.1}), {})
    assert policies.must_hear(workload, "throughput") == pytest.approx(0.6)
    assert policies.must_hear(workload, "latency_p99") == 1.0
