"""The formats by name, and how another package adds one."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.export.history import SessionFigures

GROUP = "pytest_gaitperf.exporters"


@runtime_checkable
class Exporter(Protocol):
    """A module (or any object) that writes one format."""

    def export(self, sessions: Sequence[SessionFigures], name: str) -> str:
        """Return the file's text for sessions, oldest first, at least one.

        ``name`` is that of the file to be written, "" for the standard output: a format whose files
        refer to each other needs it.
        """
        ...


_OURS = {
    "bencher": "bencher",
    "csv": "csv_table",
    "github-benchmark-bigger": "github_benchmark_bigger",
    "github-benchmark-smaller": "github_benchmark_smaller",
    "openmetrics": "openmetrics",
    "otava": "otava",
    "pytest-benchmark": "pytest_benchmark",
}
"""The module of each format."""


def names() -> list[str]:
    """Return the names of all formats, those of other packages included."""
    return sorted({*_OURS, *(point.name for point in entry_points(group=GROUP))})


def exporter(name: str) -> Exporter:
    """Return what writes the format ``name``.

    Ours are modules of this package; a package adds one with an entry point in the group
    ``pytest_gaitperf.exporters``. Raises ConfigurationError for a name that none has.
    """
    if name in _OURS:
        return cast("Exporter", import_module(f"pytest_gaitperf.report.export.{_OURS[name]}"))
    for point in entry_points(group=GROUP, name=name):
        loaded: object = point.load()
        if not isinstance(loaded, Exporter):
            raise ConfigurationError(
                f"{point.value} in the entry points {GROUP!r} has no export(sessions, name): "
                "update or remove its package"
            )
        return loaded
    raise ConfigurationError(f"there is no format {name!r}; the formats are: {', '.join(names())}")
