"""How often the gates are wrong, beside the rules of other tools, on the same data.

    .venv/bin/python benchmarks/gate_operating_characteristics.py [--quick] [--json FILE] [--check]

Runs against stored baselines of 1 to 8 sessions, drawn by ``gate_simulation`` and judged by the
product's own functions and, where there are 108 comparisons (4 models x 9 cells x 3 metrics), by
the peers' rules. Nothing changed: how many runs have a false alarm? One model or one cell is
slower: how many runs find it, and in how many is anything else red? What could have been heard, by
the number of sessions? Then blocks for the paired gate, whose own program on a real Triton is
``paired_truth.py``.

Every share is printed with its exact binomial 95 % interval (Clopper and Pearson 1934). A goal is
met when the share meets it. Seeds are fixed: the figures are the same each time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# One process per core works already; the numeric libraries' own threads would only wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402 - after the line that it reads
from scipy.stats import binomtest  # noqa: E402

from benchmarks.gate_rules import PEERS  # noqa: E402 - of this checkout
from benchmarks.gate_simulation import (  # noqa: E402
    HEAVY,
    LARGE,
    MIXED,
    NOISY,
    ONE_HIDDEN,
    ONE_NOISY,
    QUICK,
    QUIET,
    SMALL,
    STEADY,
    UNTOLD,
    Machine,
    Shape,
    draw,
    draw_pairs,
    mixed,
    slowdown,
)
from benchmarks.gate_under_test import ALPHA, comparisons_of, paired, plain, stored  # noqa: E402
from pytest_gaitperf.gate.joint import judge_jointly  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORED, PLAIN, PAIRED = "stored gate", "each cell alone, Bonferroni", "paired gate"
_CHUNK = 25
_PAIRED_SHAPE = (3, 4)
_PAIRS = 40
_PAIRED_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Study:
    """One question, put to every rule on the same simulated runs.

    ``slower`` says what is slower in truth, "model" or "cell", or "" for nothing, and ``change``
    by how much (0.1 is 10 %). ``goal`` is the share of runs in which our gate may alarm falsely,
    or must find it; None where that is only shown.
    """

    title: str
    slower: str = ""
    change: float = 0.0
    goal: float | None = None

    @property
    def runs(self) -> int:
        """How many runs it takes: most where small shares are counted."""
        return 250 if self.slower else 1000


@dataclass(frozen=True, slots=True)
class StoredStudy(Study):
    """Runs against baselines of ``sessions`` sessions.

    ``metrics`` of what is slower are so: the first ones.
    """

    machine: Machine = QUIET
    sessions: int = 8
    shape: Shape = LARGE
    metrics: int = 1

    def work(self, rng: np.random.Generator, runs: int) -> dict[str, Tally]:
        """Draw runs and let every rule judge them."""
        truth = slowdown(self.slower, self.change, self.shape, metrics=self.metrics)
        drawn = draw(self.machine, self.sessions, runs, rng, truth, shape=self.shape)
        red = {STORED: stored(drawn)}
        if self.shape == LARGE:
            if self.slower:
                red[PLAIN] = plain(drawn)
            # A tool that knows no lives has so many windows.
            past, now = (one.reshape(*one.shape[:-2], -1) for one in (drawn.past, drawn.now))
            for name, rule in PEERS.items():
                red[name] = rule(past, now)
        return {name: tally(found, truth > 0) for name, found in red.items()}


@dataclass(frozen=True, slots=True)
class PairedStudy(Study):
    """Runs of 12 paired comparisons, 4 cells x 3 metrics, of which one may be slower."""

    sd: float = 0.05

    def work(self, rng: np.random.Generator, runs: int) -> dict[str, Tally]:
        """Draw runs and let every rule judge them; the peers see the same windows, not in pairs."""
        truth = np.zeros(_PAIRED_SHAPE)
        truth[0, 0] = self.change
        old, new = draw_pairs(rng, (runs, *_PAIRED_SHAPE), _PAIRS, self.sd, truth)
        red = {PAIRED: paired(old, new, ALPHA / truth.size, _PAIRED_TOLERANCE) == "regressed"}
        for name, rule in PEERS.items():
            red[name] = rule(old[:, np.newaxis], new)
        return {name: tally(found, truth > 0) for name, found in red.items()}


@dataclass(slots=True)
class Tally:
    """What a rule did in one study.

    ``false``: runs with something red that is not slower in truth. ``found``: runs with anything
    red of what is slower. ``named``: the share of the slower comparisons that were red, summed
    over the runs.
    """

    runs: int = 0
    false: int = 0
    found: int = 0
    named: float = 0.0

    def add(self, other: Tally) -> None:
        """Count another lot of runs, too."""
        self.runs += other.runs
        self.false += other.false
        self.found += other.found
        self.named += other.named


def tally(red: NDArray[np.bool_], slower: NDArray[np.bool_]) -> Tally:
    """Count runs; ``red`` has the shape (runs, ...), ``slower``, the truth, that without runs."""
    red, slower = red.reshape(len(red), -1), slower.reshape(-1)
    named = float(red[:, slower].mean(axis=1).sum()) if slower.any() else 0.0
    false, found = red[:, ~slower].any(axis=1).sum(), red[:, slower].any(axis=1).sum()
    return Tally(len(red), int(false), int(found), named)


SEEN = (1, 2, 3, 5, 8)
"""Numbers of sessions."""

STUDIES: tuple[StoredStudy | PairedStudy, ...] = (
    *(
        StoredStudy(
            f"nothing changed; {machine.name}; 12 comparisons; {n} sessions",
            *("", 0, goal, machine, n, SMALL),
        )
        for machine, goal in (
            *((STEADY, 0.01), (QUIET, 0.01), (NOISY, 0.01), (HEAVY, 0.01)),
            *((ONE_NOISY, None), (ONE_HIDDEN, None), (UNTOLD, None)),
        )
        for n in SEEN
    ),
    *(
        StoredStudy(
            f"nothing changed; {machine.name}; 108 comparisons; {n} sessions",
            *("", 0, 0.01, machine, n),
        )
        for machine in (QUIET, NOISY)
        for n in (1, 8)
    ),
    *(
        StoredStudy(
            f"one model of 3 {change:.0%} slower; {QUIET.name}; {n} sessions",
            *("model", change, goal, QUIET, n, QUICK, 2),
        )
        for change, goal, counts in ((1.0, 1.0, SEEN), (0.3, 0.9, (1, 3)), (0.1, 0.9, (5,)))
        for n in counts
    ),
    StoredStudy(f"one model 10% slower; {MIXED.name}; 8 sessions", "model", 0.1, 0.9, MIXED, 8),
    StoredStudy(f"one cell 15% slower; {MIXED.name}; 8 sessions", "cell", 0.15, None, MIXED, 8),
    *(
        PairedStudy(f"nothing changed; {_PAIRS} blocks of SD {sd:.0%}", "", 0, 0.01, sd)
        for sd in (0.02, 0.06)
    ),
    *(
        PairedStudy(
            f"one cell {change:.0%} slower; {_PAIRS} blocks of SD {sd:.0%}",
            "cell",
            change,
            goal,
            sd,
        )
        for sd, change, goal in (
            (0.02, _PAIRED_TOLERANCE, None),
            (0.02, 0.05, 0.90),
            (0.06, 0.05, None),
            (0.06, 0.10, None),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What runs of 16 cells x 6 metrics could have heard: medians, of the whole of a model."""

    machine: str
    sessions: int
    runs: int
    model: float
    cell: float


def sensitivities(machine: Machine, sessions: int, runs: int) -> Heard:
    """Judge unchanged runs, and return what they could have heard."""
    drawn = draw(machine, sessions, runs, np.random.default_rng(sessions), shape=_SIXTEEN)
    found = [
        one
        for run in range(runs)
        for one in judge_jointly(comparisons_of(drawn, run), ALPHA).sensitivity
    ]
    model = float(np.median([one.model for one in found]))
    cell = float(np.median([one.cell for one in found if one.cell is not None]))
    return Heard(machine.name, sessions, runs, model, cell)


_SIXTEEN = Shape(6, 4, 4)


@dataclass(frozen=True, slots=True)
class Row:
    """A rule's share of runs in one study, with its exact interval and, for ours, its goal."""

    study: str
    rule: str
    what: str
    hits: int
    runs: int
    low: float
    high: float
    goal: float | None

    @property
    def met(self) -> bool | None:
        """Whether the share meets the goal; None without one."""
        if self.goal is None:
            return None
        share = self.hits / self.runs
        return share <= self.goal if self.what == "false alarm" else share >= self.goal


def rows_of(study: Study, tallies: dict[str, Tally]) -> list[Row]:
    """Turn counts into shares: the false alarms, and what was found."""
    rows = []
    for rule, one in tallies.items():
        shares: list[tuple[str, int, float | None]] = [("false alarm", one.false, ALPHA)]
        if study.slower:
            shares.append(("found", one.found, study.goal))
        for what, hits, goal in shares:
            exact = binomtest(hits, one.runs).proportion_ci(0.95, method="exact")
            low, high = float(exact.low), float(exact.high)
            wanted = goal if rule in (STORED, PAIRED) and study.goal is not None else None
            rows.append(Row(study.title, rule, what, hits, one.runs, low, high, wanted))
    return rows


def show(study: Study, tallies: dict[str, Tally], rows: list[Row]) -> None:
    """Print a study: a line for each rule."""
    runs = next(iter(tallies.values())).runs
    print(f"\n{study.title} ({runs} runs)")
    found = f"{'found':<27}{'named':<7}" if study.slower else ""
    print(f"  {'rule':<29}{'false alarms':<27}{found}")
    for rule, one in tallies.items():
        shares, verdicts = "", []
        for item in (item for item in rows if item.rule == rule):
            share = f"{item.hits / item.runs:.2%} [{item.low:.2%}, {item.high:.2%}]"
            shares += f"{share:<27}"
            verdicts += {None: [], True: ["met"], False: [f"MISSED ({item.what})"]}[item.met]
        named = f"{one.named / one.runs:<7.0%}" if study.slower else ""
        print(f"  {rule:<29}{shares}{named}{', '.join(verdicts)}", flush=True)


def simulate(*, quick: bool) -> tuple[list[Row], list[Heard]]:
    """Run every study on all cores; print each when it is complete."""
    rows: list[Row] = []
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        machines = [STEADY, *(mixed(sd) for sd in (0.02, 0.03, 0.05)), NOISY]
        asked = [(machine, n) for machine in machines for n in SEEN]
        hearing = [pool.submit(sensitivities, *one, 2 if quick else 10) for one in asked]
        futures = []
        for number, study in enumerate(STUDIES):
            runs = study.runs // 10 if quick else study.runs
            futures.append(
                [
                    pool.submit(study.work, np.random.default_rng((number, part)), _CHUNK)
                    for part in range(runs // _CHUNK)
                ]
            )
        for study, parts in zip(STUDIES, futures, strict=True):
            total: dict[str, Tally] = {}
            for part in parts:
                for rule, one in part.result().items():
                    total.setdefault(rule, Tally()).add(one)
            found = rows_of(study, total)
            show(study, total, found)
            rows += found
        heard = [future.result() for future in hearing]
    print(
        "\nwhat could have been heard of a whole model (and of a cell alone), 16 cells x 6 metrics"
    )
    print(f"  {'sessions differ by':<20}" + "".join(f"{f'{n} sessions':<16}" for n in SEEN))
    for machine in machines:
        row = (f"{one.model:.0%} ({one.cell:.0%})" for one in heard if one.machine == machine.name)
        print(f"  {machine.name:<20}" + "".join(f"{text:<16}" for text in row))
    return rows, heard


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    minutes = 3.0 if options.quick else 30.0
    print(
        "Judges simulated runs by the stored and the paired gate and by other tools' rules.\n"
        f"It takes about {minutes:.0f} min on two quiet cores; the load average is "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )
    began = time.monotonic()
    rows, heard = simulate(quick=options.quick)
    goals = [(item.met, f"{item.what}, {item.study}") for item in rows if item.met is not None]
    missed = [name for met, name in goals if not met]
    if options.json:
        content = {
            "benchmark": "gate_operating_characteristics",
            "quick": options.quick,
            "simulated": [{**asdict(item), "met": item.met} for item in rows],
            "heard": [asdict(item) for item in heard],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(
        f"\ngate_operating_characteristics: {len(goals) - len(missed)} of {len(goals)} goals met "
        f"in {time.monotonic() - began:.0f} s"
        + (f"; missed: {'; '.join(missed)}" if missed else "")
    )
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
