"""What was measured, in the formats of the tools that people already run."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.results import Run

GROUP = "pytest_gaitperf.exporters"


@runtime_checkable
class Exporter(Protocol):
    """An object that writes one format."""

    def export(self, runs: Sequence[Run], name: str) -> str:
        """Return the file's text for runs, oldest first, at least one.

        ``name`` is that of the file to be written, "" for the standard output: a format whose files
        refer to each other needs it. Cells without a valid measurement are to be left out.
        """
        ...


_OURS = (
    *("bencher", "csv", "github-benchmark-bigger", "github-benchmark-smaller"),
    *("openmetrics", "otava", "pytest-benchmark"),
)
"""The formats of ``report.formats``, which needs numpy and is loaded when one is asked for."""


def names() -> list[str]:
    """Return the names of all formats, those of other packages included."""
    return sorted({*_OURS, *(point.name for point in entry_points(group=GROUP))})


def check_formats(asked: Iterable[str]) -> None:
    """Raise ConfigurationError where ``--gaitperf-export`` names a format that nobody writes."""
    for name in asked:
        if name not in names():
            raise ConfigurationError(
                f"--gaitperf-export: there is no format {name!r}; the formats are: "
                + ", ".join(names())
            )


def exporter(name: str) -> Exporter:
    """Return what writes the format ``name``.

    A package adds one with an entry point in the group ``pytest_gaitperf.exporters``. Raises
    ConfigurationError for a name that none has.
    """
    if name in _OURS:
        formats = import_module("pytest_gaitperf.report.formats")
        return cast("Exporter", formats.FORMATS[name])
    for point in entry_points(group=GROUP, name=name):
        loaded: object = point.load()
        if not isinstance(loaded, Exporter):
            raise ConfigurationError(
                f"{point.value} in the entry points {GROUP!r} has no export(runs, name): "
                "update or remove its package"
            )
        return loaded
    raise ConfigurationError(f"there is no format {name!r}; the formats are: {', '.join(names())}")
