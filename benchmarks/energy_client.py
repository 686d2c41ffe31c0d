"""What the meter takes from the client: a load on a real Triton, with the sampler on and off.

    .venv/bin/python benchmarks/energy_client.py [--quick] [--json FILE] [--check]

One server, one load generator, one set of connections. In each pair one turn runs with the sampler
reading a fake INA3221 (the tree of ``energy_accuracy.py``, plain files and a blocking driver) and
one with it off; a coin says which comes first. Given are the ratios on / off of throughput and of
the client's CPU time per request, each with the 95 % interval of the mean of its logarithm.
Goal: no loss of throughput beyond noise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scipy.stats import t

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.energy_accuracy import DRIVERS, Driver, plant, sensor_of, served  # noqa: E402
from benchmarks.load_parts.models import GAIT_MODEL, write_models  # noqa: E402
from pytest_gaitperf.load.data import input_tensors  # noqa: E402
from pytest_gaitperf.load.loops import open_load  # noqa: E402
from pytest_gaitperf.power.sampled import SampledMeter  # noqa: E402
from pytest_gaitperf.triton.launch import ServerOptions  # noqa: E402
from pytest_gaitperf.triton.server import open_server  # noqa: E402
from pytest_gaitperf.workload import Workload  # noqa: E402

if TYPE_CHECKING:
    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.triton.server import TritonServer

WORKLOADS = (
    Workload("identity", 1, 1),
    Workload("identity", 1, 8),
    Workload(GAIT_MODEL, 1, 4),
)
BLOCKING = next(driver for driver in DRIVERS if driver.blocks)
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """One cell with one driver: the ratios on / off of every pair."""

    cell: str
    driver: str
    turn_s: float
    throughput: list[float]
    client_cpu: list[float]

    @property
    def lost(self) -> bool:
        """Whether the throughput fell beyond noise: the whole interval is below 1."""
        return interval(self.throughput)[1] < 1


def interval(ratios: list[float]) -> tuple[float, float]:
    """Return the 95 % interval (Student's t) of the geometric mean of independent ratios."""
    logs = [math.log(ratio) for ratio in ratios]
    reach = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / len(logs) ** 0.5
    middle = statistics.fmean(logs)
    return math.exp(middle - reach), math.exp(middle + reach)


def turn(load: Load, seconds: float) -> tuple[float, float]:
    """Load the server for a while; return requests per second and client CPU per request in us."""
    end_s = time.monotonic() + seconds
    record = load.run(lambda _record, _now_ns: time.monotonic() < end_s, 0.05)
    span_s = (record.drained_ns - record.first_send_ns) / 1e9
    return record.requests / span_s, record.client_cpu_ns / 1e3 / record.requests


def compare(
    server: TritonServer, workload: Workload, driver: Driver, pairs: int, turn_s: float
) -> Result:
    """Run the pairs of one cell with one driver."""
    coin = random.Random(workload.id + driver.name)  # noqa: S311 - an order
    model = server.model(workload.model)
    sample = input_tensors(model, workload.batch_size, {})
    result = Result(workload.id, driver.name, turn_s, [], [])
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        device = plant(root)
        with (
            served(device, "constant", driver, 1.0),
            closing(SampledMeter(sensor_of(root, driver))) as meter,
            open_load(server, model, workload, [sample]) as load,
        ):
            turn(load, WARM_UP_S)
            for _ in range(pairs):
                found = {}
                for sampling in (True, False) if coin.random() < 0.5 else (False, True):
                    if sampling:
                        meter.start()
                    found[sampling] = turn(load, turn_s)
                    meter.stop()
                result.throughput.append(found[True][0] / found[False][0])
                result.client_cpu.append(found[True][1] / found[False][1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="6 pairs of 0.5 s a cell")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios there, too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    # The sampler imports the fake driver by its name.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH")))
    )
    pairs, turn_s = (6, 0.5) if options.quick else (20, 1.0)
    drivers = (DRIVERS[0], BLOCKING)
    cells = [(workload, driver) for workload in WORKLOADS for driver in drivers]
    expected_s = 10 + len(cells) * (WARM_UP_S + pairs * 2 * (turn_s + 0.15))
    print(f"{len(cells)} cells of {pairs} pairs of {turn_s:g} s turns. About {expected_s:.0f} s.\n")
    print(f"{'cell':<28}{'driver':<14}{'throughput on/off':>28}{'client CPU on/off':>28}")
    results = []
    with tempfile.TemporaryDirectory() as directory:
        write_models(Path(directory))
        with open_server(ServerOptions(mode="local", repository=Path(directory))) as server:
            for workload, driver in cells:
                result = compare(server, workload, driver, pairs, turn_s)
                results.append(result)
                shown = ""
                for ratios in (result.throughput, result.client_cpu):
                    low, high = interval(ratios)
                    middle = statistics.geometric_mean(ratios)
                    shown += f"{f'{middle:.3f} [{low:.3f}, {high:.3f}]':>28}"
                print(f"{result.cell:<28}{result.driver:<14}{shown}", flush=True)
    lost = [result for result in results if result.lost]
    if options.json:
        document = {"results": [asdict(result) for result in results], "lost": len(lost)}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    print(
        f"\n{len(results) - len(lost)} of {len(results)} cells: no loss of throughput beyond noise"
        + "".join(f"; {result.cell} with {result.driver} lost some" for result in lost)
    )
    return 1 if options.check and lost else 0


if __name__ == "__main__":
    sys.exit(main())
