"""Faults of the power meter, on a fake INA3221 in the kernel's real format."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from pytest_gaitperf.testing import ORIN_NANO, FakeBoard, Square
from tests.campaigns.fault_parts.case import Kind
from tests.power.conftest import READS_A_FAKE_TREE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.campaigns.fault_parts.case import Case

SAMPLER = "pytest_gaitperf.power.sampler"


def fake_board(case: Case) -> FakeBoard:
    """Write an Orin Nano's files, let a fake driver serve them, and point the run there."""
    board = FakeBoard(case.directory / "board", ORIN_NANO)
    conftest = READS_A_FAKE_TREE.format(root=str(board.root))
    (case.directory / "conftest.py").write_text(conftest)
    board.drive({"VDD_IN": Square(500, 1500, 0.1)}, noise_ma=200)
    case.stack.callback(board.close)
    return board


def start(case: Case, *, joules: bool = False) -> FakeBoard:
    """Start a run with the fake board, and check afterwards that the joules are not made up.

    With ``joules`` there are some in spite of the fault: the cell is measured once more.
    """
    board = fake_board(case)
    case.start("--power=ina3221")
    if joules:
        return board

    def check() -> str:
        metrics = case.hit_cell().get("metrics", {})
        return "joules in spite of the fault" if "energy_per_inference" in metrics else ""

    case.checks.append(check)
    return board


def within_second_cell(case: Case) -> None:
    case.wait_for("1/2 ")
    time.sleep(case.random.uniform(0.5, 1.5))


def signalled(number: int) -> Callable[[Case], None]:
    """Return an injector that sends the sampler a signal; the cell is measured once more."""

    def inject(case: Case) -> None:
        start(case, joules=True)
        within_second_cell(case)
        case.struck()
        os.kill(case.child(SAMPLER), number)

    return inject


def _spoilt(case: Case, content: bytes | None) -> None:
    """Stop the driver, and put something else into its file; None takes the file away."""
    board = start(case)
    within_second_cell(case)
    board.close()
    case.struck()
    _, current = board.channels["VDD_IN"]
    if content is None:
        os.truncate(current, 0)
        current.unlink()
    else:
        current.write_bytes(content)


def vanished(case: Case) -> None:
    _spoilt(case, None)


def garbled(case: Case) -> None:
    choices = (b"garbage\n", b"", b"\xff\xfe\x00", b"12.5 A\n", b"9" * 64, b"0x1f\n")
    _spoilt(case, case.random.choice(choices))


def stuck(case: Case) -> None:
    board = start(case)
    case.wait_for("1/2 ")
    case.struck()
    board.close()


def _kind(name: str, inject: Callable[[Case], None], count: int, *says: str) -> Kind:
    return Kind(name, "power", inject, count, 1, 90, (10,), says, good=True)


_FAILED = r"energy: it was not measured: .*"
KINDS = (
    Kind(
        "sampler killed", "power", signalled(signal.SIGKILL), 8, 1, 90, (0,), ("mJ/inf",), good=True
    ),
    Kind(
        "sampler stopped",
        "power",
        signalled(signal.SIGSTOP),
        6,
        1,
        90,
        (0,),
        ("mJ/inf",),
        good=True,
    ),
    _kind("sensor file gone", vanished, 6, _FAILED + "(instead of an integer|vanished|No such)"),
    _kind(
        "garbage in the sensor file", garbled, 8, _FAILED + "(instead of an integer|stuck|limit)"
    ),
    _kind("sensor stuck", stuck, 6, _FAILED + "(stuck|same|moved|new values)"),
)
