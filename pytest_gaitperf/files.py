"""Write files whole."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file whole: another process sees the old one or the new one, never a part.

    Raises OSError, with nothing changed, when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user asked for, in one step; its folders are made where missing.

    What is there and no file, such as /dev/null or a pipe, is written to and stays. Raises
    GaitperfError when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_special(path):
            path.write_bytes(content)
        else:
            replace_file(path, content)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def check_writable(path: Path) -> None:
    """Raise GaitperfError when ``write_output`` would: asked before measuring."""
    directory = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir():
        raise _unwritable(path, "it is a directory")
    if not directory.is_dir():
        raise _unwritable(path, f"{directory} is not a directory")
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise _unwritable(path, "it is not writable")
    elif not os.access(directory, os.W_OK | os.X_OK):
        raise _unwritable(path, f"{directory} is not writable")


def _is_special(path: Path) -> bool:
    """Whether a path is a device or a pipe: a file in its place would not be what was meant."""
    return path.exists() and not path.is_file()


def _unwritable(path: Path, why: str) -> GaitperfError:
    return GaitperfError(
        f"{path} cannot be written ({why}): give a path in a directory that you may write to"
    )
