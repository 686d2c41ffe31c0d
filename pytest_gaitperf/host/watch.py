"""What slows the device while it is measured, not only before and after."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, final

from pytest_gaitperf.host.gpu import gpu_reasons
from pytest_gaitperf.host.state import limiting_files, limits_raised

if TYPE_CHECKING:
    from types import TracebackType

_PERIOD_S = 1.0


@final
class StateWatch:
    """Looks once a second, in a thread, at the limits, alarms and GPUs; a context manager.

    A look reads one small file per limiter and alarm and asks each GPU one question: under a
    millisecond on a Jetson. Which files there are is found once, at the start. A limit that is
    lifted within the second may be missed; the counters of ``throttled`` catch those that have one.
    """

    def __init__(self, *, root: Path = Path("/"), period_s: float = _PERIOD_S) -> None:
        self._root, self._period_s = root, period_s
        self._files = limiting_files(root)
        self._seen: dict[str, int] = {}
        self._looks = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gaitperf-state", daemon=True)

    def __enter__(self) -> StateWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def hindered(self) -> str | None:
        """Say what slowed the device, and in how many of the looks; None when nothing did."""
        if not self._seen:
            return None
        seen = (f"{what} ({count} of {self._looks} looks)" for what, count in self._seen.items())
        return f"during the measurement the device was slowed: {', '.join(seen)}"

    def _watch(self) -> None:
        while not self._ended.wait(self._period_s):
            raised = limits_raised(self._files)
            if self._root == Path("/"):
                raised += [
                    f"{gpu}: {word}" for gpu, words in gpu_reasons().items() for word in words
                ]
            for what in raised:
                self._seen[what] = self._seen.get(what, 0) + 1
            self._looks += 1
