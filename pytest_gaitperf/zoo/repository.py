"""Write Triton's model repository: config.pbtxt and model.py from templates, weights when needed.

A variant's directory holds ``config.pbtxt``, ``1/model.py``, ``1/model.onnx`` and, written last,
``1/recipe.json``: what the weights were built from, and their sha256.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import replace_file
from pytest_gaitperf.zoo import onnx_file
from pytest_gaitperf.zoo.targets.target import built_for
from pytest_gaitperf.zoo.weights import (
    PRODUCER,
    build_weights,
    check_local,
    estimated_bytes,
    recipe,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_gaitperf.zoo.variants import Variant

VERSION = "1"
WEIGHTS = "model.onnx"
RECIPE = "recipe.json"
MAX_BATCH_SIZE = 32

_CHUNK = 1 << 20
_ABANDONED_AFTER_S = 3600.0


class State(str, Enum):
    """What stands where a variant's weights should."""

    BUILT = "built"
    MISSING = "not built"
    STALE = "stale"
    DAMAGED = "damaged"
    FOREIGN = "foreign"
    ELSEWHERE = "another target's"


@dataclass(frozen=True, slots=True)
class Status:
    """A variant in a repository.

    ``reason`` says why it is in ``state``. ``weights_bytes`` is the size of the file that is there,
    None without one. ``edited`` names the served files that differ from the package's templates.
    """

    variant: Variant
    directory: Path
    state: State
    reason: str
    weights_bytes: int | None
    edited: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """Where the weights are, or would be."""
        return self.directory / VERSION / WEIGHTS


@dataclass(frozen=True, slots=True)
class Built:
    """A variant that is ready to be served.

    ``rebuilt`` is False where the weights were there already; ``seconds`` is what making sure took.
    """

    variant: Variant
    directory: Path
    weights_bytes: int
    parameters: int
    rebuilt: bool
    seconds: float


def served_files(variant: Variant) -> dict[str, str]:
    """Return the text of the variant's files beside the weights, by path in its directory."""
    templates = resources.files("pytest_gaitperf.zoo.templates")
    network = variant.describe()
    config = Template(templates.joinpath("config.pbtxt").read_text("utf-8")).substitute(
        name=variant.name,
        max_batch_size=MAX_BATCH_SIZE,
        input_dims=", ".join(map(str, network.input_shape)),
        code_size=network.code_size,
    )
    model = templates.joinpath("model.py").read_text("utf-8")
    return {"config.pbtxt": config, f"{VERSION}/model.py": model}


def inspect(repository: Path, variant: Variant) -> Status:
    """Say what there is of the variant in ``repository``, reading the weights in full.

    Of a directory that was built for another target than ``local`` no more than that is said.
    """
    directory = repository / variant.name
    weights = directory / VERSION / WEIGHTS
    target = built_for(directory)
    if target not in {None, "local"}:
        there = [path for path in directory.glob(f"{VERSION}/model.*") if path.is_file()]
        size = sum(path.stat().st_size for path in there) if there else None
        reason = f"built for {target}"
        return Status(variant, directory, State.ELSEWHERE, reason, size, ())
    try:
        edited = tuple(
            name
            for name, text in served_files(variant).items()
            if (directory / name).exists() and (directory / name).read_bytes() != text.encode()
        )
        if weights.is_file():
            size = weights.stat().st_size
            state, reason = _judge(weights, directory / VERSION / RECIPE, variant)
        else:
            size, state, reason = None, State.MISSING, f"there is no {VERSION}/{WEIGHTS}"
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename or directory}: {error.strerror}; make it readable or "
            "choose another model repository"
        ) from error
    return Status(variant, directory, state, reason, size, edited)


def ensure_built(
    repository: Path,
    variants: Sequence[Variant],
    progress: Callable[[str], None],
    *,
    force: bool = False,
) -> list[Built]:
    """Make every variant in ``repository`` ready to be served, building only what must be built.

    Left out is what was built for another target than ``local``. Weights that somebody else's tool
    wrote are kept: they are the user's own. So are a config.pbtxt
    and a model.py that were edited, unless ``force``, which writes everything anew. ``progress``
    gets one line when a build starts and one when a variant is ready; of several variants they
    begin with the place in the list. A file is only ever replaced by a whole one, so other
    processes may build or read at the same time. Raises ConfigurationError, before anything is
    written, where a variant cannot be served by onnxruntime or there is no room for all, and where
    the repository cannot be read or written or onnx is missing.
    """
    for variant in variants:
        check_local(variant)
    found = [inspect(repository, variant) for variant in variants]
    # A TensorRT plan, for one, is built on purpose, and not by this.
    statuses = [status for status in found if status.state is not State.ELSEWHERE]
    _check_room(repository, [status for status in statuses if _rebuild(status, force=force)])
    built = []
    for number, status in enumerate(statuses, start=1):
        place = f"{number}/{len(statuses)} " if len(statuses) > 1 else ""
        built.append(_ensure(status, place, progress, force=force))
    return built


def built_with(status: Status) -> dict[str, str]:
    """Return the versions that the weights were built with, by package; empty where unknown."""
    if status.state not in {State.BUILT, State.STALE}:
        return {}
    record = json.loads(status.weights.with_name(RECIPE).read_bytes())
    return {str(name): str(number) for name, number in record.get("built_with", {}).items()}


def content_hash(model_dir: Path) -> str:
    """Return a sha256 over the names and bytes of everything that Triton serves from ``model_dir``.

    Works for any model. Left out are the recipe of our own weights, Python's caches and temporary
    files. Links are followed. Raises ConfigurationError where the directory cannot be read.
    """
    if not model_dir.is_dir():
        raise ConfigurationError(f"{model_dir} is not a model's directory: check the repository")
    files: dict[str, Path] = {}
    visited: set[str] = set()
    try:
        for root, directories, names in os.walk(model_dir, onerror=_raise, followlinks=True):
            visited.add(os.path.realpath(root))
            directories[:] = [
                name
                for name in directories
                if name != "__pycache__"
                and os.path.realpath(os.path.join(root, name)) not in visited  # noqa: PTH118
            ]
            for name in names:
                relative = Path(root, name).relative_to(model_dir)
                temporary = name.endswith((".tmp", ".pyc"))
                if not temporary and relative.parts != (VERSION, RECIPE):
                    files[relative.as_posix()] = Path(root, name)
        total = hashlib.sha256()
        for relative_name in sorted(files):
            # NUL cannot be in a file's name, and a digest has a fixed length: no two directories
            # can give the same stream.
            total.update(
                os.fsencode(relative_name) + b"\0" + _sha256(files[relative_name]).digest()
            )
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename or model_dir}: {error.strerror}; the model's files must "
            "be readable to tell one version of it from another"
        ) from error
    return total.hexdigest()


def _raise(error: OSError) -> None:
    raise error


def _rebuild(status: Status, *, force: bool) -> bool:
    return force or status.state not in {State.BUILT, State.FOREIGN}


def _check_room(repository: Path, statuses: Sequence[Status]) -> None:
    """Raise ConfigurationError where the disk has no room for the weights that will be written.

    A file is replaced by a whole one, so for a moment the old and the new one are there.
    """
    existing = next(path for path in (repository, *repository.absolute().parents) if path.exists())
    needed = sum(estimated_bytes(status.variant) for status in statuses)
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ConfigurationError(
            f"the weights of {len(statuses)} models need about {needed / 1e6:.0f} MB in "
            f"{repository}, and {free / 1e6:.0f} MB are free: make room, build fewer, or choose "
            "another model repository"
        )


def _ensure(status: Status, place: str, progress: Callable[[str], None], *, force: bool) -> Built:
    started = time.monotonic()
    variant = status.variant
    weights = status.weights
    parameters = variant.describe().parameters
    if force and status.state is State.FOREIGN:
        raise ConfigurationError(
            f"{weights} is not replaced: {status.reason}; move it away to build the reference "
            "weights"
        )
    rebuild = _rebuild(status, force=force)
    size = status.weights_bytes or 0
    if rebuild:
        what = f"building {parameters / 1e6:.1f} M parameters"
        progress(f"{place}{variant.name}: {what} ({status.reason})")
        content = build_weights(variant)
        size = len(content)
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        if rebuild:
            _sweep(weights.parent)
            replace_file(weights, content)
            replace_file(weights.parent / RECIPE, _record(variant, content))
        for name, text in served_files(variant).items():
            file = status.directory / name
            if force or not file.exists():
                replace_file(file, text.encode())
    except OSError as error:
        raise _unwritable(status.directory, size, error) from error
    seconds = time.monotonic() - started
    how = f"built in {seconds:.1f} s" if rebuild else status.reason
    progress(f"{place}{variant.name}: {size / 1e6:.1f} MB, {how}")
    return Built(variant, status.directory, size, parameters, rebuild, seconds)


def _judge(weights: Path, record: Path, variant: Variant) -> tuple[State, str]:
    """Say what the weights are, by their recipe and their bytes."""
    producer = onnx_file.producer(weights)
    if producer is not None and producer != PRODUCER:
        return State.FOREIGN, f"its weights were made by {producer or 'an unnamed tool'}"
    try:
        stored = json.loads(record.read_bytes())
        built_from, digest = stored["recipe"], stored["weights"]["sha256"]
    except FileNotFoundError:
        return State.DAMAGED, f"there is no {RECIPE} beside the weights"
    except (ValueError, KeyError, TypeError):
        return State.DAMAGED, f"{RECIPE} is not readable"
    if built_from != recipe(variant):
        return State.STALE, "the recipe has changed"
    if _sha256(weights).hexdigest() != digest:
        return State.DAMAGED, f"{WEIGHTS} is not the file that was built"
    return State.BUILT, "up to date"


def _record(variant: Variant, content: bytes) -> bytes:
    weights: Mapping[str, object] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    record = {
        "schema": 1,
        "variant": variant.name,
        "recipe": recipe(variant),
        "weights": weights,
        "built_with": versions(variant),
    }
    return json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"


def _sha256(path: Path) -> Any:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest


def _sweep(directory: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote."""
    for leftover in directory.glob(".*.tmp"):
        # Another process may just have finished with it. Both times are seconds since the epoch.
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_S:
                leftover.unlink()


def _unwritable(directory: Path, size: int, error: OSError) -> ConfigurationError:
    what = f"cannot write into {directory}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return ConfigurationError(
            f"{what}; the weights need {size / 1e6:.1f} MB: make room, or choose another model "
            "repository"
        )
    return ConfigurationError(
        f"{what}; make it a directory that you can write, or choose another model repository"
    )
