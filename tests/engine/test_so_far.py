"""What a paired comparison shows while it goes on."""

from __future__ import annotations

import math

import pytest

from pytest_gaitperf.engine.paired import so_far
from pytest_gaitperf.gate.pairing import Effect


@pytest.mark.parametrize(
    ("ratio", "said"), [(2.77, "14 pairs, 177% worse"), (0.8, "14 pairs, 25.0% better")]
)
def test_pairs_tell_the_ratio_so_far_in_percent(ratio: float, said: str) -> None:
    change = math.log(ratio)
    assert so_far(Effect(14, change, change - 0.1, change + 0.1, None)) == said
