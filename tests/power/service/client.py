"""The product's meter as a client of jtop's real service, in a mount namespace of its own.

``python -m tests.power.service.client SERVICE`` starts the service of jetson-stats in the directory
SERVICE and prints a JSON object for each case; its own jtop is the one that it can import.
``test_jtop_service.py`` starts it, and looks at the answers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.metering import Metering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW_S, READY_S, ATTEMPTS = 5.0, 20.0, 3


@contextmanager
def service(package: str) -> Iterator[int]:
    """Run the service; gives its process group."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jtop", "--force"],
        env={**os.environ, "JTOP_SERVICE": "1", "PYTHONPATH": package},
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
        start_new_session=True,
    )
    deadline = time.monotonic() + READY_S
    while not Path("/run/jtop.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        Path("/run/jtop.sock").unlink(missing_ok=True)


def measured(meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Open the meter and measure a window, in whose middle something happens."""
    try:
        meter = open_meter("jtop").meter
    except GaitperfError as error:
        return {"refused": str(error)}
    assert meter is not None
    with closing(meter):
        metering = Metering(meter)
        metering.start()
        start_ns = time.monotonic_ns()
        timer = threading.Timer(WINDOW_S / 3, meanwhile)
        timer.start()
        time.sleep(WINDOW_S)
        end_ns = time.monotonic_ns()
        timer.join()
        read = metering.read("cell", np.array([start_ns, end_ns]))
        metering.stop()
    about = {"total": meter.total_rails, "gpu": meter.gpu_rails, "window_ns": [start_ns, end_ns]}
    if read.trace is None or read.budget is None:
        return about | {"refused": read.absent}
    energy = integrate(read.trace, start_ns, end_ns)
    return about | {"joules": energy.joules, "stated": read.budget.relative}


def again() -> dict[str, Any]:
    """Measure a window, again where this process did not get a CPU."""
    found = measured()
    for _ in range(ATTEMPTS):
        if "no reading came" not in found.get("refused", ""):
            break
        found = measured()
    return found


def stopped(group: int) -> None:
    """Let the service stand still for a third of the window."""
    os.killpg(group, signal.SIGSTOP)
    time.sleep(WINDOW_S / 3)
    os.killpg(group, signal.SIGCONT)


def cases(package: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through all cases."""
    automatic = open_meter("auto", sysfs_root=Path("/nowhere"))
    yield "no service", {"tried": automatic.tried, "sick": automatic.sick, **measured()}
    with service(package) as group:
        yield "steady", again()
        yield "stopped meanwhile", measured(lambda: stopped(group))
        yield "again", again()
        yield "killed meanwhile", measured(lambda: os.killpg(group, signal.SIGKILL))


def main() -> None:
    if sys.argv[2:] == ["one"]:
        with service(sys.argv[1]):
            found = [("another version", measured())]
    else:
        found = list(cases(sys.argv[1]))
    for name, case in found:
        sys.stdout.write(json.dumps({"case": name, **case}) + "\n")


if __name__ == "__main__":
    main()
