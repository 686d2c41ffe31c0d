"""GaitSet's weights from Keras files, in both orders of the published programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo import keras_file
from pytest_gaitperf.zoo.importing import import_keras
from pytest_gaitperf.zoo.networks import Variant
from pytest_gaitperf.zoo.onnx_graph import seeded_weights
from tests.zoo.keras_files import Arrays, write

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = Variant.parse("GaitSet_fp32_90_batchd").describe()
WEIGHTS = {
    layer.name: weights[0]
    for layer, weights in zip(
        NETWORK.layers_with_weights(), seeded_weights(NETWORK, 3), strict=True
    )
}
MADE = ("frame1", "frame2", "set1", "set2", "frame3", "frame4", "set3", "set4", "frame5", "frame6")
"""The convolutions in the order in which the published program makes them."""


@pytest.fixture(autouse=True)
def _no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_file, "check_readable", lambda _path: None)


def layers(*, wrapped: bool = False, **changed: Any) -> Arrays:
    """GaitSet's layers in Keras; ``changed`` are other kernels by the names of the convolutions."""
    found: Arrays = {}
    numbers = {"conv2d": 0, "time_distributed": 0}
    for name in MADE:
        kind = "time_distributed" if wrapped and name.startswith("frame") else "conv2d"
        number = numbers[kind]
        numbers[kind] += 1
        kernel = np.moveaxis(WEIGHTS[name], (0, 1), (-1, -2))
        found[f"{kind}_{number}" if number else kind] = {"kernel": changed.get(name, kernel)}
    found["mat_mul"] = {"kernel": changed.get("projection", WEIGHTS["projection"])}
    found["classifier"] = {"kernel": np.ones((5, 4), "f4"), "bias": np.ones(4, "f4")}
    return found


def imported(path: Path, given: Arrays) -> list[Any]:
    content, _ = import_keras(write(path / "own.h5", given), "GaitSet", "fp32", None)
    return [numpy_helper.to_array(one) for one in onnx.load_from_string(content).graph.initializer]


@pytest.mark.parametrize("wrapped", [False, True])
def test_both_branches_get_their_own_weights(tmp_path: Path, *, wrapped: bool) -> None:
    found = [array for array in imported(tmp_path, layers(wrapped=wrapped)) if array.ndim > 2]
    assert len(found) == len(WEIGHTS)
    for one, (name, expected) in zip(found, WEIGHTS.items(), strict=True):
        np.testing.assert_array_equal(one, expected, name)


def without(*names: str) -> Arrays:
    return {name: arrays for name, arrays in layers().items() if name not in names}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (without("conv2d_9"), "10 convolutions and one array of projections, the file has 9 and 1"),
        (without("mat_mul"), "the file has 10 and 0"),
        (layers(frame6=np.ones((5, 5, 5), "f4")), "the file has 9 and 2"),
        (
            {name.replace("conv2d_9", "time_distributed"): one for name, one in layers().items()},
            r"1 of the convolutions run on each frame \(time_distributed\)",
        ),
        (layers(set2=np.ones((3, 3, 6, 7), "f4")), r"layer conv2d_3 has .*; set2 of the GaitSet"),
        (layers(frame1=np.full((5, 5, 1, 3), np.nan, "f4")), "conv2d"),
    ],
    ids=["a-convolution-less", "no-projection", "two-projections", "few-wrapped", "width", "nan"],
)  # fmt: skip
def test_what_is_another_network_is_refused(tmp_path: Path, given: Arrays, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        imported(tmp_path, given)
