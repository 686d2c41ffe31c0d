"""Shapes as an axis of a grid: by model and tensor, or alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.grid import Grid, load_grid
from pytest_gaitperf.engine.expectation import Expectation, expand
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import ModelInfo, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.requests import Offer

ROWS = TensorSpec("ROWS", "FP32", (-1, 2, 2))
CLIP = TensorSpec("CLIP", "FP32", (3,))
KNOWN: dict[str, Offer] = {
    name: ModelInfo(name, ("1",), 32, (spec,), ())
    for name, spec in (("3D_a", CLIP), ("2D_b", ROWS), ("2D_a", ROWS))
}


SHAPES = """
batch_sizes = [1, 2]
concurrencies = [1]
[shapes."2D*"]
ROWS = [[3, 2, 2], [5, 2, 2], [3, 2, 2]]
[shapes.2D_a]
ROWS = [1, 2, 2]
"""


def grid_in(directory: Path) -> Grid:
    (directory / "grid.toml").write_text(SHAPES)
    return load_grid(str(directory / "grid.toml"))


def test_shapes_are_an_axis_of_a_model_or_a_pattern(tmp_path: Path) -> None:
    grid = grid_in(tmp_path)
    cells = expand(grid, KNOWN, ["2D*"])
    assert [cell.id for cell in cells] == [
        *("2D_a-b1-c1-ROWS=1x2x2", "2D_a-b2-c1-ROWS=1x2x2"),
        *("2D_b-b1-c1-ROWS=3x2x2", "2D_b-b1-c1-ROWS=5x2x2"),
        *("2D_b-b2-c1-ROWS=3x2x2", "2D_b-b2-c1-ROWS=5x2x2"),
    ]


@pytest.mark.parametrize("shapes", [[[7, 2, 2]], [7, 2, 2], {"2D_?": {"ROWS": (7, 2, 2)}}])
def test_the_shapes_of_a_marker_replace_those_of_the_grid(tmp_path: Path, shapes: object) -> None:
    grid = grid_in(tmp_path).narrowed({"shapes": shapes}, "the marker")
    cells = expand(grid, KNOWN, ["2D*"])
    assert {cell.shapes for cell in cells} == {(("ROWS", (7, 2, 2)),)}


ANOTHER = ModelInfo("other", ("1",), 0, (ROWS, CLIP), ())


@pytest.mark.parametrize("offer", [None, "UNAVAILABLE", ANOTHER])
def test_shapes_alone_leave_out_a_model_without_one_known_input(offer: Offer) -> None:
    grid = Grid().narrowed({"shapes": [[7, 2, 2]], "batch_sizes": [1]}, "here")
    known: dict[str, Offer] = {"2D_a": KNOWN["2D_a"], "other": offer}
    expectation = Expectation()
    assert {cell.model for cell in expand(grid, known, (), expectation)} == {"2D_a"}
    if isinstance(offer, str):
        assert expectation.left_out["other"] == offer
    else:
        assert "give its shapes by model and tensor" in expectation.left_out["other"]
        with pytest.raises(ConfigurationError, match=r"here: model 'other' has .*give its"):
            expand(grid, known, ["other"])
    recorded = Expectation({"other": {"b1-c4-ROWS=7x2x2", "b1-c4-ROWS=8x2x2"}})
    if not isinstance(offer, ModelInfo):
        expected = expand(grid, known, (), recorded)
        keys = [cell.key for cell in expected if recorded.expects(cell)]
        assert keys == ["b1-c4-ROWS=7x2x2"]


def test_what_was_recorded_without_its_shape_is_expected() -> None:
    expectation = Expectation({"2D_a": {"b1-c1"}})
    grid = Grid().narrowed({"shapes": [[7, 2, 2]], "batch_sizes": [1]}, "here")
    cells = expand(grid, {**KNOWN, "2D_a": "UNAVAILABLE"}, (), expectation)
    assert [cell.load for cell in cells if expectation.expects(cell)] == ["b1-c1"]


def test_a_recorded_cell_is_expected_when_its_shape_or_data_is_gone() -> None:
    for key in ("b1-c1-ROWS=7x2x2", "b1-c1-data=h01234567"):
        expectation = Expectation({"2D_a": {key, "b4-c16"}})
        cells = expand(Grid(), KNOWN, (), expectation)
        assert [cell.id for cell in cells if expectation.expects(cell)] == ["2D_a-b1-c1"]


def test_a_model_without_its_file_of_data_is_left_out() -> None:
    def data_of(name: str) -> str:
        if name == "3D_a":
            raise ConfigurationError("inputs: has none of 3D_a.npz")
        return "sha256:0123456789ab"

    expectation = Expectation()
    cells = expand(Grid(), KNOWN, (), expectation, data_of=data_of)
    assert {cell.content for cell in cells} == {"data=h01234567"}
    assert expectation.left_out == {"3D_a": "inputs: has none of 3D_a.npz"}
