from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.gate.typical import typical, typical_of_others


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 12), st.integers(3, 8), st.integers(0, 10_000), st.booleans())
def test_leaving_one_out_is_as_if_it_had_not_been_there(
    cells: int, sessions: int, seed: int, ties: bool
) -> None:
    table = np.random.default_rng(seed).standard_t(2, (sessions + 1, cells)) * 0.03
    if ties:
        table = np.round(table, 2)
    slow = [typical(np.delete(table, column, axis=1)) for column in range(cells)]
    np.testing.assert_allclose(typical_of_others(table), np.stack(slow, axis=1), atol=1e-12)
