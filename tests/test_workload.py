"""Grids: what they expand to, and how a wrong one is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.triton.models import ModelInfo
from pytest_gaitperf.workload import FULL, Grid, Workload, expand, load_grid

if TYPE_CHECKING:
    from pathlib import Path


def model(name: str, max_batch_size: int = 32) -> ModelInfo:
    return ModelInfo(name, ("1",), max_batch_size, (), (), "python", decoupled=False)


KNOWN = {name: model(name) for name in ("3D_a", "2D_b", "2D_a")}


def grid_file(path: Path, text: str) -> str:
    (path / "grid.toml").write_text(text)
    return str(path / "grid.toml")


def test_a_cell_is_named_by_model_batch_and_concurrency() -> None:
    workload = Workload("3D_fp32_0_batchd", 8, 4)
    assert (workload.key, workload.id) == ("b8-c4", "3D_fp32_0_batchd-b8-c4")


def test_quick_and_full_are_the_grids_that_the_help_names() -> None:
    quick, full = expand(load_grid("quick"), KNOWN), expand(load_grid("full"), KNOWN)
    assert [w.id for w in quick[:5]] == [
        "2D_a-b1-c1",
        "2D_a-b1-c4",
        "2D_a-b4-c1",
        "2D_a-b4-c4",
        "2D_b-b1-c1",
    ]
    assert FULL == (1, 4, 8, 12, 16, 20, 24, 28, 32)
    assert len(quick) == 3 * 4
    assert len(full) == 3 * 81


def test_a_file_says_models_sizes_and_shapes(tmp_path: Path) -> None:
    name = grid_file(
        tmp_path,
        'models = ["3D*", "2D_b"]\nbatch_sizes = [2, 2]\nconcurrencies = [3, 1]\n'
        "[shapes.2D_b]\nROWS = [5, 2]\n",
    )
    cells = expand(load_grid(name), KNOWN)
    assert [w.id for w in cells] == ["3D_a-b2-c3", "3D_a-b2-c1", "2D_b-b2-c3", "2D_b-b2-c1"]
    assert [w.shapes for w in cells] == [(), (), (("ROWS", (5, 2)),), (("ROWS", (5, 2)),)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batches = [1]", "unknown key 'batches'; the keys are models, batch_sizes, conc"),
        ("batch_sizes = []", r"batch_sizes must be a list of positive whole numbers, not \[\]"),
        ("batch_sizes = [0]", "batch_sizes must be a list of positive"),
        ("concurrencies = [1.5]", r"concurrencies must be a list of positive.*not \[1.5\]"),
        ("concurrencies = [true]", "concurrencies must be a list"),
        ("concurrencies = 4", "concurrencies must be a list of positive whole numbers, not 4"),
        ("models = []", "models must be a list of names or patterns"),
        ("models = [1]", "models must be a list of names or patterns"),
        ("models = 1", "models must be a list of names or patterns"),
        ("shapes = 1", "shapes must be a table"),
        ("shapes.a = 1", "shapes.a must be a table of tensors"),
        ("shapes.a.X = [-1]", "shapes.a.X must be a list of positive whole numbers"),
        ("batch_sizes = ]", "not valid TOML.*line 1"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    name = grid_file(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_grid(name)
    assert str(caught.value).startswith(name)


def test_a_grid_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: no such file"):
        load_grid(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match="unknown grid 'fast': quick, full, or the path"):
        load_grid("fast")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_grid(str(tmp_path / "folder.toml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modles": ["a"]}, "unknown key 'modles'"),
        ({"batch_sizes": 4}, "batch_sizes must be a list"),
        ({"concurrencies": ["4"]}, "concurrencies must be a list"),
        ({"models": None}, "models must be a list"),
    ],
)
def test_a_markers_typo_names_the_marker(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^the marker: {message}"):
        Grid().narrowed(arguments, "the marker")


def test_narrowing_replaces_only_what_is_given() -> None:
    grid = Grid(concurrencies=(2,)).narrowed({"models": "2D_a", "batch_sizes": (3,)}, "here")
    assert [w.id for w in expand(grid, KNOWN)] == ["2D_a-b3-c2"]
    assert Grid().narrowed({}, "here") == Grid()


def test_unknown_models_and_large_batches_list_what_exists() -> None:
    with pytest.raises(ConfigurationError, match=r"no model matches 'x\*'; .*: 2D_a, 2D_b, 3D_a"):
        expand(Grid(models=("x*",), source="g.toml"), KNOWN)
    with pytest.raises(ConfigurationError, match="--gaitperf-models: no model matches '4D'"):
        expand(Grid(), KNOWN, ["4D"])
    with pytest.raises(ConfigurationError, match="none: build them with 'gaitperf models build'"):
        expand(Grid(), {})
    with pytest.raises(
        ConfigurationError, match=r"batch size 4 for model 'm'.*max_batch_size is 2"
    ):
        expand(Grid(), {"m": model("m", 2)})
    with pytest.raises(ConfigurationError, match=r"takes no batches \(max_batch_size 0\)"):
        expand(Grid(), {"m": model("m", 0)})
    assert expand(Grid(batch_sizes=(2,)), {"m": model("m", 2)})
    assert expand(Grid(batch_sizes=(1,)), {"m": model("m", 0)})


def test_only_narrows_and_keeps_the_grids_order() -> None:
    grid = Grid(models=("3D*", "2D*"), batch_sizes=(1,), concurrencies=(1,))
    cells = expand(grid, KNOWN, ["2D_b", "3D_a"])
    assert [w.model for w in cells] == ["3D_a", "2D_b"]


@given(
    st.lists(st.sampled_from([*KNOWN, "*", "2D*", "?D_a"]), min_size=1),
    st.lists(st.integers(1, 32), min_size=1),
    st.lists(st.integers(1, 32), min_size=1),
)
def test_cells_are_unique_and_grouped_by_model(
    models: list[str], batches: list[int], concurrencies: list[int]
) -> None:
    arguments = {"models": models, "batch_sizes": batches, "concurrencies": concurrencies}
    cells = expand(Grid().narrowed(arguments, "here"), KNOWN)
    assert len({cell.id for cell in cells}) == len(cells)
    order = [cell.model for cell in cells]
    assert [order.index(name) for name in order] == sorted(order.index(name) for name in order)
    assert len(cells) == len(set(order)) * len(set(batches)) * len(set(concurrencies))
