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
from tritonclient.grpc import model_config_pb2

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.zoo import trtexec
from pytest_gaitperf.zoo.targets import Tensorrt
from tests.zoo.plan_bench import HERE, Bench, flags, script

TINY, BEST, INT8 = "3D_fp32_97_batchd", "3D_best_97_batchd", "2D_int8_97_batchd"


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
    monkeypatch.setattr("pytest_gaitperf.zoo.networks.SEED", 1)
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
        "pytest_gaitperf.zoo.targets.identify",
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
    with subprocess.Popen(  # our own program
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


def test_sizes_that_vary_have_no_profile(bench: Bench) -> None:
    target = Tensorrt(trtexec.find(None), (1, 8, 32))
    model = ModelInfo(
        "m", ("1",), 32, (TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (1,)),)
    )
    with pytest.raises(ConfigurationError, match="the sizes of x vary"):
        target.compiled(model, "fp32", bench.bin / "model.onnx", print)
