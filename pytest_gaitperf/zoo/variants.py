"""The models by name, ``NETWORK_PRECISION_PRUNED_BATCH``, and what their weights are built from."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.networks import NETWORKS, Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PRECISIONS = ("fp32", "fp16", "int8", "best")
LOCAL_PRECISIONS = ("fp32", "fp16", "int8")
"""What onnxruntime on a CPU serves; ``best`` lets TensorRT's builder choose for each layer."""
MAX_PRUNED = 99

PRODUCER = "pytest-gaitperf"
# Raise it when ``onnx_graph`` changes what it makes of an unchanged description.
GRAPH_DEFINITION = 1
# Raise it when the conversion to another precision changes what it makes of an unchanged graph.
CONVERSION = 1
SEED = 20240625
OPSET = 13
IR_VERSION = 7
CALIBRATION_SAMPLES = 4

_BYTES = {"fp32": 4, "best": 4, "fp16": 2, "int8": 1}
_NAME = re.compile(r"([^_]+)_([^_]+)_(0|[1-9][0-9]?)_batchd", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of the gait family; its batch is a dynamic dimension.

    ``pruned`` is the percentage of filters taken from each convolution, 0 to 99. Raises
    ConfigurationError where a part does not exist.
    """

    network: str
    precision: str
    pruned: int

    def __post_init__(self) -> None:
        known = self.network in NETWORKS and self.precision in PRECISIONS
        if not known or not 0 <= self.pruned <= MAX_PRUNED:
            raise _unknown(self.name)

    @classmethod
    def parse(cls, name: str) -> Variant:
        """Return the variant of that name, or raise ConfigurationError saying what exists."""
        if (match := _NAME.fullmatch(name)) is None:
            raise _unknown(name)
        network, precision, pruned = match.groups()
        return cls(network, precision, int(pruned))

    @property
    def name(self) -> str:
        """The model's name in the repository, in test ids and in results."""
        return f"{self.network}_{self.precision}_{self.pruned}_batchd"

    def describe(self) -> Network:
        """Return the network of this variant, with its pruned widths."""
        return NETWORKS[self.network].pruned(self.pruned)


def _unknown(name: str) -> ConfigurationError:
    reference = ", ".join(variant.name for variant in REFERENCE_VARIANTS)
    return ConfigurationError(
        f"no gait model is named {name!r}; the reference models are {reference}, and a name is "
        f"{{{'|'.join(NETWORKS)}}}_{{{'|'.join(PRECISIONS)}}}_PERCENT_batchd with "
        f"PERCENT of the filters pruned, 0 to {MAX_PRUNED}; patterns are over steps of 10"
    )


REFERENCE_VARIANTS: tuple[Variant, ...] = (
    Variant("3D", "fp32", 0),
    Variant("3D", "fp32", 40),
    Variant("2D", "fp32", 0),
    Variant("GaitSet", "fp32", 0),
)
"""The models that the gait suite measures unless told otherwise: each network, and one pruned."""

ZOO = tuple(Variant(*one) for one in product(NETWORKS, PRECISIONS, range(0, MAX_PRUNED + 1, 10)))
"""Every network in every precision, pruned in steps of 10 %."""

GROUPS: dict[str, tuple[Variant, ...]] = {
    "reference": REFERENCE_VARIANTS,
    "local": tuple(Variant(*one) for one in product(NETWORKS, LOCAL_PRECISIONS, (0, 40))),
}
"""Names for sets of variants; ``local`` is what a CPU serves, whole and pruned by 40 %."""


def select(words: Iterable[str], among: Sequence[Variant]) -> list[Variant]:
    """Return the variants that the words name, each once: groups, patterns and variants' names.

    A pattern (``*``, ``?``, ``[...]``) stands for those of ``among`` that it matches. Raises
    ConfigurationError for a word that names nothing.
    """
    chosen: dict[Variant, None] = {}
    for word in words:
        if word in GROUPS:
            found: Iterable[Variant] = GROUPS[word]
        elif any(character in word for character in "*?["):
            found = [variant for variant in among if fnmatchcase(variant.name, word)]
            if not found:
                raise _unknown(word)
        else:
            found = [Variant.parse(word)]
        chosen |= dict.fromkeys(found)
    return list(chosen)


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
    return dict(json.loads(json.dumps(parts)))


def estimated_bytes(variant: Variant) -> int:
    """Return about how large the variant's ONNX file is; ``best`` is made from one in FP32."""
    return variant.describe().parameters * _BYTES[variant.precision]
