"""What a paired comparison shows while it goes on."""

from __future__ import annotations

import math

import pytest

from pytest_gaitperf.engine.paired import so_far
from pytest_gaitperf.gate.pairing import Effect


@pytest.mark.parametrize(
    ("ratio", "said"), [(2.77, "14 blocks, 177% worse"), (0.8, "14 blocks, 25.0% better")]
)
def test_blocks_show_the_ratio_so_far_in_percent(ratio: float, said: str) -> None:
    change = math.log(ratio)
    effect = Effect(14, change, change - 0.1, change + 0.1, None)
    assert so_far("14 blocks", effect) == said


def test_before_the_first_values_there_is_only_the_count() -> None:
    assert so_far("1 block", None) == "1 block"
