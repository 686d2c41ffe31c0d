"""The layers of a Keras file matched with a network's description, and put into ONNX's layout.

What the published models are, by the program that made them (Embedded-Gait, nets/single_model.py):
the 2D network is channels first, its Flatten is Keras' default, which keeps that order, and its
first dense layer has no activation. That is assumed of a file without an architecture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.keras_file import WRAPPER, not_of_keras, numbered
from pytest_gaitperf.zoo.networks import Chain, Convolution, Dense, SetNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.zoo.keras_file import KerasConfig, KerasFile, KerasLayer
    from pytest_gaitperf.zoo.networks import Network
    from pytest_gaitperf.zoo.onnx_graph import Array, Weights

    _Found = tuple[KerasLayer, Array]

CHANNELS_FIRST, CHANNELS_LAST = "channels_first", "channels_last"
_EXPORT = "export the model as ONNX and import that"
_ANOTHER = "is it another network?"
_POOLING = ("MaxPooling2D", "MaxPooling3D")
_CONVOLUTIONS = ("Conv2D", "Conv3D", "Convolution2D", "Convolution3D")
_RECTIFIERS = ("Activation", "ReLU")
_DROPOUTS = ("Dropout", "SpatialDropout2D", "SpatialDropout3D")
_WITHOUT_EFFECT = ("InputLayer", *_DROPOUTS, "ActivityRegularization")


@dataclass(frozen=True, slots=True)
class Converted:
    """A network with a file's widths, and its weights.

    ``weights`` are those of ``network.layers_with_weights()``, in ONNX's layout. ``notes`` say what
    was assumed and what was left out.
    """

    network: Network
    weights: tuple[Weights, ...]
    notes: tuple[str, ...]


def convert(file: KerasFile, name: str, network: Network, data_format: str | None) -> Converted:
    """Match ``file`` with the network called ``name``, whose widths may differ from the file's.

    Raises ConfigurationError naming the layer, what was expected and what was found.
    """
    if isinstance(network, SetNetwork):
        return _set_network(file, name, network)
    if not isinstance(network, Chain):
        raise ConfigurationError(f"Keras weights of the {name} network cannot be read")
    count, notes = len(network.layers), []
    if len(file.layers) < count:
        found = ", ".join(f"{layer.name} {_shapes(layer)}" for layer in file.layers) or "none"
        raise ConfigurationError(
            f"the {name} network has {count} layers with weights, the file has "
            f"{len(file.layers)}: {found}; {_ANOTHER}"
        )
    if file.architecture is None:
        order = data_format or (CHANNELS_LAST if network.channels_last else CHANNELS_FIRST)
        channels_first = order == CHANNELS_FIRST
        if any(isinstance(layer, Dense) for layer in network.layers):
            how = "as you say" if data_format else "as the published model"
            notes.append(
                f"the file has weights only: taken for {order} {how}, with no activation after "
                "its dense layers"
            )
        layers = (
            replace(layer, relu=False) if isinstance(layer, Dense) else layer
            for layer in network.layers
        )
        network = replace(network, layers=tuple(layers))
    else:
        try:
            network, channels_first = _declared(file.architecture, name, network)
        except (KeyError, TypeError, AttributeError) as error:
            raise not_of_keras(error) from error
    if beyond := ", ".join(layer.name for layer in file.layers[count:]):
        notes.append(f"left out, since it comes after the {name} network's code: {beyond}")
    try:
        sized = _sized(file.layers[:count], name, network)
    except ValueError as error:  # pooling of the file's own leaves no vector, or nothing at all
        raise ConfigurationError(
            f"the file's layers do not end in a vector as the {name} network's do: {error}; "
            f"{_EXPORT}"
        ) from error
    weights = _arranged(file.layers[:count], sized, channels_first=channels_first)
    return Converted(sized, weights, tuple(notes))


def _sized(layers: Sequence[KerasLayer], name: str, network: Chain) -> Chain:
    """Return the network with the layers' widths, checking each kernel against what comes in."""
    sized: list[Convolution | Dense] = []
    for index, (layer, description) in enumerate(zip(layers, network.layers, strict=True)):
        # The width of this layer is the file's; everything else follows from the layers before.
        width = _width(layer, name, index)
        sized.append(
            replace(description, filters=width)
            if isinstance(description, Convolution)
            else replace(description, units=width)
        )
        so_far = replace(network, layers=(*sized, *network.layers[index + 1 :]))
        expected = so_far.layers_with_weights()[index].weight_shape
        in_keras = (*expected[2:], expected[1], expected[0])
        kernel, bias = layer.arrays["kernel"], layer.arrays.get("bias")
        if kernel.shape != in_keras:
            sizes = ", ".join([*map(str, in_keras[:-1]), "any width"])
            raise ConfigurationError(
                f"layer {layer.name} has a kernel of shape {kernel.shape}; layer {index + 1} of "
                f"the {name} network, after those before it, has ({sizes}); is it another network?"
            )
        if bias is not None and bias.shape != (width,):
            raise ConfigurationError(
                f"layer {layer.name} has a bias of shape {bias.shape}, expected ({width},)"
            )
    return replace(network, layers=tuple(sized))


def _width(layer: KerasLayer, name: str, index: int) -> int:
    """Return the number of filters or units, where the layer has such weights as ours have."""
    kernel = layer.arrays.get("kernel")
    # A kernel has inputs and units at least.
    if kernel is None or kernel.ndim < 2 or not set(layer.arrays) <= {"kernel", "bias"}:
        raise ConfigurationError(
            f"layer {layer.name} has {_shapes(layer)}; layer {index + 1} of the {name} network is "
            f"a convolution or a dense layer, with a kernel and a bias; {_EXPORT}"
        )
    _check_numbers(layer)
    return int(kernel.shape[-1])


def _check_numbers(layer: KerasLayer) -> None:
    for what, values in layer.arrays.items():
        if not values.size:
            raise ConfigurationError(f"layer {layer.name}: its {what} is empty")
        if not np.isfinite(values).all():
            raise ConfigurationError(f"layer {layer.name}: its {what} holds NaN or infinity")


def _shapes(layer: KerasLayer) -> str:
    return " ".join(f"{what} {values.shape}" for what, values in layer.arrays.items())


def _arranged(
    layers: Sequence[KerasLayer], network: Chain, *, channels_first: bool
) -> tuple[Weights, ...]:
    """Put kernels into ONNX's layout: [*kernel, channels, filters] has the last two in front."""
    arranged = []
    flat = False
    channels = 0
    for layer, description in zip(layers, network.layers, strict=True):
        kernel = layer.arrays["kernel"]
        bias = layer.arrays.get("bias", np.zeros(kernel.shape[-1], np.float32))
        if isinstance(description, Convolution):
            channels = description.filters
            weight = np.moveaxis(kernel, (-1, -2), (0, 1))
        else:
            weight = kernel.T
            if not flat and not channels_first:
                # Keras flattened [*spatial, channels], the ONNX graph has [channels, *spatial].
                weight = weight.reshape(len(weight), -1, channels).swapaxes(1, 2)
                weight = weight.reshape(len(weight), -1)
            flat = True
        arranged.append((np.ascontiguousarray(weight), bias))
    return tuple(arranged)


def _declared(architecture: Sequence[KerasConfig], name: str, network: Chain) -> tuple[Chain, bool]:
    """Return the network as the file's architecture has it, and whether it flattens channels first.

    Activations, pooling and the order of the axes are the file's, kernels and strides the
    network's.
    """
    layers: list[Convolution | Dense] = []
    channels_first = not network.channels_last
    flat = False
    for config in architecture:
        done = len(layers) == len(network.layers)
        if done and config.kind not in (*_POOLING, *_RECTIFIERS):  # these belong to the last one
            break
        if config.kind in (*_CONVOLUTIONS, "Dense"):
            description = network.layers[len(layers)]
            changes: dict[str, Any] = {"relu": _is_relu(config, name)}
            if isinstance(description, Convolution):
                changes["pool"] = 1
                _check_convolution(config, description, name)
                channels_first = config.settings.get("data_format") == CHANNELS_FIRST
            layers.append(replace(description, **changes))
        elif config.kind in _POOLING and layers and isinstance(layers[-1], Convolution):
            layers[-1] = replace(layers[-1], pool=_pool(config, layers[-1]))
        elif config.kind in _RECTIFIERS and layers and not layers[-1].relu and not flat:
            layers[-1] = replace(layers[-1], relu=_is_relu(config, name))
        elif config.kind == "Flatten":
            # Keras' Flatten with channels_first moves the channels to the end, then flattens.
            declared = config.settings.get("data_format")
            channels_first = channels_first and declared != CHANNELS_FIRST
        elif config.kind not in _WITHOUT_EFFECT:
            runs = config.kind == "Lambda"
            what = "which holds a program, and none is run" if runs else "which it has not"
            raise ConfigurationError(
                f"layer {config.name} is a {config.kind}, {what}, before the end of the {name} "
                f"network; {_EXPORT} (tf2onnx makes one)"
            )
        flat = config.kind == "Flatten" or (flat and config.kind in _WITHOUT_EFFECT)
    return replace(network, layers=tuple(layers)), channels_first


def _is_relu(config: KerasConfig, name: str) -> bool:
    """Tell whether the activation is ReLU, not none; ConfigurationError for another."""
    settings = config.settings
    value = settings.get("activation", "relu" if config.kind == "ReLU" else None)
    if isinstance(value, dict):
        value = value["config" if value["class_name"] == "function" else "class_name"]
    if any(settings.get(what) for what in ("max_value", "negative_slope", "threshold")):
        value = "a ReLU with a limit, slope or threshold"
    if value not in (None, "linear", "relu"):
        raise ConfigurationError(
            f"layer {config.name} has the activation {value!r}; the {name} network has relu or "
            f"none; {_EXPORT}"
        )
    return value == "relu"


def _check_convolution(config: KerasConfig, description: Convolution, name: str) -> None:
    settings = config.settings
    ones = [1] * len(description.kernel)
    for what, expected, default in (
        ("kernel_size", list(description.kernel), None),
        ("strides", list(description.strides), ones),
        ("padding", "valid", "valid"),
        ("dilation_rate", ones, ones),
        ("groups", 1, 1),
    ):
        found = settings.get(what, default)
        if (list(found) if isinstance(found, (list, tuple)) else found) != expected:
            raise ConfigurationError(
                f"layer {config.name} has {what} {found}; the {name} network has {expected} there; "
                + _ANOTHER
            )


def _pool(config: KerasConfig, convolution: Convolution) -> int:
    settings = config.settings
    sizes = {*settings["pool_size"], *(settings.get("strides") or settings["pool_size"])}
    before = config.settings.get("padding", "valid")
    one = len(sizes) == 1 and all(isinstance(size, int) and size > 0 for size in sizes)
    if not one or before != "valid" or convolution.pool != 1:
        raise ConfigurationError(
            f"layer {config.name} pools {settings['pool_size']} by {settings.get('strides')} with "
            f"padding {before}; only one pooling of one size, without padding, can follow a "
            f"convolution; {_EXPORT}"
        )
    return int(sizes.pop())


def _set_network(file: KerasFile, name: str, network: SetNetwork) -> Converted:
    """Match the convolutions of both branches and the projections.

    Of the two branches' convolutions alike, the published program makes the set branch's first, or
    wraps those of the frames (``time_distributed``): the file has no other sign of which is which.
    What the layers between them do (Lambda) is not read, and is taken to be GaitSet's.
    """
    convolutions: list[_Found] = []
    projections: list[_Found] = []
    for layer in file.layers:
        kernel = next(iter(layer.arrays.values()))
        if kernel.ndim == 4:  # height, width, channels, filters
            convolutions.append((layer, kernel))
        elif kernel.ndim == 3:  # strips, inputs, outputs
            projections.append((layer, kernel))
        else:
            break  # the classifier beyond the code
        _check_numbers(layer)
    expected = network.layers_with_weights()
    if len(convolutions) != len(expected) - 1 or len(projections) != 1:
        raise ConfigurationError(
            f"the {name} network has {len(expected) - 1} convolutions and one array of "
            f"projections, the file has {len(convolutions)} and {len(projections)}; {_ANOTHER}"
        )
    convolutions.sort(key=lambda found: numbered(found[0].name))
    frames = [found for found in convolutions if found[0].name.startswith(WRAPPER)]
    sets = [found for found in convolutions if found not in frames]
    if not frames:
        frames, sets = _in_turns(convolutions, network)
    if len(frames) != sum(layer.name.startswith("frame") for layer in expected):
        raise ConfigurationError(
            f"{len(frames)} of the convolutions run on each frame ({WRAPPER}), the {name} network "
            f"has {len(expected) - 1 - len(sets)} of them; is it another network?"
        )
    filters = iter([kernel.shape[-1] for _, kernel in frames])
    widths = [[next(filters) for _ in stage.kernels] for stage in network.stages]
    filled = zip(network.stages, widths, strict=True)
    stages = tuple(replace(stage, filters=width) for stage, (width, *_) in filled)
    sized = replace(network, stages=stages, projection=projections[0][1].shape[-1])
    weights = []
    for wanted in sized.layers_with_weights():
        if wanted.name == "projection":
            found, in_onnx = projections[0]
        else:
            found, kernel = (frames if wanted.name.startswith("frame") else sets).pop(0)
            in_onnx = np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))
        if in_onnx.shape != wanted.weight_shape or len(found.arrays) > 1:
            raise ConfigurationError(
                f"layer {found.name} has {_shapes(found)}; {wanted.name} of the {name} network, "
                f"with this file's widths, has {wanted.weight_shape} in ONNX's order (filters, "
                "channels, height, width) and no bias; is it another network?"
            )
        weights.append((in_onnx,))
    note = (
        "only the weights are read: what is between them is taken to be GaitSet's, with a leaky "
        f"ReLU of slope {network.slope}"
    )
    return Converted(sized, tuple(weights), (note,))


def _in_turns(convolutions: list[_Found], network: SetNetwork) -> tuple[list[_Found], list[_Found]]:
    """Share the convolutions among frames and sets in the order in which they were made."""
    frames = convolutions[: len(network.stages[0].kernels)]
    sets: list[_Found] = []
    rest = convolutions[len(frames) :]
    for stage in network.stages[1:]:
        count = len(stage.kernels)
        sets += rest[:count]
        frames += rest[count : 2 * count]
        rest = rest[2 * count :]
    return frames, sets
