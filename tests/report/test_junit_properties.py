"""The properties that --junitxml has of a test: words and values are those of every output."""

from __future__ import annotations

from msgspec.structs import replace

from pytest_gaitperf.report.ci import properties_of_test
from tests.report.runs import cell


def test_a_value_is_the_one_that_its_change_is_of() -> None:
    first = cell(factor=1.5)
    judged = replace(first.verdicts["throughput"], now=500.0, change=-0.595)
    found = dict(properties_of_test(replace(first, verdicts={"throughput": judged}), [judged]))
    assert found["gaitperf.throughput"] == "500"
    assert found["gaitperf.throughput.unit"] == "inf/s"
    assert found["gaitperf.throughput.change"] == "-0.595"


def test_a_pass_in_which_a_change_could_go_unheard_is_not_called_one() -> None:
    deaf = cell(verdicts={"sensitivity": 0.4, "must_hear": 0.25})
    found = dict(properties_of_test(deaf, [deaf.verdicts["throughput"]]))
    assert found["gaitperf.throughput.verdict"] == "unmeasured"
