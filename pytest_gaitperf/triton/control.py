"""Several models loaded and unloaded at a server that allows it (its mode ``explicit``)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.triton.memory import hold_twice
from pytest_gaitperf.triton.placement import own_processes, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_gaitperf.triton.api import Api

    Loads = Callable[[str, float], None]

_POLL_S = 0.05
_ASIDE_S = 0.02


class Lent:
    """Models that are loaded until ``close``, with what comes along, as the steps of an ensemble.

    Those that were ready before are left as they are. ``failed`` says why some did not load.
    """

    def __init__(self, api: Api, names: Iterable[str], timeout_s: float) -> None:
        self.failed = dict[str, str]()
        self._api = api
        before = _ready(api)
        self._names = [name for name in names if name not in before]
        try:
            for name in self._names:
                try:
                    api.load(name, timeout_s)
                except ServerError as error:
                    self.failed[name] = str(error)
            self._names += sorted(_ready(api) - before - set(self._names))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unload them, those that failed too: what was too slow for us may be loaded by now."""
        for name in self._names:
            with suppress(ServerError):
                self._api.unload(name, dependents=False)


def matching(api: Api, patterns: Sequence[str]) -> list[str]:
    """Return the models of a server's repository that match, each once.

    Raises ConfigurationError for a pattern that matches nothing, and a server that loads no models
    on request.
    """
    if not api.controls_models():
        raise ConfigurationError(
            f"--triton-load: Triton at {api.url} loads no models on request: start it with "
            "--model-control-mode=explicit, or leave the option out"
        )
    names = sorted({entry.name for entry in api.index()})
    found: dict[str, None] = {}
    for pattern in patterns:
        alike = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not alike:
            raise ConfigurationError(
                f"--triton-load: the repository of Triton at {api.url} has no {pattern!r}"
                f"{did_you_mean(pattern, names)} it has {', '.join(names)}"
            )
        found |= dict.fromkeys(alike)
    return list(found)


def _ready(api: Api) -> set[str]:
    return {entry.name for entry in api.index() if entry.state == "READY"}


def load_each(
    api: Api, names: Iterable[str], timeout_s: float, load: Loads | None
) -> dict[str, str]:
    """Load these models, all where none is named, in this order; return why some were not.

    At once; with ``load``, which loads one, each when the one before is.
    """
    failed = dict[str, str]()
    names = list(names) or sorted({entry.name for entry in api.index()})
    with ThreadPoolExecutor(max(len(names), 1) if load is None else 1) as pool:
        loads = {}
        for name in names:
            loads[name] = pool.submit(load or api.load, name, timeout_s)
            time.sleep(_ASIDE_S)
    for name, loaded in loads.items():
        try:
            loaded.result()
        except ServerError as error:
            failed[name] = str(error)
    return failed


def reload(
    api: Api,
    names: Iterable[str],
    timeout_s: float,
    server_pid: int | None,
    load: Loads | None = None,
) -> None:
    """Unload these models and load them again, as ``load_each``: their processes are new.

    A Python model's old process sleeps for a second before it ends. The new one is loaded
    meanwhile, but where loading is timed, or memory is short. Whatever happens, what was unloaded
    is loaded again. Raises ServerError, with what to do, where that fails.
    """
    unloaded: list[str] = []
    old = {name: own_processes(server_pid, name) for name in names}
    stubs = [pid for pids in old.values() for pid in pids]
    spared = load is None and hold_twice(stubs)
    try:
        for name in old:
            unloaded.append(name)  # also where the answer does not come in time
            api.unload(name)
        wait_unloaded(api, {name for name in old if not (spared and old[name])}, timeout_s)
    finally:
        failed = load_each(api, unloaded, timeout_s, load) if unloaded else {}
    if failed:
        raise ServerError(
            "unloaded to begin a new life, and not loaded again: "
            + "; ".join(f"{name}: {why}" for name, why in failed.items())
            + "; load them with POST /v2/repository/models/NAME/load"
        )
    deadline = time.monotonic() + timeout_s
    for pid in stubs:
        while runs(pid):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"process {pid} of a model that Triton at {api.url} unloaded still runs after "
                    f"{timeout_s:g} s: does it wait for something?"
                )
            time.sleep(_POLL_S)


def wait_unloaded(api: Api, names: set[str], timeout_s: float) -> None:
    """Wait until none of these models is loaded; ServerError where that takes longer."""
    deadline = time.monotonic() + timeout_s
    while loaded := {
        entry.name
        for entry in api.index()
        if entry.name in names and entry.state in ("READY", "UNLOADING")
    }:
        if time.monotonic() > deadline:
            raise ServerError(
                f"Triton at {api.url} did not unload {', '.join(sorted(loaded))} within "
                f"{timeout_s:g} s: does another client use it?"
            )
        time.sleep(_POLL_S)
