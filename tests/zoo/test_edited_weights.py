"""Weights of a reference network that somebody has edited: a run measures them, or says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo import repository as reference_models
from pytest_gaitperf.zoo.networks import Variant
from pytest_gaitperf.zoo.repository import State, inspect, pytest_gaitperf_prepare_models

if TYPE_CHECKING:
    from pathlib import Path

TINY = Variant.parse("3D_fp32_97_batchd")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights of the only reference network, as they were built."""
    monkeypatch.setattr(reference_models, "REFERENCE_VARIANTS", (TINY,))
    (tmp_path / TINY.name).mkdir()
    prepare(tmp_path)
    return tmp_path / TINY.name / "1" / "model.onnx"


def prepare(repository: Path) -> None:
    pytest_gaitperf_prepare_models(repository, (), lambda _: None, update=True)


def command(said: str, what: str) -> list[str]:
    """Return the arguments of the command that an error names, to do ``what``."""
    (found,) = [part for part in said.split("'") if part.startswith(f"gaitperf models {what} ")]
    return found.split()[1:]


def edit(weights: Path) -> bytes:
    model = onnx.load(weights)
    model.graph.name = "edited"
    onnx.save(model, weights)
    return weights.read_bytes()


def test_a_run_does_not_build_edited_weights_anew_and_names_the_command_that_does(
    tmp_path: Path, weights: Path
) -> None:
    built, edited = weights.read_bytes(), edit(weights)
    with pytest.raises(ConfigurationError, match="is not the file that was built") as caught:
        prepare(tmp_path)
    assert weights.read_bytes() == edited
    assert main(command(str(caught.value), "build")) == 0
    assert weights.read_bytes() == built
    prepare(tmp_path)


def test_the_other_command_that_it_names_makes_them_the_users_own(
    tmp_path: Path, weights: Path
) -> None:
    edit(weights)
    with pytest.raises(ConfigurationError) as caught:
        prepare(tmp_path)
    assert main(command(str(caught.value), "import")) == 0
    edited = weights.read_bytes()
    assert inspect(tmp_path, TINY).state is State.FOREIGN
    prepare(tmp_path)
    assert weights.read_bytes() == edited


def test_weights_whose_build_was_killed_before_its_record_are_built_anew(
    tmp_path: Path, weights: Path
) -> None:
    built = weights.read_bytes()
    edit(weights)
    weights.with_name("recipe.json").unlink()
    prepare(tmp_path)
    assert weights.read_bytes() == built
