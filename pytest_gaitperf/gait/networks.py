"""The gait networks as plain descriptions: layers, shapes, parameters and pruning.

The architectures are those of Embedded-Gait: a 3D-CNN and a 2D-CNN over 25 frames of optical flow
(x and y). Nothing heavy is imported here; ``onnx_graph`` turns a description into an ONNX file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution without padding, then ReLU and max pooling where asked for.

    ``kernel`` and ``strides`` have one number per spatial axis (frames, height, width or height,
    width). ``pool`` is the window and the stride of the pooling, alike on every axis; 1 is none.
    ``prunable`` is False where the number of filters is the size of the code.
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
class Network:
    """A network from ``input`` to ``code``; shapes are of one sample, without the batch.

    ``channels_last`` says that the input's last axis is the channel; else its first one is.
    """

    input_shape: tuple[int, ...]
    channels_last: bool
    layers: tuple[Convolution | Dense, ...]

    def __post_init__(self) -> None:
        kinds = [isinstance(layer, Dense) for layer in self.layers]
        if kinds != sorted(kinds):
            raise ValueError("a convolution cannot follow a dense layer")

    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each layer's weights: [filters, channels, *kernel] or [units, inputs]."""
        *spatial, channels = self.input_shape if self.channels_last else _rolled(self.input_shape)
        shapes: list[tuple[int, ...]] = []
        for layer in self.layers:
            if isinstance(layer, Convolution):
                shapes.append((layer.filters, channels, *layer.kernel))
                valid = zip(spatial, layer.kernel, layer.strides, strict=True)
                spatial = [
                    ((size - kernel) // stride + 1) // layer.pool for size, kernel, stride in valid
                ]
                channels = layer.filters
            else:
                shapes.append((layer.units, channels * prod(spatial)))
                spatial, channels = [], layer.units
        if prod(spatial) != 1:
            raise ValueError(f"the code keeps spatial axes {spatial}: it must be a vector")
        return tuple(shapes)

    @property
    def code_size(self) -> int:
        """Length of the output vector."""
        return self.weight_shapes()[-1][0]

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(prod(shape) + shape[0] for shape in self.weight_shapes())

    def pruned(self, percent: int) -> Network:
        """Return this network with ``percent`` of each convolution's filters taken away.

        What is kept is rounded half up, and never less than one filter. The size of the code and
        the dense layers are kept whole: Embedded-Gait prunes filters of convolutions, and only so
        do the published sizes come out (2D pruned by 40 %: 35 MB; a dense layer of 2048 pruned as
        well would make it 22 MB).
        """
        return replace(
            self,
            layers=tuple(
                replace(layer, filters=max(1, (layer.filters * (100 - percent) + 50) // 100))
                if isinstance(layer, Convolution) and layer.prunable
                else layer
                for layer in self.layers
            ),
        )


def _rolled(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0])


NETWORKS: dict[str, Network] = {
    # The code's size is not published; 512 is the power of two that gives the published file
    # sizes: 34 MB whole and 13 MB pruned by 40 % (256 gives 12 MB, 1024 gives 35 MB).
    "3D": Network(
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
    "2D": Network(
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
}
"""The networks by the name that a variant gives them."""
