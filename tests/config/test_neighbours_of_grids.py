"""``beside`` in a grid: what it may be, which cells it makes, and how a wrong one is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.config.grid import Grid, load_grid
from pytest_gaitperf.engine.expectation import Expectation, expand
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import ModelInfo, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.requests import Offer

INPUT = TensorSpec("INPUT", "FP32", (3,))
OPEN = TensorSpec("ROWS", "FP32", (-1, 2))


def model(name: str, spec: TensorSpec = INPUT, **kind: Any) -> ModelInfo:
    return ModelInfo(name, ("1", "2"), 8, (spec,), (), "python", **kind)


KNOWN: dict[str, Offer] = {
    "pose": model("pose"),
    "detector": model("detector"),
    "open": model("open", OPEN),
    "state": model("state", stateful=True),
    "stream": model("stream", decoupled=True),
    "spoilt": "no weights here",
    "unknown": None,
    "a@2": model("a@2"),
    "chain": replace(model("chain"), steps=(("pose", ""), ("detector", ""))),
}
BASE = Grid(models=("pose",), batch_sizes=(1,), concurrencies=(2,))


def cells(beside: Any, **more: Any) -> list[str]:
    grid = BASE.narrowed({"beside": beside, **more}, "here")
    return [one.id for one in expand(grid, KNOWN)]


def test_a_table_is_one_mix_and_an_empty_one_in_a_list_the_model_alone() -> None:
    assert cells({"detector": "25/s"}) == ["pose-b1-c2-beside=detector-r25"]
    assert cells([{}, {"detector": " 12.5 / s  b4"}]) == [
        "pose-b1-c2",
        "pose-b1-c2-beside=detector-b4-r12.5",
    ]
    assert cells({}) == ["pose-b1-c2"]
    assert cells({"detector@2": "5/s"}) == ["pose-b1-c2-beside=detector-r5-v2"]
    assert cells({"a@2": "5/s", "unknown": "1/s"})  # a name may be like that


def test_neighbours_are_sent_what_the_grid_says_in_the_cells_own_way() -> None:
    grid = BASE.narrowed(
        {
            "beside": {"open": "25/s within 40 ms"},
            "shapes": {"open": {"ROWS": [4, 2]}},
            "protocol": "grpc",
            "transport": "shm",
        },
        "here",
    )
    (cell,) = expand(grid, KNOWN)
    (one,) = cell.beside
    assert (one.protocol, one.transport, one.deadline_s) == ("grpc", "shm", 0.04)
    assert one.shapes == (("ROWS", (4, 2)),)


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        (3, "beside must be a table such as"),
        ({"detector": 25}, "beside must be a table such as"),
        ([], "beside must be a table such as"),
        ({"detector": "25"}, "beside: detector: '25' is no rate"),
        ({"detector": "0/s"}, "'0/s' is no rate"),
        ({"detector": "25/s b0"}, "is no rate"),
        ({"detector": "25/s within 40"}, "beside: detector: '40' is not a positive time"),
        ({"detectr": "25/s"}, "no model is called 'detectr' .did you mean 'detector'"),
        ({"detector@7": "25/s"}, "it has no version 7, but 1, 2"),
        ({"detector": "25/s b9"}, "its max_batch_size is 8"),
        ({"pose": "25/s"}, "model 'pose' cannot be its own neighbour"),
        ({"chain": "25/s"}, "cannot be its own neighbour, nor that of an ensemble with it"),
        ({"chain": "5/s", "detector": "5/s"}, "the ensemble 'chain' is made of detector"),
        ({"state": "25/s"}, "'state' cannot be a neighbour: it is stateful"),
        ({"stream": "25/s"}, "'stream' cannot be a neighbour: it is decoupled"),
        ({"spoilt": "25/s"}, "'spoilt' cannot be a neighbour: no weights here"),
        ({"open": "25/s"}, r"'ROWS' has the dynamic shape .*\[shapes.open\]"),
    ],
)
def test_a_wrong_neighbour_is_refused_before_measuring(beside: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^here.*{why}"):
        cells(beside)


def test_a_neighbour_with_several_shapes_is_refused() -> None:
    shapes = {"open": {"ROWS": [[4, 2], [8, 2]]}}
    with pytest.raises(ConfigurationError, match="gives it 2 shapes: a neighbour has one"):
        cells({"open": "25/s"}, shapes=shapes)


def test_a_pattern_leaves_the_neighbour_out_and_says_so() -> None:
    expectation = Expectation()
    grid = BASE.narrowed({"beside": [{}, {"detector": "25/s"}], "models": ["*e*t*r", "p*"]}, "here")
    found = [one.id for one in expand(grid, KNOWN, (), expectation)]
    assert found == ["detector-b1-c2", "pose-b1-c2", "pose-b1-c2-beside=detector-r25"]
    assert list(expectation.notes()) == [
        "not measured: detector: it is a neighbour, and no model is measured beside itself"
    ]


def test_a_search_has_no_neighbours(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="beside is given with a search"):
        cells({"detector": "25/s"}, most_subjects=True)
    # A suite's own search goes on where the file has neighbours for its other cells.
    (tmp_path / "grid.toml").write_text('models = "pose"\nbeside = { detector = "25/s" }\n')
    file = load_grid(str(tmp_path / "grid.toml"))
    grid = file.narrowed({"most_subjects": True, "batch_sizes": [1]}, "marker")
    assert [one.id for one in expand(grid, KNOWN)] == ["pose-b1-most"]
