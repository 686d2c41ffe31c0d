"""Limits in the text of a red test, and what makes one red."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.policy import parse_limit
from pytest_gaitperf.report.failure import failure_text

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import Session


def check_one(run: Session, text: str) -> tuple[bool, list[str]]:
    """Whether the limit is red on the first cell, and what its test would say."""
    result = next(iter(run.results.values()))
    (check,) = run.check(result.workload, [parse_limit(text)])
    return run.is_broken(check), failure_text(run, result, [], [check]).splitlines()


@pytest.mark.parametrize(
    ("limit", "red", "red_when_strict"),
    [
        ("latency_p50 <= 34.5 ms", False, False),
        ("latency_p50 <= 34.3 ms", False, True),
        ("latency_p50 <= 33.9 ms", True, True),
        ("latency_p50 <= 30 ms", True, True),
        ("latency_p90 <= 1 s", True, True),
    ],
)
def test_strict_asks_for_the_whole_interval(
    run: Session, limit: str, red: bool, red_when_strict: bool
) -> None:
    assert check_one(run, limit)[0] is red
    run.settings = replace(run.settings, strict=True)
    assert check_one(run, limit)[0] is red_when_strict


def test_the_text_says_the_limit_the_value_and_whether_it_is_sure(run: Session) -> None:
    _, text = check_one(run, "latency_p50 <= 30 ms")
    assert text[:2] == ["latency_p50 <= 30 ms: not met", "  now       34.08 ms (33.74 .. 34.42)"]
    assert text[2].startswith("  time per request, ms: queue")
    _, text = check_one(run, "latency_p50 <= 33.9 ms")
    assert text[1].endswith("(33.74 .. 34.42); the limit lies within the interval")
    _, text = check_one(run, "latency_p50 <= 34.3 ms")
    assert text[0] == "latency_p50 <= 34.3 ms: met, but not surely"
    _, text = check_one(run, "latency_p90 <= 1 s")
    assert text == ["latency_p90 <= 1 s: not measured", "  nothing measures latency_p90 here"]


def test_energy_that_was_not_measured_is_red_unless_it_was_left_out_on_purpose(
    run: Session,
) -> None:
    result = next(iter(run.results.values()))
    assert result.measurement is not None
    assert not check_one(run, "energy_per_inference <= 1 J")[0]
    result.measurement = replace(result.measurement, estimated=True)
    red, text = check_one(run, "energy_per_inference <= 1 J")
    assert red
    assert "the energy is an estimate" in text[1]
    run.settings = replace(run.settings, power="none")
    assert not check_one(run, "energy_per_inference <= 1 J")[0]
    assert check_one(run, "latency_p90 <= 1 s")[0], "only energy can be left out so"
