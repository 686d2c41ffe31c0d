from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gait.targets import trtexec
from pytest_gaitperf.gait.targets.local import Local
from pytest_gaitperf.gait.targets.onnxruntime import Onnxruntime
from pytest_gaitperf.gait.targets.target import ServedModel, Tensor
from tests.gait.test_import_keras_weights import keras_layers, write

HERE = Path(__file__).parent
TINY, BEST, INT8 = "3D_fp32_97_batchd", "3D_best_97_batchd", "2D_int8_97_batchd"


def script(path: Path, name: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {HERE / name} "$@"\n')
    path.chmod(0o755)


class Bench:
    """A machine with a fake trtexec, and a repository."""

    def __init__(self, path: Path) -> None:
        self.repository = path / "models"
        self.calls_file = path / "calls"
        self.bin = path / "bin"
        self.cache = path / "cache" / "gaitperf" / "tensorrt"

    def build(self, *arguments: str, target: str = "tensorrt") -> int:
        where = ("--target", target, "--repository", str(self.repository))
        return main(["models", "build", *where, *arguments])

    def calls(self) -> list[list[str]]:
        """The command lines that built something so far."""
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def config(self, name: str) -> Any:
        """What Triton would read."""
        text = (self.repository / name / "config.pbtxt").read_text()
        return text_format.Parse(text, model_config_pb2.ModelConfig())

    def plan(self, name: str) -> Path:
        return self.repository / name / "1" / "model.plan"

    def files(self, name: str) -> set[str]:
        root = self.repository / name
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    bench.bin.mkdir()
    script(bench.bin / "trtexec", "fake_trtexec.py")
    monkeypatch.setenv("PATH", f"{bench.bin}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_TRTEXEC_CALLS", str(bench.calls_file))
    monkeypatch.setattr(trtexec, "_POLL_S", 0.01)
    return bench


def flags(call: list[str]) -> dict[str, str]:
    return {flag.partition("=")[0]: flag.partition("=")[2] for flag in call}


def test_a_plan_is_built_with_a_profile_for_the_batches_and_the_timings_kept(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.build(TINY) == 0
    (call,) = bench.calls()
    given = flags(call)
    assert Path(given.pop("--onnx")).name == "model.onnx"
    assert Path(given.pop("--saveEngine")).name == "model.plan"
    assert Path(given.pop("--timingCacheFile")).parent == bench.cache
    assert given == {
        "--minShapes": "input:1x25x60x60x2",
        "--optShapes": "input:8x25x60x60x2",
        "--maxShapes": "input:32x25x60x60x2",
        "--skipInference": "",
    }
    assert bench.files(TINY) == {"config.pbtxt", "1/model.plan", "1/recipe.json"}
    assert bench.plan(TINY).read_bytes().startswith(b"plan of ")
    assert "&&&& PASSED" in (bench.cache / f"{TINY}.log").read_text()
    said = capsys.readouterr().err
    assert f"{TINY}: Engine built in 0.02 sec." in said
    assert "Finished parsing network model" in said


def test_the_config_is_one_that_triton_parses(bench: Bench) -> None:
    assert bench.build(TINY, "GaitSet_fp16_97_batchd") == 0
    config = bench.config(TINY)
    assert (config.name, config.platform, config.max_batch_size) == (TINY, "tensorrt_plan", 32)
    assert list(config.input[0].dims) == [25, 60, 60, 2]
    assert (config.input[0].name, config.output[0].name) == ("input", "code")
    assert config.input[0].data_type == model_config_pb2.TYPE_FP32
    assert list(config.output[0].dims) == [512]
    assert config.HasField("dynamic_batching")
    (group,) = config.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_GPU, 1)
    assert list(bench.config("GaitSet_fp16_97_batchd").output[0].dims) == [62 * 256]


@pytest.mark.parametrize(
    ("precision", "flag"),
    [("fp32", None), ("fp16", "--fp16"), ("int8", "--int8"), ("best", "--best")],
)
def test_each_precision_has_its_flag(bench: Bench, precision: str, flag: str | None) -> None:
    assert bench.build(f"3D_{precision}_97_batchd") == 0
    (call,) = bench.calls()
    assert {"--fp16", "--int8", "--best"} & set(call) == ({flag} if flag else set())


def test_int8_is_built_from_a_graph_with_scales(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    build = trtexec.Trtexec.build

    def spy(self: trtexec.Trtexec, given: list[str], *rest: Any) -> None:
        seen.append(onnx.load(given[0].partition("=")[2]))
        build(self, given, *rest)

    monkeypatch.setattr(trtexec.Trtexec, "build", spy)
    assert bench.build(INT8) == 0
    operators = [node.op_type for node in seen[0].graph.node]
    assert operators.count("QuantizeLinear") >= 6
    assert {tensor.data_type for tensor in seen[0].graph.initializer if len(tensor.dims) > 2} == {
        onnx.TensorProto.FLOAT
    }


def test_batches_set_the_profile_and_the_config(bench: Bench) -> None:
    assert bench.build("--batches", "2,4,16", TINY) == 0
    given = flags(bench.calls()[0])
    assert [given[f"--{which}Shapes"][:8] for which in ("min", "opt", "max")] == [
        "input:2x",
        "input:4x",
        "input:16",
    ]
    assert bench.config(TINY).max_batch_size == 16


def test_the_dla_gets_one_batch_size_and_an_instance_of_its_own(bench: Bench) -> None:
    assert bench.build("--dla", "1", BEST) == 0
    given = flags(bench.calls()[0])
    assert given["--useDLACore"] == "1"
    assert "--allowGPUFallback" in given
    assert given["--minShapes"] == given["--maxShapes"] == "input:1x25x60x60x2"
    config = bench.config(BEST)
    assert config.max_batch_size == 1
    (device,) = config.instance_group[0].secondary_devices
    assert (device.kind, device.device_id) == (type(device).KIND_NVDLA, 1)


def test_an_older_tensorrt_gets_the_flag_it_knows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TRTEXEC_VERSION", "8502")
    assert bench.build(TINY) == 0
    assert "--buildOnly" in bench.calls()[0]


@pytest.mark.parametrize(
    ("number", "version"),
    [("8601", (8, 6, 1)), ("8502", (8, 5, 2)), ("100300", (10, 3, 0)), ("101602", (10, 16, 2))],
)
def test_the_version_is_read_from_the_first_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: str, version: tuple[int, int, int]
) -> None:
    monkeypatch.setenv("FAKE_TRTEXEC_VERSION", number)
    assert trtexec.find(None).version == version


def test_a_plan_is_built_again_when_what_made_it_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def built() -> int:
        assert bench.build(TINY) == 0
        return len(bench.calls())

    assert built() == 1
    assert built() == 1
    assert "up to date" in capsys.readouterr().err
    monkeypatch.setenv("FAKE_TRTEXEC_VERSION", "8602")
    assert built() == 2
    assert "changed: tensorrt" in capsys.readouterr().err
    monkeypatch.setattr("pytest_gaitperf.gait.weights.SEED", 1)
    assert built() == 3
    assert "changed: onnx" in capsys.readouterr().err
    assert bench.build("--batches", "1,1,4", TINY) == 0
    assert "changed: batches" in capsys.readouterr().err
    assert bench.config(TINY).max_batch_size == 4
    bench.plan(TINY).unlink()
    assert bench.build("--batches", "1,1,4", TINY) == 0
    assert len(bench.calls()) == 5
    assert bench.build("--batches", "1,1,4", "--force", TINY) == 0
    assert len(bench.calls()) == 6


def test_another_gpu_needs_another_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.build(TINY) == 0
    fields = {"gpu": "NVIDIA Test", "arch": "x86_64"}
    monkeypatch.setattr(
        "pytest_gaitperf.gait.targets.tensorrt.identify",
        type("Profile", (), {"fields": fields}),
    )
    assert bench.build(TINY) == 0
    one, other = (Path(flags(call)["--timingCacheFile"]) for call in bench.calls())
    assert one != other
    assert other.name == "timings-8.6.1-NVIDIA-Test.cache"


def test_a_plan_of_the_users_own_is_kept(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.build(TINY) == 0
    bench.plan(TINY).write_bytes(b"mine")
    assert bench.build(TINY) == 0
    assert "kept, its model.plan was not built here" in capsys.readouterr().err
    assert bench.build("--force", TINY) == 1
    assert "move it away" in capsys.readouterr().err
    assert bench.plan(TINY).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("error", "Could not find any implementation for node conv_0."),
        ("silent", "ended well and wrote no plan"),
        ("absent", "error while loading shared libraries: libnvinfer.so.8"),
    ],
)
def test_a_failure_shows_the_end_of_the_log_and_the_next_build_builds(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: str,
    message: str,
) -> None:
    monkeypatch.setenv("FAKE_TRTEXEC", failure)
    assert bench.build(TINY) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not bench.plan(TINY).exists()
    monkeypatch.delenv("FAKE_TRTEXEC")
    assert bench.build(TINY) == 0
    assert bench.plan(TINY).exists()


def test_ctrl_c_ends_trtexec_and_leaves_no_plan(bench: Bench, tmp_path: Path) -> None:
    command = ["models", "build", "--target", "tensorrt", TINY]
    with subprocess.Popen(  # noqa: S603  # our own program
        [
            sys.executable,
            "-m",
            "pytest_gaitperf.cli",
            *command,
            "--repository",
            str(tmp_path / "m"),
        ],
        cwd=HERE.parents[1],
        env={**os.environ, "FAKE_TRTEXEC": "slow"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        pid_file = tmp_path / "pid"
        for _ in range(300):
            if pid_file.exists() and pid_file.read_text():
                break
            time.sleep(0.1)
        child = int(pid_file.read_text())
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "gaitperf: interrupted" in process.stderr.read()
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not (tmp_path / "m" / TINY / "1" / "model.plan").exists()


def test_a_container_builds_what_the_container_serves(bench: Bench) -> None:
    script(bench.bin / "docker", "fake_trtexec_container.py")
    (bench.bin / "trtexec").unlink()
    assert bench.build("--image", "triton:test", TINY) == 0
    assert bench.plan(TINY).exists()
    record = json.loads(bench.plan(TINY).with_name("recipe.json").read_text())
    assert record["recipe"]["image"] == "triton:test"
    assert record["recipe"]["tensorrt"] == "8.6.1"


def test_what_the_container_engine_lacks_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(bench.bin / "docker", "fake_trtexec_container.py")
    monkeypatch.setenv(
        "FAKE_DOCKER_ERROR", "Error response from daemon: No such image: triton:test"
    )
    assert bench.build("--image", "triton:test", TINY) == 1
    assert "docker pull triton:test', or name another with --image" in capsys.readouterr().err


def test_without_trtexec_the_places_are_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trtexec, "PLACES", (str(bench.bin / "nowhere" / "trtexec"),))
    (bench.bin / "trtexec").rename(bench.bin / "elsewhere")
    assert bench.build(TINY) == 1
    said = capsys.readouterr().err
    assert "no trtexec on PATH nor at" in said
    assert "--image" in said
    monkeypatch.setattr(trtexec, "PLACES", (str(bench.bin / "elsewhere"),))
    assert bench.build(TINY) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batches", "8"), "--batches=8 is not three whole numbers"),
        (("--batches", "8,4,16"), "are not three rising numbers"),
        (("--batches", "0,1,2"), "are not three rising numbers"),
        (("--dla", "0", "--batches", "1,2,4"), "one batch size"),
        (("--dla", "0"), "the DLA computes in FP16 and INT8"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert bench.build(*arguments, TINY) == 1
    assert message in capsys.readouterr().err
    assert bench.calls() == []
    assert not bench.repository.exists()


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
    assert "it was not built here" in capsys.readouterr().err
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


@pytest.mark.parametrize("target", [Local(), Onnxruntime()])
def test_any_name_and_any_number_of_tensors_survive_the_config(target: Any) -> None:
    name = 'say "hi"\\\n\tä'
    model = ServedModel(
        "many",
        0,
        (Tensor(name, "BYTES", (-1, 2)), Tensor("b", "INT64", (3,))),
        (Tensor("c", "BOOL", (1,)),),
    )
    config = text_format.Parse(target.texts(model)["config.pbtxt"], model_config_pb2.ModelConfig())
    assert [tensor.name for tensor in config.input] == [name, "b"]
    assert [list(tensor.dims) for tensor in config.input] == [[-1, 2], [3]]
    assert config.input[0].data_type == model_config_pb2.TYPE_STRING
    assert config.output[0].data_type == model_config_pb2.TYPE_BOOL
    assert not config.HasField("dynamic_batching")


def test_sizes_that_vary_have_no_profile(bench: Bench) -> None:
    from pytest_gaitperf.gait.targets.tensorrt import Batches, Tensorrt  # noqa: PLC0415

    target = Tensorrt(trtexec.find(None), Batches(1, 8, 32))
    model = ServedModel("m", 32, (Tensor("x", "FP32", (-1, 3)),), (Tensor("y", "FP32", (1,)),))
    with pytest.raises(ConfigurationError, match="the sizes of x vary"):
        target.compiled(model, "fp32", bench.bin / "model.onnx", print)
