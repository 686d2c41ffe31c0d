"""A plain evaluation of a network's description in float64, which shares nothing with the graphs.

No onnx, no onnxruntime: convolutions are sums over windows, written out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pytest_gaitperf.zoo.networks import Chain, Convolution, SetNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.zoo.networks import Network

Array = npt.NDArray[np.float64]


def evaluate(
    network: Network, weights: Sequence[tuple[npt.NDArray[np.float32], ...]], sample: Array
) -> Array:
    """Return the code of one sample, of the network's input shape."""
    taken = iter([tuple(part.astype(np.float64) for part in layer) for layer in weights])
    if isinstance(network, Chain):
        return _chain(network, taken, sample)
    assert isinstance(network, SetNetwork)
    return _set(network, taken, sample)


def convolve(value: Array, filters: Array, strides: Sequence[int]) -> Array:
    """[channels, *sizes] with [filters, channels, *kernel] -> [filters, *sizes], nothing padded."""
    windows = sliding_window_view(value, (1, *filters.shape[2:]))
    steps = (slice(None), *(slice(None, None, stride) for stride in strides))
    windows = windows[steps]
    spatial, kernel = "xyz"[: value.ndim - 1], "uvw"[: value.ndim - 1]
    formula = f"c{spatial}o{kernel},fc{kernel}->f{spatial}"
    return np.asarray(np.einsum(formula, windows, filters, optimize=True))


def pool(value: Array, window: int) -> Array:
    """Return the maximum of each whole window: [channels, *sizes] -> [channels, *smaller sizes]."""
    for axis in range(1, value.ndim):
        whole = value.shape[axis] // window
        parts = np.stack(
            [value.take(range(i, whole * window, window), axis) for i in range(window)]
        )
        value = parts.max(0)
    return value


def _chain(network: Chain, weights: Iterator[tuple[Array, ...]], value: Array) -> Array:
    if network.channels_last:
        value = np.moveaxis(value, -1, 0)
    for layer in network.layers:
        kernel, biases = next(weights)
        if isinstance(layer, Convolution):
            value = convolve(value, kernel, layer.strides)
            value += biases.reshape(-1, *[1] * (value.ndim - 1))
        else:
            value = kernel @ value.ravel() + biases
        if layer.relu:
            value = np.maximum(value, 0)
        if isinstance(layer, Convolution):
            value = pool(value, layer.pool)
    return value.ravel()


def _set(network: SetNetwork, weights: Iterator[tuple[Array, ...]], sample: Array) -> Array:
    frames = [frame[None, :, :, 0] for frame in sample]
    merged: Array | None = None
    for stage in network.stages:
        for kernel in stage.kernels:
            (filters,) = next(weights)
            assert filters.shape[2:] == (kernel, kernel)
            frames = [_leaky(_same(frame, filters), network.slope) for frame in frames]
        frames = [pool(frame, stage.pool) for frame in frames]
        together = np.max(frames, axis=0)
        if merged is None:
            merged = together
            continue
        for _ in stage.kernels:
            (filters,) = next(weights)
            merged = _leaky(_same(merged, filters), network.slope)
        merged = pool(merged, stage.pool) + together
    (projections,) = next(weights)
    code, projection = [], iter(projections)
    for bins in network.bins:
        for branch in (together, merged):
            assert branch is not None
            for strip in np.split(branch, bins, axis=1):
                places = strip.reshape(len(strip), -1)
                code.append((places.mean(1) + places.max(1)) @ next(projection))
    return np.concatenate(code)


def _same(value: Array, filters: Array) -> Array:
    margin = filters.shape[-1] // 2
    return convolve(np.pad(value, ((0, 0), (margin, margin), (margin, margin))), filters, (1, 1))


def _leaky(value: Array, slope: float) -> Array:
    return np.where(value < 0, slope * value, value)
