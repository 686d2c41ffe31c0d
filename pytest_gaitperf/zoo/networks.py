"""The gait networks as plain descriptions: layers, shapes, parameters, arithmetic and pruning.

The architectures are those of Embedded-Gait: a 3D-CNN and a 2D-CNN over 25 frames of optical flow
(x and y), and GaitSet over a set of 30 silhouettes. Nothing heavy is imported here; ``onnx_graph``
turns a description into an ONNX file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import prod


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
    """Convolutions, then dense layers, one after the other; each has biases.

    ``channels_last`` says that the input's last axis is the channel; else its first one is.
    """

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
