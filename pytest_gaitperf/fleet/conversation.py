"""The boards at work: started all at once, and heard until each has ended or is lost."""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

import execnet
import psutil

from pytest_gaitperf.fleet import remote
from pytest_gaitperf.fleet.board import problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_gaitperf.fleet.board import Board

_LONGEST_LINE = 400
_MOST_LINES = 20_000
"""A line for each visit to a cell: a board that says more is not taken at its word."""
_LOOK_S = 1.0
_STARTS_S = 120.0
"""So long a board may take from a working SSH to a worker that has its job."""
_LEAVES_S = 10.0
_SILENCE_S = 3600.0
"""So long a board may say nothing: it waits for its device, or for tests that measure nothing."""


class Conversation:
    """What is sent to the boards and heard from them.

    ``specs`` are execnet's, by whose ids ``boards`` are known; ``job`` returns what a board is to
    do, ``say`` gets a line for each thing that happens.
    """

    def __init__(
        self,
        specs: Sequence[Any],
        boards: Mapping[str, Board],
        job: Callable[[str], object],
        say: Callable[[str], None],
    ) -> None:
        self._specs, self._boards, self._job, self._say = specs, boards, job, say
        self._group = execnet.Group()
        self._channels: list[Any] = []  # one that nobody holds is closed
        self._heard: queue.Queue[tuple[str, object]] = queue.Queue()
        self._patience: dict[str, float] = {}  # of the boards that are still heard

    def run(self) -> None:
        """Ask every board whether it can, and run the suite on those that can, all at once."""
        found = problems(self._specs)
        for spec in self._specs:
            if found[spec.id]:
                self._lose(spec.id, found[spec.id])
                continue
            self._patience[spec.id] = time.monotonic() + _STARTS_S
            # execnet waits for a board's first word without end.
            Thread(target=self._start, args=(spec,), daemon=True).start()
        while self._patience:
            with suppress(queue.Empty):
                name, message = self._heard.get(timeout=_LOOK_S)
                if name in self._patience:
                    self._patience[name] = time.monotonic() + _SILENCE_S
                    self._hear(name, message)
            for name, until_s in list(self._patience.items()):
                if time.monotonic() > until_s:
                    self._lose(name, "it said nothing for too long")

    def stop(self) -> None:
        """Leave the boards; what still runs there ends in good order."""
        self._group.terminate(timeout=_LEAVES_S)
        for process in psutil.Process().children():
            # That of a board which never became a worker: execnet does not know it yet.
            with suppress(psutil.Error):
                if process.name() == "ssh":
                    process.kill()

    def _start(self, spec: Any) -> None:
        """Start a board's run, and let what it says be heard; in a thread of its own."""
        try:
            gateway = self._group.makegateway(spec)
            channel = gateway.remote_exec(remote)
            channel.send(self._job(spec.id))
        except AssertionError:  # execnet's, of the first byte
            self._heard.put((spec.id, _NotStarted("what answers there is no worker of execnet")))
            return
        except (OSError, EOFError, ValueError, execnet.HostNotFound, execnet.RemoteError) as error:
            why = str(error).strip() or type(error).__name__
            self._heard.put((spec.id, _NotStarted(why.splitlines()[-1])))
            return
        self._channels.append(channel)
        self._heard.put((spec.id, _STARTED))
        put = self._heard.put
        channel.setcallback(lambda message: put((spec.id, message)), endmarker=None)

    def _hear(self, name: str, message: object) -> None:
        board = self._boards[name]
        kind, said = message if isinstance(message, tuple) and len(message) == 2 else (None, None)
        if kind == "line" and isinstance(said, str) and board.lines < _MOST_LINES:
            board.lines += 1
            # In a line: a board's words must not pass for another one's.
            self._say(f"[{name}] {' '.join(said[:_LONGEST_LINE].split())}")
        elif kind == "end":
            board.take(said)
            del self._patience[name]
            self._say(f"[{name}] {board.ending}")
        elif isinstance(message, _NotStarted):
            self._lose(name, f"it could not be started: {message.why}")
        elif message is None:
            self._lose(name, "its pytest was killed, or the connection broke")
        elif message is not _STARTED:
            self._lose(name, "it sent what is no line of a run, or too many lines")

    def _lose(self, name: str, why: str) -> None:
        """Give a board up: nothing more of it is heard."""
        self._patience.pop(name, None)
        self._boards[name].why = why
        self._say(f"[{name}] {self._boards[name].ending}")


@dataclass(frozen=True, slots=True)
class _NotStarted:
    """Why a board's run was not started; no board can send it."""

    why: str


_STARTED = object()
