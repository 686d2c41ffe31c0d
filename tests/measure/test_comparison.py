"""Outputs beside a reference's: the error, what cannot be compared, and what is never a pass."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.comparison import RESOLUTION, Comparison
from pytest_gaitperf.measure.labels import rank_1

REF = np.arange(1.0, 17.0, dtype=np.float32)


def compared(*pairs: tuple[object, object]) -> Comparison:
    found = Comparison()
    for given, wanted in pairs:
        found.add({"y": np.asarray(given)}, {"y": np.asarray(wanted)})
    return found


def test_the_error_is_relative_to_the_reference_over_all_samples() -> None:
    found = compared((REF * 1.25, REF), (REF, REF))
    assert found.error() == pytest.approx(0.25 / math.sqrt(2))
    output = found.outputs()["y"]
    assert output.largest == pytest.approx(4.0)
    assert output.mean == pytest.approx(0.25 * REF.mean() / 2)
    assert output.cosine == pytest.approx(1.0)
    assert output.agreement == 1.0


def test_what_is_equal_has_the_least_error_there_is() -> None:
    assert compared((REF, REF)).error() == RESOLUTION
    assert compared((REF * np.float32(1 + 1e-6), REF)).error() == RESOLUTION
    assert compared((np.zeros(4), np.zeros(4))).error() == RESOLUTION


def test_a_small_output_is_not_lost_beside_a_large_one() -> None:
    found = Comparison()
    found.add({"box": REF * 1e6, "score": REF * 0}, {"box": REF * 1e6, "score": REF})
    assert found.error() == pytest.approx(1 / math.sqrt(2))


def test_the_worst_output_does_not_hide_another_that_becomes_worse() -> None:
    def both(small: float) -> Comparison:
        found = Comparison()
        found.add({"a": REF * 1.5, "b": REF * (1 + small)}, {"a": REF, "b": REF})
        return found

    before, after = both(0.01), both(0.1)
    assert after.error() < before.error() * 1.05
    assert before.typical() == pytest.approx(math.sqrt(0.005))
    assert after.typical() == pytest.approx(math.sqrt(0.05))
    assert compared((REF, REF)).typical() is None, "one output is its own"


def test_the_scale_of_a_model_does_not_matter_even_where_float32_would_overflow() -> None:
    large = REF * np.float32(1e30)
    assert compared((large * np.float32(1.25), large)).error() == pytest.approx(0.25)


def test_whole_numbers_compare_as_agreement() -> None:
    found = compared(([1, 2, 3, 4], [1, 2, 3, 5]), ([7, 7, 7, 7], [7, 7, 7, 7]))
    assert found.error() == pytest.approx(1 / 8)
    assert found.outputs()["y"].agreement == 0.5


@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nan, "NaN"), (np.inf, "infinite values"), (-1e200, "infinite values")],
)
def test_what_is_not_finite_is_said_with_its_samples_and_is_an_error(
    value: float, word: str
) -> None:
    bad = REF.astype(np.float64)
    bad[3] = value
    found = compared((bad, REF), (REF, REF), (bad, REF))
    assert found.spoilt == f"2 of 3 samples have {word} in y, and the reference has none there"
    assert 0 < found.error() < 1
    assert found.outputs()["y"].agreement == pytest.approx(1 / 3)


def test_what_the_reference_has_that_is_not_finite_must_be_equal() -> None:
    masked = REF.copy()
    masked[0] = -np.inf
    same, finite = compared((masked, masked)), compared((REF, masked))
    assert (same.error(), same.spoilt) == (RESOLUTION, "")
    assert "not finite" in same.notes[0]
    huge = REF.astype(np.float64) * 1e200
    assert compared((huge, huge), (REF, REF)).error() == RESOLUTION
    assert finite.error() > 0.1, "a mask that is gone is an error"
    assert finite.spoilt == ""


def test_of_several_largest_values_any_will_do() -> None:
    found = compared(([0.0, 5.0, 5.1], [0.0, 5.0, 5.0]), ([0.0, 1.0], [1.0, 0.0]))
    assert found.outputs()["y"].agreement == 0.5


def test_half_precision_is_compared_and_that_is_noted() -> None:
    found = compared((REF.astype(np.float16), REF))
    assert found.error() == RESOLUTION
    assert "float16" in found.notes[0]


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        ({"z": REF}, {"y": REF}, "it has no output y, which its reference has"),
        ({"y": REF[:8]}, {"y": REF}, r"y of sample 1 has the shape \[8\], and its reference's"),
        ({"y": REF}, {"y": REF.astype(np.int64)}, "y is of the type float32"),
        ({"y": None}, {"y": None}, "strings, which are not compared"),
        ({"y": None}, {"y": REF}, "y holds strings, or its reference's does"),
    ],
)
def test_what_cannot_be_compared_says_why(given: dict, wanted: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(MeasurementError, match=message):
        Comparison().add(given, wanted)


def test_an_error_relative_to_nothing_is_refused() -> None:
    with pytest.raises(MeasurementError, match="0 in all samples"):
        compared((REF, REF * 0)).error()


def test_more_outputs_than_the_reference_has_are_noted() -> None:
    found = Comparison()
    found.add({"y": REF, "more": REF}, {"y": REF})
    assert found.error() == RESOLUTION
    assert "more" in found.notes[0]


def test_rank_1_looks_for_the_nearest_other_sample_and_only_for_labels_that_recur() -> None:
    near = np.array([[0.0, 0], [0.1, 0], [5, 5], [5.1, 5], [0.2, 0]])
    assert rank_1(near, np.array(["a", "a", "b", "b", "c"])) == 1.0
    assert rank_1(near, np.array(["a", "b", "b", "a", "a"])) == 0.0
    with pytest.raises(MeasurementError, match="each label"):
        rank_1(near, np.arange(5))


def test_an_embedding_that_is_not_a_number_is_never_found() -> None:
    spoilt = np.array([[0.0], [0.1], [np.nan], [np.nan]])
    assert rank_1(spoilt, np.array([1, 1, 2, 2])) == 0.5
