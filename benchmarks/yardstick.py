"""How much less a model's cost differs between sessions beside a yardstick in the same turns.

Run from the repository's virtual environment::

    .venv/bin/python benchmarks/yardstick.py [--sessions N] [--json FILE] [--host WORDS]

Each session starts a server, and measures a network of the zoo in turns with another model of its
tensors, the yardstick, in a few blocks of fresh processes on the same CPUs, as a comparison in
pairs does: one that adds numbers in the caches, and the network itself. Shown is the SD between
sessions of the logarithm of the model's cost by itself, and of its ratio to the yardstick's: where
the second is half the first or less, a stored baseline of ratios would hear twice as well. Its
interval is that of two independent variances, so it is too wide where they go together.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402 - of this checkout, from here on
from scipy.stats import f  # noqa: E402

from benchmarks.paired_truth import write_model  # noqa: E402
from benchmarks.truth import entry_of, read, write  # noqa: E402
from pytest_gaitperf.errors import GaitperfError  # noqa: E402
from pytest_gaitperf.measure.pairs import Terms, measure_pairs  # noqa: E402
from pytest_gaitperf.power.metering import Metering  # noqa: E402
from pytest_gaitperf.triton.launch import ServerOptions  # noqa: E402
from pytest_gaitperf.triton.server import open_server  # noqa: E402
from pytest_gaitperf.workload import Workload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Case:
    """What the yardstick is: ``network``, the model itself, or ``numpy``, sums in the caches."""

    yardstick: str


CASES = (Case("numpy"), Case("network"))
_SUMS = """\
import numpy as np
import triton_python_backend_utils as pb_utils

DATA, OUT = np.ones(4096), np.ones(4096)
CODE = np.zeros((1, 512), np.float32)


class TritonPythonModel:
    def execute(self, requests):
        for _ in requests:
            for _ in range(4000):
                np.add(DATA, 1.0, out=OUT)
        answer = pb_utils.InferenceResponse([pb_utils.Tensor("code", CODE)])
        return [answer for _ in requests]
"""

METRICS = ("throughput", "latency_p50", "server_cpu_per_inference")


def session(case: Case) -> dict[str, list[float]]:
    """Return by metric the log of the model's cost, and that of its ratio to the yardstick's."""
    # Nothing can be decided on these terms, so that all sessions have as many blocks.
    terms = Terms(alpha=1e-300, tolerance=lambda _workload, _metric: 0.0, budget_s=1.0)
    pair = (Workload("measured", 1, 1), Workload("yardstick", 1, 1))
    with tempfile.TemporaryDirectory() as directory:
        for name in ("measured", "yardstick"):
            write_model(Path(directory), name, "gait")
        if case.yardstick == "numpy":
            (Path(directory) / "yardstick" / "1" / "model.py").write_text(_SUMS)
        options = ServerOptions(mode="local", repository=Path(directory), controlled=True)
        with open_server(options) as server:
            (found,) = measure_pairs(server, [pair], Metering(), terms)
    if isinstance(found, GaitperfError):
        raise SystemExit(f"not measured: {found}")
    if found.candidate.invalid:
        print(f"  left out: {found.candidate.invalid}", flush=True)
        return {}
    effects = {name: found.effects[name] for name in METRICS if name in found.effects}
    return {
        name: [round(one.level + one.change / 2, 5), round(one.change, 5)]
        for name, one in effects.items()
    }


def table(case: Case, sessions: Sequence[dict[str, list[float]]]) -> list[str]:
    """Return the lines of one model."""
    lines = [f"beside {case.yardstick}: {len(sessions)} sessions, SD of the log cost in %"]
    for name in METRICS:
        logs = np.array([one[name] for one in sessions if name in one])
        if len(logs) < 3:
            continue
        alone, beside = logs.std(axis=0, ddof=1)
        dof = len(logs) - 1
        low, high = (np.sqrt(f.ppf(level, dof, dof)) for level in (0.025, 0.975))
        ratio = beside / alone
        lines.append(
            f"  {name:26}{100 * alone:7.2f} alone{100 * beside:7.2f} beside   "
            f"{ratio:.2f} of it ({ratio * low:.2f} .. {ratio * high:.2f})"
        )
    return lines


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=10, help="so many of each model")
    parser.add_argument("--json", type=Path, help="add each session to this file")
    parser.add_argument("--host", default=f"{os.cpu_count()} CPUs", help="what the machine is")
    options = parser.parse_args()
    entries: list[dict[str, Any]] = read(options.json)
    for case in CASES:
        entry = entry_of(entries, case, options.host)
        while len(entry["runs"]) < options.sessions:
            if found := session(case):
                entry["runs"].append(found)
                write(options.json, entries, "yardstick")
                print(f"  {case.yardstick}: {found}", flush=True)
        print("\n".join(table(case, entry["runs"])), flush=True)


if __name__ == "__main__":
    main()
