from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pytest_gaitperf.cli import main
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.zoo.targets import LOCAL, ONNXRUNTIME, Target
from tests.zoo.keras_files import keras_layers, write
from tests.zoo.plan_bench import Bench, flags

if TYPE_CHECKING:
    from pathlib import Path

TINY, BEST = "3D_fp32_97_batchd", "3D_best_97_batchd"


def test_onnxruntimes_backend_gets_the_same_weights_as_local(bench: Bench) -> None:
    assert bench.build(TINY, target="onnxruntime") == 0
    assert bench.files(TINY) == {"config.pbtxt", "1/model.onnx", "1/recipe.json"}
    config = bench.config(TINY)
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 32)
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert config.HasField("dynamic_batching")
    written = (bench.repository / TINY / "1" / "model.onnx").read_bytes()
    stamp = bench.repository / TINY / "1" / "model.onnx"
    before = stamp.stat().st_mtime_ns
    assert bench.build(TINY, target="onnxruntime") == 0
    assert stamp.stat().st_mtime_ns == before
    stamp.write_bytes(written[:-9])
    assert bench.build(TINY, target="onnxruntime") == 0
    assert stamp.read_bytes() == written
    bench.repository = bench.repository.with_name("local")
    assert bench.build(TINY, target="local") == 0
    assert (bench.repository / TINY / "1" / "model.onnx").read_bytes() == written


def test_an_edited_config_is_kept(bench: Bench) -> None:
    assert bench.build(TINY, target="onnxruntime") == 0
    config = bench.repository / TINY / "config.pbtxt"
    config.write_text(config.read_text() + "# mine\n")
    assert bench.build(TINY, target="onnxruntime") == 0
    assert config.read_text().endswith("# mine\n")
    assert bench.build("--force", TINY, target="onnxruntime") == 0
    assert not config.read_text().endswith("# mine\n")


def test_an_edited_config_is_kept_when_the_plan_is_built_again(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.build(TINY) == 0
    config = bench.repository / TINY / "config.pbtxt"
    config.write_text(config.read_text() + "# mine\n")
    assert bench.build("--batches", "1,2,4", TINY) == 0
    assert len(bench.calls()) == 2
    assert config.read_text().endswith("# mine\n")
    assert "your config.pbtxt is kept as you edited it" in capsys.readouterr().err


def test_keras_weights_become_a_plan_of_the_variants_name(bench: Bench, tmp_path: Path) -> None:
    file = write(tmp_path / "own.h5", keras_layers(TINY))
    where = ("--repository", str(bench.repository), "--target", "tensorrt")
    command = ["models", "import", str(file), "--network", "3D", "--precision", "int8", *where]
    assert main(command) == 0
    name = TINY.replace("fp32", "int8")
    assert bench.files(name) == {"config.pbtxt", "1/model.plan", "1/recipe.json"}
    assert "--int8" in bench.calls()[0]
    assert bench.build(name) == 0
    assert len(bench.calls()) == 1


def test_list_and_info_say_for_which_target_a_model_was_built(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.build(TINY) == 0
    capsys.readouterr()
    for action in (["list"], ["info", TINY]):
        assert main(["models", *action, "--repository", str(bench.repository)]) == 0
        shown = capsys.readouterr().out
        assert "another target's: built for tensorrt" in shown
        assert "model.onnx" not in shown


def test_best_is_for_tensorrt_alone(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.build(BEST, target="onnxruntime") == 1
    assert "choose --target tensorrt" in capsys.readouterr().err
    assert bench.build(BEST) == 0


@pytest.mark.parametrize(
    ("first", "second"), [("local", "tensorrt"), ("tensorrt", "local"), ("onnxruntime", "local")]
)
def test_a_repository_has_one_target_for_a_name(
    bench: Bench, capsys: pytest.CaptureFixture[str], first: str, second: str
) -> None:
    assert bench.build(TINY, target=first) == 0
    before = bench.files(TINY)
    assert bench.build(TINY, target=second) == 1
    said = capsys.readouterr().err
    assert f"was built for {first}" in said
    assert "--repository" in said
    assert bench.files(TINY) == before
    assert bench.build("--force", TINY, target=second) == 0
    weights = {"tensorrt": "1/model.plan"}.get(second, "1/model.onnx")
    scripts = {"1/model.py"} if second == "local" else set()
    assert bench.files(TINY) == {"config.pbtxt", weights, "1/recipe.json"} | scripts


def test_another_targets_weights_of_the_users_own_are_not_taken_away(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.build(TINY) == 0
    bench.plan(TINY).write_bytes(b"mine")
    assert bench.build("--force", TINY, target="local") == 1
    assert "its model.plan was not built here" in capsys.readouterr().err
    assert bench.plan(TINY).read_bytes() == b"mine"


def test_an_onnx_file_of_ones_own_becomes_a_plan(bench: Bench, tmp_path: Path) -> None:
    assert bench.build(TINY, target="local") == 0
    file = bench.repository / TINY / "1" / "model.onnx"
    where = ("--repository", str(tmp_path / "plans"), "--target", "tensorrt")
    command = ["models", "import", str(file), *where, "--name", "mine", "--precision", "fp16"]
    assert main(command) == 0
    given = flags(bench.calls()[0])
    assert given["--maxShapes"] == "input:32x25x60x60x2"
    assert "--fp16" in given
    bench.repository = tmp_path / "plans"
    assert bench.files("mine") == {"config.pbtxt", "1/model.plan", "1/recipe.json"}
    assert bench.config("mine").platform == "tensorrt_plan"


def test_an_imported_plan_is_never_built_anew(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.build(TINY, target="local") == 0
    file = bench.repository / TINY / "1" / "model.onnx"
    bench.repository = tmp_path / "plans"
    where = ("--repository", str(bench.repository), "--target", "tensorrt", "--name", TINY)
    assert main(["models", "import", str(file), *where]) == 0
    assert bench.build(TINY) == 0
    assert "kept" in capsys.readouterr().err
    assert len(bench.calls()) == 1


@pytest.mark.parametrize("target", [LOCAL, ONNXRUNTIME])
def test_any_name_and_any_number_of_tensors_survive_the_config(target: Target) -> None:
    name = 'say "hi"\\\n\tä'
    model = ModelInfo(
        "many",
        ("1",),
        0,
        (TensorSpec(name, "BYTES", (-1, 2)), TensorSpec("b", "INT64", (3,))),
        (TensorSpec("c", "BOOL", (1,)),),
    )
    config = text_format.Parse(target.texts(model)["config.pbtxt"], model_config_pb2.ModelConfig())
    assert [tensor.name for tensor in config.input] == [name, "b"]
    assert [list(tensor.dims) for tensor in config.input] == [[-1, 2], [3]]
    assert config.input[0].data_type == model_config_pb2.TYPE_STRING
    assert config.output[0].data_type == model_config_pb2.TYPE_BOOL
    assert not config.HasField("dynamic_batching")
