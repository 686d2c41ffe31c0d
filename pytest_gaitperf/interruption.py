"""Ctrl-C and a polite kill: a run that is asked to end keeps what it has measured."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_OURS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_INSISTS = 3


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the run ends as after Ctrl-C."""


class Interruption:
    """What Ctrl-C (SIGINT) and SIGTERM do from the first measurement on.

    SIGTERM, which would end the process at once and lose the results, interrupts as Ctrl-C does.
    The first of them interrupts; a second, while the run is already ending, is only counted in
    ``arrived``, and so is the first once ``postpone`` was called: what is left to be written and
    stopped takes seconds, and half of it would be worse. The third ends it all the same. Nothing is
    changed outside the main thread, nor a handler that somebody else has set.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._postponed = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number, usual in _OURS.items():
            if signal.getsignal(number) == usual:
                self._before[number] = signal.signal(number, self._handle)

    def postpone(self) -> None:
        """Only count from now on."""
        self._postponed = True

    def restore(self) -> None:
        """Give the signals back to whom they belonged; idempotent."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.arrived += 1
        if (self.arrived == 1 and not self._postponed) or self.arrived >= _INSISTS:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated("ended by SIGTERM")
