"""``gaitperf models``: build and list the reference models."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gait.importing import commands as importing
from pytest_gaitperf.gait.repository import Status, ensure_built, inspect
from pytest_gaitperf.gait.targets.build import build, claim
from pytest_gaitperf.gait.targets.options import add_options, target_of
from pytest_gaitperf.gait.variants import REFERENCE_VARIANTS, Variant


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``models`` to the program's commands."""
    models = commands.add_parser(
        "models",
        help="build and list the reference models",
        description="Build and list the gait networks that the suite measures.",
    )
    actions = models.add_subparsers(title="actions", metavar="ACTION", required=True)

    importing.add_to(actions, _add_repository)

    building = actions.add_parser(
        "build",
        help="write the models' files where they are missing or out of date",
        description=(
            "Write the models into a Triton model repository: config.pbtxt, model.py, and weights "
            "of seeded random numbers as ONNX. What is up to date is left alone, and so are your "
            "own weights and your edits of config.pbtxt and model.py."
        ),
        epilog="Reference models: " + ", ".join(variant.name for variant in REFERENCE_VARIANTS),
    )
    building.add_argument(
        "variants",
        nargs="*",
        type=_variant,
        metavar="VARIANT",
        help="models to build, e.g. 3D_fp32_40_batchd (all reference models)",
    )
    building.add_argument(
        "--force",
        action="store_true",
        help="write every file anew, your edits of config.pbtxt and model.py included",
    )
    add_options(building)
    _add_repository(building)
    building.set_defaults(run=_build)

    listing = actions.add_parser(
        "list",
        help="show the models, their sizes, and whether they are built",
        description="Show the models, their sizes, and whether their weights are built.",
    )
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _add_repository(listing)
    listing.set_defaults(run=_list)


def _add_repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="Triton's model repository (./model_repository)",
    )


def _variant(name: str) -> Variant:
    try:
        return Variant.parse(name)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _build(arguments: argparse.Namespace) -> None:
    target = target_of(arguments)
    variants = list(dict.fromkeys(arguments.variants)) or REFERENCE_VARIANTS
    if target.name != "local":
        build(arguments.repository, variants, target, _say, force=arguments.force)
        return
    for variant in variants:
        claim(arguments.repository / variant.name, target.name, force=arguments.force)
    ensure_built(arguments.repository, variants, _say, force=arguments.force)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _list(arguments: argparse.Namespace) -> None:
    variants = list(REFERENCE_VARIANTS)
    for directory in sorted(arguments.repository.glob("*")):
        try:
            variant = Variant.parse(directory.name)
        except ConfigurationError:
            continue  # Another model, which is not ours to list.
        if variant not in variants:
            variants.append(variant)
    statuses = [inspect(arguments.repository, variant) for variant in variants]
    if arguments.json:
        print(json.dumps([_row(status) for status in statuses], indent=2))
        return
    print(f"{'variant':<20} {'network':<7} {'pruned':>6} {'parameters':>11} {'MB':>6}  weights")
    for status in statuses:
        variant, size = status.variant, status.weights_bytes
        megabytes = "-" if size is None else f"{size / 1e6:.1f}"
        edited = f"; edited: {', '.join(status.edited)}" if status.edited else ""
        print(
            f"{variant.name:<20} {variant.network:<7} {variant.pruned:>5}% "
            f"{variant.describe().parameters:>11,} {megabytes:>6}  "
            f"{status.state.value}: {status.reason}{edited}"
        )


def _row(status: Status) -> dict[str, object]:
    return {
        "variant": status.variant.name,
        "network": status.variant.network,
        "precision": status.variant.precision,
        "pruned": status.variant.pruned,
        "parameters": status.variant.describe().parameters,
        "weights_bytes": status.weights_bytes,
        "state": status.state.value,
        "reason": status.reason,
        "edited": list(status.edited),
    }
