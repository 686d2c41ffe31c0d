"""How a model answered, beside a reference and labels."""

from __future__ import annotations

import msgspec


class OutputAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How one output compares with the reference's, over all samples.

    ``error`` is ``||y - ref|| / ||ref||``; of whole numbers the share of values that differ.
    ``largest`` and ``mean`` are absolute errors, ``cosine`` is the lowest of any sample's, None of
    whole numbers. ``agreement`` is the share of samples whose largest value has the same place; of
    whole numbers, of those that are equal.
    """

    error: float
    largest: float | None = None
    mean: float | None = None
    cosine: float | None = None
    agreement: float = 1.0

    @property
    def text(self) -> str:
        """What was seen, in words."""
        if self.largest is None or self.mean is None or self.cosine is None:
            return f"{self.error:.3%} of values differ, equal in {self.agreement:.1%} of samples"
        return (
            f"error {self.error:.3%}, largest {self.largest:.3g}, mean {self.mean:.3g}, lowest "
            f"cosine {self.cosine:.6g}, top-1 agrees in {self.agreement:.1%}"
        )


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How a model answered, beside a reference and labels.

    ``reference`` is a model with its version, or a file with its hash, ``labels`` a file with its
    hash and how they were looked for, "" for none. ``spoilt`` says which outputs are NaN or
    infinite where the reference's are not: a regression in any case. ``failed`` says why there is
    no value though one was asked for. ``typical`` is the geometric mean of several outputs' errors.
    """

    reference: str = ""
    labels: str = ""
    samples: int = 0
    outputs: dict[str, OutputAccuracy] = {}
    error: float | None = None
    typical: float | None = None
    score: float | None = None
    spoilt: str = ""
    failed: str = ""
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Say how each output compares."""
        return [
            f"{name}: {one.text}, beside {self.reference}, samples: {self.samples}"
            for name, one in self.outputs.items()
        ] + [f"{self.score:.1%} right: {self.labels}" for _ in (1,) if self.score is not None]

    def compared_with(self, metric: str) -> str:
        """Return what a metric's value depends on: a change of it is no change of the model."""
        what = self.labels if metric == "label_accuracy" else self.reference
        return f"{what}, samples: {self.samples}"
