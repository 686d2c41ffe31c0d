"""How often the gates are wrong, beside the rules of other tools, on the same data.

    .venv/bin/python benchmarks/gate_operating_characteristics.py [--quick] [--json FILE] [--check]

Runs of 4 models x 9 cells x 3 metrics against stored baselines, drawn by
``gate_simulation`` and judged by the product's own functions and by the peers' rules. Nothing
changed: how many runs have a false alarm? One model or one cell is slower in one metric: how many
runs find it, and in how many is anything else red? Then blocks for the paired gate, whose own
program on a real Triton is ``paired_truth.py``.

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
    MIXED,
    NOISY,
    NOISY_APART,
    QUIET,
    QUIET_APART,
    SHAKY,
    Machine,
    draw,
    draw_pairs,
    slowdown,
)
from benchmarks.gate_under_test import paired, plain, stored  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORED, PLAIN, PAIRED = "stored gate", "each cell alone, Bonferroni", "paired gate"
_CHUNK = 25
_PAIRED_SHAPE = (3, 4)
_PAIRS = 40
_PAIRED_TOLERANCE = 0.02
_ALPHA = 0.01


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
        """How many runs it takes: most where small shares are counted, half where none is asked."""
        runs = 1000 if self.slower else 2000
        return runs if self.goal is not None else runs // 2


@dataclass(frozen=True, slots=True)
class StoredStudy(Study):
    """Runs of 108 comparisons against baselines of ``sessions`` sessions."""

    machine: Machine = QUIET
    sessions: int = 8

    def work(self, rng: np.random.Generator, runs: int) -> dict[str, Tally]:
        """Draw runs and let every rule judge them."""
        truth = slowdown(self.slower, self.change)
        drawn = draw(self.machine, self.sessions, runs, rng, truth)
        red = {STORED: stored(drawn)}
        if self.slower and self.goal is not None:
            red[PLAIN] = plain(drawn)
        for name, rule in PEERS.items():
            red[name] = rule(drawn.past, drawn.now)
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
        red = {PAIRED: paired(old, new, _ALPHA / truth.size, _PAIRED_TOLERANCE) == "regressed"}
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


STUDIES: tuple[StoredStudy | PairedStudy, ...] = (
    *(
        StoredStudy(f"nothing changed; {machine.name}; {n} sessions", "", 0, 0.01, machine, n)
        for machine in (QUIET, NOISY)
        for n in (5, 8)
    ),
    *(
        StoredStudy(f"nothing changed; {machine.name}; 5 sessions", "", 0, None, machine, 5)
        for machine in (QUIET_APART, NOISY_APART, HEAVY)
    ),
    *(
        StoredStudy(
            f"one {what} {change:.0%} slower; {machine.name}; {n} sessions",
            what,
            change,
            goal if (machine, n) == (MIXED, 8) else None,
            machine,
            n,
        )
        for machine, n in ((MIXED, 8), (MIXED, 5), (SHAKY, 8))
        for what, change, goal in (("model", 0.10, 0.90), ("cell", 0.15, 0.80))
    ),
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
        shares: list[tuple[str, int, float | None]] = [("false alarm", one.false, _ALPHA)]
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


def simulate(*, quick: bool) -> list[Row]:
    """Run every study on all cores; print each when it is complete."""
    rows: list[Row] = []
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
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
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    minutes = 1.0 if options.quick else 6.0
    print(
        "Judges simulated runs by the stored and the paired gate and by other tools' rules.\n"
        f"It takes about {minutes:.0f} min on two quiet cores; the load average is "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )
    began = time.monotonic()
    rows = simulate(quick=options.quick)
    goals = [(item.met, f"{item.what}, {item.study}") for item in rows if item.met is not None]
    missed = [name for met, name in goals if not met]
    if options.json:
        content = {
            "benchmark": "gate_operating_characteristics",
            "quick": options.quick,
            "simulated": [{**asdict(item), "met": item.met} for item in rows],
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
