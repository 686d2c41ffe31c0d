"""Signals to pytest at random moments: while it starts, measures, and judges and writes."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.campaigns.fault_parts.case import Kind
from tests.campaigns.fault_parts.sensors import fake_board
from tests.campaigns.fault_parts.servers import own_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.campaigns.fault_parts.case import Case

    Moment = Callable[[Case], None]


def starting(case: Case) -> None:
    case.start(*own_server(case))
    case.wait_for("test session starts")
    time.sleep(case.random.uniform(0, 4))


def measuring(case: Case) -> None:
    """Half of the time with shared memory, half with a sampler: both leave traces when killed."""
    if case.random.random() < 0.5:
        case.start("--gaitperf-transport=shm")
    else:
        fake_board(case)
        case.start("--power=ina3221")
    case.within_second_cell()


def ending(case: Case) -> None:
    case.start(*(own_server(case) if case.random.random() < 0.5 else ()))
    case.wait_for("2/2 ")
    time.sleep(case.random.uniform(0, 0.8))


def struck(moment: Moment, number: int, *, times: int = 1) -> Callable[[Case], None]:
    """Return an injector that sends a signal; Ctrl-C goes to the whole process group, at times."""

    def inject(case: Case) -> None:
        moment(case)
        group = number == signal.SIGINT and case.random.random() < 0.5
        for _ in range(times):
            case.signal(number, group=group)
            time.sleep(case.random.uniform(0.05, 0.5) if times > 1 else 0)

    return inject


def _kinds(name: str, moment: Moment, count: int, *, kept: bool, ends: bool) -> tuple[Kind, ...]:
    # A run that has ended has the results; in the moment that Python still takes it dies of the
    # signal as any program does.
    done = (0, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP) if ends else ()
    stopped = (
        r"KeyboardInterrupt|Interrupted|interrupted|SIGTERM|SIGHUP",
        *((r"\d passed",) * ends),
    )
    # Before the plugin has begun there is nothing to lose, and SIGTERM is the system's.
    killed, dead = (done, stopped) if kept else ((-signal.SIGTERM, -signal.SIGHUP), ("",))
    common = {"kept": kept, "good": ends, "written": ends}
    return (
        Kind(
            f"SIGINT while {name}", "signal", struck(moment, signal.SIGINT), count, 1, 45,
            (2, *done), stopped, **common,
        ),
        Kind(
            f"SIGINT twice while {name}", "signal", struck(moment, signal.SIGINT, times=2),
            # The second may come when the run has ended, and Python still takes it.
            count // 2, 1, 45, (2, -signal.SIGINT, *done), stopped, **common,
        ),
        Kind(
            f"SIGTERM while {name}", "signal", struck(moment, signal.SIGTERM), count, 1, 45,
            (2, *killed), dead, **common,
        ),
        Kind(
            f"SIGHUP while {name}", "signal", struck(moment, signal.SIGHUP), count, 1, 45,
            (2, *killed), dead, **common,
        ),
        Kind(
            f"SIGKILL while {name}", "signal", struck(moment, signal.SIGKILL), count, 1, 10,
            (-signal.SIGKILL, *done), ("",), **common,
        ),
    )  # fmt: skip


KINDS = (
    *_kinds("starting", starting, 7, kept=False, ends=False),
    *_kinds("measuring", measuring, 7, kept=True, ends=False),
    *_kinds("judging and writing", ending, 9, kept=True, ends=True),
)
