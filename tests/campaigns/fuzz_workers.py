"""Processes that run batches, all of which end: what hangs or dies is stopped, and named.

C code that hangs cannot be interrupted from within its process, and one that crashes takes the
process with it. So each case is written to a file before it is read, and who started the process
looks from outside: at the file's age, and at whether the process still lives.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection

    Work = Callable[["Job", Path], Any]

CASE_LIMIT_S = 90.0
"""One case may take so long: more than the 60 s after which Python code is interrupted."""
_START_S = 90.0
"""A process may take so long more until its first case: it imports all that is fuzzed."""
_LOOK_S = 1.0
_PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Job:
    """So many cases of one target; ``left_out`` are the numbers of those that are not read."""

    name: str
    seed: int
    cases: int
    guided: bool = False
    left_out: frozenset[int] = frozenset()


class Lost(NamedTuple):
    """A job that hung or died, ``how``, in the case ``number`` (None: before any) with ``data``."""

    how: str
    number: int | None
    data: bytes


def note(directory: Path, number: int, data: bytes) -> None:
    """Put down which case is read next, in the directory that the work was given."""
    (directory / _PRESENT).write_bytes(b"%d\n" % number + data)


def noted(directory: Path) -> tuple[int | None, bytes]:
    """Return the number and the input of the case that was put down last."""
    with suppress(OSError, ValueError):
        number, _, data = (directory / _PRESENT).read_bytes().partition(b"\n")
        return int(number), data
    return None, b""


def results(
    jobs: deque[Job], work: Work, prepare: Callable[[], object], processes: int
) -> Generator[tuple[Job, Any], None, None]:
    """Yield what ``work`` returned for each job, or how it was lost, as they come.

    ``work`` gets the job and a directory for ``note``. Jobs may be added on the way.
    """
    with tempfile.TemporaryDirectory(prefix="gaitperf-fuzz-") as top:
        workers = [_Worker(Path(top, str(number)), work, prepare) for number in range(processes)]
        try:
            while jobs or any(worker.job for worker in workers):
                for worker in workers:
                    if jobs and worker.job is None:
                        worker.give(jobs.popleft())
                wait([worker.connection for worker in workers if worker.job], _LOOK_S)
                for worker in workers:
                    if worker.job and (result := worker.result()) is not None:
                        job, worker.job = worker.job, None
                        yield job, result
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """One process after the other that runs jobs, seen from its parent."""

    def __init__(self, directory: Path, work: Work, prepare: Callable[[], object]) -> None:
        self._directory, self._work, self._prepare = directory, work, prepare
        directory.mkdir()
        self.job: Job | None = None
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self._directory, self._work, self._prepare)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen here
        self._patience_s = _START_S

    def give(self, job: Job) -> None:
        """Let the process run a job."""
        (self._directory / _PRESENT).unlink(missing_ok=True)
        self.job, self._since = job, time.time()
        with suppress(OSError):  # it has died: result() will say so
            self.connection.send(job)

    def result(self) -> Any:
        """Return what became of the job, None while it is being done."""
        if self.connection.poll():
            try:
                result = self.connection.recv()
            except (EOFError, OSError):
                self._process.join()
                return self._lost(_ended(self._process.exitcode or 0))
            self._patience_s = 0.0
            return result
        since = self._since + self._patience_s
        with suppress(OSError):
            since = (self._directory / _PRESENT).stat().st_mtime
        if time.time() - since > CASE_LIMIT_S:
            return self._lost(f"no end within {CASE_LIMIT_S:.0f} s")
        return None

    def _lost(self, how: str) -> Lost:
        self.stop()
        self._begin()
        return Lost(how, *noted(self._directory))

    def stop(self) -> None:
        """End the process, and those that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()  # where it had no time to get a group of its own
        self._process.join()
        self.connection.close()


def _ended(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _serve(
    connection: Connection, directory: Path, work: Work, prepare: Callable[[], object]
) -> None:
    os.setsid()  # with what it starts: Ctrl-C is for the parent, which ends all of them
    prepare()
    with suppress(EOFError):
        while True:
            connection.send(work(connection.recv(), directory))
