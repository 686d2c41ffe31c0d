"""The suite on models that have nothing to do with gait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.zoo.networks import REFERENCE_VARIANTS
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BLOCKER = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"onnx", "onnxruntime", "h5py"}:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)
        if name.rpartition(".")[2] in {"importing", "onnx_graph", "keras_weights"}:
            raise AssertionError(f"{name} was imported")


sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.slow
def test_any_model_of_a_running_server_is_measured_without_the_gait_networks(
    project: Project,
) -> None:
    """No repository, no onnx, and nothing that knows how the networks are built."""
    (project.path / "conftest.py").write_text(BLOCKER)
    assert not (project.path / "model_repository").exists()
    grid = project.grid("stea*")
    done = project.run_apart(grid, "--gaitperf-update=missing", "--gaitperf-json=results.json")
    assert done.ret == pytest.ExitCode.OK, done.stdout.str() + done.stderr.str()
    assert list(project.cells()) == ["steady-b1-c1"]
    assert (project.path / "baselines" / "here" / "steady.json").is_file()
    assert not (project.path / "model_repository").exists()


def test_a_pattern_on_the_command_line_chooses_among_the_servers_models(project: Project) -> None:
    done = project.run("--gaitperf-models=s[lt]*", "--collect-only", "-q")
    collected = done.stdout.str()
    assert "[steady-" in collected
    assert "[slow-" in collected
    assert "[two-" not in collected


def test_a_reference_network_built_for_another_target_is_left_as_it_is(offline: Project) -> None:
    name = REFERENCE_VARIANTS[0].name
    directory = write_model(offline.path / "model_repository", name, max_batch_size=8)
    config = (directory / "config.pbtxt").read_text()
    served_by = 'platform: "tensorrt_plan"'
    (directory / "config.pbtxt").write_text(config.replace('backend: "python"', served_by))
    (directory / "1" / "model.py").unlink()
    (directory / "1" / "model.plan").write_bytes(b"plan")
    shown = offline.run(f"--gaitperf-models={name}", "--triton-timeout=30")
    assert "there is no server" in shown.stdout.str()  # none here has TensorRT's backend
    assert {path.name for path in directory.rglob("*")} == {"1", "config.pbtxt", "model.plan"}


def test_a_model_that_fails_in_a_proposed_shape_is_said_to_get_it_from_the_grid(
    offline: Project,
) -> None:
    (offline.path / "grid.toml").write_text(
        "models = 'rec'\nbatch_sizes = [1]\nconcurrencies = [1]\nshapes.rec = {x = [3, 8]}\n"
    )
    inputs = [Tensor("x", "FP32", (3, -1))]
    write_model(offline.path / "model_repository", "rec", inputs=inputs, fail_every=1)
    shown = offline.run("--gaitperf-grid=grid.toml", "-k", "throughput")
    shown.assert_outcomes(errors=1, deselected=3)
    said = " ".join(shown.stdout.str().split())
    assert "; does the model take x [3, 8], which the grid gives?" in said
