"""Write files whole, and tell one content from another."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import NoReturn

from pytest_gaitperf.errors import ConfigurationError, GaitperfError

_CHUNK = 1 << 20


def replace_file(path: Path, content: bytes | Path) -> None:
    """Replace the file whole: another process sees the old one or the new one, never a part.

    ``content`` is the new bytes, or a file to copy, of any size. Raises OSError, with
    nothing changed, when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, _CHUNK)
            else:
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


def sha256(path: Path) -> str:
    """Return the digest of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def content_hash(directory: Path) -> str:
    """Return a sha256 over the names and bytes of all that Triton serves from a model's directory.

    Left out are ``1/recipe.json``, which says what ``gaitperf models`` built the weights from,
    Python's caches and temporary files. Links are followed. Raises ConfigurationError where the
    directory cannot be read.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is not a model's directory: check the repository")
    files: dict[str, Path] = {}
    visited: set[str] = set()
    try:
        for root, directories, names in os.walk(directory, onerror=_raise, followlinks=True):
            visited.add(os.path.realpath(root))
            directories[:] = [
                name
                for name in directories
                if name != "__pycache__" and os.path.realpath(Path(root, name)) not in visited
            ]
            for name in names:
                relative = Path(root, name).relative_to(directory).as_posix()
                if not name.endswith((".tmp", ".pyc")) and relative != "1/recipe.json":
                    files[relative] = Path(root, name)
        total = hashlib.sha256()
        for name, path in sorted(files.items()):
            # NUL cannot be in a file's name, and a digest has a fixed length: no two directories
            # can give the same stream.
            total.update(os.fsencode(name) + b"\0" + bytes.fromhex(sha256(path)))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename or directory}: {error.strerror}; the model's files must "
            "be readable to tell one version of it from another"
        ) from error
    return total.hexdigest()


def _raise(error: OSError) -> NoReturn:
    raise error
