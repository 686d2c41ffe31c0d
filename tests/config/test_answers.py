"""The table ``[accuracy.MODEL]`` of a grid, and every way to get it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.grid import Grid, load_grid
from pytest_gaitperf.errors import ConfigurationError
from tests.docs.documents import ROOT, blocks

if TYPE_CHECKING:
    from pytest_gaitperf.config.answers import Answers

GRID = """\
[accuracy."*"]
reference = "fp32"
labels = "labels.npz"
[accuracy."*int8"]
reference = "fp32@2"
[accuracy.stored]
reference = "outputs/stored.npz"
"""


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    (tmp_path / "g.toml").write_text(GRID)
    return load_grid(str(tmp_path / "g.toml"))


def answers(grid: Grid, model: str) -> Answers:
    found = grid.answers_of(model)
    assert found is not None
    return found


def test_a_reference_is_a_model_a_version_of_one_or_a_file(grid: Grid) -> None:
    assert answers(grid, "fp16").model == ("fp32", "")
    assert answers(grid, "my_int8").model == ("fp32", "2")
    assert answers(grid, "stored").file == Path("outputs/stored.npz")
    assert answers(grid, "stored").model == ("", "")
    assert Grid().answers_of("fp16") is None


def test_the_example_of_the_page_is_a_grid(tmp_path: Path) -> None:
    (example,) = (one for one in blocks(ROOT / "docs" / "accuracy.md") if one.language == "toml")
    (tmp_path / "g.toml").write_text(example.text)
    found = answers(load_grid(str(tmp_path / "g.toml")), "resnet50_int8")
    assert found.model == ("resnet50_fp32", "")
    assert (found.score, found.samples) == ("rank-1", 64)


def test_a_pattern_that_the_reference_matches_too_leaves_it_its_labels(grid: Grid) -> None:
    assert answers(grid, "fp32").reference == ""
    assert answers(grid, "fp32").labels == "labels.npz"
    alone = Grid().narrowed({"accuracy": {"*": {"reference": "fp32"}}}, "marker")
    assert alone.answers_of("fp32") is None


def test_a_marker_replaces_the_tables_that_it_speaks_of(grid: Grid) -> None:
    marked = grid.narrowed({"accuracy": {"*int8": {"reference": "other"}}}, "marker")
    assert answers(marked, "my_int8").reference == "other"
    assert answers(marked, "fp16").reference == "fp32"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "accuracy must be a table of models"),
        ({"m": "fp32"}, "accuracy.m must be a table such as"),
        ({"m": {}}, "accuracy.m: give a reference, or labels"),
        ({"m": {"reference": 3}}, "accuracy.m: Expected `str`"),
        ({"m": {"refrence": "a"}}, "unknown key 'refrence' .did you mean 'reference'"),
        ({"m": {"reference": "m"}}, "its reference is the model itself"),
        ({"m": {"reference": "a", "samples": -1}}, "accuracy.m: Expected `int`"),
        ({"m": {"reference": "a", "score": "rank-1"}}, "score is given without labels"),
        ({"m": {"labels": "a.npz", "score": "best"}}, "accuracy.m: Invalid enum value"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(given: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Grid().narrowed({"accuracy": given}, "marker")
