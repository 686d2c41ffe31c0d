"""What boards send is joined with what is here, and checked as any file from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytest_gaitperf.fleet.board import LOST, Board
from pytest_gaitperf.fleet.ending import markdown

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.results_file import read_results

if TYPE_CHECKING:
    from pathlib import Path


def test_the_index_of_a_fleet_names_where_the_results_are(tmp_path: Path) -> None:
    index = tmp_path / "r.json"
    index.write_text('{"schema": "fleet-1", "boards": []}')
    with pytest.raises(ConfigurationError, match="give the files of its boards"):
        read_results(index)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["code", "results", "text", "problems", "verdicts", "baselines"])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(_FIELDS, anything) | anything)
@example({"\n": None})
@example({"code": 1, "verdicts": {"\n": 1}, "problems": ["a\nb\x1b[2J"]})
def test_whatever_a_board_sends_it_has_an_end_in_a_line(sent: object) -> None:
    board = Board("a", "here", "nano")
    board.take(sent)
    assert board.report is not None or (board.code == LOST and board.why)
    assert not {"\n", "\x1b"} & set(board.ending)
    assert "a" in markdown([board])
