from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.networks import (
    GROUPS,
    MAX_PRUNED,
    NETWORKS,
    PRECISIONS,
    REFERENCE_VARIANTS,
    ZOO,
    Variant,
    select,
)

VARIANTS = st.builds(
    Variant,
    network=st.sampled_from(sorted(NETWORKS)),
    precision=st.sampled_from(PRECISIONS),
    pruned=st.integers(0, MAX_PRUNED),
)
NAMES = ["3D_fp32_0_batchd", "3D_fp32_40_batchd", "2D_fp32_0_batchd", "GaitSet_fp32_0_batchd"]


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


def test_a_percentage_of_two_digits_is_the_same_network_under_its_own_name() -> None:
    padded = Variant.parse("3D_fp32_05_batchd")
    assert padded.name == "3D_fp32_05_batchd"
    assert padded.describe() == Variant.parse("3D_fp32_5_batchd").describe()


def test_the_reference_variants_are_each_network_and_a_pruned_one() -> None:
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


def test_the_zoo_has_every_network_precision_and_tenth() -> None:
    assert len(ZOO) == len(set(ZOO)) == 3 * 4 * 10
    assert {variant.pruned for variant in ZOO} == set(range(0, 100, 10))


def test_the_local_group_is_what_a_cpu_serves_whole_and_pruned_by_40_percent() -> None:
    assert len(GROUPS["local"]) == 18
    assert {variant.precision for variant in GROUPS["local"]} == {"fp32", "fp16", "int8"}
    assert {variant.pruned for variant in GROUPS["local"]} == {0, 40}


def names(*words: str) -> list[str]:
    return [variant.name for variant in select(words, ZOO)]


def test_words_are_groups_patterns_and_names_each_variant_once() -> None:
    assert names("reference") == NAMES
    assert names("3D_fp32_0_batchd", "reference", "3D_fp32_0*") == NAMES
    assert names("GaitSet_*_[4-5]0_*") == [
        f"GaitSet_{precision}_{pruned}_batchd" for precision in PRECISIONS for pruned in (40, 50)
    ]
    assert names("2D_int8_33_batchd") == ["2D_int8_33_batchd"]  # a name need not be in the zoo


@pytest.mark.parametrize("word", ["4D*", "*_fp64_*", "locals", "3D_fp32"])
def test_a_word_that_names_nothing_is_refused(word: str) -> None:
    with pytest.raises(ConfigurationError, match="no gait model") as caught:
        select(["reference", word], ZOO)
    assert repr(word) in str(caught.value)
