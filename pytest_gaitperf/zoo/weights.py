"""What a variant's weights are built from, and building them."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.variants import LOCAL_PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from pytest_gaitperf.zoo.variants import Variant

PRODUCER = "pytest-gaitperf"
# Raise it when ``onnx_graph`` changes what it makes of an unchanged description.
GRAPH_DEFINITION = 1
# Raise it when ``precision`` changes what it makes of an unchanged graph.
CONVERSION = 1
SEED = 20240625
OPSET = 13
IR_VERSION = 7
CALIBRATION_SAMPLES = 4

_BYTES = {"fp32": 4, "best": 4, "fp16": 2, "int8": 1}


def recipe(variant: Variant) -> dict[str, Any]:
    """Return everything that determines the variant's weights, as JSON can hold it."""
    parts: dict[str, Any] = {
        "graph_definition": GRAPH_DEFINITION,
        "seed": SEED,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "network": asdict(variant.describe()),
    }
    if variant.precision != "fp32":
        parts["precision"] = {"name": variant.precision, "conversion": CONVERSION}
    if variant.precision == "int8":
        parts["precision"]["calibration_samples"] = CALIBRATION_SAMPLES
    # Through JSON and back, so that it compares equal to what is read from a file.
    loaded: dict[str, Any] = json.loads(json.dumps(parts))
    return loaded


def estimated_bytes(variant: Variant) -> int:
    """Return about how large the variant's ONNX file is; ``best`` is made from one in FP32."""
    return variant.describe().parameters * _BYTES[variant.precision]


def check_local(variant: Variant) -> None:
    """Raise ConfigurationError where onnxruntime on a CPU cannot serve the variant."""
    if variant.precision not in LOCAL_PRECISIONS:
        raise ConfigurationError(
            f"{variant.name}: {variant.precision} leaves each layer's precision to TensorRT's "
            f"builder, and onnxruntime has none: build {', '.join(LOCAL_PRECISIONS)} for this "
            "target"
        )


def build_weights(variant: Variant) -> bytes:
    """Return the variant's ONNX file for onnxruntime: the same bytes every time.

    On another CPU or onnxruntime the scales of INT8 may differ in their last digits. Raises
    ConfigurationError where the variant is none for onnxruntime, or onnx or onnxruntime is missing.
    """
    check_local(variant)
    try:
        from pytest_gaitperf.zoo import onnx_graph  # noqa: PLC0415  # onnx is heavy and optional

        if variant.precision != "fp32":
            from pytest_gaitperf.zoo import precision  # noqa: PLC0415  # as is onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            f"building {variant.name} needs onnx and onnxruntime ({error}); install them with: "
            "pip install 'pytest-gaitperf[local]'"
        ) from error
    network = variant.describe()
    model = onnx_graph.build(
        network,
        onnx_graph.seeded_weights(network, SEED),
        opset=OPSET,
        ir_version=IR_VERSION,
        producer=PRODUCER,
    )
    if variant.precision == "fp16":
        model = precision.to_fp16(model)
    elif variant.precision == "int8":
        model = precision.to_int8(model, calibration_samples(variant))
    content: bytes = model.SerializeToString()
    return content


def versions(variant: Variant) -> dict[str, str]:
    """Return the versions of what builds the variant here, by package."""
    names = ["numpy", "onnx", *(["onnxruntime"] if variant.precision != "fp32" else [])]
    return {name: str(import_module(name).__version__) for name in names}


def calibration_samples(variant: Variant) -> Iterator[npt.NDArray[np.float32]]:
    """Yield seeded random inputs in [0, 1), each a batch of one: what the load generator sends."""
    import numpy as np  # noqa: PLC0415  # heavy

    from pytest_gaitperf.zoo.onnx_graph import uniform  # noqa: PLC0415  # so is onnx

    random = np.random.PCG64(np.random.SeedSequence([SEED, 0xCA11]))
    for _ in range(CALIBRATION_SAMPLES):
        yield uniform(random, (1, *variant.describe().input_shape), 0.5) + np.float32(0.5)
