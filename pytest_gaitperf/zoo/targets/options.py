"""The options of ``gaitperf models`` that choose a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from pytest_gaitperf.zoo.targets.target import Target

_BATCHES = "1,8,32"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--target`` and what only some targets have."""
    parser.add_argument(
        "--target",
        choices=["local", "onnxruntime", "tensorrt"],
        default="local",
        help=(
            "what serves the models: onnxruntime in Triton's Python backend on the CPU (local, the "
            "default), Triton's own onnxruntime on the GPU, or a TensorRT plan built by trtexec; "
            "a repository has one target"
        ),
    )
    parser.add_argument(
        "--image",
        metavar="IMAGE",
        help="tensorrt: run trtexec in this container, the one that will serve the plan",
    )
    parser.add_argument(
        "--batches",
        metavar="MIN,BEST,MAX",
        help=f"tensorrt: the batch sizes the plan is built for ({_BATCHES}; 1,1,1 on a DLA)",
    )
    parser.add_argument(
        "--dla",
        type=int,
        metavar="CORE",
        help="tensorrt: build for this deep-learning accelerator, what it cannot do on the GPU",
    )


def target_of(arguments: argparse.Namespace) -> Target:
    """Return the chosen target. Raises ConfigurationError for options that are not its own."""
    if arguments.target != "tensorrt":
        given = [name for name in ("image", "batches", "dla") if vars(arguments)[name] is not None]
        if given:
            raise ConfigurationError(
                f"--{given[0]} is an option of --target tensorrt, not of {arguments.target}"
            )
        if arguments.target == "onnxruntime":
            from pytest_gaitperf.zoo.targets.onnxruntime import Onnxruntime  # noqa: PLC0415

            return Onnxruntime()
        from pytest_gaitperf.zoo.targets.local import Local  # noqa: PLC0415

        return Local()
    # Only this target needs platformdirs and subprocesses.
    from pytest_gaitperf.zoo.targets import trtexec  # noqa: PLC0415
    from pytest_gaitperf.zoo.targets.tensorrt import Batches, Tensorrt  # noqa: PLC0415

    text = arguments.batches or (_BATCHES if arguments.dla is None else "1,1,1")
    try:
        smallest, best, largest = map(int, text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"--batches={text} is not three whole numbers: give smallest,best,largest, such as "
            f"{_BATCHES}"
        ) from None
    batches = Batches(smallest, best, largest)
    return Tensorrt(trtexec.find(arguments.image), batches, arguments.dla)
