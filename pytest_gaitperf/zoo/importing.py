"""A user's own weights or model into a model repository: what ``gaitperf models import`` does."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import read_bytes, replace_file, sha256
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.zoo import keras_file, onnx_file, optional_packages
from pytest_gaitperf.zoo.keras_weights import convert
from pytest_gaitperf.zoo.networks import MAX_PRUNED, NETWORKS, PRODUCER, Variant
from pytest_gaitperf.zoo.repository import IMPORTED, claim, install, unwritable
from pytest_gaitperf.zoo.targets import ONNX, VERSION, served_network, target_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.zoo.keras_weights import Converted
    from pytest_gaitperf.zoo.networks import Network
    from pytest_gaitperf.zoo.targets import Target

# What Triton takes as a model's name, as one directory.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", re.ASCII)
_IMPORTER = "gaitperf models import"
"""Another maker than that of the seeded weights: what it made is the user's own."""


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Import the file that the command line names."""
    if arguments.file.exists() and not arguments.file.is_file():
        raise ConfigurationError(
            f"{arguments.file} is not a regular file: give an ONNX or HDF5 file"
        )
    target = target_of(arguments)
    target.check(arguments.file.name, arguments.precision or "fp32")
    if arguments.name is not None and not _NAME.fullmatch(arguments.name):
        raise ConfigurationError(
            f"--name={arguments.name} is no name for a model: use letters, digits and _ . -, the "
            "first one a letter, a digit or _"
        )
    read = _import_onnx if arguments.file.suffix == ".onnx" else _import_keras
    with tempfile.TemporaryDirectory(prefix=prefix("import")) as work:
        read(arguments, target, Path(work, ONNX), say)


def import_keras(
    path: Path, network: str, precision: str, data_format: str | None, *, tensorrt: bool = False
) -> tuple[bytes, Converted]:
    """Read Keras weights of a network; return the ONNX file and what it was made from.

    ``precision`` is what they are converted to, ``data_format`` the order of the axes where the
    file does not say; ``tensorrt`` makes INT8 as TensorRT's parser takes it. Raises
    ConfigurationError.
    """
    file = keras_file.read(path)
    with optional_packages(f"importing {path}", "local,import"):
        from pytest_gaitperf.zoo import onnx_graph  # noqa: PLC0415  # onnx is heavy and optional

        try:
            found = convert(file, network, NETWORKS[network], data_format)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        model = onnx_graph.converted(
            onnx_graph.build(found.network, found.weights, _IMPORTER),
            Variant(network, precision, 0),
            tensorrt=tensorrt,
        )
    model.doc_string = f"weights of {path.name}, sha256 {sha256(path)}"
    return model.SerializeToString(), found


def variant_of(network: str, precision: str, sized: Network) -> Variant | None:
    """Return the variant of a network that has these widths; None where no pruning gives them."""
    shapes = [layer.weight_shape for layer in sized.layers_with_weights()]
    for percent in range(MAX_PRUNED + 1):
        pruned = NETWORKS[network].pruned(percent)
        if [layer.weight_shape for layer in pruned.layers_with_weights()] == shapes:
            return Variant(network, precision, percent)
    return None


def _import_keras(
    arguments: argparse.Namespace, target: Target, copy: Path, say: Callable[[str], None]
) -> None:
    if arguments.network is None:
        raise ConfigurationError(
            f"{arguments.file} is read as Keras weights, of which network is not said: add "
            f"--network with one of {', '.join(NETWORKS)} (an ONNX file ends in .onnx)"
        )
    keras_file.check_readable(arguments.file)
    precision, order = arguments.precision or "fp32", arguments.data_format
    content, found = import_keras(
        arguments.file, arguments.network, precision, order, tensorrt=target.compiles
    )
    for note in found.notes:
        say(f"note: {note}")
    network, variant = found.network, variant_of(arguments.network, precision, found.network)
    widths = ", ".join(str(layer.weight_shape[0]) for layer in network.layers_with_weights())
    if arguments.name is None and variant is None:
        raise ConfigurationError(
            f"the widths {widths} are those of no percentage of pruning of {arguments.network}: "
            "give the model a name with --name"
        )
    name = arguments.name or (variant.name if variant else "")
    copy.write_bytes(content)
    _write(arguments, target, served_network(name, network, target.max_batch_size), copy, say)
    say(f"{name}: {arguments.network} with the widths {widths}")


def _import_onnx(
    arguments: argparse.Namespace, target: Target, copy: Path, say: Callable[[str], None]
) -> None:
    file: Path = arguments.file
    for option in ("network", "data_format"):
        if getattr(arguments, option) is not None:
            raise ConfigurationError(
                f"--{option.replace('_', '-')} is for Keras weights; {file} is ONNX"
            )
    if arguments.precision is not None and not target.compiles:
        raise ConfigurationError(
            f"--precision converts no ONNX file: {target.name} serves {file} as it is"
        )
    read = onnx_file.read(file)
    name = arguments.name or file.stem
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name for a model: give one with --name")
    model = read.served_as(name, target.max_batch_size)
    if read.unbatched:
        say(f"note: {name} is served without batches: {read.unbatched}")
    single = [tensor.name for tensor in (*read.inputs, *read.outputs) if not tensor.shape]
    if single and target.name != "local":  # whose model.py gives them the model as what they are
        raise ConfigurationError(
            f"{file}: {single[0]} is a single number without dimensions, which a config.pbtxt "
            "cannot describe: reshape it in the graph to [1] or [batch, 1]"
        )
    if target.name == "local":
        _check_loads(file)
    if read.producer == PRODUCER:
        # It was built here, and `models build` would take it for its own and replace it.
        import onnx  # noqa: PLC0415  # heavy and optional; onnx_file has found it

        content = onnx.load(file, load_external_data=False)
        content.producer_name = _IMPORTER
        copy.write_bytes(content.SerializeToString())
    elif target.compiles:  # the plan is written beside its ONNX file
        replace_file(copy, file)
    else:
        copy = file
    _write(arguments, target, model, copy, say, external=read.external)
    say(f"{name}: {model.text}")


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


def _write(
    arguments: argparse.Namespace,
    target: Target,
    model: ModelInfo,
    onnx: Path,
    say: Callable[[str], None],
    *,
    external: tuple[PurePosixPath, ...] = (),
) -> None:
    """Write the model's directory; an existing model is replaced only with ``--force``."""
    directory = arguments.repository / model.name
    version = directory / VERSION
    texts = target.texts(model)
    try:
        if not arguments.force:
            taken = [str(path) for path in version.glob("model.*") if path.suffix != ".py"]
            for name, text in texts.items():
                path = directory / name
                if path.is_file() and read_bytes(path) != text.encode():
                    taken.append(str(path))
            if taken:
                raise ConfigurationError(
                    f"there is a model {model.name} already ({', '.join(sorted(taken))}): replace "
                    "it with --force, or give this one another name with --name"
                )
        claim(directory, target, force=arguments.force)
        for relative in external:
            copy = (onnx.parent if target.compiles else version) / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            replace_file(copy, arguments.file.parent / relative)
        file: Path = arguments.file
        imported = {"file": file.name, "sha256": sha256(file), "target": target.name}
        install(
            directory,
            model,
            target,
            precision=arguments.precision or "fp32",
            onnx=onnx,
            record={"model": model.name, IMPORTED: imported},
            say=say,
        )
        for name, text in texts.items():
            replace_file(directory / name, text.encode())
    except OSError as error:
        raise unwritable(directory, error) from error
