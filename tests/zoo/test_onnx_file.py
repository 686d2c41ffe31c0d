from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from pytest_gaitperf.zoo.onnx_file import producer

if TYPE_CHECKING:
    from pathlib import Path


def model(producer_name: str | None) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    names = {} if producer_name is None else {"producer_name": producer_name}
    content: bytes = helper.make_model(graph, **names).SerializeToString()
    return content


@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
def test_the_producer_is_the_one_that_onnx_reads(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.onnx"
    path.write_bytes(model(name))
    assert producer(path) == onnx.load(path).producer_name == name


def test_a_model_without_a_producer_is_still_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(None))
    assert producer(path) == ""


def test_a_file_cut_after_the_name_keeps_its_producer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model("somebody")[:-5])
    assert producer(path) == "somebody"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(100),
        b"\x08",
        b"\xff" * 40,
        b"not a model at all",
        model(None)[:-1],
        b"\x12\x7fab",
    ],
)
def test_what_is_no_model_has_no_producer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert producer(path) is None


@given(content=st.binary(max_size=64))
def test_any_bytes_are_answered(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    found = producer(path)
    assert (
        found is None
        or found.encode(errors="replace") in content
        or "\N{REPLACEMENT CHARACTER}" in found
    )
