"""Ctrl-C and a polite kill: a run that is asked to end keeps what it has measured."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
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
_SWALLOWED_S = 1.0
_MOST_DELAYS = 50
_STREAMS = 3
"""The first descriptors: standard input, output and error."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: the run ends as after Ctrl-C."""


class Interruption:
    """What Ctrl-C (SIGINT), SIGTERM and SIGHUP do from the first measurement on.

    SIGTERM and SIGHUP would end the process at once and lose the results. The first of them
    interrupts, and so does another one more than a second later: something has swallowed the first.
    Once ``postpone`` was called they are only counted in ``arrived``, and the terminal is told so:
    what is left to be written and stopped takes seconds, and half of it would be worse. The third
    ends it all the same. In the midst of an import, where NumPy would make an ImportError of it,
    they come a moment later, 5 s at most. After SIGHUP nothing more is written to a terminal, since
    it is gone. Nothing is changed outside the main thread, nor a handler that somebody else has
    set.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._postponed = False
        self._delays = 0
        self._heard_s = 0.0
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
        if number == signal.SIGHUP:
            _leave_terminals()
        self.arrived += 1
        now_s = time.monotonic()
        heard = self.arrived == 1 or now_s - self._heard_s > _SWALLOWED_S
        if self._postponed and self.arrived < _INSISTS:
            _tell(f"\ngaitperf: ending; {_INSISTS - self.arrived} more to end at once\n")
        elif heard or self.arrived >= _INSISTS:
            self._heard_s = now_s
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise Terminated(f"ended by {signal.Signals(number).name}")


def _leave_terminals() -> None:
    """Let what is open as a terminal, and all that pytest has put aside of it, lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(path.readlink()).startswith(("/dev/pts/", "/dev/tty")):
                os.dup2(nowhere, int(path.name), inheritable=int(path.name) < _STREAMS)
    os.close(nowhere)


def _tell(text: str) -> None:
    """Write to the terminal, past all capturing; nowhere where there is none."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(terminal, text.encode())
        finally:
            os.close(terminal)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
