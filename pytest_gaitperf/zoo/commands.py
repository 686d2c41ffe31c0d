"""``gaitperf models``: list, build and explain the gait networks, import your own models."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.clock import clock
from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.files import json_text
from pytest_gaitperf.triton.models import repository_models
from pytest_gaitperf.zoo.networks import (
    GROUPS,
    LOCAL_PRECISIONS,
    NETWORKS,
    PRECISIONS,
    REFERENCE_VARIANTS,
    ZOO,
    Variant,
    estimated_bytes,
    recipe,
    select,
)
from pytest_gaitperf.zoo.repository import State, Status, claim, ensure_built, inspect
from pytest_gaitperf.zoo.targets import MAX_BATCH_SIZE, add_options, target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FLOPS = (
    "FLOP of one inference of one sample: 2 for each multiply-accumulate of a\n"
    "convolution or a product; pooling, rectifiers and biases are not counted"
)


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``models`` to the program's commands."""
    models = commands.add_parser(
        "models",
        help="list, build and explain the gait networks, import your own models",
        description="List, build and explain the gait networks that the suite measures; import "
        "models of your own.",
    )
    actions = models.add_subparsers(title="actions", metavar="ACTION", required=True)
    groups = (f"{name} = {', '.join(v.name for v in group)}" for name, group in GROUPS.items())
    names = "Groups: " + "; ".join(groups)

    importing = actions.add_parser(
        "import",
        help="bring your own weights (Keras HDF5) or your own model (ONNX)",
        description=(
            "Write a model directory for your own file: Keras weights of a gait network (.h5, "
            ".hdf5, .weights.h5), whose pruned widths are read from the file, or any ONNX model. "
            "Nothing in the file is executed. What `gaitperf models build` finds there it keeps."
        ),
    )
    importing.add_argument("file", type=Path, metavar="FILE", help="the Keras or ONNX file")
    importing.add_argument(
        "--network", choices=list(NETWORKS), help="the network whose weights a Keras file holds"
    )
    importing.add_argument(
        "--name",
        metavar="NAME",
        help="the model's name (the variant whose widths these are, or the ONNX file's name)",
    )
    importing.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="what to convert Keras weights to, and how tensorrt computes (fp32)",
    )
    importing.add_argument(
        "--data-format",
        choices=["channels_first", "channels_last"],
        help="the order of the axes in the Keras model where the file does not say (2D: first)",
    )
    importing.add_argument("--force", action="store_true", help="replace a model of that name")
    add_options(importing)
    _finish(importing, _import)

    building = actions.add_parser(
        "build",
        help="write the models' files where they are missing or out of date",
        description=(
            "Write the models into a Triton model repository: config.pbtxt, model.py, and weights "
            "of seeded random numbers as ONNX. What is up to date is left alone, and so are your "
            "own weights and your edits of config.pbtxt and model.py."
        ),
        epilog=names,
    )
    building.add_argument(
        "variants",
        nargs="*",
        default=["reference"],
        metavar="VARIANT",
        help="models to build: names (3D_fp32_40_batchd), patterns ('*_int8_*'), or groups "
        f"({', '.join(GROUPS)}; default: reference)",
    )
    building.add_argument(
        "--force",
        action="store_true",
        help="write every file anew, your edits of config.pbtxt and model.py included",
    )
    add_options(building)
    _finish(building, _build)

    listing = actions.add_parser(
        "list",
        help="show the models, their sizes, and whether they are built",
        description="Show the reference models and those that are built: their sizes, what one "
        "inference computes, and whether their weights are up to date; and the repository's other "
        "models, with what they take and give.",
        epilog=names,
    )
    listing.add_argument(
        "variants",
        nargs="*",
        metavar="VARIANT",
        help="show these instead: names, patterns or groups",
    )
    listing.add_argument(
        "--all",
        action="store_true",
        help="the whole zoo: every network and precision, pruned by 0 to 90 %%",
    )
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _finish(listing, _list)

    info = actions.add_parser(
        "info",
        help="show one model: its layers, their arithmetic, and how it was built",
        description="Show one model: its tensors and layers, what an inference computes, and how "
        "its weights were built.",
    )
    info.add_argument("variant", type=_variant, metavar="VARIANT", help="e.g. 3D_fp32_40_batchd")
    _finish(info, _info)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="Triton's model repository (./model_repository)",
    )
    parser.set_defaults(run=run)


def _variant(name: str) -> Variant:
    try:
        return Variant.parse(name)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _import(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.zoo import importing  # noqa: PLC0415  # numpy

    with clock(f"importing {arguments.file.name}") as say:
        importing.run(arguments, say)


def _build(arguments: argparse.Namespace) -> None:
    target, force = target_of(arguments), arguments.force
    served = [
        variant for variant in ZOO if target.compiles or variant.precision in LOCAL_PRECISIONS
    ]
    variants = select(arguments.variants, served)
    for variant in variants:
        target.check(variant.name, variant.precision)
    for variant in variants:
        claim(arguments.repository / variant.name, target, force=force)
    with clock("building") as say:
        ensure_built(arguments.repository, variants, say, target, force=force)


def _list(arguments: argparse.Namespace) -> None:
    statuses = [inspect(arguments.repository, variant) for variant in _listed(arguments)]
    if arguments.json:
        sys.stdout.write(json_text([_row(status) for status in statuses]))
        return
    print(f"{'variant':<23} {'parameters':>10} {'GFLOP':>6} {'MB':>6}  weights")
    for status in statuses:
        network, size = status.variant.describe(), status.weights_bytes
        megabytes = f"{size / 1e6:.1f}" if size is not None else _estimate(status.variant)
        print(
            f"{status.variant.name:<23} {network.parameters:>10,} {network.flops / 1e9:>6.2f} "
            f"{megabytes:>6}  {_state(status)}"
        )
    print(f"{_FLOPS}\n~ MB are estimates")
    if not arguments.variants and arguments.repository.is_dir():
        known = {status.variant.name for status in statuses}
        for name, model in repository_models(arguments.repository).items():
            if name not in known:
                text = "the server completes its configuration" if model is None else model.text
                print(sanitize(f"{name}: {text}"))


def _listed(arguments: argparse.Namespace) -> Sequence[Variant]:
    built = []
    for directory in sorted(arguments.repository.glob("*")):
        with suppress(ConfigurationError):  # another model, which is not ours to list
            built.append(Variant.parse(directory.name))
    if arguments.variants:
        return select(arguments.variants, list(dict.fromkeys([*ZOO, *built])))
    return list(dict.fromkeys([*(ZOO if arguments.all else REFERENCE_VARIANTS), *built]))


def _estimate(variant: Variant) -> str:
    return f"~{estimated_bytes(variant) / 1e6:.1f}"


def _state(status: Status) -> str:
    if status.variant.precision not in LOCAL_PRECISIONS and status.weights_bytes is None:
        return "needs TensorRT"
    text = status.state.value
    if status.state not in {State.BUILT, State.MISSING}:
        text += f": {sanitize(status.reason)}"
    return f"{text}; edited: {', '.join(status.edited)}" if status.edited else text


def _row(status: Status) -> dict[str, object]:
    network = status.variant.describe()
    return {
        "variant": status.variant.name,
        "network": status.variant.network,
        "precision": status.variant.precision,
        "pruned": status.variant.pruned,
        "parameters": network.parameters,
        "flops": network.flops,
        "estimated_bytes": estimated_bytes(status.variant),
        "weights_bytes": status.weights_bytes,
        "state": status.state.value,
        "reason": status.reason,
        "edited": list(status.edited),
    }


def _info(arguments: argparse.Namespace) -> None:
    variant: Variant = arguments.variant
    network, status = variant.describe(), inspect(arguments.repository, variant)
    size = status.weights_bytes
    file = "none" if size is None else f"{status.weights}, {size / 1e6:.1f} MB"
    serving = f"batches of up to {MAX_BATCH_SIZE}, batched dynamically, one instance"
    if status.state is State.ELSEWHERE:  # its config.pbtxt says it
        file, serving = "", ""
    made_of = recipe(variant)
    precision = made_of.get("precision", {})
    parts = [
        *(f"{key.replace('_', ' ')} {made_of[key]}" for key in ("seed", "opset")),
        *(f"{key.replace('_', ' ')} {value}" for key, value in precision.items() if key != "name"),
    ]
    versions = (status.record or {}).get("built_with")
    versions = versions if isinstance(versions, dict) else {}
    print(variant.name)
    for what, text in (
        ("network", f"{variant.network}, {variant.pruned} % of the convolutions' filters pruned"),
        ("precision", variant.precision + "; input and output are FP32"),
        ("input", f"input [batch, {', '.join(map(str, network.input_shape))}]"),
        ("output", f"code [batch, {network.code_size}]"),
        ("serving", serving),
        ("weights", _state(status)),
        ("file", file),
        ("recipe", ", ".join(parts)),
        ("built with", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ):
        if text:
            print(f"  {what:<10} {sanitize(text)}")
    print(f"\n{'layer':<11} {'weights':<17} {'output':<15} {'parameters':>10} {'MFLOP':>8}")
    for layer in network.layers_with_weights():
        weights, output = (
            "x".join(map(str, shape)) for shape in (layer.weight_shape, layer.output_shape)
        )
        print(
            f"{layer.name:<11} {weights:<17} {output:<15} {layer.parameters:>10,} "
            f"{layer.flops / 1e6:>8.1f}"
        )
    total = f"{network.parameters:>10,} {network.flops / 1e6:>8.1f}"
    print(f"{'total':<11} {_estimate(variant) + ' MB':<33} {total}\n{_FLOPS}")
