"""Neighbours of a cell, kept at their rates while it is measured.

They are loaded by a process of their own: threads of the client's would make it wait for the
interpreter, and be taken for its work.
"""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError, MeasurementError, first_line
from pytest_gaitperf.measure.counted import settled_statistics
from pytest_gaitperf.measure.keeper import Job, Said
from pytest_gaitperf.measurement import FEWEST_OF_P99

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.load.record import LoadRecord, Observer
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

_MAIN = "from pytest_gaitperf.measure.keeper import main; main()"
_PACKAGE_ROOT = Path(__file__).parents[2]
_BEGIN_S = 60.0
"""How long the process may take to begin, and each neighbour to its first answer."""
_WANTED = 1.1
_END_S = 90.0
"""How long what is in flight may take in the end: a load gives up a silent server after 60 s."""


@dataclass(frozen=True, slots=True)
class Load:
    """One neighbour as it was loaded: ``sent`` is what the server counted of it meanwhile."""

    workload: Workload
    record: LoadRecord
    sent: ModelStatistics


@dataclass(slots=True)
class Neighbours:
    """The neighbours of a cell under load, none of most cells; see ``keeping``.

    ``kept`` is what they did, once they have ended. ``helpers`` is the process that loads them.
    """

    workloads: tuple[Workload, ...] = ()
    kept: tuple[Load, ...] = ()
    helpers: tuple[int, ...] = ()
    _connection: Connection | None = None
    _zero_ns: int = 0
    _before: list[ModelStatistics] = field(default_factory=list)

    def begin(self, connection: Connection, job: Job, server: TritonServer) -> None:
        """Let the process load the server; returns once each neighbour was answered."""
        self._connection = connection
        connection.send(job)
        self._expected("opened")
        self._before = [server.statistics(one.model, one.version) for one in self.workloads]
        connection.send("load")
        self._zero_ns = self._expected("loading").at_ns

    def checked(self, observer: Observer) -> Observer:
        """Return an observer of the measured load that looks after the neighbours, too.

        It raises MeasurementError, naming the neighbour, where one could not be kept up.
        """
        connection = self._connection
        if connection is None:
            return observer

        def goes_on(record: LoadRecord, now_ns: int) -> bool:
            if connection.poll(0):
                self._said()
            return observer(record, now_ns)

        return goes_on

    def wanted_s(self, lives: int) -> float:
        """Return how long a life must last for the p99 of each neighbour with a deadline."""
        rates = (one.request_rate for one in self.workloads if one.deadline_s)
        return max((_WANTED * FEWEST_OF_P99 / rate / lives for rate in rates), default=0.0)

    def align(self, rate: float) -> float:
        """Wait, before an open loop, until whole seconds have gone by since the schedules began.

        A constant rate that begins now has the same phase to the neighbours' in every life, where
        the rates are whole numbers. Returns the seconds waited.
        """
        if self._connection is None or not rate:
            return 0.0
        gone_s = (time.monotonic_ns() - self._zero_ns) / 1e9
        wait_s = math.ceil(gone_s) - gone_s
        time.sleep(wait_s)
        return wait_s

    def end(self, server: TritonServer) -> None:
        """Stop the neighbours, wait for what is in flight, and keep what they did."""
        if self._connection is None:
            return
        with suppress(OSError):
            self._connection.send("stop")
        records = self._expected("done", _END_S).records
        found = []
        for one, record, before in zip(self.workloads, records, self._before, strict=True):
            expected = before.inference_count + record.requests * one.batch_size
            after = settled_statistics(server, one, expected)
            found.append(Load(one, record, after.minus(before)))
        self.kept = tuple(found)

    def _expected(self, word: str, within_s: float = _BEGIN_S) -> Said:
        assert self._connection is not None
        if not self._connection.poll(within_s):
            names = ", ".join(one.name for one in self.workloads)
            raise MeasurementError(
                f"the neighbours ({names}) were not {word} in {within_s:.0f} s: are the models "
                "stuck, or slower than that?"
            )
        said = self._said()
        assert said.word == word
        return said

    def _said(self) -> Said:
        assert self._connection is not None
        try:
            said: Said = self._connection.recv()
        except (EOFError, OSError):
            raise MeasurementError(
                "the process that loads the neighbours ended before it was to: measure again"
            ) from None
        if said.word == "failed":
            raise MeasurementError(f"neighbour {self.workloads[said.who].name}: {said.why}")
        return said


NONE = Neighbours()
"""Of a cell that is measured alone."""


@contextmanager
def keeping(server: TritonServer, workload: Workload, data: str) -> Iterator[Neighbours]:
    """Keep the neighbours of a workload at their rates; the first were answered when it begins.

    Raises MeasurementError, which names the neighbour that cannot be loaded.
    """
    found = Neighbours(workload.beside)
    if not workload.beside:
        yield found
        return
    loads = []
    for one in workload.beside:
        try:
            loads.append((server.model(one.model, one.version), one))
        except GaitperfError as error:
            server.check_alive()
            raise MeasurementError(f"neighbour {one.name}: {first_line(error)}") from error
    api = server.api
    at = (server.host, server.http_port, server.grpc_port, api.way)
    job = Job(str(Path.cwd()), *at, data, tuple(loads))
    ours, theirs = socket.socketpair()
    with Connection(ours.detach()) as connection, tempfile.TemporaryFile() as printed:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=(theirs.fileno(),),
                # Where this very package is found, and no file of the user's shadows a module.
                cwd=_PACKAGE_ROOT,
                # Out of the terminal's group: Ctrl-C is for the parent to handle.
                start_new_session=True,
            )
        try:
            found.helpers = (process.pid,)
            found.begin(connection, job, server)
            yield found
        finally:
            connection.close()  # at which it ends, whatever it does
            process.kill()
            process.wait()
