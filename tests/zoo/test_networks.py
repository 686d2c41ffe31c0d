from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.zoo.networks import NETWORKS, Chain, Convolution, Dense, Network, Variant


def widths(network: Network) -> list[int]:
    return [layer.weight_shape[0] for layer in network.layers_with_weights()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3D_fp32_0_batchd", [64, 128, 256, 512, 512, 512, 512]),
        # 38.4, 76.8, 153.6 and 307.2 filters; the code is whole.
        ("3D_fp32_40_batchd", [38, 77, 154, 307, 307, 307, 512]),
        ("2D_fp32_0_batchd", [96, 192, 512, 512, 2048, 1024]),
        ("2D_fp32_40_batchd", [58, 115, 307, 307, 2048, 1024]),
    ],
)
def test_pruning_takes_filters_of_convolutions_only(name: str, expected: list[int]) -> None:
    assert widths(Variant.parse(name).describe()) == expected


@pytest.mark.parametrize(
    ("name", "published_mb"),
    [
        ("3D_fp32_0_batchd", 34),
        ("3D_fp32_40_batchd", 13),
        ("2D_fp32_0_batchd", 57),
        ("2D_fp32_40_batchd", 35),
    ],
)
def test_the_weights_have_the_published_size(name: str, published_mb: int) -> None:
    assert round(Variant.parse(name).describe().parameters * 4 / 1e6) == published_mb


def test_parameters_counted_by_hand() -> None:
    network = Chain(
        input_shape=(2, 7, 6),
        channels_last=False,
        layers=(Convolution(3, (2, 3), (1, 2), pool=2), Dense(5, relu=False)),
    )
    # 2 x 7 x 6 -> 3 x 6 x 2 -> pooled 3 x 3 x 1 -> 5
    layers = network.layers_with_weights()
    assert [layer.weight_shape for layer in layers] == [(3, 2, 2, 3), (5, 9)]
    assert [layer.output_shape for layer in layers] == [(3, 6, 2), (5,)]
    assert network.parameters == 3 * 12 + 3 + 5 * 9 + 5
    assert network.code_size == 5


@given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 98))
def test_more_pruning_never_adds_filters_and_keeps_the_code(name: str, percent: int) -> None:
    less, more = NETWORKS[name].pruned(percent), NETWORKS[name].pruned(percent + 1)
    assert all(a >= b >= 1 for a, b in zip(widths(less), widths(more), strict=True))
    assert more.code_size == NETWORKS[name].code_size
    assert NETWORKS[name].pruned(0) == NETWORKS[name]


def test_a_convolution_after_a_dense_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot follow"):
        Chain((1, 1), channels_last=True, layers=(Dense(1, relu=True), Convolution(1, (1,), (1,))))


def test_a_code_that_is_no_vector_is_refused() -> None:
    network = Chain((4, 1), channels_last=True, layers=(Convolution(3, (2,), (1,)),))
    with pytest.raises(ValueError, match=r"\[3\]"):
        network.layers_with_weights()


def test_inputs_have_the_size_of_25_frames_of_flow() -> None:
    assert {prod(NETWORKS[name].input_shape) for name in ("3D", "2D")} == {25 * 60 * 60 * 2}
