from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import content_hash

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.sampled_from(
    ["config.pbtxt", "1/model.py", "1/model.onnx", "2/model.onnx", "labels.txt"]
)
TREES = st.dictionaries(NAMES, st.binary(max_size=4), max_size=4)


def write(directory: Path, tree: dict[str, bytes]) -> Path:
    directory.mkdir(parents=True)
    for name, content in tree.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model", {"config.pbtxt": b"c", "1/model.plan": b"engine"})


@given(TREES, TREES)
def test_equal_exactly_when_the_files_are(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    base = tmp_path_factory.mktemp("trees")
    hashes = content_hash(write(base / "a", one)), content_hash(write(base / "b", other))
    assert (hashes[0] == hashes[1]) == (one == other)


def test_it_does_not_depend_on_where_or_when(model: Path, tmp_path: Path) -> None:
    before = content_hash(model)
    (model / "config.pbtxt").touch()
    assert content_hash(model.rename(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize(
    "name",
    ["1/recipe.json", "1/__pycache__/model.cpython-311.pyc.140213", "1/.model.onnx.7-ab.tmp"],
)
def test_what_is_not_served_does_not_count(model: Path, name: str) -> None:
    before = content_hash(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"x")
    assert content_hash(model) == before


@pytest.mark.parametrize("name", ["recipe.json", "1/weights/part0.bin", "2/model.plan"])
def test_what_is_served_counts(model: Path, name: str) -> None:
    before = content_hash(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"x")
    assert content_hash(model) != before


def test_a_move_within_the_directory_counts(model: Path) -> None:
    before = content_hash(model)
    (model / "1").rename(model / "2")
    assert content_hash(model) != before


def test_links_count_as_what_they_point_to(model: Path, tmp_path: Path) -> None:
    before = content_hash(model)
    (model / "1").rename(tmp_path / "outside")
    (model / "1").symlink_to(tmp_path / "outside")
    assert content_hash(model) == before


def test_a_link_to_its_own_parent_ends(model: Path) -> None:
    before = content_hash(model)
    (model / "1" / "again").symlink_to(model)
    assert content_hash(model) == before


def test_a_missing_directory_and_a_broken_link_are_named(model: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        content_hash(model / "nowhere")
    (model / "1" / "model.onnx").symlink_to("gone")
    with pytest.raises(ConfigurationError, match=r"model\.onnx: "):
        content_hash(model)
