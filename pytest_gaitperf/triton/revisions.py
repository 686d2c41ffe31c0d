"""Model files of a git revision, taken into a directory of their own, and what is absent there.

A large file may be kept elsewhere: git has a pointer of Git LFS, or of git-annex, in its place. A
model with one that cannot be had is absent: a pointer is never loaded as a model.
"""

from __future__ import annotations

import errno
import posixpath
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf import git
from pytest_gaitperf.errors import ConfigurationError, first_line
from pytest_gaitperf.files import read_bytes
from pytest_gaitperf.triton.models import model_folders, parse_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LFS = (b"version https://git-lfs.github.com/spec/v1", b"version https://hawser.github.com/spec/v1")
_LFS_POINTER = "a pointer of Git LFS"
_ANNEX = "/annex/objects/"
_POINTER_BYTES = 1024
_LINKS = 8
"""So many links may lead to each other."""


def models_at(commit: str, repository: Path) -> tuple[str, ...]:
    """Return the models that a repository had in a commit of its git repository, sorted.

    Raises ConfigurationError where it had none.
    """
    prefix = git.below_top(repository)
    inside = (path[len(prefix) :] for path in git.files_at(commit, repository, prefix))
    names = {path.partition("/")[0] for path in inside if "/" in path}
    if not (models := sorted(name for name in names if not name.startswith("."))):
        raise ConfigurationError(f"{repository} has no models in {commit[:12]}")
    return tuple(models)


def take_models(commit: str, repository: Path, models: Iterable[str], into: Path) -> dict[str, str]:
    """Write these models, and the steps of ensembles, as they were in a commit; below ``into``.

    Return, by name, why others are absent: nothing is written of them. Nothing of the files is
    changed, or executed; links become what they lead to.
    """
    prefix, entries = git.below_top(repository), git.files_at(commit, repository)
    absent: dict[str, str] = {}
    asked = list(models)
    for name in asked:  # which grows by the steps of ensembles
        folder = f"{prefix}{name}/"
        paths = [path for path in entries if path.startswith(folder)]
        why = "" if paths else "it is not there"
        for path in paths:
            named = path[len(prefix) :]
            if not why and (reason := _write(path, entries, repository, into / named)):
                why = f"{named} {reason}"
        config = into / name / "config.pbtxt"
        if why:
            absent[name] = why
            shutil.rmtree(into / name, ignore_errors=True)
        elif config.is_file():
            asked += [step for step in _steps(config) if step not in asked]
    return absent


def absent_models(repository: Path) -> dict[str, str]:
    """Return the models of a directory that lack a file, with the reason.

    Raises ConfigurationError for a directory that has no models.
    """
    folders = model_folders(repository)
    if not folders:
        raise ConfigurationError(f"{repository}: no models are there")
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            why = ""
            if path.is_symlink() and not path.exists():
                why = "a link that leads nowhere"
            elif path.is_file():
                why = _pointer(path)
            if why:
                found[folder.name] = f"{path.relative_to(repository)} is {why}"
                break
    return found


def _write(path: str, entries: Mapping[str, git.Entry], repository: Path, target: Path) -> str:
    """Write a file of a commit; say why it is absent, "" where it is not."""
    if ".." in Path(path).parts:
        return "lies outside of the repository"
    entry = entries[path]
    for _ in range(_LINKS):
        if entry.mode != "120000":
            break
        link = git.answer(repository, "cat-file", "blob", entry.blob).decode(errors="replace")
        if _ANNEX in link:
            return "is kept by git-annex, and is taken from no revision"
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        if path not in entries:
            return f"is a link to {link}, which is no file of the revision"
        entry = entries[path]
    if not entry.is_file:
        return "is no file of the revision"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        # In a partial clone git fetches what it lacks, or says why it cannot.
        read = git.git(repository, "cat-file", "blob", entry.blob, to=file)
    if read.returncode:
        return f"cannot be read: {first_line(git.failed(read))}"
    if (why := _pointer(target)) == _LFS_POINTER:
        why = _fetch(target, path, repository)
    return why and f"is {why}"


def _fetch(target: Path, path: str, repository: Path) -> str:
    """Put the file in place of its pointer; say what it is if that cannot be done."""
    pointer = target.read_bytes()
    with target.open("wb") as file:
        fetched = git.git(repository, "lfs", "smudge", "--", path, given=pointer, to=file)
    if fetched.returncode == 0:
        return _pointer(target)
    if b"not a git command" in fetched.stderr:
        return f"{_LFS_POINTER}, and git-lfs is not installed"
    return f"{_LFS_POINTER} ({first_line(git.failed(fetched))})"


def _pointer(path: Path) -> str:
    """Say what a file is a pointer of, "" where it is none."""
    try:
        content = read_bytes(path, _POINTER_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return ""
        return f"not to be read ({error.strerror})"
    if content.startswith(_LFS):
        return _LFS_POINTER
    return "a pointer of git-annex" if content.startswith(_ANNEX.encode()) else ""


def _steps(config: Path) -> list[str]:
    """Return the models that an ensemble is made of, none of any other model."""
    try:
        return [step.model_name for step in parse_config(config).ensemble_scheduling.step]
    except ConfigurationError:  # the server will say what is wrong with it
        return []
