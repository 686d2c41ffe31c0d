"""A Keras file -> the ONNX model of one of the gait networks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.importing import keras_file
from pytest_gaitperf.zoo.networks import NETWORKS
from pytest_gaitperf.zoo.variants import MAX_PRUNED, Variant
from pytest_gaitperf.zoo.weights import IR_VERSION, OPSET, calibration_samples

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.zoo.networks import Network

PRODUCER = "gaitperf models import"
"""Another one than that of the seeded weights: what it made is the user's own."""


@dataclass(frozen=True, slots=True)
class ImportedNetwork:
    """A network with a user's weights as the bytes of an ONNX file.

    ``variant`` is the one whose widths these are, None where no percentage of pruning gives them.
    """

    content: bytes
    network: Network
    variant: Variant | None
    notes: tuple[str, ...]


def import_keras(
    path: Path, network: str, precision: str, data_format: str | None, *, tensorrt: bool = False
) -> ImportedNetwork:
    """Read Keras weights of the network called ``network``, "3D", "2D" or "GaitSet".

    ``precision`` is what the weights are converted to, ``data_format`` the order of the axes in the
    Keras model where the file does not say; ``tensorrt`` makes INT8 as TensorRT's parser takes it.
    Raises ConfigurationError where the file is not that network's, or a package is missing.
    """
    file = keras_file.read(path)
    try:
        from pytest_gaitperf.zoo import onnx_graph  # noqa: PLC0415  # onnx is heavy and optional
        from pytest_gaitperf.zoo.importing import keras_weights  # noqa: PLC0415  # needs numpy

        if precision in ("fp16", "int8"):
            from pytest_gaitperf.zoo import precision as conversion  # noqa: PLC0415  # onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            f"importing {path} needs onnx and, for fp16 and int8, onnxruntime ({error}); install "
            "them with: pip install 'pytest-gaitperf[local,import]'"
        ) from error
    try:
        converted = keras_weights.convert(file, network, NETWORKS[network], data_format)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    model = onnx_graph.build(
        converted.network,
        converted.weights,
        opset=OPSET,
        ir_version=IR_VERSION,
        producer=PRODUCER,
    )
    if precision == "fp16" and not tensorrt:
        model = conversion.to_fp16(model)
    elif precision == "int8":
        samples = calibration_samples(Variant(network, "int8", 0))
        model = conversion.to_int8(model, samples, tensorrt=tensorrt)
    with path.open("rb") as source:
        digest = hashlib.sha256(source.read()).hexdigest()
    model.doc_string = f"weights of {path.name}, sha256 {digest}"
    return ImportedNetwork(
        model.SerializeToString(),
        converted.network,
        _variant(network, precision, converted.network),
        converted.notes,
    )


def _variant(network: str, precision: str, sized: Network) -> Variant | None:
    shapes = [layer.weight_shape for layer in sized.layers_with_weights()]
    for percent in range(MAX_PRUNED + 1):
        pruned = NETWORKS[network].pruned(percent)
        if [layer.weight_shape for layer in pruned.layers_with_weights()] == shapes:
            return Variant(network, precision, percent)
    return None
