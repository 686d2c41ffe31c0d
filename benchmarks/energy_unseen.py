"""Whether joules stay within the stated error when the meter does not see everything.

    .venv/bin/python benchmarks/energy_unseen.py [--quick] [--json FILE] [--check]

The driver of ``energy_accuracy.py`` serves a current whose truth is known, and the run's own
``Metering`` reads window after window of it, in turns of five kinds:

- healthy: a load that comes and goes;
- quota: load and sampler are stopped together for a random share of every 100 ms (up to 10 or 60
  %), as a control group with a CPU quota stops its processes;
- suspended: both are stopped once, for up to 10 or 60 % of the window;
- starved: the sampler alone is stopped, now and then, for up to 0.1 s;
- frozen: the registers keep their values for up to 10 or 60 % of it, while the load goes on.

Each window is accepted, and then has to be within its stated error (what was not seen, and three
standard errors), or refused with a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import energy_accuracy as accuracy  # noqa: E402 - of this checkout
from benchmarks.energy_driver import FROZEN, LOW  # noqa: E402
from pytest_gaitperf.power import ina3221  # noqa: E402
from pytest_gaitperf.power.energy import integrate  # noqa: E402
from pytest_gaitperf.power.metering import Metering  # noqa: E402
from pytest_gaitperf.power.sampled import SampledMeter  # noqa: E402
from pytest_gaitperf.power.sensor import Request  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("healthy", "quota", "suspended", "starved", "frozen")
ERRORS = 3.0


class Board:
    """The fake board: what its load does, and a sampler that can be stopped."""

    def __init__(self, orders: Path, sampler: int, dice: random.Random) -> None:
        self._orders, self._sampler, self._dice = orders, sampler, dice

    def order(self, bits: int) -> None:
        """Tell the driver what to do from now on."""
        with self._orders.open("r+b") as file:  # never empty
            file.write(bytes([bits]))

    def stopped(self, seconds: float, *, load: bool) -> None:
        """Stop the sampler for a while, and the load with it."""
        os.kill(self._sampler, signal.SIGSTOP)
        self.order(LOW if load else 0)
        time.sleep(seconds)
        self.order(0)
        os.kill(self._sampler, signal.SIGCONT)

    def run(self, kind: str, window_s: float) -> None:
        """Let a window of some kind pass."""
        for seconds, bits, stop in self._plan(kind, window_s):
            if stop:
                self.stopped(seconds, load=bits != 0)
            else:
                self.order(bits)
                time.sleep(seconds)
        self.order(0)

    def _plan(self, kind: str, window_s: float) -> Iterator[tuple[float, int, bool]]:
        """Yield stretches: seconds, the order to the driver, whether the sampler is stopped."""
        dice = self._dice
        share = dice.uniform(0.0, dice.choice((0.1, 0.6)))  # half of them within what is accepted
        if kind == "quota":
            for _ in range(round(window_s / 0.1)):
                yield 0.1 * (1 - share), 0, False
                yield 0.1 * share, LOW, True
            return
        if kind == "starved":
            for _ in range(5):
                yield window_s / 5, 0, False
                yield dice.uniform(0.0, 0.1), 0, True
            return
        if kind in ("suspended", "frozen"):
            before = dice.uniform(0.0, 1 - share)
            yield before * window_s, 0, False
            if kind == "suspended":
                yield share * window_s, LOW, True
            else:
                yield share / 2 * window_s, FROZEN, False
                yield share / 2 * window_s, FROZEN | dice.choice((0, LOW)), False
            yield (1 - share - before) * window_s, 0, False
            return
        for _ in range(4):
            yield dice.uniform(0.1, 0.3) * window_s, 0, False
            yield dice.uniform(0.0, 0.1) * window_s, LOW, False


def measure(windows: int, dice: random.Random) -> list[dict[str, Any]]:
    """Measure so many windows; give the kind of each with its error, or why it was refused."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        device, orders = accuracy.plant(root), root / "orders"
        orders.write_bytes(bytes([LOW]))
        with (
            accuracy.served(device, "constant", accuracy.DRIVERS[0], 1.0, orders) as log,
            closing(SampledMeter(ina3221.find(Request(sysfs_root=root)))) as meter,
        ):
            metering, board = Metering(meter), Board(orders, meter.sampler_pid, dice)
            metering.measure_idle()
            for number in range(windows):
                kind = KINDS[number % len(KINDS)]
                board.order(0)
                metering.start()
                time.sleep(0.1)
                start_ns = time.monotonic_ns()
                board.run(kind, dice.uniform(1.5, 3.0))
                end_ns = time.monotonic_ns()
                found = metering.read(kind, np.array([start_ns, end_ns]))
                metering.stop()
                board.order(LOW)
                if found.trace is None or found.budget is None:
                    rows.append({"kind": kind, "refused": found.absent})
                    continue
                truth_j = accuracy.true_joules(log, start_ns, end_ns)
                joules = integrate(found.trace, start_ns, end_ns).joules["VDD_IN"]
                unseen = found.budget.unseen
                stated = unseen + ERRORS * (found.budget.relative - unseen)
                rows.append({"kind": kind, "error": joules / truth_j - 1, "stated": stated})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 windows")
    parser.add_argument("--windows", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a window is wrong")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    windows = 20 if options.quick else options.windows
    print(f"{windows} windows of 1.5 to 3 s. About {windows * 2.5 + 10:.0f} s.", flush=True)
    rows = measure(windows, random.Random(options.seed))  # noqa: S311 - no secret
    print(
        f"\n{'kind':<12}{'windows':>8}{'refused':>9}{'within':>8}{'worst error':>13}{'stated':>9}"
    )
    wrong = 0
    for kind in KINDS:
        ours = [row for row in rows if row["kind"] == kind]
        kept = [row for row in ours if "error" in row]
        good = sum(abs(row["error"]) <= row["stated"] for row in kept)
        wrong += len(kept) - good
        worst = max(kept, key=lambda row: abs(row["error"]), default=None)
        figures = f"{worst['error']:13.2%}{worst['stated']:9.2%}" if worst else ""
        print(f"{kind:<12}{len(ours):8}{len(ours) - len(kept):9}{good:8}{figures}")
    reasons = Counter(re.sub(r"[/\d.]\S*", "N", row.get("refused", "")) for row in rows)
    for reason, count in reasons.most_common():
        if reason:
            print(f"refused {count} times: {reason[:90]}")
    if options.json:
        options.json.write_text(json.dumps({"windows": rows, "met": not wrong}, indent=2) + "\n")
    accepted = sum("error" in row for row in rows)
    print(f"\n{accepted - wrong} of {accepted} accepted windows are within their stated error")
    return 1 if options.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
