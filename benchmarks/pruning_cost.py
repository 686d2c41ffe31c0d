"""Show whether a pruned network costs what its FLOPs predict.

Runs each gait network whole and pruned by 40, 50, 70 and 90 % through onnxruntime (one thread, one
sample, FP32), all in turns within each round, and compares the time of each with that of the whole
network in the same round. *factor* is the ratio of the times over the ratio of the FLOPs: 1 where
pruning saves all that it promises, above 1 where it saves less.

*40% in 8s* has the filters of 40 % rounded up to multiples of 8, the width that a CPU's vectors
like: more FLOPs, and where it takes no more time, the odd numbers were what cost. Goal: at 40 %,
which is what the suite measures, the factor is at most 2 for every network.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from pytest_gaitperf.gait import onnx_graph
from pytest_gaitperf.gait.networks import NETWORKS, Chain, Convolution, SetNetwork
from pytest_gaitperf.gait.weights import IR_VERSION, OPSET

if TYPE_CHECKING:
    from pytest_gaitperf.gait.networks import Network

GOAL = 2.0
JUDGED = "40%"
PERCENTS = (0, 40, 50, 70, 90)


@dataclass(frozen=True, slots=True)
class Row:
    """One pruned network beside the whole one; quartiles are over the rounds."""

    network: str
    pruned: str
    milliseconds: float
    ratio: float
    quartiles: tuple[float, float]
    flops_ratio: float

    @property
    def factor(self) -> float:
        """The time over what the FLOPs predict."""
        return self.ratio / self.flops_ratio


def in_eights(network: Network) -> Network:
    """Return the network with each convolution's filters rounded up to a multiple of 8."""
    if isinstance(network, Chain):
        layers = tuple(
            replace(layer, filters=-(-layer.filters // 8) * 8)
            if isinstance(layer, Convolution)
            else layer
            for layer in network.layers
        )
        return replace(network, layers=layers)
    assert isinstance(network, SetNetwork)
    stages = tuple(replace(stage, filters=-(-stage.filters // 8) * 8) for stage in network.stages)
    return replace(network, stages=stages)


def session(network: Network) -> Any:
    model = onnx_graph.build(
        network,
        onnx_graph.seeded_weights(network, 1),
        opset=OPSET,
        ir_version=IR_VERSION,
        producer="",
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def measure(name: str, rounds: int) -> list[Row]:
    """Time the network in every width, in turns of a random order."""
    whole = NETWORKS[name]
    networks = {f"{percent}%": whole.pruned(percent) for percent in PERCENTS}
    networks["40% in 8s"] = in_eights(networks["40%"])
    sessions = {pruned: session(network) for pruned, network in networks.items()}
    shape = (1, *whole.input_shape)
    sample = {"input": np.random.default_rng(1).random(shape, dtype=np.float32)}
    order, shuffler = list(networks), random.Random(1)  # noqa: S311 - an order, not a secret
    seconds: dict[str, list[float]] = {pruned: [] for pruned in networks}
    for number in range(rounds + 2):
        shuffler.shuffle(order)
        for pruned in order:
            start = time.perf_counter()
            sessions[pruned].run(None, sample)
            if number >= 2:  # two rounds of warm-up
                seconds[pruned].append(time.perf_counter() - start)
    rows = []
    for pruned, network in sorted(networks.items(), key=lambda item: -item[1].flops):
        ratios = [a / b for a, b in zip(seconds[pruned], seconds["0%"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = statistics.median(seconds[pruned]) * 1e3
        flops_ratio = network.flops / whole.flops
        rows.append(Row(name, pruned, milliseconds, middle, (low, high), flops_ratio))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 rounds in place of 150")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    rounds = 20 if arguments.quick else 150
    print(
        f"{len(NETWORKS)} networks, whole and pruned by {PERCENTS[1:]} %, {rounds} rounds in "
        f"turns; about {10 + rounds * 0.5:.0f} s"
    )
    print(
        f"{'network':8}{'pruned':>10}{'ms':>8}{'time':>7}{'quartiles':>16}{'FLOPs':>8}{'factor':>8}"
    )
    rows: list[Row] = []
    for name in NETWORKS:
        for row in measure(name, rounds):
            rows.append(row)
            low, high = row.quartiles
            print(
                f"{row.network:8}{row.pruned:>10}{row.milliseconds:8.1f}{row.ratio:7.3f}"
                f"{low:8.3f} ..{high:6.3f}{row.flops_ratio:8.3f}{row.factor:8.2f}",
                flush=True,
            )
    judged = {row.network: row.factor for row in rows if row.pruned == JUDGED}
    met = all(factor <= GOAL for factor in judged.values())
    factors = ", ".join(f"{name} {factor:.2f}" for name, factor in judged.items())
    print(
        f"pruning_cost: pruned by {JUDGED}, time over FLOPs: {factors} "
        f"(goal at most {GOAL:g}): {'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {"rows": [{**asdict(row), "factor": row.factor} for row in rows], "met": met}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
