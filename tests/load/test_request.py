from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.request import input_tensors
from pytest_gaitperf.triton.models import ModelInfo, TensorSpec

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer


@pytest.mark.parametrize(
    ("model", "shapes", "message"),
    [
        (
            "dynamic",
            {},
            r"'INPUT0' has the dynamic shape \[-1, 2\].* \[shapes.dynamic\] INPUT0 = \[16, 2\]",
        ),
        ("dynamic", {"INPUT0": (5, 3)}, r"shape \[-1, 2\], and the grid asks for \[5, 3\]"),
        ("dynamic", {"INPUT0": (5,)}, r"the grid asks for \[5\]"),
        ("identity", {"INPUT0": (17,)}, r"shape \[16\], and the grid asks for \[17\]"),
        ("identity", {"IMPUT0": (16,)}, "no input tensor 'IMPUT0'.*its inputs are INPUT0"),
    ],
)
def test_a_shape_that_does_not_fit_names_the_tensor(
    loaded: TritonServer, model: str, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        input_tensors(loaded.model(model), 1, shapes)


def test_the_same_bytes_in_every_session_and_others_with_another_seed(
    loaded: TritonServer,
) -> None:
    model = loaded.model("identity")
    first, again = (input_tensors(model, 4, {})["INPUT0"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = input_tensors(model, 4, {}, seed=1)["INPUT0"]
    assert not np.array_equal(first, other)
    # No two samples of a batch are alike: a cache per sample would show.
    assert len({sample.tobytes() for sample in first}) == 4


def model_of(*inputs: TensorSpec, name: str = "model") -> ModelInfo:
    return ModelInfo(name, ("1",), 4, inputs, (), "python", decoupled=False)


def test_random_data_lies_where_models_expect_it() -> None:
    datatypes = ("FP16", "FP32", "FP64", "INT8", "INT32", "UINT8", "UINT64", "BOOL", "BYTES")
    model = model_of(*(TensorSpec(kind, kind, (200,), optional=False) for kind in datatypes))
    tensors = input_tensors(model, 3, {})
    assert all(array.shape == (3, 200) for array in tensors.values())
    for kind in ("FP16", "FP32", "FP64"):
        assert 0 <= tensors[kind].min() < 0.1
        assert 0.9 < tensors[kind].max() <= 1
    for kind in ("INT8", "INT32", "UINT8", "UINT64"):
        assert (tensors[kind].min(), tensors[kind].max()) == (0, 127)
    assert set(tensors["BOOL"].ravel().tolist()) == {False, True}
    assert {len(text) for text in tensors["BYTES"].ravel()} == {16}


def test_a_model_whose_inputs_are_all_optional_gets_them_all() -> None:
    model = model_of(
        TensorSpec("A", "FP32", (2,), optional=True), TensorSpec("B", "FP32", (2,), optional=True)
    )
    assert list(input_tensors(model, 1, {})) == ["A", "B"]


def test_a_datatype_that_cannot_be_generated_is_named() -> None:
    model = model_of(TensorSpec("X", "FP8", (2,), optional=False))
    with pytest.raises(ConfigurationError, match="input tensor 'X' has datatype FP8"):
        input_tensors(model, 1, {})
