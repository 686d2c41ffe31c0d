"""Keras' HDF5 layouts written with h5py, as Keras writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from pytest_gaitperf.zoo.networks import NETWORKS, Chain, Convolution, Variant
from pytest_gaitperf.zoo.onnx_graph import seeded_weights

if TYPE_CHECKING:
    from pathlib import Path

Arrays = dict[str, Any]


def keras_layers(variant: str, *, channels_first: bool = True) -> Arrays:
    """Return kernels and biases in Keras' layout, by the names of its layers, with known values."""
    network = Variant.parse(variant).describe()
    assert isinstance(network, Chain)
    layers: Arrays = {}
    channels = 0
    flat = False
    for description, weights in zip(network.layers, seeded_weights(network, 3), strict=True):
        weight, bias = weights
        if isinstance(description, Convolution):
            kernel = np.moveaxis(weight, (0, 1), (-1, -2))
            channels = len(weight)
        else:
            kernel = weight
            if not flat and not channels_first:
                kernel = kernel.reshape(len(kernel), channels, -1).swapaxes(1, 2)
                kernel = kernel.reshape(len(weight), -1)
            kernel = kernel.T
            flat = True
        kind = "dense" if kernel.ndim == 2 else f"conv{kernel.ndim - 2}d"
        number = sum(name.startswith(kind) for name in layers)
        layers[f"{kind}_{number}" if number else kind] = {"kernel": kernel, "bias": bias}
    return layers


def write(path: Path, layers: Arrays, *, within: str = "", config: object = None) -> Path:
    """Write Keras 2's layout; ``within`` is the name of a model within the model."""
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            root = file.create_group("model_weights")
        entries = {within: layers} if within else {name: {name: layers[name]} for name in layers}
        root.attrs["layer_names"] = [entry.encode() for entry in entries]
        for entry, inner in entries.items():
            group = root.create_group(entry)
            names = [f"{name}/{leaf}:0" for name, arrays in inner.items() for leaf in arrays]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, arrays in inner.items():
                for leaf, value in arrays.items():
                    group[f"{name}/{leaf}:0"] = value
    return path


def write_keras_3(path: Path, layers: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for name, arrays in layers.items():
            for index, value in enumerate(arrays.values()):
                file[f"layers/{name}/vars/{index}"] = value
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    return path


def chain(network: str, **changes: Any) -> dict[str, Any]:
    """Return the config of a Sequential as Keras writes it, some settings of one layer changed."""
    described = NETWORKS[network]
    assert isinstance(described, Chain)
    where = changes.pop("at", 0)
    layers: list[dict[str, Any]] = [{"class_name": "InputLayer", "config": {"name": "input"}}]
    axes = len(described.input_shape) - 1
    for index, layer in enumerate(described.layers):
        settings: dict[str, Any] = {
            "name": f"layer_{index}",
            "activation": "relu" if layer.relu else "linear",
        }
        if isinstance(layer, Convolution):
            settings |= {
                "kernel_size": list(layer.kernel),
                "strides": list(layer.strides),
                "padding": "valid",
                "data_format": "channels_last" if described.channels_last else "channels_first",
            }
        kind = f"Conv{axes}D" if isinstance(layer, Convolution) else "Dense"
        node = {"class_name": kind, "config": settings}
        if index == where:
            node["class_name"] = changes.pop("class_name", kind)
            settings |= changes
        layers.append(node)
        if isinstance(layer, Convolution) and layer.pool > 1:
            pool = {"name": f"pool_{index}", "pool_size": [layer.pool] * axes, "strides": None}
            layers.append({"class_name": f"MaxPooling{axes}D", "config": pool})
    layers.insert(-2, {"class_name": "Flatten", "config": {"name": "flatten"}})
    layers.append({"class_name": "Lambda", "config": {"name": "signature", "function": "rm -rf"}})
    inner = {"class_name": "Sequential", "config": {"name": "convBranch", "layers": layers}}
    return {"class_name": "Functional", "config": {"name": "all", "layers": [inner]}}
