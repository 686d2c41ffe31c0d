"""The configuration with which apache-otava reads our CSV, one test for each cell.

Write the table beside it under the same name: ``history.yaml`` reads ``history.csv``.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.export.csv_table import complete_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.export.history import SessionFigures


def export(sessions: Sequence[SessionFigures], name: str) -> str:
    """Return the configuration: JSON, which is YAML too."""
    table = str(PurePath(name or "history.yaml").with_suffix(".csv"))
    tests: dict[str, dict[str, object]] = {}
    for column in complete_columns(sessions):
        cell, _, figure = column.rpartition(":")
        metric = next(
            METRICS[known]
            for known in sorted(METRICS, key=len, reverse=True)
            if figure.removeprefix("estimated_").startswith(known)
        )
        test = tests.setdefault(
            cell,
            {
                "type": "csv",
                "file": table,
                "time_column": "time",
                "attributes": ["commit"],
                "metrics": {},
            },
        )
        metrics = test["metrics"]
        assert isinstance(metrics, dict)
        metrics[figure] = {"column": column, "direction": -metric.worse_sign, "scale": 1}
    return json.dumps({"tests": tests}, indent=1) + "\n"
