"""How soon a creeping regression is red, and how often a steady model is, over a year.

    .venv/bin/python benchmarks/creep.py [--quick] [--json FILE] [--check]

A *life* is simulated: a full baseline of ten steady sessions, then 52 more, each judged by the
product's own functions against what was recorded so far, confirmed by a re-measurement where
something is red, and recorded where the rules of admission let it (``baseline.admission.refusal``),
in the order and number that a baseline keeps. There are three models of four cells and three
metrics, as with the quick grid. One model creeps in all metrics by some per cent (of the first
level) a session, or nothing does. The life ends at the first red verdict; what moved with the
whole run alone is unmeasured, as in a run. What counts is by how much the model was slower by
then; of steady lives, how many were red in the year.

Sessions differ as in ``gate_simulation``: by 1 or 3 % (SD). Seeds are fixed. With ``--json`` the
counts are added to those that the file has from other seeds, so that they can be gathered over
several runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402 - after the line that it reads
from scipy.stats import binomtest  # noqa: E402

from benchmarks.gate_simulation import QUICK, QUIET, STEADY, Machine, draw, slowdown  # noqa: E402
from benchmarks.gate_under_test import (  # noqa: E402
    ALPHA,
    comparisons_between,
    flat,
    judged,
    session_values,
)
from pytest_gaitperf.baseline.admission import refusal  # noqa: E402
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, MAX_SESSIONS  # noqa: E402
from pytest_gaitperf.results import Policy  # noqa: E402

if TYPE_CHECKING:
    from pytest_gaitperf.measurement import SessionValue

SESSIONS = 52
LIVES = 1000
_TOLERANCE = 0.05
_RECORDING = Policy(update="all")


@dataclass(frozen=True, slots=True)
class Study:
    """A creep of ``step`` a session (0.01 is 1 %), which is to be red by ``before``.

    ``goal`` is the share of lives: at least of those that creep, at most of those that do not.
    """

    machine: Machine
    step: float
    before: float
    goal: float

    @property
    def title(self) -> str:
        """What a reader calls it."""
        what = f"creep of {self.step:.1%} a session" if self.step else "no creep"
        return f"{what}, {self.machine.name}"

    def hit(self, slower: float | None) -> bool:
        """Return whether a life counts: red in time, or red at all where nothing creeps."""
        return slower is not None and (not self.step or slower <= self.before + 1e-9)


STUDIES = (
    *(Study(STEADY, step, 0.05, 0.99) for step in (0.005, 0.01)),
    *(Study(QUIET, step, 0.10, 0.99) for step in (0.005, 0.01)),
    *(Study(machine, 0.0, math.inf, 0.01) for machine in (STEADY, QUIET)),
)


def life(study: Study, seed: int) -> float | None:
    """Return by how much the model had become slower when something was red, None if nothing was.

    Of a life in which nothing creeps it is 0 when something was.
    """
    rng = np.random.default_rng((seed, STUDIES.index(study)))
    count, machine = MAX_SESSIONS + SESSIONS, study.machine
    # What lasts for a session, and what each measurement in it draws anew.
    lasting = replace(machine, cell=machine.lasting, life=0.0, window=0.0)
    anew = replace(machine, common=0.0, model=0.0, cell=0.0)
    sessions, first, second = (
        draw(part, count, 1, rng, shape=QUICK).past[0] for part in (lasting, anew, anew)
    )
    creeping = slowdown("model", math.e - 1, QUICK, metrics=QUICK.metrics)[..., None, None]
    kept: list[list[tuple[str, SessionValue]]] = [[] for _ in range(QUICK.comparisons)]
    for session in range(count):
        steps = max(session - MAX_SESSIONS + 1, 0)
        level = sessions[session] + math.log1p(study.step * steps) * creeping
        now = flat(session_values(level + first[session]))
        refused: set[int] = set()
        if steps:
            compared = comparisons_between(QUICK, now, kept)
            again = flat(session_values(level + second[session]))
            judgement = judged(compared, again, ALPHA)
            # What moved with the whole run alone is unmeasured (``engine.judging.doubt``).
            if any(judgement.verdicts[i].scope != "run" for i in judgement.suspects):
                return study.step * steps
            refused = {
                place % (QUICK.models * QUICK.cells)
                for place, verdict in enumerate(judgement.verdicts)
                if refusal(verdict, _RECORDING, _TOLERANCE)
            }
        for place, value in enumerate(now):
            if place % (QUICK.models * QUICK.cells) not in refused:
                kept[place].append((f"{session:03}", value))
                if len(kept[place]) > MAX_SESSIONS:
                    del kept[place][ANCHOR_SESSIONS]
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the lives")
    parser.add_argument("--lives", type=int, metavar="N", help=f"default: {LIVES}")
    parser.add_argument("--seed", type=int, default=0, help="of the first life (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the counts to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    lives = options.lives or (LIVES // 20 if options.quick else LIVES)
    print(
        f"Simulates {lives} lives of {SESSIONS} sessions for each of {len(STUDIES)} questions.\n"
        f"It takes about {lives / 6:.0f} min on two quiet cores."
    )
    began, missed, gathered = time.monotonic(), 0, {}
    if options.json and options.json.exists():
        gathered = json.loads(options.json.read_text(encoding="utf-8"))
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for study in STUDIES:
            seeds = range(options.seed, options.seed + lives)
            found = list(pool.map(life, repeat(study), seeds, chunksize=5))
            hits = sum(map(study.hit, found))
            known = gathered.get(study.title, {"hits": 0, "lives": 0})
            hits, count = known["hits"] + hits, known["lives"] + lives
            gathered[study.title] = {"hits": hits, "lives": count}
            exact = binomtest(hits, count).proportion_ci(0.95, method="exact")
            met = hits / count >= study.goal if study.step else hits / count <= study.goal
            missed += not met
            red = sorted(one for one in found if one is not None)
            when = f", median {red[len(red) // 2]:.1%}" if red and study.step else ""
            limit = f" by {study.before:.0%}" if study.step else " within the year"
            print(
                f"{study.title:<40} red{limit}: {hits} of {count} "
                f"[{exact.low:.2%}, {exact.high:.2%}]{when}; {'met' if met else 'MISSED'}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(gathered, indent=1) + "\n", encoding="utf-8")
    spent = time.monotonic() - began
    print(f"creep: {len(STUDIES) - missed} of {len(STUDIES)} goals met in {spent:.0f} s")
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
