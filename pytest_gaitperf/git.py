"""What git knows of a directory: its commits, and the files of one. The work tree is left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import IO, NamedTuple

from pytest_gaitperf.errors import ConfigurationError

_MOST_S = 60.0
"""No answer takes as long, unless the file system is gone."""

_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


class Entry(NamedTuple):
    """A file of a commit: its mode (100644, 120000 for a link ...) and its blob."""

    mode: str
    blob: str

    @property
    def is_file(self) -> bool:
        """Whether it is a file, and no link."""
        return self.mode.startswith("100")


def git(
    directory: Path, *arguments: str, given: bytes = b"", to: IO[bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a directory or the nearest above, also where a hook of another runs this.

    It reads ``given``, and writes to the file ``to`` where there is one.
    """
    resolved = directory.resolve()
    nearest = next(path for path in (resolved, *resolved.parents) if path.is_dir())
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    try:
        return subprocess.run(
            ["git", "-C", str(nearest), *arguments],  # noqa: S607 - the user's own git
            input=given,
            stdout=subprocess.PIPE if to is None else to,
            stderr=subprocess.PIPE,
            check=False,
            env={**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            timeout=_MOST_S if to is None else None,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"git {arguments[0]} did not end in {_MOST_S:.0f} s") from None
    except OSError as error:
        raise ConfigurationError(
            f"git cannot be run ({error.strerror}): install it, or give directories in place of "
            "revisions"
        ) from None


def answer(directory: Path, *arguments: str) -> bytes:
    """Return what git prints. Raises ConfigurationError, with git's own reason, where it fails."""
    found = git(directory, *arguments)
    if found.returncode:
        raise failed(found)
    return found.stdout


def failed(process: subprocess.CompletedProcess[bytes]) -> ConfigurationError:
    """Tell git's whole reason: what to do against it stands in its later lines."""
    lines = process.stderr.decode(errors="replace").split("\n")
    why = " ".join(line.strip() for line in lines if line.strip()) or "no reason given"
    return ConfigurationError(f"git {process.args[3]}: {why.removeprefix('fatal: ')}")


def top(directory: Path) -> Path:
    """Return the root of the work tree that a directory, there or not, lies in."""
    found = git(directory, "rev-parse", "--show-toplevel")
    if found.returncode == 0 and found.stdout.strip():
        return Path(found.stdout.decode(errors="surrogateescape").removesuffix("\n")).resolve()
    if b"not a git repository" in found.stderr:
        raise ConfigurationError(
            f"{directory}: not in a git repository, so it has no revisions: give directories in "
            "their place"
        )
    raise failed(found)


def below_top(directory: Path) -> str:
    """Return a directory's place in its work tree: "" or a path that ends in a slash."""
    below = directory.resolve().relative_to(top(directory))
    return "" if below == Path() else f"{below.as_posix()}/"


def commit_of(revision: str, directory: Path) -> str:
    """Return a revision's commit hash in the repository that ``directory`` lies in."""
    # A name that begins with a dash would be an option.
    if not revision.startswith("-"):
        found = git(directory, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.decode().strip()
    top(directory)  # raises where there is no git repository at all
    raise ConfigurationError(
        f"{revision!r} is no revision of the git repository of {directory}: name a commit, branch "
        "or tag, and fetch it first (a shallow clone has only the newest commits)"
    )


def files_at(commit: str, directory: Path, prefix: str = "") -> dict[str, Entry]:
    """Return the files of a commit whose path begins with ``prefix``, by path from the root."""
    listed = answer(
        directory, "ls-tree", "-r", "-z", "--full-tree", commit, *filter(None, [prefix])
    )
    found = {}
    for line in filter(None, listed.split(b"\0")):
        described, _, name = line.partition(b"\t")
        mode, _, blob = described.decode().split(" ")
        found[name.decode(errors="surrogateescape")] = Entry(mode, blob)
    return found
