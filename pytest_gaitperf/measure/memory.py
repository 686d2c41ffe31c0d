"""What memory is a model's: that of its processes, and what of the server's it has made grow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.host.gpu import process_memory
from pytest_gaitperf.model import made_of
from pytest_gaitperf.triton.memory import NO_MEMORY, Memory, memory_of, processes, reset_peaks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.triton.server import TritonServer

_NO_PROCESS = "its process has ended, or cannot be told from those of other models"
_UNKNOWN = "the model was loaded before this run could see what the server took for it"


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """Bytes that are a model's: ``gpu_bytes`` is None without a GPU that tells of processes.

    ``absent`` says why the rest is not known, "" where it is.
    """

    memory: Memory = NO_MEMORY
    gpu_bytes: int | None = None
    absent: str = ""


class MemoryWatch:
    """Sees what a model's memory grows to, from now on until ``end``.

    What happens to the server's own memory meanwhile is put down to the model. ``loading``: it is
    not loaded yet, so that nothing is its. An ensemble's are also its steps'.
    """

    def __init__(
        self, server: TritonServer, model: str, info: ModelInfo | None, *, loading: bool = False
    ) -> None:
        self._server, self._model = server, model
        self._info = info
        if loading:
            server.shares[model] = (0, 0)
        common, own = processes(server.server_pid, self._names())
        self._before, self._gpu_before = memory_of(common), _gpu_of(common)
        reset_peaks((*common, *own))

    def end(self) -> ModelMemory:
        """Return what is the model's now, and was at most."""
        server, before = self._server, self._before
        if server.server_pid is None:
            return ModelMemory(absent=server.cpu_absent_reason or "the server cannot be seen")
        if self._info is None:
            with suppress(GaitperfError):
                self._info = server.model(self._model)
        common, own = processes(server.server_pid, self._names())
        if not own and self._info is not None and self._info.backend == "python":
            return ModelMemory(absent=_NO_PROCESS)
        after, of_model = memory_of(common), memory_of(own)
        if before is None or after is None or of_model is None:
            why = f"the memory of the server's processes (pid {server.server_pid}) cannot be read"
            return ModelMemory(absent=f"{why}: they belong to another user, or the kernel is old")
        share, gpu_share = server.shares.get(self._model, (None, None))
        if share is None or gpu_share is None:
            return ModelMemory(absent=_UNKNOWN)
        gpu, gpu_own = _gpu_of(common), _gpu_of(own)
        gpu_now = None
        if gpu is not None and gpu_own is not None:
            gpu_share += gpu - (self._gpu_before or 0)
            gpu_now = gpu_share + gpu_own
        grown = Memory(after.resident - before.resident, after.peak - before.resident)
        server.shares[self._model] = (share + grown.resident, gpu_share)
        return ModelMemory(Memory(share, share) + grown + of_model, gpu_now)

    def _names(self) -> list[str]:
        """Return the model, and what it is made of where it is an ensemble."""
        return made_of(self._model, self._known)

    def _known(self, name: str) -> ModelInfo | None:
        if name == self._model:
            return self._info
        with suppress(GaitperfError):
            return self._server.model(name)
        return None


def _gpu_of(pids: Iterable[int]) -> int | None:
    known = process_memory()
    return None if known is None else sum(known.get(pid, 0) for pid in pids)
