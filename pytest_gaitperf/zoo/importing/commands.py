"""``gaitperf models import``: a user's own weights or model into a model repository."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.clock import clock
from pytest_gaitperf.zoo.importing import keras_import, onnx_import, trial
from pytest_gaitperf.zoo.networks import NETWORKS
from pytest_gaitperf.zoo.repository import VERSION, WEIGHTS, served_files
from pytest_gaitperf.zoo.targets.build import (
    IMPORTED,
    claim,
    install,
    place,
    sha256,
    unwritable,
    write_texts,
)
from pytest_gaitperf.zoo.targets.options import add_options, target_of
from pytest_gaitperf.zoo.targets.target import CONFIG, ServedModel, Tensor, gait_model
from pytest_gaitperf.zoo.variants import PRECISIONS
from pytest_gaitperf.zoo.weights import PRODUCER

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pytest_gaitperf.zoo.targets.target import Target

# What Triton takes as a model's name, as one directory.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", re.ASCII)


def add_to(
    actions: argparse._SubParsersAction[Any],
    add_repository: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the action ``import``."""
    parser = actions.add_parser(
        "import",
        help="bring your own weights (Keras HDF5) or your own model (ONNX)",
        description=(
            "Write a model directory for your own file: Keras weights of a gait network (.h5, "
            ".hdf5, .weights.h5), whose pruned widths are read from the file, or any ONNX model. "
            "Nothing in the file is executed. What `gaitperf models build` finds there it keeps."
        ),
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the Keras or ONNX file")
    parser.add_argument(
        "--network", choices=list(NETWORKS), help="the network whose weights a Keras file holds"
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="the model's name (the variant whose widths these are, or the ONNX file's name)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=None,
        help="what to convert Keras weights to, and how tensorrt computes (fp32)",
    )
    parser.add_argument(
        "--data-format",
        choices=["channels_first", "channels_last"],
        help="the order of the axes in the Keras model where the file does not say (2D: first)",
    )
    parser.add_argument("--force", action="store_true", help="replace a model of that name")
    add_options(parser)
    add_repository(parser)
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> None:
    target = target_of(arguments)
    target.check(_precision(arguments))
    if arguments.name is not None and not _NAME.fullmatch(arguments.name):
        raise ConfigurationError(
            f"--name={arguments.name} is no name for a model: use letters, digits and _ . -, the "
            "first one a letter, a digit or _"
        )
    with clock(f"importing {arguments.file.name}"):
        if arguments.file.suffix == ".onnx":
            _import_onnx(arguments, target)
        else:
            _import_keras(arguments, target)


def _import_keras(arguments: argparse.Namespace, target: Target) -> None:
    if arguments.network is None:
        raise ConfigurationError(
            f"{arguments.file} is read as Keras weights, of which network is not said: add "
            f"--network with one of {', '.join(NETWORKS)} (an ONNX file ends in .onnx)"
        )
    trial.check(arguments.file)
    imported = keras_import.import_keras(
        arguments.file,
        arguments.network,
        _precision(arguments),
        arguments.data_format,
        tensorrt=target.compiler is not None,
    )
    for note in imported.notes:
        _say(f"note: {note}")
    widths = [layer.weight_shape[0] for layer in imported.network.layers_with_weights()]
    if arguments.name is None and imported.variant is None:
        raise ConfigurationError(
            f"the widths {', '.join(map(str, widths))} are those of no percentage of pruning of "
            f"{arguments.network}: give the model a name with --name"
        )
    network, variant = imported.network, imported.variant
    name = arguments.name or (variant.name if variant else "")
    texts = None
    if variant is not None and name == variant.name:
        model = gait_model(variant, target.max_batch_size)
        texts = served_files(variant) if target.name == "local" else None
    else:
        model = ServedModel(
            name,
            target.max_batch_size,
            (Tensor("input", "FP32", network.input_shape),),
            (Tensor("code", "FP32", (network.code_size,)),),
        )
    with tempfile.TemporaryDirectory(prefix="gaitperf-") as work:
        onnx = Path(work, WEIGHTS)
        onnx.write_bytes(imported.content)
        _write(arguments, target, model, onnx=onnx, texts=texts or target.texts(model))
    _say(f"{name}: {arguments.network} with the widths {', '.join(map(str, widths))}")


def _import_onnx(arguments: argparse.Namespace, target: Target) -> None:
    for option in ("network", "data_format"):
        if getattr(arguments, option) is not None:
            raise ConfigurationError(
                f"--{option.replace('_', '-')} is for Keras weights; {arguments.file} is ONNX"
            )
    if arguments.precision is not None and target.compiler is None:
        raise ConfigurationError(
            f"--precision converts no ONNX file: {target.name} serves {arguments.file} as it is"
        )
    read = onnx_import.read(arguments.file)
    name = arguments.name or arguments.file.stem
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name for a model: give one with --name")
    model = read.served_as(name, target.max_batch_size)
    if read.unbatched:
        _say(f"note: {name} is served without batches: {read.unbatched}")
    if target.name == "local":
        _check_loads(arguments.file)
    with tempfile.TemporaryDirectory(prefix="gaitperf-") as work:
        onnx = arguments.file
        if read.producer == PRODUCER:
            # It was built here, and `models build` would take it for its own and replace it.
            onnx = _renamed(onnx, Path(work, WEIGHTS))
        if target.compiler is not None:  # writes the plan beside its ONNX file
            onnx = onnx if onnx.parent == Path(work) else _copied(onnx, Path(work, WEIGHTS))
            _place_beside(read, Path(work))
        _write(arguments, target, model, onnx=onnx, texts=target.texts(model), read=read)
    shapes = "; ".join(
        f"{tensor.name} {tensor.datatype} {list(tensor.dims)}"
        for tensor in (*model.inputs, *model.outputs)
    )
    _say(f"{name}: max_batch_size {model.max_batch_size}; {shapes}")


def _check_loads(path: Path) -> None:
    try:
        import onnxruntime  # noqa: PLC0415  # heavy, and served by another machine's perhaps
    except ImportError:
        return
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base of their own
        raise ConfigurationError(
            f"onnxruntime {onnxruntime.__version__}, which would serve it, cannot load {path}: "
            f"{' '.join(str(error).split())}"
        ) from error


def _renamed(path: Path, copy: Path) -> Path:
    import onnx  # noqa: PLC0415  # heavy and optional; onnx_import has found it

    model = onnx.load(path, load_external_data=False)
    model.producer_name = keras_import.PRODUCER
    copy.write_bytes(model.SerializeToString())
    return copy


def _copied(path: Path, copy: Path) -> Path:
    place(path, copy)
    return copy


def _place_beside(read: onnx_import.OnnxFile, directory: Path) -> None:
    for relative in read.external:
        (directory / relative).parent.mkdir(parents=True, exist_ok=True)
        place(read.path.parent / relative, directory / relative)


def _write(
    arguments: argparse.Namespace,
    target: Target,
    model: ServedModel,
    *,
    onnx: Path,
    texts: dict[str, str],
    read: onnx_import.OnnxFile | None = None,
) -> None:
    """Write the model's directory; an existing model is replaced only with ``--force``."""
    directory = arguments.repository / model.name
    version = directory / VERSION
    try:
        if not arguments.force:
            taken = [str(path) for path in version.glob("model.*") if path.suffix != ".py"]
            config = directory / CONFIG
            if config.is_file() and config.read_bytes() != texts[CONFIG].encode():
                taken.append(str(config))
            if taken:
                raise ConfigurationError(
                    f"there is a model {model.name} already ({', '.join(sorted(taken))}): replace "
                    "it with --force, or give this one another name with --name"
                )
        claim(directory, target.name, force=arguments.force)
        version.mkdir(parents=True, exist_ok=True)
        if read is not None and target.compiler is None:
            _place_beside(read, version)
        made_from = {
            IMPORTED: {
                "file": arguments.file.name,
                "sha256": sha256(arguments.file),
                "target": target.name,
            }
        }
        install(
            directory,
            model,
            target,
            precision=_precision(arguments),
            onnx=onnx,
            made_from=made_from,
            progress=_say,
        )
        write_texts(directory, texts, replace=arguments.force)
    except OSError as error:
        raise unwritable(directory, error) from error


def _precision(arguments: argparse.Namespace) -> str:
    return arguments.precision or "fp32"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
