"""The device that a run measures, kept from other runs meanwhile."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError, MeasurementError
from pytest_gaitperf.host.lock import THIS_DEVICE, WAIT_S, device_at, held
from pytest_gaitperf.report.text import command
from pytest_gaitperf.way import parse_url

if TYPE_CHECKING:
    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.engine.progress import Progress


class Device:
    """The device of this machine (``here``), or the one behind a server's ``url``.

    ``refused``: it was asked for and is another run's.
    """

    def __init__(
        self, settings: Settings, progress: Progress, url: str | None, *, here: bool
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._name = THIS_DEVICE if here else device_at(parse_url(url)[0])
        self._lock: ExitStack | None = None
        self.refused = False

    def take(self) -> None:
        """Keep other runs from measuring it, until ``release``.

        Where another one does, wait for it, or raise MeasurementError with who it is, later in one
        line; ConfigurationError where no lock can be taken.
        """
        if self.refused:
            raise MeasurementError("the device is not free: see the first error")
        if self._lock is not None:
            return
        lock = ExitStack()
        waited: list[str] = []

        def waiting(holder: str) -> None:
            if not waited:
                self._progress.say(f"waiting for this device, which is measured by {holder}")
            waited.append(holder)
            self._progress.live(f"waiting for this device: {len(waited)} s")

        words = command(map(str, self._settings.invocation))
        wait_s = WAIT_S if self._settings.lock == "wait" else 0.0
        try:
            lock.enter_context(held(self._name, command=words, wait_s=wait_s, waiting=waiting))
        except GaitperfError:
            self.refused = True
            raise
        self._lock = lock

    def release(self) -> None:
        """Let others measure it."""
        if self._lock is not None:
            self._lock.close()
