"""Who writes which format: the formats of this package, and those that other packages add."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from pytest_gaitperf.errors import ConfigurationError, GaitperfError
from pytest_gaitperf.report.export import WRITERS
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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


class _Format(NamedTuple):
    export: Callable[[Sequence[Run], str], str]


FORMATS: dict[str, Exporter] = {name: _Format(write) for name, write in WRITERS.items()}


def names() -> list[str]:
    """Return the names of all formats, those of other packages included."""
    return sorted({*FORMATS, *(point.name for point in entry_points(group=GROUP))})


def check_formats(asked: Iterable[str]) -> None:
    """Raise ConfigurationError where ``--gaitperf-export`` names a format that nobody writes."""
    for name in asked:
        if name not in names():
            raise ConfigurationError(
                f"--gaitperf-export: there is no format {name!r}{did_you_mean(name, names())} "
                f"the formats are: {', '.join(names())}"
            )


def exporter(name: str) -> Exporter:
    """Return what writes the format ``name``.

    A package adds one with an entry point in the group ``pytest_gaitperf.exporters``. Raises
    ConfigurationError for a name that none has.
    """
    if name in FORMATS:
        return FORMATS[name]
    for point in entry_points(group=GROUP, name=name):
        loaded: object = point.load()
        if not isinstance(loaded, Exporter):
            raise ConfigurationError(
                f"{point.value} in the entry points {GROUP!r} has no export(runs, name): "
                "update or remove its package"
            )
        return loaded
    raise ConfigurationError(f"there is no format {name!r}; the formats are: {', '.join(names())}")


def exported(name: str, runs: Sequence[Run], file: str) -> bytes:
    """Return runs in the format ``name``, for a file of that name, "" for the standard output.

    Raises GaitperfError also where another package's exporter breaks.
    """
    try:
        return exporter(name).export(runs, file).encode()
    except GaitperfError:
        raise
    except Exception as error:
        raise GaitperfError(f"the exporter of {name} failed: {error!r}") from error
