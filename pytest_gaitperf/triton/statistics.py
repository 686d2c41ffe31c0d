"""What the server counted: Triton's statistics extension, one model at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Cumulative counters of one model version since it was loaded.

    ``inference_count`` counts samples (a batch of 8 is 8), ``execution_count`` runs of the backend
    (several requests may share one), ``success_count`` and ``fail_count`` requests. The durations
    are summed over successful requests, in nanoseconds; ``success_ns`` is their whole time in the
    server, the others are its parts.
    """

    inference_count: int
    execution_count: int
    success_count: int
    fail_count: int
    success_ns: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int

    def minus(self, earlier: ModelStatistics) -> ModelStatistics:
        """Return what was counted since ``earlier``."""
        return ModelStatistics(
            *(
                getattr(self, field.name) - getattr(earlier, field.name)
                for field in fields(ModelStatistics)
            )
        )

    def parts_s(self) -> dict[str, float]:
        """Return the seconds of each part of a successful request's time in the server."""
        count = max(self.success_count, 1)
        return {
            "queue": self.queue_ns / count / 1e9,
            "compute_input": self.compute_input_ns / count / 1e9,
            "compute_infer": self.compute_infer_ns / count / 1e9,
            "compute_output": self.compute_output_ns / count / 1e9,
        }


def from_answer(entry: dict[str, Any]) -> ModelStatistics:
    """Read one entry of ``model_stats``; what an older server leaves out counts as 0.

    Raises ``AttributeError``, ``TypeError`` or ``ValueError`` when it is not one.
    """
    inference: dict[str, Any] = entry.get("inference_stats") or {}

    def part(name: str, field: str) -> int:
        return _counted((inference.get(name) or {}).get(field, 0))

    return ModelStatistics(
        inference_count=_counted(entry.get("inference_count", 0)),
        execution_count=_counted(entry.get("execution_count", 0)),
        success_count=part("success", "count"),
        fail_count=part("fail", "count"),
        success_ns=part("success", "ns"),
        queue_ns=part("queue", "ns"),
        compute_input_ns=part("compute_input", "ns"),
        compute_infer_ns=part("compute_infer", "ns"),
        compute_output_ns=part("compute_output", "ns"),
    )


def _counted(value: Any) -> int:
    """Return a counter, which JSON may hold as a text: its own numbers end at 2^53."""
    count = int(value)
    if not 0 <= count < 1 << 64:
        raise ValueError(f"{count} is no counter")
    return count
