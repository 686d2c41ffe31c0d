"""A store of baselines and sessions for it, as the tests of the store share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore

if TYPE_CHECKING:
    from pathlib import Path

FINGERPRINT = Fingerprint(
    "2.51.0", "in FP32[8] -> out FP32[4]", "http", "inline", content="sha256:aa"
)
VALUES = {"throughput": Value(41.2, 0.021, 12), "latency_p50": Value(0.024, 0.03, 12)}


def store(root: Path) -> BaselineStore:
    return BaselineStore(root, "orin", {"mode": "15W"})


def session(number: int) -> Provenance:
    return Provenance(
        id=f"20261122T{number:06d}Z",
        time=f"2026-11-22T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        commit="abc123",
        dirty=False,
        plugin="0.1.0",
        recorder="host board-1",
    )


def record(root: Path, number: int, key: str = "b8-c4", model: str = "3D") -> list[Path]:
    writer = store(root)
    writer.record(model, key, FINGERPRINT, VALUES)
    return writer.write(session(number))
