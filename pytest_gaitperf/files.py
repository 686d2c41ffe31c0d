"""Files: written whole or not at all, and read with a limit and one kind of error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

import msgspec

from pytest_gaitperf.errors import ConfigurationError, GaitperfError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1 << 20
MOST_BYTES = 64 << 20
"""The largest file from outside that is read."""

_BOM = b"\xef\xbb\xbf"


# Writing


class PartlyReplacedError(OSError):
    """The disk failed between two renames: some files are old, the others new, each is whole."""


def replace_file(path: Path, content: bytes | Path) -> None:
    """Replace the file whole: another process sees the old one or the new one, never a part.

    ``content`` is the new bytes, or a file to copy, of any size. Raises OSError, with
    nothing changed, when it cannot be written.
    """
    replace_files({path: content})


def replace_files(contents: Mapping[Path, bytes | Path]) -> None:
    """Replace several files whole. All contents are on the disk before the first rename.

    The temporary names cannot be guessed, and no link in their place is followed. Raises OSError,
    with nothing changed, where a file cannot be written; PartlyReplacedError where a later rename
    fails.
    """
    staged: dict[Path, Path] = {}
    renamed = 0
    try:
        for path, content in contents.items():
            temporary = _temporary(path)
            with temporary.open("xb") as file:
                staged[temporary] = path
                if isinstance(content, Path):
                    with open_regular(content) as source:
                        shutil.copyfileobj(source, file, _CHUNK)
                else:
                    file.write(content)
        for temporary in staged:  # after all were written: the disk takes them together
            _sync(temporary)
        for temporary, path in staged.items():
            temporary.replace(path)
            renamed += 1
        for directory in {path.parent for path in contents}:
            _sync(directory)
    except OSError as error:
        if renamed:
            why = f"{error.strerror}, after {renamed} of {len(staged)} files were replaced"
            raise PartlyReplacedError(error.errno, why, error.filename) from None
        raise
    finally:
        for temporary in list(staged)[renamed:]:
            temporary.unlink(missing_ok=True)


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
    # Not Path.exists, which raises for a folder that may not be entered, or a name too long.
    directory = next(one for one in path.absolute().parents if os.path.exists(one))  # noqa: PTH110
    if os.path.isdir(path):  # noqa: PTH112
        raise _unwritable(path, "it is a directory")
    if not directory.is_dir():
        raise _unwritable(path, f"{directory} is not a directory")
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise _unwritable(path, "it is not writable")
    else:
        trial = _temporary(directory / path.name)
        try:  # what os.access says is not all: /proc, a name that is too long
            trial.open("xb").close()
            trial.unlink()
        except OSError as error:
            why = error.strerror or str(error)
            raise _unwritable(path, f"nothing can be written in {directory}: {why}") from error


def json_text(document: object) -> str:
    """Return a document in ASCII, such that neither a terminal nor a CI's log obeys what it says.

    ``##[`` is a command to GitHub's runner, and can stand in a JSON document only in a string.
    """
    return json.dumps(document, indent=1, allow_nan=False).replace("##[", "#\\u0023[") + "\n"


def write_json(document: Mapping[str, object], target: str) -> None:
    """Write a document that a command was asked for; ``-`` is the output. Raises GaitperfError."""
    text = json_text(document)
    if target == "-":
        sys.stdout.write(text)
    else:
        write_output(Path(target), text.encode())


# Reading


def read_bytes(path: Path, limit: int = MOST_BYTES) -> bytes:
    """Return the content of a file from outside, of at most ``limit`` bytes.

    A pipe or a device is refused at once, not waited for or read without end. Raises OSError.
    """
    content = bytearray()
    with open_regular(path) as file:
        # Room is made for what is asked for: not for the limit at once. Its size may change.
        while max(len(content), os.fstat(file.fileno()).st_size) <= limit:
            if not (chunk := file.read(_CHUNK)):
                return bytes(content)
            content += chunk
    raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a file from outside for reading, without a buffer; OSError for what is no file.

    A pipe without a writer would hold up whoever opens it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return cast("BinaryIO", os.fdopen(handle, "rb", buffering=0))


def parse_json(content: bytes | str) -> Any:
    """Return the document; ValueError where it is none. A byte order mark is skipped.

    Stricter than the standard library's: NaN, a number that no float holds, half a surrogate pair
    and nesting too deep to read are refused, so that what is read can be computed with and written
    again.
    """
    if isinstance(content, bytes):
        content = content.removeprefix(_BOM)
    try:
        return msgspec.json.decode(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None


def load_toml(path: Path) -> dict[str, Any]:
    """Return the document at ``path``; a ConfigurationError when it cannot be read."""
    try:
        document: dict[str, Any] = tomllib.loads(read_bytes(path).removeprefix(_BOM).decode())
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from error
    except (ValueError, RecursionError) as error:  # an integer too long for Python is a ValueError
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    _check_integers(document, path)
    return document


def _check_integers(document: dict[str, Any], path: Path) -> None:
    """Refuse integers of more than 64 bits, as TOML has it; Python's parser takes them."""
    items: list[Any] = [document]
    while items:
        item = items.pop()
        if isinstance(item, dict):
            items += item.values()
        elif isinstance(item, list):
            items += item
        elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
            raise ConfigurationError(
                f"{path}: not valid TOML: an integer of {item.bit_length()} bits, not of 64"
            )


def _temporary(path: Path) -> Path:
    """Return a name beside a file that nobody can guess."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _sync(path: Path) -> None:
    """Put a file's content on the disk, or the renames in a directory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_special(path: Path) -> bool:
    """Whether a path is a device or a pipe: a file in its place would not be what was meant."""
    return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113


def _unwritable(path: Path, why: str) -> GaitperfError:
    return GaitperfError(
        f"{path} cannot be written ({why}): give a path in a directory that you may write to"
    )


def sha256(path: Path) -> str:
    """Return the digest of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def served_files(directory: Path) -> dict[str, Path]:
    """Return the files that Triton serves from a model's directory, by their names in it.

    As for ``content_hash``. Raises OSError where one of its folders cannot be read.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is not a model's directory: check the repository")
    files: dict[str, Path] = {}
    visited: set[str] = set()
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
    return files


def content_hash(directory: Path) -> str:
    """Return a sha256 over the names and bytes of all that Triton serves from a model's directory.

    Left out are ``1/recipe.json``, which says what ``gaitperf models`` built the weights from,
    Python's caches and temporary files. Links are followed. Raises ConfigurationError where the
    directory cannot be read.
    """
    try:
        files = served_files(directory)
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


def text_at(path: Path) -> str:
    """Return a small file's text without surrounding blanks and NULs, "" where it is unreadable.

    For /proc and /sys: many of their files exist on some machines only, or answer an error.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \t\r\n\0")
    except OSError:
        return ""


def int_at(path: Path) -> int | None:
    """Return a small file's integer, None where it is unreadable or does not fit 64 bits."""
    try:
        value = int(text_at(path))
    except ValueError:
        return None
    return value if -(1 << 63) <= value < 1 << 64 else None
