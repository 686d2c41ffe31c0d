"""The gait networks as plain descriptions, and their models by name (``Variant``).

The architectures are those of Embedded-Gait: a 3D-CNN and a 2D-CNN over 25 frames of optical flow
(x and y), and GaitSet over a set of 30 silhouettes. ``onnx_graph`` makes ONNX files of them.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that has weights, with all shapes of one sample.

    ``weight_shape`` is [filters, channels, *kernel], [units, inputs], or [bins, inputs, outputs] of
    separate projections; ``output_shape`` is before any pooling, channels before spatial axes, in a
    set the frames first. Each output value is the sum of ``inputs`` products. ``slope`` is that of
    the rectifier for negative values (0 in a ReLU), None without one.
    """

    name: str
    weight_shape: tuple[int, ...]
    biases: int
    output_shape: tuple[int, ...]
    inputs: int
    slope: float | None

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return prod(self.weight_shape) + self.biases

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample: two for each product with a weight.

        Biases, rectifiers, pooling and sums of branches, below 1 % here, are not counted.
        """
        return 2 * self.inputs * prod(self.output_shape)


@dataclass(frozen=True, slots=True)
class Network(ABC):
    """A network from ``input`` to ``code``; ``input_shape`` is of one sample, without the batch."""

    input_shape: tuple[int, ...]

    @abstractmethod
    def layers_with_weights(self) -> tuple[Layer, ...]:
        """Return the layers that have weights, in the order of the graph's initializers."""

    @abstractmethod
    def pruned(self, percent: int) -> Network:
        """Return this network with ``percent`` of each convolution's filters taken away.

        What is kept is rounded half up, and never less than one filter. The size of the code and
        the dense layers are kept whole: Embedded-Gait prunes filters of convolutions, and only so
        do the published sizes come out (2D pruned by 40 %: 35 MB; a dense layer of 2048 pruned as
        well would make it 22 MB).
        """

    @property
    def code_size(self) -> int:
        """Length of the output vector."""
        return prod(self.layers_with_weights()[-1].output_shape)

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(layer.parameters for layer in self.layers_with_weights())

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample; see ``Layer.flops``."""
        return sum(layer.flops for layer in self.layers_with_weights())


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution without padding, then ReLU and max pooling where asked for.

    ``kernel`` and ``strides`` have one number per spatial axis ([frames,] height, width). ``pool``
    is the window and stride of the pooling on every axis, 1 for none. ``prunable`` is False where
    the number of filters is the size of the code.
    """

    filters: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pool: int = 1
    relu: bool = True
    prunable: bool = True


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer, then ReLU where asked for."""

    units: int
    relu: bool


@dataclass(frozen=True, slots=True)
class Chain(Network):
    """Convolutions, then dense layers, each with biases, over channels that are last or first."""

    channels_last: bool
    layers: tuple[Convolution | Dense, ...]

    def __post_init__(self) -> None:
        kinds = [isinstance(layer, Dense) for layer in self.layers]
        if kinds != sorted(kinds):
            raise ValueError("a convolution cannot follow a dense layer")

    def layers_with_weights(self) -> tuple[Layer, ...]:
        """Return ``conv1``, ``conv2``, ..., ``dense1``, ...: all layers."""
        shape = (
            self.input_shape if self.channels_last else (*self.input_shape[1:], self.input_shape[0])
        )
        *spatial, channels = shape
        layers: list[Layer] = []
        convolutions = 0
        for index, layer in enumerate(self.layers, start=1):
            slope = 0.0 if layer.relu else None
            if isinstance(layer, Convolution):
                convolutions, name, filters = index, f"conv{index}", layer.filters
                weight_shape: tuple[int, ...] = (filters, channels, *layer.kernel)
                valid = zip(spatial, layer.kernel, layer.strides, strict=True)
                out = [(size - kernel) // stride + 1 for size, kernel, stride in valid]
                spatial = [size // layer.pool for size in out]
            else:
                name, filters = f"dense{index - convolutions}", layer.units
                weight_shape = (filters, channels * prod(spatial))
                spatial, out = [], []
            inputs, channels = prod(weight_shape[1:]), filters
            layers.append(Layer(name, weight_shape, filters, (filters, *out), inputs, slope))
        if prod(spatial) != 1:
            raise ValueError(f"the code keeps spatial axes {spatial}: it must be a vector")
        return tuple(layers)

    def pruned(self, percent: int) -> Chain:
        """Return this network with fewer filters; see ``Network.pruned``."""
        layers = (
            replace(layer, filters=_kept(layer.filters, percent))
            if isinstance(layer, Convolution) and layer.prunable
            else layer
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))


@dataclass(frozen=True, slots=True)
class Stage:
    """2D convolutions with square ``kernels``, then max pooling (window and stride ``pool``).

    Each is padded to keep height and width, has no biases, and is followed by a leaky ReLU.
    """

    filters: int
    kernels: tuple[int, ...]
    pool: int = 1


@dataclass(frozen=True, slots=True)
class SetNetwork(Network):
    """A network over a set of frames, in which the order of the frames does not matter.

    H. Chao et al., "GaitSet: Regarding Gait as a Set for Cross-View Gait Recognition", AAAI 2019.
    The *frame branch* runs every ``Stage`` on each frame of its own. The *set branch* begins with
    the maximum over the frames after the first stage; it runs each further stage on that, with
    weights of its own, and adds the maximum over the frames after the same stage. Both branches end
    in a horizontal pyramid: cut into 1, 2, 4... ``bins`` strips, each strip is the mean plus the
    maximum of its places. Each strip of each branch has a projection of its own to ``projection``
    numbers; together, in the order of bins, then branch (frames first), then strip, they are the
    code. ``input_shape`` is frames, height, width, one channel.
    """

    stages: tuple[Stage, ...]
    slope: float
    bins: tuple[int, ...]
    projection: int

    def layers_with_weights(self) -> tuple[Layer, ...]:
        """Return ``frame1``..., in each further stage its ``set1``... after it, ``projection``."""
        frames, height, width, channels = self.input_shape
        layers: list[Layer] = []

        def convolve(branch: str, positions: tuple[int, ...], stage: Stage, channels: int) -> None:
            for kernel in stage.kernels:
                number = 1 + sum(layer.name.startswith(branch) for layer in layers)
                shape = (stage.filters, channels, kernel, kernel)
                output = (*positions, stage.filters, height, width)
                layers.append(
                    Layer(f"{branch}{number}", shape, 0, output, prod(shape[1:]), self.slope)
                )
                channels = stage.filters

        for index, stage in enumerate(self.stages):
            convolve("frame", (frames,), stage, channels)
            if index:
                convolve("set", (), stage, channels)
            channels = stage.filters
            height, width = height // stage.pool, width // stage.pool
        strips = 2 * sum(self.bins)
        shape, output = (strips, channels, self.projection), (strips, self.projection)
        return (*layers, Layer("projection", shape, 0, output, channels, slope=None))

    def pruned(self, percent: int) -> SetNetwork:
        """Return this network with fewer filters, alike in both branches, which are added."""
        stages = (replace(stage, filters=_kept(stage.filters, percent)) for stage in self.stages)
        return replace(self, stages=tuple(stages))


def _kept(filters: int, percent: int) -> int:
    return max(1, (filters * (100 - percent) + 50) // 100)


NETWORKS: dict[str, Network] = {
    # The code's size is not published; 512 is the power of two that gives the published file
    # sizes: 34 MB whole and 13 MB pruned by 40 % (256 gives 12 MB, 1024 gives 35 MB).
    "3D": Chain(
        input_shape=(25, 60, 60, 2),
        channels_last=True,
        layers=(
            Convolution(64, (3, 5, 5), (1, 2, 2)),
            Convolution(128, (3, 3, 3), (1, 2, 2)),
            Convolution(256, (3, 3, 3), (2, 2, 2)),
            Convolution(512, (3, 3, 3), (2, 2, 2)),
            Convolution(512, (3, 2, 2), (1, 1, 1)),
            Convolution(512, (2, 1, 1), (1, 1, 1)),
            Convolution(512, (1, 1, 1), (1, 1, 1), relu=False, prunable=False),
        ),
    ),
    "2D": Chain(
        input_shape=(50, 60, 60),
        channels_last=False,
        layers=(
            Convolution(96, (7, 7), (1, 1), pool=2),
            Convolution(192, (5, 5), (1, 1), pool=2),
            Convolution(512, (3, 3), (1, 1), pool=2),
            Convolution(512, (2, 2), (1, 1)),
            Dense(2048, relu=True),
            Dense(1024, relu=False),
        ),
    ),
    # The slope is that of Embedded-Gait's network, Keras' default (0.3); GaitSet's own code leaves
    # it at PyTorch's (0.01). It costs the same; weights trained with one are wrong with the other.
    "GaitSet": SetNetwork(
        input_shape=(30, 64, 44, 1),
        stages=(Stage(32, (5, 3), pool=2), Stage(64, (3, 3), pool=2), Stage(128, (3, 3))),
        slope=0.3,
        bins=(1, 2, 4, 8, 16),
        projection=256,
    ),
}
"""The networks by the name that a variant gives them."""

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
_NAME = re.compile(r"([^_]+)_([^_]+)_(0|0?[1-9]|[1-9][0-9])_batchd", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of the gait family; its batch is a dynamic dimension.

    ``pruned`` is the percentage of filters taken from each convolution, 0 to 99; the name may write
    it with two ``digits``, as in ``3D_fp32_05_batchd``. Raises ConfigurationError where a part does
    not exist.
    """

    network: str
    precision: str
    pruned: int
    digits: int = 1

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
        return cls(network, precision, int(pruned), len(pruned) if pruned[0] == "0" else 1)

    @property
    def name(self) -> str:
        """The model's name in the repository, in test ids and in results."""
        return f"{self.network}_{self.precision}_{self.pruned:0{self.digits}}_batchd"

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
    """Return the variants that the words name, once: groups, names, patterns over ``among``."""
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
