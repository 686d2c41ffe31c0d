"""Models for the targets beside ``local``, written where they are missing or out of date."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import replace_file
from pytest_gaitperf.zoo import onnx_file
from pytest_gaitperf.zoo.repository import RECIPE, VERSION, WEIGHTS
from pytest_gaitperf.zoo.targets.target import CONFIG, built_for, gait_model
from pytest_gaitperf.zoo.weights import PRODUCER, build_weights, recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.zoo.targets.target import ServedModel, Target
    from pytest_gaitperf.zoo.variants import Variant

IMPORTED = "imported"
"""The key in recipe.json of what was made of a user's file: it is never built anew."""


def build(
    repository: Path,
    variants: Sequence[Variant],
    target: Target,
    progress: Callable[[str], None],
    *,
    force: bool = False,
) -> None:
    """Make every variant in ``repository`` ready to be served by ``target``.

    Left alone is what is up to date, and weights that were not made here: they are the user's own.
    ``force`` writes everything else anew. Raises ConfigurationError where the target cannot serve a
    variant, a directory was built for another target, or something cannot be built or written.
    """
    for variant in variants:
        target.check(variant.precision)
        if not force:
            claim(repository / variant.name, target.name, force=False)
    for number, variant in enumerate(variants, start=1):
        where = f"{number}/{len(variants)} " if len(variants) > 1 else ""
        directory = repository / variant.name
        try:
            claim(directory, target.name, force=force)
            _ensure(directory, variant, target, where=where, progress=progress, force=force)
        except OSError as error:
            raise unwritable(directory, error) from error


def claim(directory: Path, target: str, *, force: bool) -> None:
    """Make sure that the directory is the target's; with ``force`` take away another one's files.

    Raises ConfigurationError where it was built for another target, without ``force``, and where
    its weights are the user's own.
    """
    before = built_for(directory)
    if before in {None, target}:
        return
    if not force:
        raise ConfigurationError(
            f"{directory} was built for {before}, and a repository serves a name in one way: "
            f"choose another repository for {target} with --repository, or replace it with --force"
        )
    version = directory / VERSION
    for weights in (path for path in version.glob("model.*") if path.suffix in {".onnx", ".plan"}):
        if _is_foreign(weights, _stored(version / RECIPE)):
            raise ConfigurationError(
                f"{weights} is not replaced: it was not built here; move {directory} away"
            )
        weights.unlink()
    for path in (directory / CONFIG, version / "model.py", version / RECIPE):
        path.unlink(missing_ok=True)


def install(
    directory: Path,
    model: ServedModel,
    target: Target,
    *,
    precision: str,
    onnx: Path,
    made_from: dict[str, Any],
    progress: Callable[[str], None],
) -> None:
    """Write the weights' file that the target serves, and then what it was made from."""
    version = directory / VERSION
    version.mkdir(parents=True, exist_ok=True)
    # Without a digest, a plan that was being written when the power went is not the user's own.
    _write_record(version, {"schema": 1, "recipe": None})
    compiled = onnx
    if target.compiler is not None:
        compiled = target.compiler.compiled(model, precision, onnx, progress)
    place(compiled, version / target.weights)
    digest = {"bytes": compiled.stat().st_size, "sha256": sha256(compiled)}
    _write_record(version, {"schema": 1, "model": model.name, "weights": digest, **made_from})


def place(source: Path, destination: Path) -> None:
    """Copy a file of any size; others see the old one or the whole new one."""
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = destination.with_name(f".{destination.name}.{unique}.tmp")
    try:
        shutil.copyfile(source, temporary)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the digest of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def unwritable(directory: Path, error: OSError) -> ConfigurationError:
    """Return the error of a model's directory that cannot be written."""
    return ConfigurationError(
        f"cannot write into {directory}: {error.strerror or error}; make it a directory that you "
        "can write, with room for the weights"
    )


def _ensure(
    directory: Path,
    variant: Variant,
    target: Target,
    *,
    where: str,
    progress: Callable[[str], None],
    force: bool,
) -> None:
    started = time.monotonic()
    name = f"{where}{variant.name}"
    model = gait_model(variant, target.max_batch_size)
    weights, stored = directory / VERSION / target.weights, _stored(directory / VERSION / RECIPE)
    made_from: dict[str, Any] = {"target": target.name, "onnx": recipe(variant)}
    if target.compiler is not None:
        made_from |= target.compiler.recipe(variant.precision)
    # Through JSON and back, so that it compares equal to what is read from a file.
    made_from = json.loads(json.dumps(made_from))
    reason = "as you ask" if force else _reason(weights, stored, made_from)
    texts = target.texts(model)
    if _is_foreign(weights, stored):
        if force:
            raise ConfigurationError(
                f"{weights} is not replaced: it was not built here; move it away to build the "
                "reference weights"
            )
        progress(f"{name}: kept, its {target.weights} was not built here")
    elif reason:
        progress(f"{name}: building for {target.name} ({reason})")
        digests = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in texts.items()}
        with tempfile.TemporaryDirectory(prefix="gaitperf-") as work:
            onnx = Path(work, WEIGHTS)
            onnx.write_bytes(
                target.compiler.onnx(variant) if target.compiler else build_weights(variant)
            )
            install(
                directory,
                model,
                target,
                precision=variant.precision,
                onnx=onnx,
                made_from={"recipe": made_from, "texts": digests},
                progress=progress,
            )
        size = weights.stat().st_size / 1e6
        progress(f"{name}: {size:.1f} MB, built in {time.monotonic() - started:.1f} s")
    else:
        progress(f"{name}: up to date")
    before = (stored or {}).get("texts", {})
    for file, text in texts.items():
        path = directory / file
        ours = not path.exists() or sha256(path) == before.get(file)
        if not ours and not force and reason and path.read_bytes() != text.encode():
            progress(f"{name}: your {file} is kept as you edited it")
        write_texts(directory, {file: text}, replace=force or ours)


def write_texts(directory: Path, texts: dict[str, str], *, replace: bool) -> None:
    """Write the files beside the weights, those that are there only with ``replace``."""
    for name, text in texts.items():
        path = directory / name
        if not path.exists() or (replace and path.read_bytes() != text.encode()):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode())


def _reason(weights: Path, stored: dict[str, Any] | None, made_from: dict[str, Any]) -> str:
    """Say why the weights must be built, "" where they need not."""
    if not weights.is_file():
        return "not built"
    before = (stored or {}).get("recipe")
    if not isinstance(before, dict):
        return "what it was built from is not known"
    changed = sorted(
        key for key in made_from.keys() | before.keys() if before.get(key) != made_from.get(key)
    )
    if changed:
        return f"changed: {', '.join(changed)}"
    # A plan that is not the one that was built is the user's own; see _is_foreign.
    return "" if _matches(weights, stored) else "damaged"


def _is_foreign(weights: Path, stored: dict[str, Any] | None) -> bool:
    """Tell whether somebody else made the weights: an ONNX file names its maker, a plan does not.

    A plan is taken for ours where recipe.json has its digest, or says that it was being written.
    """
    if not weights.is_file():
        return False
    if stored is not None and IMPORTED in stored:
        return True
    if weights.name == WEIGHTS:
        return onnx_file.producer(weights) not in {None, PRODUCER}
    return stored is None or ("weights" in stored and not _matches(weights, stored))


def _matches(weights: Path, stored: dict[str, Any] | None) -> bool:
    digest = (stored or {}).get("weights")
    return isinstance(digest, dict) and digest.get("sha256") == sha256(weights)


def _stored(record: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_record(version: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    replace_file(version / RECIPE, text.encode())
