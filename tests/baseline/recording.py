"""Baselines made for tests, and git repositories to keep them in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FINGERPRINT = Fingerprint(
    "2.51.0",
    "in -> out",
    "http",
    "inline",
    rails={"energy_per_inference": "VDD_IN"},
    content="abc",
)
CELLS = ("b1-c1", "b8-c4")


def record(
    day: int,
    throughput: float | Mapping[str, float],
    *,
    root: Path = Path("baselines"),
    profile: str = "orin",
    models: Sequence[str] = ("3D",),
    cells: Sequence[str] = CELLS,
    fingerprint: Fingerprint = FINGERPRINT,
) -> None:
    """Record a session of a day of November; what is not throughput follows from it."""
    store = BaselineStore(root, profile, {"mode": "15W"})
    for model in models:
        for key in cells:
            rate = throughput if isinstance(throughput, (int, float)) else throughput[model]
            values = {
                "throughput": Value(rate, 0.02, 12),
                "latency_p50": Value(1 / rate, 0.02, 12),
                "energy_per_inference": Value(0.006, 0.02, 12, "VDD_IN"),
            }
            store.record(model, key, fingerprint, values)
    store.write(
        Provenance(
            id=f"202611{day:02}T100000Z",
            time=f"2026-11-{day:02}T10:00:00Z",
            commit=f"c{day:011}",
            dirty=False,
            plugin="0.1.0",
            recorder="host board",
            environment={"kernel": f"6.{day}"},
        )
    )


def steady(first: int = 1, last: int = 5, *, models: Sequence[str] = ("3D",)) -> None:
    """Record sessions around 40 inferences per second that differ by 1 %."""
    for day in range(first, last + 1):
        record(day, 40.0 * (1 + 0.01 * (day % 3 - 1)), models=models)


def git(*arguments: str, directory: Path = Path(), check: bool = True) -> str:
    """Run git, as somebody, and return what it printed."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments],  # noqa: S607 - whichever git there is
        cwd=directory,
        check=check,
        capture_output=True,
        text=True,
    ).stdout


def commit(directory: Path = Path()) -> None:
    """Commit everything, in a repository that is made where there is none."""
    if not (directory / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", directory=directory)
    git("add", "--all", directory=directory)
    git("commit", "--quiet", "--allow-empty", "--message=baselines", directory=directory)
