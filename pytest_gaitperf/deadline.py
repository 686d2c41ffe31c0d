"""Calls into code of others that may never return: a thread to make them in, a process to end."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """A thread of its own for all calls into one library; after one that hangs it makes no more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck = False

    def call(self, function: Callable[[], T], deadline_s: float) -> T:
        """Return what the function returns, or raise what it raises.

        Raises TimeoutError where it does not return in time, or an earlier call did not.
        """
        if self._stuck:
            raise TimeoutError
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                answers.put((function(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again, over there
                answers.put((None, error))

        self._calls.put(answer)
        try:
            returned, error = answers.get(timeout=deadline_s)
        except queue.Empty:
            self._stuck = True
            raise TimeoutError from None
        if error is not None:
            raise error
        return cast("T", returned)

    def _work(self) -> None:
        while True:
            self._calls.get()()


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process, if it has not ended, and close its pipes.

    One that waits in the kernel for a driver ends when that lets it: nobody waits for it here.
    """
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
