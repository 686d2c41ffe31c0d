"""Reading whole directories of baselines, without knowing their profiles before."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.baseline.schema import decode
from pytest_gaitperf.baseline.store import cells_of
from pytest_gaitperf.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pytest_gaitperf.baseline.schema import BaselineFile
    from pytest_gaitperf.baseline.store import CellBaseline


class Place(NamedTuple):
    """Where a baseline file belongs: ``<profile>/<model>.json``."""

    profile: str
    model: str

    def __str__(self) -> str:
        return f"{self.profile}/{self.model}"

    @property
    def relative(self) -> str:
        """The file's path below the directory of the baselines."""
        return f"{self}.json"


class CellPlace(NamedTuple):
    """Which cell of which baseline file."""

    profile: str
    model: str
    key: str


def paths_in(directory: Path) -> dict[Place, Path]:
    """Return the baseline files of a directory of baselines, or of one profile's directory.

    Empty where there is none. Raises BaselineError where it cannot be read.
    """
    try:
        found = list(directory.glob("*/*.json")) or list(directory.glob("*.json"))
    except OSError as error:
        raise _unreadable(error, directory) from None
    return {
        Place(path.absolute().parent.name, path.stem): path
        for path in sorted(found)
        if not path.name.startswith(".") and not path.parent.name.startswith(".")
    }


def read(path: Path, place: Place) -> BaselineFile:
    """Read and validate one file. Raises BaselineError, naming the path."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(error, path) from None
    return decode(data, path, place.model, place.profile)


def files_in(directory: Path, wanted: Callable[[Place], bool]) -> dict[Place, BaselineFile]:
    """Read the files of a directory that are wanted. Raises BaselineError for the first bad one."""
    paths = paths_in(directory)
    return {place: read(path, place) for place, path in paths.items() if wanted(place)}


def cells_by_place(
    files: Mapping[Place, BaselineFile],
) -> dict[CellPlace, CellBaseline]:
    """Return every recorded cell of the files."""
    return {
        CellPlace(place.profile, place.model, cell.key): cell
        for place, content in files.items()
        for cell in cells_of(content)
    }


def profiles_of(places: Iterable[Place]) -> list[str]:
    """Return the profiles, sorted."""
    return sorted({place.profile for place in places})


def _unreadable(error: OSError, path: Path) -> BaselineError:
    return BaselineError(
        f"{error.filename or path}: cannot read the baseline ({error.strerror}): make it "
        "readable, or name another directory"
    )
