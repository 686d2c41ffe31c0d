"""Ctrl-C and a polite kill: a run that is asked to end keeps what it has measured."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_OURS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,  # an SSH connection was lost, a terminal closed
}
_INSISTS = 3
_AGAIN_S = 0.1
_MOST_DELAYS = 50


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: the run ends as after Ctrl-C."""


class Interruption:
    """What Ctrl-C (SIGINT), SIGTERM and SIGHUP do from the first measurement on.

    SIGTERM and SIGHUP would end the process at once and lose the results. The first of them
    interrupts; a second, while the run is already ending, is only counted in ``arrived``, and so
    is the first once ``postpone`` was called: what is left to be written and stopped takes seconds,
    and half of it would be worse. The third ends it all the same. In the midst of an import, where
    NumPy would make an ImportError of it, they come a moment later, 5 s at most. Nothing is changed
    outside the main thread, nor a handler that somebody else has set.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._postponed = False
        self._delays = 0
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _importing(frame) and self._delays < _MOST_DELAYS:
            self._delays += 1
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        self.arrived += 1
        if (self.arrived == 1 and not self._postponed) or self.arrived >= _INSISTS:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise Terminated(f"ended by {signal.Signals(number).name}")


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
