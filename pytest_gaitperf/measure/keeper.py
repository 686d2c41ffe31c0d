"""The process that loads the neighbours of a cell: what it is told, what it says, what it does.

Each load has its connections and a thread. The schedules have one beginning, from which each is
shifted by its part of a gap between two requests.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.errors import GaitperfError, MeasurementError
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.triton.api import Api

if TYPE_CHECKING:
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.way import Way
    from pytest_gaitperf.workload import Workload

_CLOSED_S = 90.0
_TICK_S = 0.05
_AHEAD_S = 0.05
_SWITCH_S = 1e-4
_FAILURES = 5


@dataclass(slots=True)
class Job:
    """What the process is to do: its loads, and where; paths count from the ``directory``."""

    directory: str
    host: str
    http_port: int
    grpc_port: int
    way: Way
    data: str
    loads: tuple[tuple[ModelInfo, Workload], ...]

    @property
    def api(self) -> Api:
        """What asks the server's HTTP endpoints."""
        return Api(self.host, self.http_port, self.way)


class Said(NamedTuple):
    """What the process says: ``opened``, ``loading`` from ``at_ns`` on, ``failed`` or ``done``.

    ``who`` is the number of the neighbour that failed.
    """

    word: str
    at_ns: int = 0
    who: int = 0
    why: str = ""
    records: tuple[LoadRecord, ...] = ()


def main() -> None:
    """Load what the parent says, until it says stop or is gone."""
    connection = Connection(int(sys.argv[1]))
    sys.setswitchinterval(_SWITCH_S)  # by default a thread waits for another one for up to 5 ms
    job: Job = connection.recv()
    sys.path[:] = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is one, too
    os.chdir(job.directory)
    try:
        Keeper(connection, job).run()
    except (EOFError, OSError):  # the parent is gone
        os._exit(1)


class Keeper:
    """The process of the neighbours: a thread for each load, this one for the parent."""

    def __init__(self, connection: Connection, job: Job) -> None:
        self._connection, self._job = connection, job
        self._ending = threading.Event()
        self._opened = threading.Barrier(len(job.loads) + 1)
        self._answered: set[int] = set()
        self._records: dict[int, LoadRecord] = {}
        self._failed: list[Said] = []
        self._zero_ns = 0
        self._begun = threading.Event()

    def run(self) -> None:
        """Open the loads, run them, and say what came of them."""
        threads = [
            threading.Thread(target=self._guarded, args=(number,), daemon=True)
            for number in range(len(self._job.loads))
        ]
        for thread in threads:
            thread.start()
        try:
            self._opened.wait()
        except threading.BrokenBarrierError:
            self._tell_failure()
            return
        self._connection.send(Said("opened"))
        self._connection.recv()
        self._zero_ns = time.monotonic_ns() + int(_AHEAD_S * 1e9)
        self._begun.set()
        told = False
        while not self._failed and any(thread.is_alive() for thread in threads):
            if not told and len(self._answered) == len(threads):
                told = True
                self._connection.send(Said("loading", self._zero_ns))
            if self._connection.poll(_TICK_S):
                self._connection.recv()
                self._ending.set()
                for thread in threads:
                    thread.join()
        if self._failed:
            self._tell_failure()
            return
        records = tuple(self._records[number] for number in range(len(threads)))
        self._connection.send(Said("done", records=records))

    def _tell_failure(self) -> None:
        self._connection.send(self._failed[0])
        self._connection.poll(_CLOSED_S)  # which the parent closes
        os._exit(1)  # other threads may wait for a server that never answers again

    def _guarded(self, number: int) -> None:
        try:
            self._load(number)
        except threading.BrokenBarrierError:
            pass
        except GaitperfError as error:
            self._fail(number, str(error))
        except Exception as error:  # noqa: BLE001 - the parent says it, in one line
            self._fail(number, f"{type(error).__name__}: {error}")

    def _fail(self, number: int, why: str) -> None:
        self._failed.append(Said("failed", who=number, why=why))
        self._opened.abort()

    def _load(self, number: int) -> None:
        model, workload = self._job.loads[number]
        given = input_data(model, workload, self._job.data)

        def goes_on(record: LoadRecord, _now_ns: int) -> bool:
            if record.requests:
                self._answered.add(number)
            elif record.failures >= _FAILURES:
                raise MeasurementError(
                    f"all {record.failures} requests failed: " + "; ".join(record.failure_reasons)
                )
            return not self._ending.is_set()

        with open_load(self._job, model, workload, given) as load:
            self._opened.wait()
            self._begun.wait()
            part = (number + 1) / (len(self._job.loads) + 1)
            begin_ns = self._zero_ns + int(part * 1e9 / workload.request_rate)
            time.sleep(max(begin_ns - time.monotonic_ns(), 0) / 1e9)
            self._records[number] = load.run(goes_on, _TICK_S)
