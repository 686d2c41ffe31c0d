"""Imported weights give what Keras itself gives. Optional: needs keras, with any backend.

With its numpy backend: ``pip install keras jax``, and ``KERAS_BACKEND=numpy``.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from pytest_gaitperf.zoo.importing import import_keras, variant_of
from pytest_gaitperf.zoo.networks import NETWORKS, Variant

if TYPE_CHECKING:
    from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="keras is not installed: pip install keras jax")
L = keras.layers

# Its saving warns that HDF5 is of old, and its imports of what is to come.
pytestmark = pytest.mark.filterwarnings("ignore")


def save_weights_as_keras_2_did(model: Any, path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    from keras.src.legacy.saving import legacy_h5_format  # noqa: PLC0415  # where it still is

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def save(model: Any, path: Path, layout: str) -> Path:
    if layout == "model":
        path = path / "model.h5"
        model.save(path)
    elif layout == "weights":
        path = path / "model_weights.hdf5"
        save_weights_as_keras_2_did(model, path)
    else:
        path = path / "model.weights.h5"
        model.save_weights(path)
    return path


def randomized(model: Any) -> Any:
    """Weights and biases that are nowhere zero, as those of a trained model."""
    rng = np.random.default_rng(5)
    scaled = []
    for value in model.get_weights():
        inputs = np.prod(value.shape[:-1]) if value.ndim > 1 else 20
        scaled.append(rng.standard_normal(value.shape).astype("f4") * (1.5 / inputs) ** 0.5)
    model.set_weights(scaled)
    return model


def code(content: bytes, sample: Any) -> Any:
    (answer,) = onnxruntime.InferenceSession(content).run(["code"], {"input": sample})
    return answer


def network_2d(order: str, flatten: str | None = None, activation: str | None = None) -> Any:
    """Build the published 2D network, whose layers are a model within the model, pruned by 97 %."""
    first = order == "channels_first"
    shape = (50, 60, 60) if first else (60, 60, 50)
    inner = [L.Input(shape)]
    for filters, kernel, pool in ((3, 7, 1), (6, 5, 1), (15, 3, 1), (15, 2, 0)):
        inner.append(L.Conv2D(filters, kernel, activation="relu", data_format=order))
        if pool:
            inner.append(L.MaxPooling2D(2, data_format=order))
    inner += [L.Flatten(name="flatten", data_format=flatten)]
    inner += [
        L.Dense(2048, activation=activation, name="dense"),
        L.Dropout(0.4),
        L.Dense(1024, name="code"),
    ]
    value = L.Input(shape, name="input")
    encoder = keras.Sequential(inner, name="convBranch")
    model = keras.Model(value, L.Dense(7, activation="softmax", name="probs")(encoder(value)))
    return randomized(model), encoder


@pytest.mark.parametrize("layout", ["model", "weights", "weights of keras 3"])
def test_the_2d_network(tmp_path: Path, layout: str) -> None:
    model, encoder = network_2d("channels_last")
    content, found = import_keras(save(model, tmp_path, layout), "2D", "fp32", "channels_last")
    sample = np.random.default_rng(7).standard_normal((2, 50, 60, 60), dtype=np.float32)
    expected = np.asarray(encoder(np.moveaxis(sample, 1, -1), training=False))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(code(content, sample), expected, rtol=0, atol=1e-4)
    assert variant_of("2D", "fp32", found.network) == Variant("2D", "fp32", 97)
    assert any("probs" in note for note in found.notes)


@pytest.mark.parametrize(
    ("flatten", "activation"), [(None, None), ("channels_first", "relu"), ("channels_last", "relu")]
)
def test_the_files_architecture_wins(
    tmp_path: Path, flatten: str | None, activation: str | None
) -> None:
    model, encoder = network_2d("channels_first", flatten, activation)
    content, _ = import_keras(save(model, tmp_path, "model"), "2D", "fp32", "channels_last")
    sample = np.random.default_rng(7).standard_normal((2, 50, 60, 60), dtype=np.float32)
    expected = np.asarray(encoder(sample, training=False))
    np.testing.assert_allclose(code(content, sample), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["model", "weights", "weights of keras 3"])
def test_the_3d_network_with_widths_of_its_own(tmp_path: Path, layout: str) -> None:
    layers = [L.Input((25, 60, 60, 2))]
    for index, description in enumerate(NETWORKS["3D"].layers):  # type: ignore[attr-defined]
        layers.append(
            L.Conv3D(
                5 + index,
                description.kernel,
                strides=description.strides,
                activation="relu" if description.relu else None,
            )
        )
    model = randomized(keras.Sequential([*layers, L.Flatten(), L.Dense(4, name="probs")]))
    content, found = import_keras(save(model, tmp_path, layout), "3D", "fp32", None)
    sample = np.random.default_rng(7).standard_normal((2, 25, 60, 60, 2), dtype=np.float32)
    encoder = keras.Sequential(model.layers[:-1])
    expected = np.asarray(encoder(sample, training=False))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(code(content, sample), expected, rtol=0, atol=1e-4)
    assert variant_of("3D", "fp32", found.network) is None


class MatMul(L.Layer):  # type: ignore[misc, name-defined]  # it is untyped
    """The published projections: an array that no Keras layer has."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(62, shape[-1], 256), name="MatMul_kernel57")

    def call(self, value: Any) -> Any:
        return keras.ops.matmul(value, self.kernel)


def gaitset() -> Any:
    """Build GaitSet in the published order: the set branch's convolutions come first."""
    ops = keras.ops

    def convolve(value: Any, filters: int, kernel: int) -> Any:
        made = L.Conv2D(filters, kernel, padding="same", use_bias=False)(value)
        return L.LeakyReLU(0.3)(made)

    def over_frames(value: Any) -> Any:
        return ops.max(ops.reshape(value, (-1, 30, *value.shape[1:])), axis=1)

    value = L.Input((30, 64, 44, 1))
    frames = convolve(ops.reshape(value, (-1, 64, 44, 1)), 2, 5)
    frames = L.MaxPooling2D(2)(convolve(frames, 2, 3))
    merged = over_frames(frames)
    merged = L.MaxPooling2D(2)(convolve(convolve(merged, 3, 3), 3, 3))
    frames = L.MaxPooling2D(2)(convolve(convolve(frames, 3, 3), 3, 3))
    merged = L.Add()([merged, over_frames(frames)])
    merged = convolve(convolve(merged, 6, 3), 6, 3)
    frames = over_frames(convolve(convolve(frames, 6, 3), 6, 3))
    merged = L.Add()([merged, frames])
    strips = []
    for bins in (1, 2, 4, 8, 16):
        for branch in (frames, merged):
            rows = L.Reshape((bins, -1, 6))(branch)
            strips.append(ops.mean(rows, axis=2) + ops.max(rows, axis=2))
    rows = ops.transpose(L.Concatenate(axis=1)(strips), (1, 0, 2))
    return randomized(keras.Model(value, MatMul(name="encode")(rows)))


@pytest.mark.parametrize("layout", ["model", "weights", "weights of keras 3"])
def test_gaitset(tmp_path: Path, layout: str) -> None:
    keras.backend.clear_session()
    random.seed(1)
    model = gaitset()
    content, _ = import_keras(save(model, tmp_path, layout), "GaitSet", "fp32", None)
    sample = np.random.default_rng(7).random((2, 30, 64, 44, 1), dtype=np.float32)
    # [strips, batch, outputs], as the published program hands them out.
    expected = np.asarray(keras.ops.transpose(model(sample), (1, 0, 2))).reshape(2, -1)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(code(content, sample), expected, rtol=0, atol=1e-4)
