"""Kills of several processes of a run at once, what a killed run leaves, and hostile files."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_gaitperf import read_results
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.power import sampler
from pytest_gaitperf.triton import supervisor
from tests.campaigns.fault_parts.case import Kind
from tests.campaigns.fault_parts.sensors import fake_board
from tests.campaigns.fault_parts.servers import own_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.campaigns.fault_parts.case import Case

_JOURNAL = ".pytest_cache/d/gaitperf/journal.jsonl"


def together(case: Case) -> None:
    """Kill pytest and some of its supervisor, server, stub and sampler, in any order."""
    fake_board(case)
    case.start("--power=ina3221", *own_server(case))
    case.within_second_cell()
    words = [supervisor.__file__, "tritonserver", "triton_python_backend_stub", sampler.__name__]
    chosen = case.random.sample(words, case.random.randint(1, len(words)))
    pids = [case.process.pid, *map(case.child, chosen)]
    case.random.shuffle(pids)
    case.struck()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(case.random.choice((0, 0, 0.01, 0.3)))


def _journaled(case: Case) -> str:
    """Say what is wrong with the journal that a killed run has left."""
    try:
        run = read_results(case.directory / _JOURNAL)
    except ConfigurationError as error:
        return f"no journal: {error}"
    there = {cell.workload.model for cell in run.cells if cell.unmeasured is None}
    return "" if case.calm in there else f"the journal has {there or 'nothing'}"


def journaled(case: Case) -> None:
    case.start()
    case.within_second_cell()
    case.checks.append(lambda: _journaled(case))
    case.signal(signal.SIGKILL)


def in_place_of_a_baseline(make: Callable[[Path], None]) -> Callable[[Case], None]:
    """Return an injector that puts something in the place of the baseline of the cell."""

    def inject(case: Case) -> None:
        path = case.here / f"{case.hurt}.json"
        case.start()
        make(path)  # long before pytest has come to its baselines
        case.stack.callback(path.unlink)
        case.struck()

    return inject


_CANNOT = (r"cannot read the baseline \(it is not a regular file\)",)
_ENDLESS = in_place_of_a_baseline(lambda path: path.symlink_to("/dev/zero"))

KINDS = (
    Kind(
        "pytest and others killed together", "kill", together, 140, 2, 30, (-signal.SIGKILL,),
        ("",), swept=True, written=True,
    ),
    Kind("killed, and its journal", "kill", journaled, 20, 1, 10, (-signal.SIGKILL,), ("",)),
    Kind(
        "a baseline that is a pipe", "file", in_place_of_a_baseline(os.mkfifo), 4, 1, 40, (10,),
        _CANNOT, kept=False,
    ),
    Kind(
        "a baseline that is /dev/zero", "file", _ENDLESS, 4, 1, 40, (10,), _CANNOT, kept=False,
    ),
)  # fmt: skip
