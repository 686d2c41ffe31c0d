"""The models that the load generators are compared on."""

from __future__ import annotations

from pathlib import Path

from pytest_gaitperf.zoo.networks import REFERENCE_VARIANTS
from pytest_gaitperf.zoo.repository import ensure_built

GAIT_MODEL = "3D_fp32_40_batchd"
CHANGING_S = 1.8
"""How long ``changing`` keeps its pace: half of three windows of 1.2 s, so that, wherever they
begin, they never agree."""

_ROOT = Path(__file__).resolve().parent.parent.parent

_IDENTITY = '''\
"""Gives its input back after a sleep, which may change between two lengths."""

import time

import triton_python_backend_utils as pb_utils

SLEEPS_S = {sleeps_s}


class TritonPythonModel:
    def execute(self, requests):
        sleep_s = SLEEPS_S[int(time.monotonic() / {changing_s}) % len(SLEEPS_S)]
        if sleep_s:
            time.sleep(sleep_s)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(
                "OUTPUT0", pb_utils.get_input_tensor_by_name(request, "INPUT0"))])
            for request in requests
        ]
'''


def write_models(repository: Path) -> None:
    """Write the identities: plain, one that sleeps, one whose sleep changes, one with 23 MB inputs.

    The gait model is linked, and built first where it is not.
    """
    for name, size, batch, sleeps_s in (
        ("identity", 16, 64, (0.0,)),
        ("sleepy", 16, 8, (0.02,)),
        ("changing", 16, 8, (0.02, 0.04)),
        ("large", 180_000, 32, (0.0,)),
    ):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "model.py").write_text(
            _IDENTITY.format(sleeps_s=sleeps_s, changing_s=CHANGING_S), encoding="utf-8"
        )
        tensors = "".join(
            f'{kind} {{ name: "{tensor}" data_type: TYPE_FP32 dims: [{size}] }}\n'
            for kind, tensor in (("input", "INPUT0"), ("output", "OUTPUT0"))
        )
        (repository / name / "config.pbtxt").write_text(
            f'name: "{name}"\nbackend: "python"\nmax_batch_size: {batch}\n{tensors}'
            "instance_group [ { kind: KIND_CPU } ]\ndynamic_batching { }\n",
            encoding="utf-8",
        )
    chosen = [variant for variant in REFERENCE_VARIANTS if variant.name == GAIT_MODEL]
    ensure_built(_ROOT / "model_repository", chosen, lambda line: print(f"  {line}", flush=True))
    (repository / GAIT_MODEL).symlink_to(_ROOT / "model_repository" / GAIT_MODEL)
