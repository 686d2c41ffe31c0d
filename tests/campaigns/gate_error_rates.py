"""Judge unchanged runs on every kind of machine, after 1, 3 and 8 sessions, and count the red ones.

    python -m tests.campaigns.gate_error_rates [--check]

`make test-slow` judges 60 runs of one count for each machine; this judges 300 of every count.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.stats import binom

from benchmarks.gate_simulation import HEAVY, NOISY, ONE_NOISY, QUIET, QUIET_APART, SMALL, draw
from benchmarks.gate_under_test import ALPHA, stored

RUNS = 300
MOST = int(binom.isf(1e-3, RUNS, ALPHA))
"""No more runs are red where ALPHA is kept, but for one campaign in a thousand."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 where too many are red")
    check = parser.parse_args().check
    most = 0
    for machine in (QUIET, NOISY, HEAVY, ONE_NOISY, QUIET_APART):
        for sessions in (1, 3, 8):
            runs = draw(machine, sessions, RUNS, np.random.default_rng(sessions), shape=SMALL)
            red = int(stored(runs).any(axis=(1, 2, 3)).sum())
            most = max(most, red)
            print(f"{machine.name}, {sessions} sessions: {red} of {RUNS} runs red", flush=True)
    print(f"at most {most} of {RUNS} runs are red; {MOST} may be")
    return int(check and most > MOST)


if __name__ == "__main__":
    sys.exit(main())
