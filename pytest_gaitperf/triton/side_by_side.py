"""Two model repositories as one: the reference's models stand beside the candidate's of that name.

The server reads a directory of links, so nothing is copied but the configurations of the reference.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.triton.models import config_paths, parse_config

if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIX = "--reference"
"""What a reference model's name has behind the candidate's."""


class SideBySide:
    """The merged repository: ``directory``, removed by ``close``.

    ``references`` are the names of the candidate's models that have a counterpart; that is served
    as NAME + ``SUFFIX``. ``origins`` are the directories that the links point into: a container
    needs them at the same paths.
    """

    def __init__(self, candidate: Path, reference: Path) -> None:
        """Link the models of both.

        Raises ConfigurationError for a directory that is none, for a reference whose configuration
        cannot be read, and where no link can be made.
        """
        for repository in (candidate, reference):
            config_paths(repository)  # raises when it is no directory
        self.origins = (candidate.resolve(), reference.resolve())
        ours, theirs = _models(candidate), _models(reference)
        self.references = frozenset(ours) & frozenset(theirs)
        taken = sorted(name for name in ours if name.endswith(SUFFIX))
        if taken:
            raise ConfigurationError(
                f"{ours[taken[0]]}: names that end in {SUFFIX!r} are taken by the models that "
                "--gaitperf-against compares with: rename it"
            )
        self._temporary = tempfile.TemporaryDirectory(prefix="gaitperf-")
        self.directory = Path(self._temporary.name)
        try:
            for name, folder in ours.items():
                (self.directory / name).symlink_to(folder.resolve())
            for name, folder in theirs.items():
                _rename(folder, self.directory / f"{name}{SUFFIX}", theirs)
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"the models of {candidate} and {reference} cannot be linked in {self.directory} "
                f"({error.strerror}): free some space there, or set TMPDIR to another place"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the links; idempotent."""
        self._temporary.cleanup()


def _models(repository: Path) -> dict[str, Path]:
    return {
        folder.name: folder
        for folder in sorted(repository.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }


def _rename(folder: Path, staged: Path, others: Iterable[str]) -> None:
    """Link a model's files under another name, which its configuration must then not contradict.

    An ensemble's steps are led to the reference's own models.
    """
    staged.mkdir()
    for entry in folder.iterdir():
        if entry.name != "config.pbtxt":
            (staged / entry.name).symlink_to(entry.resolve())
    path = folder / "config.pbtxt"
    if not path.is_file():
        return
    from google.protobuf import text_format  # noqa: PLC0415 - grpc's, 0.4 s, see models

    config = parse_config(path)
    config.ClearField("name")
    for step in config.ensemble_scheduling.step:
        if step.model_name in others:
            step.model_name += SUFFIX
    (staged / path.name).write_text(text_format.MessageToString(config), encoding="utf-8")
