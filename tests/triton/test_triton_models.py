"""Configurations and counters, read without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.triton.models import (
    ModelStatistics,
    read_config,
    repository_models,
    statistics_from,
)
from pytest_gaitperf.way import address, parse_url
from tests.triton.models import Tensor, write_broken_config, write_model

if TYPE_CHECKING:
    from pathlib import Path


def test_a_repository_is_read_by_folder(tmp_path: Path) -> None:
    write_model(tmp_path, "b", max_batch_size=0)
    write_model(tmp_path, "a", extra_config="model_transaction_policy { decoupled: true }")
    (tmp_path / "no_config").mkdir()
    (tmp_path / ".git").mkdir()
    write_broken_config(tmp_path, "broken")
    models = repository_models(tmp_path)
    assert list(models) == ["a", "b", "broken", "no_config"]
    assert models["a"] is not None
    assert models["a"].decoupled
    assert models["b"] is not None
    assert not models["b"].decoupled
    assert not models["b"].batched
    assert models["broken"] is models["no_config"] is None, "the server has the word"


@pytest.mark.parametrize(
    "content",
    [
        b'backend: "onnxruntime"\n',
        b'input { name: "X" dims: [1] }\n',
        b"max_batch_size: ${max_batch_size}\n",
        b'# gr\xf6\xdfe\nbackend: "onnxruntime"\n',
        b'name: "original"\n',
    ],
)
def test_a_config_that_only_the_server_understands_is_left_to_it(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.pbtxt").write_bytes(content)
    assert repository_models(tmp_path) == {"model": None}


def config_of(repository: Path, name: str) -> ModelInfo:
    return read_config(repository / name / "config.pbtxt")


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", ("10",)),
        ("version_policy: { latest { num_versions: 2 } }", ("9", "10")),
        ("version_policy: { all { } }", ("1", "9", "10")),
        ("version_policy: { specific { versions: [ 9, 1, 7 ] } }", ("1", "9")),
    ],
)
def test_versions_follow_the_policy(tmp_path: Path, policy: str, versions: tuple[str, ...]) -> None:
    write_model(tmp_path, "model", versions=(1, 9, 10), extra_config=policy)
    (tmp_path / "model" / "notes").mkdir()
    assert config_of(tmp_path, "model").versions == versions


def test_a_config_may_leave_the_name_and_backend_out(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "config.pbtxt").write_text('platform: "tensorrt_plan"\n')
    assert config_of(tmp_path, "engine") == ModelInfo("engine", (), 0, (), (), "tensorrt_plan")


def test_a_broken_config_names_file_and_line(tmp_path: Path) -> None:
    folder = write_broken_config(tmp_path, "broken")
    with pytest.raises(ConfigurationError) as info:
        config_of(tmp_path, "broken")
    assert str(info.value).startswith(f"{folder / 'config.pbtxt'}:3: not a valid model config")
    assert "eight" in str(info.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'name: "other"\n', "names the model 'other', but its folder is 'model'"),
        (b"\xff\xfe", "cannot be read as text"),
        (b"input { data_type: TYPE_FP32 dims: [1] }\n", "an input or output has no name"),
        (b'output { name: "X" dims: [1] }\n', "an input or output has no data_type"),
        (b"\n\nno_such_field: 1\n", "config.pbtxt:3: not a valid .*no_such_field"),
        (b'name: "model\n', "config.pbtxt:1: not a valid"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.pbtxt").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        config_of(tmp_path, "model")


def test_a_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing is not a directory: build the models"):
        repository_models(tmp_path / "missing")


def test_the_signature_ignores_order_and_shows_what_matters(tmp_path: Path) -> None:
    one, two = Tensor("A", "FP32", (2, 3)), Tensor("B", "BYTES", (-1,), optional=True)
    signatures = []
    for index, inputs in enumerate(([one, two], [two, one], [one])):
        name = f"model{index}"
        write_model(tmp_path, name, inputs=inputs, outputs=[Tensor("OUT", "FP16", (4,))])
        signatures.append(config_of(tmp_path, name).signature)
    assert signatures[0] == signatures[1] == "A:FP32[2,3], B:BYTES[-1]? -> OUT:FP16[4]"
    assert signatures[2] != signatures[0]


def test_tensor_specs_use_kserve_names(tmp_path: Path) -> None:
    write_model(tmp_path, "text", inputs=[Tensor("T", "BYTES", (1,))])
    assert config_of(tmp_path, "text").inputs == (TensorSpec("T", "BYTES", (1,), optional=False),)


def test_statistics_of_an_older_server_lack_what_it_does_not_know() -> None:
    entry = {
        "inference_count": "12",
        "inference_stats": {"success": {"count": 3, "ns": 40}, "queue": {}, "fail": None},
    }
    assert statistics_from(entry) == ModelStatistics(12, 0, 3, 0, 40, 0, 0, 0, 0)
    assert statistics_from({}) == ModelStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_statistics_subtract_field_by_field() -> None:
    later = ModelStatistics(*range(10, 100, 10))
    assert later.minus(ModelStatistics(*range(1, 10))) == ModelStatistics(*range(9, 90, 9))


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("http://orin.local:9000/", ("orin.local", 9000)),
        ("localhost", ("localhost", 8000)),
        ("[::1]:8001", ("::1", 8001)),
    ],
)
def test_urls_with_and_without_a_scheme(url: str, parsed: tuple[str, int]) -> None:
    assert parse_url(url)[:2] == parsed
    assert parse_url(address(*parsed))[:2] == parsed
