"""OpenMetrics as Prometheus reads it: with the strict parser of its client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.openmetrics import parser

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


def families_of(text: str) -> dict[str, Metric]:
    """Return the families of an exposition, by name."""
    found = parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {family.name: family for family in found}
