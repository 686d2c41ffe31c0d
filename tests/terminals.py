"""A program as a person sees it: in a pseudo-terminal, whose screen is read, not its bytes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, NamedTuple

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROWS = 40
_PATIENCE_S = 90.0

# The program takes the terminal for its own, and Ctrl-C reaches it whatever its parent ignores.
_START = (
    "import fcntl, os, signal, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


class Seen(NamedTuple):
    """What a terminal showed at the end, without empty lines, and the program's exit code."""

    lines: list[str]
    code: int


class Terminal:
    """A terminal of so many columns, in which one program runs."""

    def __init__(self, columns: int) -> None:
        self._screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._master, self._slave = pty.openpty()
        self.resize(columns)

    def resize(self, columns: int) -> None:
        """Make it wider or narrower."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self._screen.resize(ROWS, columns)

    def press(self, keys: bytes) -> None:
        """Send what a person types."""
        os.write(self._master, keys)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def run(
        self, module: str, arguments: Sequence[str], watch: Callable[[list[str]], None]
    ) -> Seen:
        """Run a module to its end; ``watch`` is shown the screen whenever it has changed."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CI", "BUILD_NUMBER", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _START, sys.executable, "-m", module, *arguments],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=environment | {"TERM": "xterm"},
            start_new_session=True,
        )
        os.close(self._slave)
        try:
            while data := self._read():
                self._stream.feed(data)
                watch(self.lines)
            return Seen(self.lines, process.wait(_PATIENCE_S))
        finally:
            process.kill()
            process.wait()
            os.close(self._master)

    def _read(self) -> bytes:
        """Return what came, nothing once the program has let go of the terminal."""
        if not select.select([self._master], [], [], _PATIENCE_S)[0]:
            raise TimeoutError(f"nothing was shown for {_PATIENCE_S:g} s: {self.lines}")
        try:
            return os.read(self._master, 1 << 16)
        except OSError:  # how Linux tells that the other side is closed
            return b""
