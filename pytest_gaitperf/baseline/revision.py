"""Baselines as a git revision has them, by git itself: no file of the work tree is touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.directory import Place
from pytest_gaitperf.baseline.schema import decode
from pytest_gaitperf.errors import BaselineError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.baseline.schema import BaselineFile


def commit_of(revision: str, directory: Path) -> str:
    """Return a revision's commit hash in the repository that ``directory`` lies in.

    Raises ConfigurationError without git, outside a repository, and for an unknown revision.
    """
    _top(directory)
    # A name that begins with a dash would be an option.
    if not revision.startswith("-"):
        found = _git(directory, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.decode().strip()
    raise ConfigurationError(
        f"{revision!r} is no revision of the git repository of {directory}: name a commit, branch "
        "or tag, and fetch it first (a shallow clone has only the newest commits)"
    )


def files_at(
    revision: str, directory: Path, wanted: Callable[[Place], bool]
) -> dict[Place, BaselineFile]:
    """Read the baselines that ``directory`` had in a revision; empty where it was not there.

    Raises ConfigurationError as ``commit_of`` does, BaselineError for a damaged file.
    """
    commit = commit_of(revision, directory)
    below = directory.resolve().relative_to(_top(directory))
    prefix = "" if below == Path() else f"{below.as_posix()}/"
    listed = _git(directory, "ls-tree", "-r", "-z", "--full-tree", commit, *filter(None, [prefix]))
    if listed.returncode:
        raise _failed(listed)
    blobs: dict[Place, str] = {}
    for entry in filter(None, listed.stdout.split(b"\0")):
        described, _, name = entry.partition(b"\t")
        mode, _, blob = described.decode().split(" ")
        profile, _, file = name.decode(errors="surrogateescape")[len(prefix) :].partition("/")
        place = Place(profile, file.removesuffix(".json"))
        if (
            mode.startswith("100")  # a file, no link
            and file.endswith(".json")
            and "/" not in file
            and not any(part.startswith(".") for part in place)
            and wanted(place)
        ):
            blobs[place] = blob
    files = {}
    for place, data in zip(blobs, _contents(directory, list(blobs.values())), strict=True):
        path = Path(f"{revision}:{prefix}{place}.json")
        try:
            files[place] = decode(data, path, place.model, place.profile)
        except BaselineError as error:
            raise BaselineError(
                f"{error} (that is the file of the revision: compare with another one, or choose "
                "other models with --models)"
            ) from None
    return files


def _contents(directory: Path, blobs: Sequence[str]) -> Iterator[bytes]:
    """Yield the blobs' bytes in order, by one git process."""
    if not blobs:
        return
    batch = _git(directory, "cat-file", "--batch", data="".join(f"{b}\n" for b in blobs).encode())
    if batch.returncode:
        raise _failed(batch)
    rest = batch.stdout
    for _ in blobs:
        header, _, rest = rest.partition(b"\n")
        if header.endswith(b" missing"):  # else "<hash> blob <size>"
            raise ConfigurationError(
                f"git has no content of {header.decode(errors='replace')}: fetch it first (this "
                "is a partial clone or a damaged one)"
            )
        size = int(header.split(b" ")[2])
        yield rest[:size]
        rest = rest[size + 1 :]


def _top(directory: Path) -> Path:
    """Return the root of the repository that a directory, there or not, lies in."""
    found = _git(directory, "rev-parse", "--show-toplevel")
    if found.returncode == 0 and found.stdout.strip():
        return Path(found.stdout.decode(errors="surrogateescape").removesuffix("\n")).resolve()
    if b"not a git repository" in found.stderr:
        raise ConfigurationError(
            f"{directory}: not in a git repository, so there is no revision to compare with: "
            "compare two directories with --between DIR DIR"
        )
    raise _failed(found)


def _git(
    directory: Path, *arguments: str, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a directory, or in the nearest one above that exists.

    The repository is the one that the directory lies in, also where a hook of another runs this.
    """
    resolved = directory.resolve()
    nearest = next(path for path in (resolved, *resolved.parents) if path.is_dir())
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    try:
        return subprocess.run(
            ["git", "-C", str(nearest), *arguments],  # noqa: S607 - the user's own git
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
            env={**environment, "LC_ALL": "C"},
        )
    except OSError as error:
        raise ConfigurationError(
            f"git cannot be run ({error.strerror}): install it, or compare two directories with "
            "--between DIR DIR"
        ) from None


def _failed(process: subprocess.CompletedProcess[bytes]) -> ConfigurationError:
    """Tell git's whole reason: what to do against it stands in its later lines."""
    lines = process.stderr.decode(errors="replace").split("\n")
    why = " ".join(line.strip() for line in lines if line.strip()) or "no reason given"
    return ConfigurationError(f"git {process.args[3]}: {why.removeprefix('fatal: ')}")
