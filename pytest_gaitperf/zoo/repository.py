"""Triton's model repository: what it has of a variant, and building what is missing or outdated.

A variant's directory holds ``config.pbtxt``, the weights as ``1/model.onnx`` or ``1/model.plan``,
``1/model.py`` for the Python backend, and, written last, ``1/recipe.json``: what the weights were
built from, and the sha256 of all that was written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, read_bytes, replace_file, sha256
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.zoo import optional_packages
from pytest_gaitperf.zoo.networks import PRODUCER, REFERENCE_VARIANTS, estimated_bytes, recipe
from pytest_gaitperf.zoo.onnx_file import producer
from pytest_gaitperf.zoo.targets import (
    CONFIG,
    LOCAL,
    ONNX,
    PLAN,
    VERSION,
    built_for,
    served_network,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.zoo.networks import Variant
    from pytest_gaitperf.zoo.targets import Target

RECIPE = "recipe.json"
IMPORTED = "imported"
"""The key in recipe.json of what was made from a user's file: it is never built again."""

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
    """A variant in a repository, and why it is in ``state``.

    ``weights`` is where the weights' file is, or would be; ``weights_bytes`` its size, None without
    one. ``edited`` names the files beside it that differ from what the target writes, ``record`` is
    what recipe.json holds.
    """

    variant: Variant
    directory: Path
    state: State
    reason: str
    weights: Path
    weights_bytes: int | None
    edited: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None


def inspect(repository: Path, variant: Variant, target: Target = LOCAL) -> Status:
    """Say what there is of the variant in ``repository``, reading the weights in full."""
    directory = repository / variant.name
    weights = directory / VERSION / target.weights
    other = built_for(directory)
    try:
        if other not in {None, target.name}:
            sizes = [path.stat().st_size for path in _weights_files(directory)]
            size = sum(sizes) if sizes else None
            reason = f"built for {other}"
            return Status(variant, directory, State.ELSEWHERE, reason, weights, size)
        texts = target.texts(_model(variant, target))
        edited = tuple(
            name
            for name, text in texts.items()
            if (directory / name).exists() and read_bytes(directory / name) != text.encode()
        )
        size = weights.stat().st_size if weights.is_file() else None
        record = _read_record(weights.parent)
        state, reason = _judge(weights, record, _made_from(variant, target))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename or directory}: {error.strerror}; make it readable or "
            "choose another model repository"
        ) from error
    return Status(variant, directory, state, reason, weights, size, edited, record)


def ensure_built(
    repository: Path,
    variants: Sequence[Variant],
    say: Callable[[str], None],
    target: Target = LOCAL,
    *,
    force: bool = False,
    update: bool = True,
    repair: bool = True,
) -> list[Variant]:
    """Make every variant in ``repository`` ready to be served, building only what must be built.

    Left alone is what was built for another target, weights that somebody else's tool wrote, and
    files beside them that were edited. ``force`` writes everything again but another tool's
    weights, for which it raises; without ``update`` only what is missing is built. ``say`` gets a
    line when a build starts and when a variant is ready. Files are replaced whole, so other
    processes may build or read at the same time. Returns the variants whose weights were built.
    Raises ConfigurationError, before anything is written, where the target cannot serve a variant,
    there is no room for all, or, without ``repair``, weights to be built anew are not the file that
    was built; and where a file, a package or a build fails.
    """
    for variant in variants:
        target.check(variant.name, variant.precision)
    statuses = [
        status
        for status in (inspect(repository, variant, target) for variant in variants)
        if status.state is not State.ELSEWHERE
    ]
    due = {State.MISSING, State.STALE, State.DAMAGED} if update else {State.MISSING}
    if force:
        due = set(State)
    to_build = [status for status in statuses if status.state in due]
    for status in to_build if not repair else ():
        _check_whole(repository, status)
    _check_room(repository, to_build)
    for number, status in enumerate(statuses, start=1):
        place = f"{number}/{len(statuses)} " if len(statuses) > 1 else ""
        line = f"{place}{status.variant.name}: "
        try:
            if status in to_build:
                _build(status, target, say, line, force=force)
            elif status.state is State.FOREIGN:
                say(f"{line}kept, {status.reason}")
            elif update:
                say(f"{line}{(status.weights_bytes or 0) / 1e6:.1f} MB, {status.reason}")
            _write_texts(status, target, say, force=force, update=update)
        except OSError as error:
            raise unwritable(status.directory, error, estimated_bytes(status.variant)) from error
    return [status.variant for status in to_build]


def pytest_gaitperf_prepare_models(
    repository: Path, models: tuple[str, ...], say: Callable[[str], None], update: bool
) -> None:
    """Build the reference networks that the repository has a directory of: a hook of ours."""
    served = [
        variant
        for variant in REFERENCE_VARIANTS
        if (not models or variant.name in models) and (repository / variant.name).is_dir()
    ]
    ensure_built(repository, served, say, update=update, repair=False)


def _build(
    status: Status, target: Target, say: Callable[[str], None], line: str, *, force: bool
) -> None:
    started = time.monotonic()
    variant, reason = status.variant, status.reason
    if status.state is State.FOREIGN:
        raise ConfigurationError(
            f"{status.weights} is not replaced: {reason}; move it away to build the reference "
            "weights"
        )
    where = f" for {target.name}" if target.compiles else ""
    if force and status.state is State.BUILT:
        reason = "as you ask"
    parameters = variant.describe().parameters / 1e6
    say(f"{line}building {parameters:.1f} M parameters{where} ({reason})")
    with tempfile.TemporaryDirectory(prefix=prefix("build")) as work:
        with optional_packages(f"building {variant.name}", "local"):
            from pytest_gaitperf.zoo import onnx_graph  # noqa: PLC0415  # heavy and optional

            onnx = Path(work, ONNX)
            onnx.write_bytes(onnx_graph.reference(variant, tensorrt=target.compiles))
        packages = ["numpy", "onnx"]
        if onnx_graph.converts(variant.precision, tensorrt=target.compiles):
            packages.append("onnxruntime")
        install(
            status.directory,
            _model(variant, target),
            target,
            precision=variant.precision,
            onnx=onnx,
            record={
                "variant": variant.name,
                "recipe": _made_from(variant, target),
                "built_with": {name: str(import_module(name).__version__) for name in packages},
            },
            say=say,
        )
    size = status.weights.stat().st_size / 1e6
    say(f"{line}{size:.1f} MB, built in {time.monotonic() - started:.1f} s")


def install(
    directory: Path,
    model: ModelInfo,
    target: Target,
    *,
    precision: str,
    onnx: Path,
    record: Mapping[str, Any],
    say: Callable[[str], None],
) -> None:
    """Write the weights' file that the target serves, and then its record, or raise OSError."""
    version = directory / VERSION
    version.mkdir(parents=True, exist_ok=True)
    for leftover in version.glob(".*.tmp"):  # of a process that was killed while it wrote
        # Another process may just have finished with it. Both times are seconds since the epoch.
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_S:
                leftover.unlink()
    if target.compiles:
        # Without a digest, a plan that was being written when the power went is not the user's own.
        _write_record(version, {"recipe": None})
    weights = target.compiled(model, precision, onnx, say)
    replace_file(version / target.weights, weights)
    digest = {"bytes": weights.stat().st_size, "sha256": sha256(weights)}
    _write_record(version, {**record, "weights": digest})


def _write_texts(
    status: Status, target: Target, say: Callable[[str], None], *, force: bool, update: bool
) -> None:
    """Write the files beside the weights that are missing, or outdated and not edited."""
    texts = target.texts(_model(status.variant, target))
    written = (status.record or {}).get("texts")
    before = written if isinstance(written, dict) else {}
    for name, text in texts.items():
        path = status.directory / name
        if not path.exists() or name in status.edited:
            if force or not path.exists() or (update and sha256(path) == before.get(name)):
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, text.encode())
            elif update and status.state not in {State.BUILT, State.FOREIGN}:
                say(f"{status.variant.name}: your {name} is kept as you edited it")
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    record = _read_record(status.weights.parent)
    if update and record is not None and record.get("texts") != digests:
        _write_record(status.weights.parent, {**record, "texts": digests})


def claim(directory: Path, target: Target, *, force: bool) -> None:
    """Make sure that a directory is the target's; ``force`` takes away another one's files."""
    before = built_for(directory)
    if before in {None, target.name}:
        return
    if not force:
        raise ConfigurationError(
            f"{directory} was built for {before}, and a repository serves a name in one way: "
            f"choose another repository for {target.name} with --repository, or replace it with "
            "--force"
        )
    try:
        record = _read_record(directory / VERSION)
        for weights in _weights_files(directory):
            if why := _foreign(weights, record):
                raise ConfigurationError(f"{weights} is not replaced: {why}; move {directory} away")
            weights.unlink()
        for name in (CONFIG, f"{VERSION}/model.py", f"{VERSION}/{RECIPE}"):
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from error


def unwritable(directory: Path, error: OSError, size: int | None = None) -> ConfigurationError:
    """Return the error of a model's directory that cannot be written, with ``size`` bytes."""
    todo = "; make it a directory that you can write"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        needed = f"; the weights need {size / 1e6:.1f} MB" if size is not None else ""
        todo = f"{needed}: make room"
    return ConfigurationError(
        f"cannot write into {directory}: {error.strerror or error}{todo}, or choose another model "
        "repository"
    )


def _check_whole(repository: Path, status: Status) -> None:
    """Raise ConfigurationError for weights that may have been edited: a run would undo that."""
    if status.state is State.DAMAGED and "weights" in (status.record or {}):
        name, where = status.variant.name, f"--repository {repository}"
        raise ConfigurationError(
            f"{status.weights} is not the file that was built: 'gaitperf models build {name} "
            f"{where}' writes it anew, 'gaitperf models import {status.weights} --name {name} "
            f"{where} --force' makes it yours"
        )


def _check_room(repository: Path, statuses: Sequence[Status]) -> None:
    """Raise ConfigurationError without room for the weights, beside the old ones if there are."""
    existing = next(path for path in (repository, *repository.absolute().parents) if path.exists())
    needed = sum(estimated_bytes(status.variant) for status in statuses)
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ConfigurationError(
            f"the weights of {len(statuses)} models need about {needed / 1e6:.0f} MB in "
            f"{repository}, and {free / 1e6:.0f} MB are free: make room, build fewer, or choose "
            "another model repository"
        )


def _model(variant: Variant, target: Target) -> ModelInfo:
    return served_network(variant.name, variant.describe(), target.max_batch_size)


def _made_from(variant: Variant, target: Target) -> dict[str, Any]:
    made_of = recipe(variant)
    return {"onnx": made_of, **target.recipe(variant.precision)} if target.compiles else made_of


def _judge(
    weights: Path, record: Mapping[str, Any] | None, made_from: Mapping[str, Any]
) -> tuple[State, str]:
    """Say what the weights are, by their record and their bytes."""
    if not weights.is_file():
        return State.MISSING, f"there is no {VERSION}/{weights.name}"
    if why := _foreign(weights, record):
        return State.FOREIGN, why
    before = (record or {}).get("recipe")
    if record is None or not isinstance(before, dict):
        return State.DAMAGED, f"there is no whole {RECIPE} beside the weights"
    changed = sorted(
        key for key in made_from.keys() | before.keys() if before.get(key) != made_from.get(key)
    )
    if changed:
        return State.STALE, f"changed: {', '.join(changed)}"
    if not _matches(weights, record):
        return State.DAMAGED, f"{weights.name} is not the file that was built"
    return State.BUILT, "up to date"


def _foreign(weights: Path, record: Mapping[str, Any] | None) -> str:
    """Say why the weights are the user's own, "" where they are ours or broken.

    An ONNX file names its maker, a plan does not: that is ours where the record has its digest, or
    says that it was being written.
    """
    if record is not None and IMPORTED in record:
        return "its weights were imported"
    if weights.name != PLAN:
        maker = producer(weights)
        ours = maker is None or maker == PRODUCER
        return "" if ours else f"its weights were made by {maker or 'an unnamed tool'}"
    ours = record is not None and ("weights" not in record or _matches(weights, record))
    return "" if ours else f"its {weights.name} was not built here"


def _matches(weights: Path, record: Mapping[str, Any]) -> bool:
    digest = record.get("weights")
    return isinstance(digest, dict) and digest.get("sha256") == sha256(weights)


def _weights_files(directory: Path) -> list[Path]:
    return [path for name in (ONNX, PLAN) if (path := directory / VERSION / name).is_file()]


def _read_record(version: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(read_bytes(version / RECIPE))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_record(version: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps({"schema": 1, **record}, indent=2, sort_keys=True) + "\n"
    replace_file(version / RECIPE, text.encode())
