from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gait.networks import NETWORKS
from pytest_gaitperf.gait.variants import MAX_PRUNED, REFERENCE_VARIANTS, Variant

VARIANTS = st.builds(
    Variant,
    network=st.sampled_from(sorted(NETWORKS)),
    precision=st.just("fp32"),
    pruned=st.integers(0, MAX_PRUNED),
    batch=st.just("batchd"),
)
NAMES = ["3D_fp32_0_batchd", "3D_fp32_40_batchd", "2D_fp32_0_batchd", "2D_fp32_40_batchd"]


@given(VARIANTS)
def test_a_name_parses_back_to_its_variant(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@given(
    st.text(alphabet="23D_fp160batchd4-. \n٣", max_size=20) | st.from_regex(r"[23]D_fp32_\w+_\w+")
)
def test_a_name_is_refused_or_comes_back_unchanged(name: str) -> None:
    try:
        variant = Variant.parse(name)
    except ConfigurationError as error:
        assert repr(name) in str(error)  # noqa: PT017  # either outcome is right, and each is checked
    else:
        assert variant.name == name


def test_the_reference_variants_are_the_seeds_four() -> None:
    assert [variant.name for variant in REFERENCE_VARIANTS] == NAMES


@pytest.mark.parametrize(
    "name",
    [
        "",
        "resnet50",
        "4D_fp32_0_batchd",
        "3D_fp64_0_batchd",
        "3D_fp32_00_batchd",
        "3D_fp32_100_batchd",
        "3D_fp32_-1_batchd",
        "3D_fp32_0_batch8",
        "3d_fp32_0_batchd",
        "3D_fp32_0_batchd\n",
    ],
)
def test_an_unknown_name_lists_what_exists(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Variant.parse(name)
    assert repr(name) in str(caught.value)
    for known in NAMES:
        assert known in str(caught.value)
    assert "\n" not in str(caught.value)
