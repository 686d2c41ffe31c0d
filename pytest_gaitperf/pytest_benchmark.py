"""Cells as benchmarks of pytest-benchmark's own, in its table, files and comparisons.

Nothing is measured for it: a round is a request, a group is a model. What a benchmark has to have
is what versions 4 and 5 of the package ask of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.report.export import as_benchmark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf.results import Cell


def check(config: pytest.Config) -> None:
    """Raise UsageError where pytest-benchmark cannot show anything."""
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        raise pytest.UsageError(
            "--gaitperf-benchmarks shows cells in pytest-benchmark's table, and it is not active "
            "here: pip install pytest-benchmark, or leave the option out"
        )
    if session.only:
        raise pytest.UsageError(
            "--benchmark-only leaves out the tests that measure: select them with -k"
        )


def show(config: pytest.Config, cells: Iterable[Cell], profile: str) -> None:
    """Give pytest-benchmark what was measured, before it writes its files."""
    benchmarks = config._benchmarksession.benchmarks  # type: ignore[attr-defined]  # noqa: SLF001
    for cell in cells:
        if cell.measurement is None or cell.unmeasured is not None:
            continue
        if (found := as_benchmark([(cell, cell.measurement)], profile)) is not None:
            benchmarks.append(CellBenchmark(found))


class CellBenchmark:
    """A cell's latencies, as pytest-benchmark asks a benchmark of its own."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._stats = {**found.pop("stats")}
        self._found = {**found, "params": found["params"] or None}
        self.has_error = False

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, name: str) -> Any:
        return self._stats[name] if name in self._stats else self._found[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or a figure."""
        return self._stats.get(name, self._found.get(name, default))

    def as_dict(
        self, include_data: bool = True, *, flat: bool = False, stats: bool = True, **_: Any
    ) -> dict[str, Any]:
        """Return it as its JSON has it; ``include_data`` has nothing: requests are not kept."""
        del include_data
        if not stats:
            return dict(self._found)
        return {**self._found, **(self._stats if flat else {"stats": dict(self._stats)})}
