"""How late this machine wakes a process that only sleeps: ``sleeper.py RATE SECONDS``.

It wakes RATE times a second and prints the 99th percentile of how late that was, in ms: what no
load generator that sleeps until a request is due can do better than.
"""

from __future__ import annotations

import statistics
import sys
import time


def main(rate: float, seconds: float) -> None:
    start, late = time.monotonic(), []
    for count in range(int(rate * seconds)):
        due = start + (count + 0.5) / rate
        time.sleep(max(due - time.monotonic(), 0))
        late.append(time.monotonic() - due)
    print(statistics.quantiles(late, n=100)[98] * 1e3)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
