"""What a fleet of many boards costs the machine that gathers: simulated on this machine.

Each board is a worker of its own, in whose pytest's place a program says a line for each cell, at
the pace of a board, and sends a whole record at its end: so the boards cost next to nothing, and
what is left is the pytest that gathers. Printed are its CPU time and its largest memory, how long
it took until the last board had begun, and from the last board's end to its own. SSH is left out:
each board has a client of it besides, of some MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from pytest_gaitperf.results_file import encode
from tests.report.runs import MIXED

_BOARD = '''"""In pytest's place on a simulated board."""
import os, shutil, sys, time
from pathlib import Path
here = Path(os.environ["FLEET_SIZE"])
given = dict(word.partition("=")[::2] for word in sys.argv if "=" in word)
(here / f"begun-{os.getpid()}").write_text(str(time.time()))
cells, every = int(os.environ["FLEET_CELLS"]), float(os.environ["FLEET_EVERY"])
for number in range(cells):
    time.sleep(every)
    print(f"{number + 1}/{cells} model-b1-c{number + 1}: 100.0 inf/s, p50 10.0 ms", flush=True)
shutil.copy(here / "record.json", given["--gaitperf-json"])
(here / f"ended-{os.getpid()}").write_text(str(time.time()))
sys.exit(1)
'''
_GATHER = """
import json, resource, sys, pytest
code = pytest.main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([int(code), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def record(cells: int) -> bytes:
    """Return a record of so many measured cells, as a board sends it."""
    measured = next(cell for cell in MIXED.cells if cell.measurement is not None)
    every = []
    for number in range(cells):
        workload = replace(
            measured.workload,
            concurrency=number + 1,
            request_rate=0.0,
            subjects=0,
            most_subjects=False,
        )
        every.append(structs.replace(measured, workload=workload, id=workload.id))
    return encode(structs.replace(MIXED, cells=tuple(every))).encode()


def simulate(boards: int, cells: int, every_s: float) -> dict[str, float]:
    """Gather so many boards; return what it took."""
    with tempfile.TemporaryDirectory(prefix="gaitperf-fleet-") as name:
        here = Path(name)
        (here / "stand-in").mkdir()
        (here / "stand-in" / "pytest.py").write_text(_BOARD)
        (here / "record.json").write_bytes(record(cells))
        (here / "test_nothing.py").write_text("def test_it():\n    pass\n")
        environment = {
            "PYTHONPATH": str(here / "stand-in"),
            "FLEET_SIZE": name,
            "FLEET_CELLS": str(cells),
            "FLEET_EVERY": str(every_s),
        }
        words = "//".join(f"env:{key}={value}" for key, value in environment.items())
        began = time.time()
        done = subprocess.run(
            [
                *(sys.executable, "-c", _GATHER, "-p", "no:cacheprovider", "test_nothing.py"),
                *(f"--gaitperf-board=popen//id=b{number}//{words}" for number in range(boards)),
                "--gaitperf-json=results.json",
            ],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
        over = time.time()
        code, cpu_s, memory_mb = json.loads(done.stdout.splitlines()[-1])
        begun = [float(path.read_text()) for path in here.glob("begun-*")]
        ended = [float(path.read_text()) for path in here.glob("ended-*")]
        index = json.loads((here / "results.json").read_text())
        taken = sum(one["results"] is not None for one in index["boards"])
        if not len(begun) == len(ended) == taken == boards or code != 1:
            sys.exit(f"{taken} of {boards} boards gathered:\n{done.stdout}{done.stderr}")
        return {
            "boards": boards,
            "cpu_s": round(cpu_s, 2),
            "memory_mb": round(memory_mb, 1),
            "until_all_began_s": round(max(begun) - began, 1),
            "after_the_last_s": round(over - max(ended), 1),
            "record_kb": round((here / "record.json").stat().st_size / 1e3, 1),
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--cells", type=int, default=48, help="of each board (48)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds to a cell (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    rows = []
    for boards in arguments.boards:
        rows.append(simulate(boards, arguments.cells, arguments.every))
        print(" ".join(f"{key} {value:g}" for key, value in rows[-1].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
