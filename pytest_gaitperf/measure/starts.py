"""Models by themselves: the starts of one, its first inference, and its memory in that life."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError, ServerError, first_line
from pytest_gaitperf.files import open_regular, served_files
from pytest_gaitperf.host.counters import Counters, between
from pytest_gaitperf.host.lock import THIS_DEVICE, device_at
from pytest_gaitperf.host.watch import Watched, Window, cause_of, surroundings, tolerated_share
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.measure.estimates import Estimates
from pytest_gaitperf.measure.gathered import undisturbed
from pytest_gaitperf.measure.memory import MemoryWatch, ModelMemory
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.model import ModelInfo, made_of
from pytest_gaitperf.triton.control import wait_unloaded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.triton.process import ServerProcess
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

_TICK_S = 0.01
_WARM = (
    "the model's files cannot be seen from here: the page cache may hold them, and loading be warm"
)
_NO_LOAD = (
    "no load of the model was measured in this run: leave its other cells in, and measure anew in "
    "place of going on with another run"
)
_ALL = (*QUANTITIES["cold_start"], *QUANTITIES["memory"])


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a model, and what its life came to.

    ``load_s`` is the time until it was ready, ``first_s`` the latency of its first inference, None
    where ``first_absent`` says why. ``loaded`` is its memory then, ``loads`` that after each of its
    loads, by the load. ``size_bytes`` is that of its files, None where they cannot be seen.
    ``disturbed`` says what others did meanwhile that is too much.
    """

    load_s: float
    loaded: ModelMemory
    first_s: float | None = None
    first_absent: str = ""
    size_bytes: int | None = None
    data: str = ""
    note: str = ""
    watched: Watched | None = None
    disturbed: str | None = None
    loads: dict[Workload, ModelMemory] = field(default_factory=dict)

    def peak(self, loads: tuple[str, ...]) -> ModelMemory:
        """Return the most memory that was the model's; absent without these largest loads."""
        if not loads or largest(self.loads) != loads:
            return ModelMemory(absent=self.loaded.absent or _NO_LOAD)
        known = [self.loaded, *self.loads.values()]
        absent = next((one.absent for one in known if one.absent), "")
        gpu = [one.gpu_bytes for one in known if one.gpu_bytes is not None]
        most = max(known, key=lambda one: one.memory.peak)
        return ModelMemory(most.memory, max(gpu, default=None), absent)


@dataclass(slots=True)
class Starts:
    """Loads the models of a server one by one, and keeps the latest start of each.

    ``cells`` are those that are planned, ``models`` what is known of models before they are loaded.
    """

    cells: Sequence[Workload]
    settings: Settings
    models: Mapping[str, ModelInfo | str | None] = field(default_factory=dict)
    latest: dict[str, Start] = field(default_factory=dict)
    _process: ServerProcess | None = None
    _backends: set[str] = field(default_factory=set)

    def load(self, server: TritonServer, name: str, timeout_s: float) -> None:
        """Load a model; raises ServerError where that fails. Its cell's start is noted."""
        self.latest.pop(name, None)
        cell = next((one for one in self.cells if one.alone and one.model == name), None)
        if cell is None:
            server.api.load(name, timeout_s)
            return
        parts = made_of(name, self.models.get)
        self._make_way(server, name, parts, timeout_s)
        files = self._files(server, name)
        dropped = [_dropped(self._files(server, one)) for one in parts]
        note = "" if all(dropped) else _WARM
        memory = MemoryWatch(server, name, None, loading=True)
        here = device_at(server.host) == THIS_DEVICE and server.server_pid is not None
        counters = Counters(server.server_pid) if here else None
        before = None if counters is None else counters.look()
        began_s = time.monotonic()
        server.api.load(name, timeout_s)
        load_s = time.monotonic() - began_s
        first_s, absent, data = None, "", ""
        try:
            first_s, data = _first_inference(server, cell, self.settings.data)
        except GaitperfError as error:
            absent = first_line(error)
        watched = None
        if counters is not None and before is not None:
            # The unseen are what starts the model's processes, too.
            seen = replace(between(before, counters.look()), unseen=None)
            share = self.settings.disturbed
            share = tolerated_share() if share is None else share
            window = Window(seen, cause_of(seen, counters.cpus, share))
            watched = Watched((window,), counters.cpus, dict(counters.names))
        self.latest[name] = Start(
            load_s,
            memory.end(),
            first_s,
            absent,
            _size(files),
            data,
            note,
            watched,
            None if watched is None else watched.fault,
        )

    def _files(self, server: TritonServer, name: str) -> list[Path]:
        """Return the files of a model, none where they cannot be seen."""
        with suppress(OSError, GaitperfError):
            if server.mode != "attach":
                return list(served_files(self.settings.triton_repository / name).values())
        return []

    def _make_way(
        self, server: TritonServer, name: str, parts: Sequence[str], timeout_s: float
    ) -> None:
        """Let a start of a model be the same whatever else is loaded, and in which order.

        A server that was started has its backend by then, which the first model of each would take
        along: the smallest one has brought it. Neither is the model loaded, as what an ensemble is
        made of is with that, nor are its ``parts``.
        """
        if self._process is not server.process:
            self._process, self._backends = server.process, set()
        needed = set(filter(None, map(self._backend, parts)))
        for backend in needed - self._backends if self._process is not None else ():
            try:
                server.api.load(self._smallest(server, backend, name), timeout_s)
            except ServerError:  # its own start will say so
                server.api.load(name, timeout_s)
            self._backends.add(backend)
        loaded = set(parts).intersection(server.models())
        for one in loaded:
            server.api.unload(one, dependents=False)
        wait_unloaded(server.api, loaded, timeout_s)

    def _backend(self, name: str) -> str:
        """Return the name of a model's backend, "" of an ensemble; of one not known its own."""
        info = self.models.get(name)
        if not isinstance(info, ModelInfo):
            return name
        return "" if info.steps else info.backend

    def _smallest(self, server: TritonServer, backend: str, name: str) -> str:
        """Return the planned model of a backend with the smallest files, ``name`` without one."""
        alike = [one.model for one in self.cells if one.alone]
        return min(
            (one for one in alike if self._backend(one) == backend),
            key=lambda one: _size(self._files(server, one)) or math.inf,
            default=name,
        )

    def note(self, life: Gathered) -> None:
        """Note what a load of a model has made of its memory."""
        start = self.latest.get(life.workload.model)
        if start is not None and life.memory is not None:
            start.loads[life.workload] = life.memory


def _first_inference(server: TritonServer, cell: Workload, data: str) -> tuple[float, str]:
    """Return the latency of a request in seconds, and what it carried."""
    model = server.model(cell.model, cell.version)
    given = input_data(model, cell, data)

    def unanswered(record: LoadRecord, _now_ns: int) -> bool:
        return not (record.requests or record.failures)

    with open_load(server, model, cell, given) as load:
        record = load.run(unanswered, _TICK_S)
    starts, ends = record.times()
    if record.failures or not ends.size:  # a later request may have been answered: it is no first
        raise GaitperfError("; ".join(record.failure_reasons) or "the server did not answer")
    return float(ends[0] - starts[0]) / 1e9, given.description


def evaluate_starts(starts: Sequence[Start], absent: str) -> Measurement:
    """Return what the starts of a model come to, one a life; ``absent`` says why there is none.

    Values are means over the lives. Those that others disturbed are left out, as of other cells.
    """
    if not starts:
        names = [name for name in _ALL if not name.startswith("gpu")]
        return Measurement(metrics={}, absent=dict.fromkeys(names, absent))
    found = Estimates()
    watched = [one.watched for one in starts if one.watched is not None]
    numbered, notes = undisturbed(starts)
    lives = list(numbered.values())

    def add(name: str, values: Iterable[float | None], why: Iterable[str]) -> None:
        values = list(values)
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found.add_of_lives(name, known)
        else:
            found.absent[name] = "; ".join(dict.fromkeys(filter(None, why)))

    def add_memory(name: str, each: Sequence[ModelMemory], field_: str) -> None:
        values = (None if one.absent else float(getattr(one.memory, field_)) for one in each)
        add(name, values, (one.absent for one in each))

    # The largest loads may be in fewer lives than the others, and then only those show the peak.
    loads = largest(load for one in lives for load in one.loads)
    peaks = [one.peak(loads) for one in lives]
    peaks = [one for one in peaks if not one.absent] or peaks
    add("model_load_time", (one.load_s for one in lives), ())
    add("first_inference_latency", (one.first_s for one in lives), (o.first_absent for o in lives))
    add_memory("server_memory_peak", peaks, "peak")
    add_memory("server_memory_loaded", [one.loaded for one in lives], "resident")
    gpu = [one.gpu_bytes for one in peaks if one.gpu_bytes and not one.absent]
    if gpu:
        found.add_of_lives("gpu_memory_peak", gpu)
    sizes = [one.size_bytes for one in lives]
    add("model_file_size", sizes, ["the model's files cannot be seen from here"])
    faults = (f"life {number}: {one.disturbed}" for number, one in numbered.items())
    invalid = [fault for fault, one in zip(faults, lives, strict=True) if one.disturbed]
    return Measurement(
        metrics=found.metrics,
        absent=found.absent,
        lives=len(lives),
        spread=found.spread,
        invalid="; ".join(invalid) or None,
        data=lives[0].data,
        notes=tuple(dict.fromkeys([*notes, *(one.note for one in lives if one.note)])),
        surroundings=surroundings(watched) if watched else None,
        loads=loads if "server_memory_peak" in found.metrics else (),
    )


def largest(loads: Iterable[Workload]) -> tuple[str, ...]:
    """Name the loads that none of the others exceeds in batch size and in requests in flight."""
    found = set(loads)

    def exceeded(one: Workload) -> bool:
        more = (other for other in found if other is not one and other.concurrency)
        return bool(one.concurrency) and any(
            (other.batch_size, other.concurrency) != (one.batch_size, one.concurrency)
            and other.batch_size >= one.batch_size
            and other.concurrency >= one.concurrency
            for other in more
        )

    return tuple(sorted({one.load for one in found if not exceeded(one)}))


def _size(files: Sequence[Path]) -> int | None:
    try:
        return sum(path.stat().st_size for path in files) if files else None
    except OSError:  # a link that leads nowhere
        return None


def _dropped(files: Iterable[Path]) -> bool:
    """Let the page cache forget these files: no root is needed. Return whether it could be asked.

    What a process maps stays, and so do libraries, which are no model's: they are warm.
    """
    asked = False
    for path in files:
        with suppress(OSError), open_regular(path) as file:
            os.fdatasync(file.fileno())  # what is not on the disk yet would stay
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            asked = True
    return asked
