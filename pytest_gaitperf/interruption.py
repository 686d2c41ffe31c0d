"""Ctrl-C and a polite kill: a run that is asked to end keeps what it has measured."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the run ends as after Ctrl-C."""


class Interruption:
    """What Ctrl-C (SIGINT) and SIGTERM do while a run measures, and while it ends.

    SIGTERM, which would end the process at once and lose the results, interrupts as Ctrl-C does.
    From ``postpone`` on, both are only noted in ``arrived``: what is left to be done takes seconds,
    and half of it would be worse. Nothing is changed in a process whose main thread is another's,
    nor a handler that somebody else has set.
    """

    def __init__(self) -> None:
        self.arrived = False
        self._before: dict[int, Any] = {}
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._handle(signal.SIGTERM, _terminate)

    def postpone(self) -> None:
        """Only note from now on that a signal came."""
        for number in _ENDING:
            if signal.getsignal(number) in (signal.default_int_handler, _terminate):
                self._handle(number, self._note)

    def restore(self) -> None:
        """Give the signals back to whom they belonged; idempotent."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before.setdefault(number, signal.signal(number, handler))

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.arrived = True


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated("ended by SIGTERM")
