"""Looking into, and changing, the baselines of a project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_gaitperf import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_gaitperf.results import Cell
    from tests.plugin.conftest import Project


UNMEASURED = Outcome.UNMEASURED.exit_code


def baseline_files(project: Project) -> list[Path]:
    """Return the baseline files of a project, sorted."""
    return sorted((project.path / "baselines").glob("*/*.json"))


def make_faster(files: Iterable[Path], factor: float) -> None:
    """Let baselines say that the model was this much faster: what is now is slower than that."""
    for path in files:
        document = json.loads(path.read_text())
        for cell in document["cells"].values():
            for session in cell["sessions"].values():
                session["throughput"][0] *= factor
                for name in {"latency_p50", "latency_p99"} & set(session):
                    session[name][0] /= factor
        path.write_text(json.dumps(document))


def kinds(cell: Cell) -> dict[str, str]:
    """Return the verdicts of a cell, by metric."""
    return {metric: verdict.kind.value for metric, verdict in cell.verdicts.items()}
