"""Whatever comes from outside becomes a value or an error that names it: damaged inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutating import made_of
from tests.fuzz.running import run_case
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.target import Target

CASES = 4_000
_WEIGHT = sum(target.weight for target in TARGETS.values())
# Watching memory triples the time of a case: one in so many is enough for what every case needs.
_WATCHED = 4


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """An input with edits in it, or, one in sixteen, bytes that nobody has seen.

    One draw of bytes says all of it: a draw for each number would cost more than the reading.
    """
    seeds = target.seeds()
    return st.binary(min_size=2, max_size=26).map(
        lambda drawn: made_of(drawn, seeds, target.language)
    )


@pytest.mark.parametrize("name", list(TARGETS))
def test_damaged_input_becomes_a_value_or_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    count = 0

    @settings(
        max_examples=round(target.weight * CASES / _WEIGHT),
        derandomize=True,  # the same cases everywhere: the nightly run looks for others
        database=None,
        deadline=None,  # run_case has its own, of CPU time
        # Seeds of some kB with long words in them are what it calls too large and too slow.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(data=inputs(target))
    def fuzz(data: bytes) -> None:
        nonlocal count
        count += 1
        outcome = run_case(target, data, tmp_path, memory=count % _WATCHED == 0)
        assert outcome.kind != "crash", outcome.detail

    fuzz()


@pytest.mark.parametrize("name", list(TARGETS))
def test_an_input_as_captured_is_read(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    outcomes = [run_case(target, seed, tmp_path) for seed in target.seeds()]
    assert "crash" not in [outcome.kind for outcome in outcomes], outcomes
    # These speak of what is refused, of what this machine has not, and of names without a model.
    if name not in ("refusals", "nvpmodel-note"):
        assert "value" in [outcome.kind for outcome in outcomes], outcomes
