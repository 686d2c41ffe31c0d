"""The targets that a model can be built for: what serves it, and the files beside its weights."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import platformdirs

from pytest_gaitperf.config.values import as_image
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import read_bytes
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.zoo import trtexec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_gaitperf.zoo.networks import Network

CONFIG = "config.pbtxt"
VERSION = "1"
ONNX, PLAN = "model.onnx", "model.plan"
MAX_BATCH_SIZE = 32

_SERVED_BY = {
    "python": "local",
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
}
"""Other backends are called like their targets."""
_PRECISION_FLAGS = {"fp32": (), "fp16": ("--fp16",), "int8": ("--int8",), "best": ("--best",)}
# Until 8.5 the flag that leaves out the measurement after the build had another name.
_SKIP_INFERENCE_SINCE = (8, 6, 0)
_BATCHES = "1,8,32"
_GIVE = f"give smallest,best,largest, such as {_BATCHES}"


def served_network(name: str, network: Network, max_batch_size: int) -> ModelInfo:
    """Return a gait network as its clients see it, served under ``name``."""
    inputs = (TensorSpec("input", "FP32", network.input_shape),)
    outputs = (TensorSpec("code", "FP32", (network.code_size,)),)
    return ModelInfo(name, (VERSION,), max_batch_size, inputs, outputs)


class Target:
    """One way of serving an ONNX file as it is.

    ``served_by`` is the line of the backend or platform in config.pbtxt, ``instance`` what its
    instance group holds, ``weights`` the file that is served.
    """

    weights = ONNX
    compiles = False

    def __init__(
        self, name: str, served_by: str, instance: str, max_batch_size: int = MAX_BATCH_SIZE
    ) -> None:
        self.name = name
        self.max_batch_size = max_batch_size
        self._served_by = served_by
        self._instance = instance

    def check(self, model: str, precision: str) -> None:
        """Raise ConfigurationError where the target cannot serve that precision."""
        if precision == "best":
            raise ConfigurationError(
                f"{model}: best leaves each layer's precision to TensorRT's builder: choose "
                "--target tensorrt, or fp32, fp16 or int8"
            )

    def recipe(self, _precision: str) -> dict[str, Any]:
        """Return what, beside the ONNX file, determines the weights' file, as JSON can hold it."""
        return {}

    def compiled(
        self, _model: ModelInfo, _precision: str, onnx: Path, _say: Callable[[str], None]
    ) -> Path:
        """Return the weights' file made of the ONNX file, beside it: here the ONNX file itself."""
        return onnx

    def texts(self, model: ModelInfo) -> dict[str, str]:
        """Return the text of the files beside the weights, by path in the model's directory."""
        texts = {CONFIG: self._config(model)}
        if self is LOCAL:
            script = resources.files("pytest_gaitperf.zoo").joinpath("served_model.py")
            texts[f"{VERSION}/model.py"] = script.read_text("utf-8")
        return texts

    def _config(self, model: ModelInfo) -> str:
        lines = [
            "# Written by `gaitperf models`.",
            f"name: {_quoted(model.name)}",
            self._served_by,
            f"max_batch_size: {model.max_batch_size}",
            *_tensors("input", model.inputs),
            *_tensors("output", model.outputs),
        ]
        if model.max_batch_size:
            lines += ["dynamic_batching {", "  max_queue_delay_microseconds: 0", "}"]
        instance = (f"    {line}" for line in self._instance.split("\n"))
        return "\n".join([*lines, "instance_group [", "  {", *instance, "  }", "]", ""])


LOCAL = Target("local", 'backend: "python"', "kind: KIND_CPU\ncount: 1")
"""onnxruntime in Triton's Python backend, on the CPU."""
ONNXRUNTIME = Target("onnxruntime", 'platform: "onnxruntime_onnx"', "kind: KIND_GPU\ncount: 1")
"""The backend of Triton's containers, on the GPU; what has no GPU kernel runs on the CPU."""


class Tensorrt(Target):
    """Compiles ONNX files to plans with ``trtexec``, for this TensorRT and kind of GPU only.

    ``batches`` are the smallest, best and largest batch size of the optimisation profile; ``dla``
    is the deep-learning accelerator's core, None the GPU. Raises ConfigurationError where the batch
    sizes do not rise, or the accelerator, which has fixed shapes only, is given a range.
    """

    weights = PLAN
    compiles = True

    def __init__(
        self,
        executable: trtexec.Trtexec,
        batches: tuple[int, int, int],
        dla: int | None = None,
    ) -> None:
        smallest, best, largest = batches
        if not 1 <= smallest <= best <= largest:
            raise ConfigurationError(
                f"the batch sizes {smallest},{best},{largest} are not three rising numbers from 1: "
                + _GIVE
            )
        instance = "kind: KIND_GPU\ncount: 1"
        self._device_flags: tuple[str, ...] = ()
        if dla is not None:
            self._device_flags = (f"--useDLACore={dla}", "--allowGPUFallback")
            if smallest != largest:
                raise ConfigurationError(
                    "a plan for the DLA has one batch size, since it takes fixed shapes only: give "
                    "--batches=N,N,N"
                )
            instance += f"\nsecondary_devices [ {{ kind: KIND_NVDLA device_id: {dla} }} ]"
        super().__init__("tensorrt", 'platform: "tensorrt_plan"', instance, largest)
        self._trtexec = executable
        self._batches = batches

    def check(self, model: str, precision: str) -> None:
        """Refuse FP32 on the DLA, which has FP16 and INT8."""
        if self._device_flags and precision == "fp32":
            raise ConfigurationError(
                f"{model}: the DLA computes in FP16 and INT8: choose one of these or best, or "
                "leave --dla out"
            )

    def recipe(self, precision: str) -> dict[str, Any]:
        """Return the flags, TensorRT's version, and the device whose GPU a plan is built for."""
        fields = identify().fields
        device = [fields[field] for field in ("module", "gpu") if field in fields]
        return {
            "flags": [*_PRECISION_FLAGS[precision], *self._device_flags],
            "batches": list(self._batches),
            "tensorrt": ".".join(map(str, self._trtexec.version)),
            "image": self._trtexec.image,
            "device": ", ".join(device) or "unknown",
        }

    def compiled(
        self, model: ModelInfo, precision: str, onnx: Path, say: Callable[[str], None]
    ) -> Path:
        """Build the plan beside the ONNX file; raise ConfigurationError with the end of the log.

        The log, and the timings that make the next build shorter, are kept in the user's cache.
        """
        cache = platformdirs.user_cache_path("gaitperf") / "tensorrt"
        version = ".".join(map(str, self._trtexec.version))
        device = re.sub(r"[^A-Za-z0-9]+", "-", self.recipe(precision)["device"])
        timings = cache / f"timings-{version}-{device}.cache"
        plan = onnx.with_name(PLAN)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            log = cache / f"{model.name}.log"
            skips = self._trtexec.version >= _SKIP_INFERENCE_SINCE
            flags = [
                *(f"--onnx={onnx}", f"--saveEngine={plan}", *self._shape_flags(model)),
                *(*_PRECISION_FLAGS[precision], *self._device_flags),
                *(f"--timingCacheFile={timings}", "--skipInference" if skips else "--buildOnly"),
            ]
            directories = [onnx.parent, cache]
            self._trtexec.build(flags, directories, log, lambda line: say(f"{model.name}: {line}"))
            if not plan.is_file() or not plan.stat().st_size:
                raise ConfigurationError(
                    f"trtexec ended well and wrote no plan of {model.name}; its log is {log}"
                )
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep TensorRT's timings and log in {cache}: {error.strerror}; make it "
                "writable, or set XDG_CACHE_HOME"
            ) from error
        return plan

    def _shape_flags(self, model: ModelInfo) -> list[str]:
        """Return the optimisation profile; a model without a batch dimension has fixed shapes."""
        if varying := [tensor.name for tensor in model.inputs if -1 in tensor.shape]:
            raise ConfigurationError(
                f"{model.name}: the sizes of {', '.join(varying)} vary in more than the batch, and "
                "no profile can be made up for them; build the plan with trtexec yourself"
            )
        if not model.max_batch_size:
            return []
        flags = []
        for which, batch in zip(("min", "opt", "max"), self._batches, strict=True):
            sizes = ("x".join(map(str, (batch, *tensor.shape))) for tensor in model.inputs)
            named = (f"{t.name}:{size}" for t, size in zip(model.inputs, sizes, strict=True))
            flags.append(f"--{which}Shapes={','.join(named)}")
        return flags


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
        type=as_image,
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
        for name in ("image", "batches", "dla"):
            if vars(arguments)[name] is not None:
                raise ConfigurationError(
                    f"--{name} is an option of --target tensorrt, not of {arguments.target}"
                )
        return ONNXRUNTIME if arguments.target == "onnxruntime" else LOCAL
    text = arguments.batches or (_BATCHES if arguments.dla is None else "1,1,1")
    try:
        smallest, best, largest = map(int, text.split(","))
    except ValueError:
        raise ConfigurationError(f"--batches={text} is not three whole numbers: {_GIVE}") from None
    return Tensorrt(trtexec.find(arguments.image), (smallest, best, largest), arguments.dla)


def built_for(directory: Path) -> str | None:
    """Return the target, or other backend, of a model's directory; None where nothing says it."""
    try:
        text = read_bytes(directory / CONFIG).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {directory / CONFIG}: {error.strerror}; make it readable or choose "
            "another model repository"
        ) from error
    match = re.search(r'^[ \t]*(?:platform|backend)\s*:\s*"([^"]*)"', text, re.MULTILINE)
    return _SERVED_BY.get(match[1], match[1]) if match else None


def _tensors(kind: str, tensors: Sequence[TensorSpec]) -> list[str]:
    lines = [f"{kind} ["]
    for tensor in tensors:
        datatype = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
        lines += [
            "  {",
            f"    name: {_quoted(tensor.name)}",
            f"    data_type: TYPE_{datatype}",
            f"    dims: [ {', '.join(map(str, tensor.shape))} ]",
            "  }" if tensor is tensors[-1] else "  },",
        ]
    return [*lines, "]"]


def _quoted(text: str) -> str:
    """Quote for protobuf's text format, which takes every byte as an octal escape."""

    def octal(match: re.Match[str]) -> str:
        return "".join(f"\\{byte:03o}" for byte in match[0].encode())

    return '"' + re.sub(r"[^ !#-\[\]-~]", octal, text) + '"'
