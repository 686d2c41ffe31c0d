"""Read one input, and judge what became of it: a value, an error that speaks, or a crash."""

from __future__ import annotations

import signal
import time
import traceback
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_gaitperf.errors import GaitperfError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fuzz.target import Target

CPU_DEADLINE_S = 5.0
"""A case may compute so long; not wall time, which says more of the machine than of the reader."""
DEADLINE_S = 60.0
"""It may wait so long, for a lock or for bytes that do not come."""
MEMORY_CONSTANT = 64 << 20
MEMORY_PER_BYTE = 200
"""An input of n bytes may make its reader allocate so much: constant + n times this."""


class HangError(BaseException):
    """A reader did not come back in time; not to be caught as an ordinary error."""


class Outcome(NamedTuple):
    """What became of one input; ``peak`` is the memory in bytes, 0 where it was not watched."""

    kind: Literal["value", "error", "crash"]
    detail: str
    seconds: float
    peak: int


@contextmanager
def _deadline() -> Iterator[None]:
    def give_up(number: int, frame: object) -> None:
        raise HangError("no end in sight")

    before = {number: signal.signal(number, give_up) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
    signal.setitimer(signal.ITIMER_PROF, CPU_DEADLINE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def run_case(target: Target, data: bytes, directory: Path, *, memory: bool = True) -> Outcome:
    """Let the target read an input; ``directory`` is where it may put it as a file."""
    if memory:
        tracemalloc.start()
    start = time.perf_counter()
    try:
        kind, detail = _judged(target, data, directory)
        seconds = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1] if memory else 0
    finally:
        if memory:
            tracemalloc.stop()
    if peak > MEMORY_CONSTANT + MEMORY_PER_BYTE * len(data):
        kind, detail = "crash", f"{peak / 1e6:.0f} MB for an input of {len(data)} bytes"
    return Outcome(kind, detail, seconds, peak)


def _judged(
    target: Target, data: bytes, directory: Path
) -> tuple[Literal["value", "error", "crash"], str]:
    try:
        with _deadline():
            target.read(data, directory)
    except target.errors as error:
        message = str(error)
        named = not isinstance(error, GaitperfError) or target.source in message
        if not message.strip() or not named:
            return "crash", f"a message that does not name {target.source!r}: {message[:300]!r}"
        return "error", type(error).__name__
    except (Exception, HangError) as error:  # noqa: BLE001 - any other is what is looked for
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in where][-4:]
        return "crash", f"{type(error).__name__}: {str(error)[:200]} ({' > '.join(ours)})"
    return "value", ""
