"""Outputs beside a reference's, sample by sample: how far apart they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.accuracy import OutputAccuracy
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.tensors import is_float
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

RESOLUTION = 1e-5
"""An error below this counts as this. In FP32 a network that is computed in another order differs
by 2e-7 to 2e-6 (seven published ONNX models, with and without onnxruntime's optimisations)."""

_INFINITE = 1e140
"""What counts as infinite: the squares of smaller values can be summed in FP64."""


@dataclass(slots=True)
class _Output:
    """What was seen of one output."""

    whole: bool
    squares: float = 0.0
    of_reference: float = 0.0
    absolute: float = 0.0
    largest: float = 0.0
    cosine: float = 1.0
    values: int = 0
    wrong: int = 0
    agreed: int = 0
    nan: int = 0
    infinite: int = 0
    reference_bad: int = 0

    def add(self, given: Array, wanted: Array) -> None:
        self.values += given.size
        if self.whole:
            unequal = int((given != wanted).sum())
            self.wrong += unequal
            self.agreed += not unequal
            return
        y, ref = given.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        finite, known = np.abs(y) < _INFINITE, np.abs(ref) < _INFINITE
        self.nan += bool((np.isnan(y) & known).any())
        self.infinite += bool((~finite & ~np.isnan(y) & known).any())
        self.reference_bad += not known.all()
        both = finite & known
        same = both | (np.isnan(y) & np.isnan(ref)) | (y == ref)
        self.wrong += int((~same).sum())
        error = y[both] - ref[both]
        self.squares += float(error @ error)
        self.of_reference += float(ref[known] @ ref[known])
        self.absolute += float(np.abs(error).sum())
        self.largest = max(self.largest, float(np.abs(error).max(initial=0.0)))
        norms = float(y[both] @ y[both]), float(ref[both] @ ref[both])
        if all(norms):
            cosine = float(y[both] @ ref[both]) / math.sqrt(norms[0]) / math.sqrt(norms[1])
            self.cosine = min(self.cosine, cosine)
        elif any(norms) or not same.all():
            self.cosine = min(self.cosine, 0.0)
        if same.all() and ref.size:
            comparable = np.where(np.isnan(y), -math.inf, y), np.where(known, ref, -math.inf)
            # Of several largest values, any will do.
            self.agreed += bool(comparable[1][comparable[0].argmax()] == comparable[1].max())

    def error(self, name: str) -> float:
        """Return the relative error; a value that is not finite counts as one wholly wrong."""
        if self.whole:
            return self.wrong / max(self.values, 1)
        squares = self.squares + self.wrong * self.of_reference / max(self.values, 1)
        if self.of_reference:
            return math.sqrt(squares) / math.sqrt(self.of_reference)
        if squares or self.wrong:
            raise MeasurementError(
                f"the reference's {name} is 0 in all samples, and the model's is not: no error is "
                "relative to nothing; send data with an answer (--gaitperf-data)"
            )
        return 0.0


@dataclass(slots=True)
class Comparison:
    """The outputs of a model beside those of its reference, of one sample after the other."""

    samples: int = 0
    _outputs: dict[str, _Output] = field(default_factory=dict)
    _notes: dict[str, None] = field(default_factory=dict)

    def add(self, given: Mapping[str, Array | None], wanted: Mapping[str, Array | None]) -> None:
        """Add a sample; MeasurementError where the outputs cannot be compared."""
        self.samples += 1
        if missing := [name for name in wanted if name not in given]:
            raise MeasurementError(
                f"it has no output {', '.join(missing)}, which its reference has: its outputs are "
                f"{', '.join(given)}"
            )
        if more := [name for name in given if name not in wanted]:
            self._notes[f"not compared: {', '.join(more)}: its reference has no such output"] = None
        for name, expected in wanted.items():
            found = given[name]
            if found is None or expected is None:
                if (found is None) != (expected is None):
                    raise MeasurementError(f"its {name} holds strings, or its reference's does")
                self._notes[f"not compared: {name}, which holds strings"] = None
                continue
            self._check(name, found, expected)
            whole = not is_float(expected.dtype)
            self._outputs.setdefault(name, _Output(whole)).add(found, expected)
        if not self._outputs:
            raise MeasurementError(
                "its outputs hold strings, which are not compared"
                if set(wanted) & set(given)
                else "its reference has no output"
            )

    def _check(self, name: str, found: Array, expected: Array) -> None:
        if is_float(found.dtype) != is_float(expected.dtype):
            raise MeasurementError(
                f"its {name} is of the type {found.dtype}, and its reference's of {expected.dtype}"
            )
        if found.dtype != expected.dtype:
            note = f"{name} is of the type {found.dtype}, and the reference's of {expected.dtype}"
            self._notes[note] = None
        if found.shape != expected.shape:
            raise MeasurementError(
                f"its {name} of sample {self.samples} has the shape {list(found.shape)}, and its "
                f"reference's {list(expected.shape)}"
            )

    def outputs(self) -> dict[str, OutputAccuracy]:
        """Return how each output compares."""
        return {
            name: OutputAccuracy(error=one.error(name), agreement=one.agreed / self.samples)
            if one.whole
            else OutputAccuracy(
                error=one.error(name),
                largest=one.largest,
                mean=one.absolute / max(one.values - one.wrong, 1),
                cosine=one.cosine,
                agreement=one.agreed / self.samples,
            )
            for name, one in self._outputs.items()
        }

    def error(self) -> float:
        """Return the error of all outputs: the root mean square of each one's, ``RESOLUTION`` up.

        Each counts alike, whatever its scale: a score is not lost beside a box in pixels.
        """
        squares = [one.error(name) ** 2 for name, one in self._outputs.items()]
        return max(math.sqrt(math.fsum(squares) / len(squares)), RESOLUTION)

    def typical(self) -> float | None:
        """Return the geometric mean of several outputs' errors, None of a single one.

        It moves alike whichever output becomes worse: in ``error`` the worst one hides the others.
        """
        errors = [max(one.error(name), RESOLUTION) for name, one in self._outputs.items()]
        return geometric_mean(errors) if len(errors) > 1 else None

    @property
    def spoilt(self) -> str:
        """Say which outputs are NaN or infinite where the reference's are not, "" where none is."""
        found = []
        for name, one in self._outputs.items():
            for what, number in (("NaN", one.nan), ("infinite values", one.infinite)):
                if number:
                    have = "has" if number == 1 else "have"
                    found.append(
                        f"{number} of {count(self.samples, 'sample')} {have} {what} in {name}"
                    )
        return f"{', '.join(found)}, and the reference has none there" if found else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        of_reference = (
            f"{one.reference_bad} of {count(self.samples, 'sample')} have values in the "
            f"reference's {name} that are not finite: those are compared for being equal"
            for name, one in self._outputs.items()
            if one.reference_bad
        )
        return (*self._notes, *of_reference)
