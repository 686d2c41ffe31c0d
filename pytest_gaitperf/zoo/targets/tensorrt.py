"""The target ``tensorrt``: a plan that ``trtexec`` builds from the ONNX file.

A plan is good for the TensorRT and the kind of GPU that built it: serve it with the same version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import platformdirs

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.zoo.targets.target import CONFIG, ServedModel, config_text
from pytest_gaitperf.zoo.weights import IR_VERSION, OPSET, PRODUCER, SEED, calibration_samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_gaitperf.zoo.targets.trtexec import Trtexec
    from pytest_gaitperf.zoo.variants import Variant

PLAN = "model.plan"

_PRECISION_FLAGS = {"fp32": (), "fp16": ("--fp16",), "int8": ("--int8",), "best": ("--best",)}
# Until 8.5 the flag that leaves out the measurement after the build had another name.
_SKIP_INFERENCE_SINCE = (8, 6, 0)


@dataclass(frozen=True, slots=True)
class Batches:
    """The range of batch sizes of the plan's optimisation profile; it is fastest at ``best``."""

    smallest: int
    best: int
    largest: int

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.best <= self.largest:
            raise ConfigurationError(
                f"the batch sizes {self.smallest},{self.best},{self.largest} are not three rising "
                "numbers from 1: give smallest,best,largest, such as 1,8,32"
            )


@dataclass(frozen=True, slots=True)
class Tensorrt:
    """Builds plans with ``trtexec``. ``dla`` is the deep-learning accelerator's core, None the GPU.

    Raises ConfigurationError where the accelerator is given a range of batch sizes: it has fixed
    shapes only.
    """

    trtexec: Trtexec
    batches: Batches
    dla: int | None = None
    name: str = "tensorrt"
    weights: str = PLAN

    def __post_init__(self) -> None:
        if self.dla is not None and self.batches.smallest != self.batches.largest:
            raise ConfigurationError(
                "a plan for the DLA has one batch size, since it takes fixed shapes only: give "
                "--batches=N,N,N"
            )

    @property
    def max_batch_size(self) -> int:
        """The largest batch of the profile."""
        return self.batches.largest

    @property
    def compiler(self) -> Tensorrt:
        """The target itself: it builds the file of its weights."""
        return self

    def check(self, precision: str) -> None:
        """Refuse FP32 on the DLA, which has FP16 and INT8."""
        if self.dla is not None and precision == "fp32":
            raise ConfigurationError(
                "the DLA computes in FP16 and INT8: choose one of these or best, or leave --dla out"
            )

    def recipe(self, precision: str) -> dict[str, Any]:
        """Return the flags, TensorRT's version, and the device whose GPU it is built for."""
        fields = identify().fields
        device = [fields[field] for field in ("module", "gpu") if field in fields]
        return {
            "flags": [*_PRECISION_FLAGS[precision], *self._device_flags()],
            "batches": [self.batches.smallest, self.batches.best, self.batches.largest],
            "tensorrt": ".".join(map(str, self.trtexec.version)),
            "image": self.trtexec.image,
            "device": ", ".join(device) or "unknown",
        }

    def onnx(self, variant: Variant) -> bytes:
        """Return the reference network in FP32; for INT8 with the scales that TensorRT reads."""
        try:
            from pytest_gaitperf.zoo import onnx_graph  # noqa: PLC0415  # onnx is optional

            if variant.precision == "int8":
                from pytest_gaitperf.zoo.precision import to_int8  # noqa: PLC0415  # onnxruntime
        except ImportError as error:
            raise ConfigurationError(
                f"building {variant.name} needs onnx and, for int8, onnxruntime ({error}); install "
                "them with: pip install 'pytest-gaitperf[local]'"
            ) from error
        network = variant.describe()
        model = onnx_graph.build(
            network,
            onnx_graph.seeded_weights(network, SEED),
            opset=OPSET,
            ir_version=IR_VERSION,
            producer=PRODUCER,
        )
        if variant.precision == "int8":
            model = to_int8(model, calibration_samples(variant), tensorrt=True)
        content: bytes = model.SerializeToString()
        return content

    def texts(self, model: ServedModel) -> dict[str, str]:
        """Return config.pbtxt."""
        group = "kind: KIND_GPU\ncount: 1"
        if self.dla is not None:
            group += f"\nsecondary_devices [ {{ kind: KIND_NVDLA device_id: {self.dla} }} ]"
        return {CONFIG: config_text(model, 'platform: "tensorrt_plan"', group)}

    def compiled(
        self, model: ServedModel, precision: str, onnx: Path, progress: Callable[[str], None]
    ) -> Path:
        """Build the plan beside the ONNX file; raise ConfigurationError with the end of the log.

        The log, and the timings that make the next build shorter, are kept in the user's cache.
        """
        cache = platformdirs.user_cache_path("gaitperf") / "tensorrt"
        version = ".".join(map(str, self.trtexec.version))
        device = re.sub(r"[^A-Za-z0-9]+", "-", self.recipe(precision)["device"])
        timings = cache / f"timings-{version}-{device}.cache"
        plan = onnx.with_name(PLAN)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            log = cache / f"{model.name}.log"
            self.trtexec.build(
                [
                    f"--onnx={onnx}",
                    f"--saveEngine={plan}",
                    *self._shape_flags(model),
                    *_PRECISION_FLAGS[precision],
                    *self._device_flags(),
                    f"--timingCacheFile={timings}",
                    "--skipInference"
                    if self.trtexec.version >= _SKIP_INFERENCE_SINCE
                    else "--buildOnly",
                ],
                [onnx.parent, cache],
                log,
                lambda line: progress(f"{model.name}: {line}"),
            )
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

    def _device_flags(self) -> tuple[str, ...]:
        return () if self.dla is None else (f"--useDLACore={self.dla}", "--allowGPUFallback")

    def _shape_flags(self, model: ServedModel) -> list[str]:
        """Return the optimisation profile; a model without a batch dimension has fixed shapes."""
        varying = [tensor.name for tensor in model.inputs if -1 in tensor.dims]
        if varying:
            raise ConfigurationError(
                f"{model.name}: the sizes of {', '.join(varying)} vary in more than the batch, and "
                "no profile can be made up for them; build the plan with trtexec yourself"
            )
        if not model.max_batch_size:
            return []
        return [
            f"--{which}Shapes="
            + ",".join(
                f"{tensor.name}:{'x'.join(map(str, (batch, *tensor.dims)))}"
                for tensor in model.inputs
            )
            for which, batch in (
                ("min", self.batches.smallest),
                ("opt", self.batches.best),
                ("max", self.batches.largest),
            )
        ]
