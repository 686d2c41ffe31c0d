"""The paired gate on a real Triton: a gait model against itself, and against itself slowed.

Part of ``gate_operating_characteristics.py``; alone it runs this part and prints its tables.

*Grain*: the reference and an equal copy, in turns of one request, 0.25 s and 1 s, the three grains
themselves in turns; what matters is how well the ratio is known after the same time.

*Runs*: one run is one cell (batch 1, one request in flight), judged as the plugin judges it, at a
run-wide alpha of 1 % and a tolerance of 2 %, within a budget of seconds. Each round starts a server
of its own, so that no accident of one start (memory, placement) is in all runs. The slowed models
spin for that share of the time of each execution on top of it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

from pytest_gaitperf.gate.pairing import paired_verdicts
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import WarmUp
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.measure.pairs import measure_pair
from pytest_gaitperf.measure.turns import ratio, seconds_per_request
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from pytest_gaitperf.zoo.networks import REFERENCE_VARIANTS
from pytest_gaitperf.zoo.repository import ensure_built

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.triton.server import TritonServer

MODEL = "3D_fp32_40_batchd"
ALPHA, TOLERANCE = 0.01, 0.02
BUDGET_S = 30.0
EFFECTS = (0.0, 0.05, 0.10, 0.20)
GRAINS_S = (0.0, 0.25, 1.0)
# In each round: how many runs against an equal copy, and against each slowed model.
UNCHANGED, SLOWED = 2, 1
ROUNDS = 10
_SLOWER = """

_execute = TritonPythonModel.execute


def _slower(self, requests):
    import time

    began = time.perf_counter()
    answers = _execute(self, requests)
    until = time.perf_counter() + {share} * (time.perf_counter() - began)
    while time.perf_counter() < until:
        pass
    return answers


TritonPythonModel.execute = _slower
"""


@dataclass(frozen=True, slots=True)
class Row:
    """The runs with one effect: how many were red, with the exact 95 % interval of that share.

    ``goal`` is the share that is asked for. ``change`` is the median of the measured changes of the
    median latency, ``seconds`` the median time of a run, ``others`` counts what was not red.
    """

    effect: float
    runs: int
    red: int
    low: float
    high: float
    goal: str
    met: bool
    change: float
    seconds: float
    pairs: float
    others: dict[str, int]


@dataclass(frozen=True, slots=True)
class Grain:
    """One length of a turn: pairs in ``seconds``, the spread of their log-ratios, the error left.

    ``spread`` is robust (1.4826 times the median absolute deviation), ``error`` is the standard
    error of the ratio that it leaves after 30 s.
    """

    turn_s: float
    requests: float
    pairs: int
    seconds: float
    spread: float
    error: float


def model_name(effect: float) -> str:
    """Return the name of the model that is slowed by ``effect``."""
    return f"slower_by_{effect:.0%}".replace("%", "")


def write_repository(repository: Path) -> None:
    """Build the network once; the copies share its weights by a link."""
    (variant,) = (variant for variant in REFERENCE_VARIANTS if variant.name == MODEL)
    ensure_built(repository, [variant], lambda _line: None)
    built = repository / MODEL
    config = (built / "config.pbtxt").read_text().replace(f'name: "{MODEL}"\n', "")
    for effect in EFFECTS:
        folder = repository / model_name(effect)
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config)
        code = (built / "1" / "model.py").read_text()
        (folder / "1" / "model.py").write_text(
            code + (_SLOWER.format(share=effect) if effect else "")
        )
        (folder / "1" / "model.onnx").symlink_to(built / "1" / "model.onnx")


def run_once(server: TritonServer, effect: float, budget_s: float) -> tuple[str, float, float]:
    """Judge one cell: the worse of the verdicts, or invalid; p50's change, and its pairs."""
    comparisons = sum(len(metrics) for metrics in QUANTITIES.values())
    pair = measure_pair(
        server,
        Workload(model_name(effect), 1, 1),
        Workload(MODEL, 1, 1),
        Metering(),
        Budget(budget_s=budget_s),
        alpha=ALPHA / comparisons,
        tolerance=lambda _metric: TOLERANCE,
    )
    found = paired_verdicts(
        pair.candidate, pair.reference, pair.effects, lambda _metric: TOLERANCE, pair.undecided
    )
    if not found:
        return "invalid", 0.0, 0.0
    kinds = {verdict.kind for verdict in found.values()}
    order = (
        VerdictKind.REGRESSED,
        VerdictKind.INCONCLUSIVE,
        VerdictKind.IMPROVED,
        VerdictKind.PASS,
    )
    p50 = found["latency_p50"]
    return next(kind.value for kind in order if kind in kinds), p50.change or 0.0, p50.pairs


def measure_grains(server: TritonServer, seconds: float) -> list[Grain]:
    """Measure an equal copy against the reference in turns of three lengths, in turns too."""
    coin = np.random.default_rng()
    names = (model_name(0.0), MODEL)
    ratios: dict[float, list[float]] = {turn_s: [] for turn_s in GRAINS_S}
    spent = dict.fromkeys(GRAINS_S, 0.0)
    requests: dict[float, list[int]] = {turn_s: [] for turn_s in GRAINS_S}
    with ExitStack() as stack:
        loads = []
        for name in names:
            model, workload = server.model(name), Workload(name, 1, 1)
            samples = input_data(model, workload, "random").samples
            loads.append(stack.enter_context(open_load(server, model, workload, samples)))
        for load in loads:
            load.run(WarmUp(1, 5.0), 0.1)
        while min(spent.values()) < seconds:
            for turn_s in GRAINS_S:
                until = time.monotonic() + 4.0
                while time.monotonic() < until:
                    began = time.monotonic()
                    order = (0, 1) if coin.integers(2) else (1, 0)
                    records = {
                        index: loads[index].run(lambda _record, _now: False, turn_s or 0.001)
                        for index in order
                    }
                    ratios[turn_s].append(
                        ratio(*(seconds_per_request(records[index]) for index in (0, 1)))
                    )
                    requests[turn_s] += [record.requests for record in records.values()]
                    spent[turn_s] += time.monotonic() - began
    rows = []
    for turn_s, found in ratios.items():
        spread = 1.4826 * float(np.median(np.abs(np.array(found) - np.median(found))))
        error = spread / math.sqrt(len(found) * 30.0 / spent[turn_s])
        each = statistics.fmean(requests[turn_s])
        rows.append(Grain(turn_s, each, len(found), spent[turn_s], spread, error))
    return rows


def _row(effect: float, found: Sequence[tuple[str, float, float, float]]) -> Row:
    states = [state for state, *_ in found]
    red, runs = states.count(VerdictKind.REGRESSED.value), len(states)
    interval = binomtest(red, runs).proportion_ci(0.95)
    goals = {0.0: (0.0, 0.0), 0.05: (0.5, 1.0), 0.10: (0.9, 1.0), 0.20: (1.0, 1.0)}
    least, most = goals[effect]
    share = red / runs
    met = least <= share <= most and (effect != 0.05 or share > least)
    goal = "none" if not effect else "more than half" if effect == 0.05 else f"{least:.0%} or more"
    others = {state: states.count(state) for state in dict.fromkeys(states) if state != "regressed"}
    return Row(
        effect,
        runs,
        red,
        float(interval.low),
        float(interval.high),
        goal,
        met,
        statistics.median(change for _, change, _, _ in found),
        statistics.median(seconds for *_, seconds in found),
        statistics.median(pairs for _, _, pairs, _ in found),
        others,
    )


def expected_minutes(*, quick: bool) -> float:
    """Return about how long ``run`` takes."""
    rounds, budget_s = (2, 10.0) if quick else (ROUNDS, BUDGET_S)
    return rounds * ((UNCHANGED + SLOWED * (len(EFFECTS) - 1)) * 0.8 * budget_s + 8) / 60 + 1


def run(quick: bool) -> list[Row]:
    """Run the real part, print its two tables, and return the rows of the second."""
    rounds, budget_s = (2, 10.0) if quick else (ROUNDS, BUDGET_S)
    found: dict[float, list[tuple[str, float, float, float]]] = {e: [] for e in EFFECTS}
    with tempfile.TemporaryDirectory() as directory:
        repository = Path(directory)
        write_repository(repository)
        options = ServerOptions(mode="local", repository=repository)
        for number in range(rounds):
            with open_server(options) as server:
                if number == 0:
                    _print_grains(measure_grains(server, 8.0 if quick else 40.0))
                cells = [0.0] * UNCHANGED + [e for e in EFFECTS if e for _ in range(SLOWED)]
                for effect in cells:
                    began = time.monotonic()
                    result = run_once(server, effect, budget_s)
                    found[effect].append((*result, time.monotonic() - began))
                    print(
                        f"  round {number + 1} of {rounds}, {effect:.0%} slower: "
                        f"{result[0]}, {result[1]:+.1%} by {result[2]:.0f} pairs, "
                        f"{found[effect][-1][-1]:.0f} s",
                        flush=True,
                    )
    rows = [_row(effect, results) for effect, results in found.items()]
    print(f"\n{MODEL} b1-c1, tolerance {TOLERANCE:.0%}, at most {budget_s:g} s of pairs a cell")
    print(f"{'slower by':>9}{'runs':>6}{'red':>5}{'95 % interval':>16}  {'goal':16}"
          f"{'p50':>8}{'pairs':>7}{'s':>6}  not red")  # fmt: skip
    for row in rows:
        others = ", ".join(f"{count} {state}" for state, count in row.others.items())
        print(
            f"{row.effect:9.0%}{row.runs:6}{row.red:5}{row.low:9.0%} ..{row.high:4.0%}  "
            f"{row.goal:16}{row.change:+8.1%}{row.pairs:7.0f}{row.seconds:6.0f}  {others}"
        )
    return rows


def _print_grains(rows: Sequence[Grain]) -> None:
    print(f"{'turn':>8}{'requests':>10}{'pairs':>7}{'spread':>8}{'error after 30 s':>18}")
    for row in rows:
        title = "request" if not row.turn_s else f"{row.turn_s:g} s"
        print(f"{title:>8}{row.requests:10.1f}{row.pairs:7}{row.spread:8.1%}{row.error:18.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 10 s a cell")
    arguments = parser.parse_args()
    print(f"about {expected_minutes(quick=arguments.quick):.0f} min")
    sys.exit(not all(row.met for row in run(arguments.quick)))
