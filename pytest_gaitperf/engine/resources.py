"""What a run works with: server, power meter, device profile and baselines, opened on first use."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.config.policy import ANY
from pytest_gaitperf.errors import (
    BaselineError,
    ConfigurationError,
    GaitperfError,
    ServerError,
    first_line,
)
from pytest_gaitperf.journal import Journal
from pytest_gaitperf.workload import models_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_gaitperf.baseline.store import BaselineStore
    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.engine.device import Device
    from pytest_gaitperf.engine.progress import Progress
    from pytest_gaitperf.engine.requests import Offer
    from pytest_gaitperf.environment import Profile
    from pytest_gaitperf.measure.starts import Starts
    from pytest_gaitperf.power.meter import MeterChoice
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.triton.models import SideBySide
    from pytest_gaitperf.triton.server import Found, TritonServer
    from pytest_gaitperf.workload import Workload

_RENEWAL_S = 3.0  # what a server takes to end, and a light model to be unloaded and loaded
_MOST_LOST = 3  # how often a server that dies is started anew
_START_S = 120.0  # how long a server that is started may take, unless told


class Resources:
    """Opens each thing once, when it is first needed, and closes what it opened.

    ``prepare`` builds models before a server is started: the hook of that name. ``board`` is this
    device's name in a fleet, ``baselines_named`` the baselines' directory as its user knows it,
    ``models_alone`` the latest starts of models, None where no cell is a model by itself.
    """

    def __init__(
        self,
        settings: Settings,
        log_directory: Path | None,
        progress: Progress,
        *,
        prepare: Callable[..., object] = lambda **_: None,
        board: str = "",
    ) -> None:
        self.settings = settings
        self._prepare = prepare
        self.board = board
        self.baselines_named = settings.baselines
        self.progress = progress
        self.planned: list[Workload] = []
        self.loaded: list[Workload] = []
        self.by_hand = True
        self.also: set[str] = set()  # models to be built, with which others are compared
        self.starts = self._lost = 0  # of new lives, in which files are read anew; of servers
        self.start_s = _RENEWAL_S  # what it takes to begin one: a guess until it was seen
        self.models_alone: Starts | None = None
        self._renews: bool | None = None
        self._log_directory = log_directory
        kept = settings.journal or (log_directory and log_directory / "journal.jsonl")
        self.journal = Journal(kept)
        self._server: TritonServer | None = None
        self._server_error: GaitperfError | None = None
        self._metering: Metering | None = None
        self._profile: Profile | None = None
        self._store: BaselineStore | None = None
        self._beside: SideBySide | None = None
        self._offers: Mapping[str, Offer] | None = None
        self._data: dict[str, str] = {}
        self._found: Found | None = None
        self._device: Device | None = None

    def plan(
        self, workloads: Iterable[Workload], loaded: Iterable[Workload] = (), *, others: bool
    ) -> None:
        """Note the cells to come, to be measured or only ``loaded``, by tests that gate nothing.

        ``others``: some tests may measure any model of the server.
        """
        self.planned = list(workloads)
        self.loaded = list(loaded)
        self.by_hand = others
        if any(one.alone for one in self.planned):
            from pytest_gaitperf.measure.starts import Starts  # noqa: PLC0415

            self.models_alone = Starts(self.planned, self.settings, self._offers or {})

    @property
    def offers(self) -> Mapping[str, Offer]:
        """The models of the running server, else of the repository: no server is started for it.

        Raises ConfigurationError or ServerError when there are none to be found.
        """
        if self._offers is None:
            if self._attaches:
                index = self.server.index()
                self._offers = self.served({entry.name for entry in index})
            else:
                from pytest_gaitperf.triton.models import repository_models  # noqa: PLC0415

                self._offers = repository_models(self.settings.triton_repository)
        if not self._offers and self._attaches:
            raise ConfigurationError(
                f"Triton at {self.server.url} has no model: load one there (with "
                "--model-control-mode=explicit it loads none by itself), or give it a repository"
            )
        if not self._offers:
            raise ConfigurationError(
                f"model repository {self.settings.triton_repository} is empty: build the models "
                "with 'gaitperf models build', or name another with --triton-repository"
            )
        return self._offers

    def served(self, names: Iterable[str]) -> dict[str, Offer]:
        """Return what the running server says of these models; it is started where it is not.

        A model that it does not know is not among them.
        """
        server = self.server
        unavailable = server.unavailable()
        found: dict[str, Offer] = {**unavailable, **server.failed_models}
        for name in server.models():
            if name in names and name not in unavailable:
                try:
                    found[name] = server.model(name)
                except ServerError as error:  # of this model; the server's end is another's to say
                    found[name] = str(error)
        return {name: offer for name, offer in found.items() if name in names}

    def data_of(self, model: str) -> str:
        """Return what the run's data is of a model, as ``Workload.data`` has it; read once.

        Raises ConfigurationError for a file that is not there, or cannot be read.
        """
        from pytest_gaitperf.load.datafile import identity  # noqa: PLC0415 - only when measuring

        if model not in self._data:
            self._data[model] = identity(self.settings.data, model)
        return self._data[model]

    @property
    def recorded(self) -> dict[str, frozenset[str]]:
        """The keys of the recorded cells by model, none in pairs or where a file is damaged."""
        found: dict[str, frozenset[str]] = {}
        if self.settings.against is None:
            try:
                for cell in self.store.cells():
                    found[cell.model] = found.get(cell.model, frozenset()) | {cell.key}
            except BaselineError:  # said before measuring, in place of every cell
                return {}
        return found

    @property
    def _attaches(self) -> bool:
        """Whether a server is taken that already runs: always at a URL that was given."""
        from pytest_gaitperf.triton.api import Api  # noqa: PLC0415 - only when measuring
        from pytest_gaitperf.triton.server import find  # noqa: PLC0415

        settings = self.settings
        if settings.triton != "auto" or settings.triton_url is not None:
            return settings.triton in ("auto", "attach")
        if self._found is None:  # one that comes up later is not taken
            self._found = find("auto", None, settings.way)
        return isinstance(self._found[0], Api)

    def take_device(self) -> None:
        """Keep other runs from measuring the device, until ``close``; raises as ``take``."""
        if self.settings.lock != "off":
            from pytest_gaitperf.engine.device import Device  # noqa: PLC0415 - only when measuring

            if self._device is None:
                url = self.settings.triton_url if self._attaches else None
                self._device = Device(self.settings, self.progress, url, here=not self._attaches)
            self._device.take()

    @property
    def server(self) -> TritonServer:
        """The running server, started on first use. Raises ServerError, later in one line."""
        if self._server_error is not None:
            raise self._server_error
        if self._server is None:
            try:
                self._server = self._open_server()
            except GaitperfError as error:
                self._server_error = ServerError(f"there is no server: {first_line(error)}")
                raise
        return self._server

    def _open_server(self) -> TritonServer:
        from pytest_gaitperf.triton.launch import ServerOptions  # noqa: PLC0415
        from pytest_gaitperf.triton.models import SUFFIX  # noqa: PLC0415
        from pytest_gaitperf.triton.server import open_server  # noqa: PLC0415

        settings = self.settings
        models: tuple[str, ...] = () if self.by_hand else models_of((*self.planned, *self.loaded))
        repository, mounts = settings.triton_repository, tuple[Path, ...]()
        attaches = self._attaches
        if not attaches:
            # One that only the baselines know is not there to be loaded.
            models = tuple(one for one in models if one in self.offers) or models
            wanted = (*models, *sorted(self.also)) if models else models
            say = self.progress.say
            self._prepare(repository=repository, models=wanted, say=say, update=True)
        if isinstance(settings.against, Path):
            beside = self._beside = self._beside or self._side_by_side(settings.against, models)
            repository, mounts = beside.directory, beside.origins
            models += tuple(name + SUFFIX for name in models if name in beside.references)
        if not attaches:
            self.progress.live("starting Triton")
        began_s = time.monotonic()
        server = open_server(
            ServerOptions(
                mode=settings.triton,
                url=settings.triton_url,
                grpc_port=settings.triton_grpc_port,
                way=settings.way,
                repository=repository,
                image=settings.triton_image,
                timeout_s=settings.triton_timeout or _START_S,
                wait_s=settings.triton_timeout or 0.0,
                log_directory=self._log_directory,
                models=models,
                load=settings.triton_load,
                mounts=mounts,
                controlled=settings.against is not None,
                load_model=None if self.models_alone is None else self.models_alone.load,
            ),
            self._found,
        )
        if not attaches:
            self.start_s = _RENEWAL_S + time.monotonic() - began_s
        self.progress.say(f"Triton {server.version} at {server.url} ({server.mode})")
        for note in server.notes:
            self.progress.say(f"note: {note}")
        return server

    def _side_by_side(self, reference: Path, models: tuple[str, ...]) -> SideBySide:
        """Put the models of another repository beside ours, for the server that is started."""
        from pytest_gaitperf.triton.models import SideBySide  # noqa: PLC0415
        from pytest_gaitperf.way import DEFAULT_URL  # noqa: PLC0415

        if self._attaches:
            raise ConfigurationError(
                f"--gaitperf-against={reference}: the server that already runs at "
                f"{self.settings.triton_url or DEFAULT_URL} cannot be given other models: let one "
                "be started with --triton=local or --triton=docker, or load both there as versions "
                "of one model and name the older, e.g. --gaitperf-against=1"
            )
        self._prepare(repository=reference, models=models, say=self.progress.say, update=False)
        return SideBySide(self.settings.triton_repository, reference)

    @property
    def metering(self) -> Metering:
        """The power meter, or why there is none. Raises MeterError for a named one that fails."""
        if self._metering is None:
            from pytest_gaitperf.power.metering import Metering  # noqa: PLC0415

            choice = self._open_meter()
            absent = "no power meter: " + "; ".join(choice.tried)
            asked = self.settings.tolerance
            tolerance = asked.get("energy_per_inference", asked.get(ANY, 0.05))
            self._metering = Metering(
                choice.meter, absent, self.settings.power_trace, tolerance, sick=choice.sick
            )
            self.progress.metering = self._metering
            if choice.meter is not None:
                self.progress.say(f"power meter: {choice.meter.description}")
                self.progress.live("measuring the idle power")
                self._metering.measure_idle()
        return self._metering

    def _open_meter(self) -> MeterChoice:
        from pytest_gaitperf.power.calibration import read_calibration  # noqa: PLC0415
        from pytest_gaitperf.power.meter import open_meter  # noqa: PLC0415

        calibration = read_calibration(self.settings.baselines / self.profile_id)
        power, rails = self.settings.power, self.settings.power_rails
        pid = self.server.server_pid if power.startswith("estimate") else None
        return open_meter(power, rails=rails, server_pid=pid, calibration=calibration)

    @property
    def profile(self) -> Profile:
        """The identity of this kind of device."""
        if self._profile is None:
            from pytest_gaitperf.host.identity import identify  # noqa: PLC0415

            self._profile = identify()
        return self._profile

    @property
    def profile_id(self) -> str:
        """The folder of the baselines that count here."""
        return self.settings.profile or self.profile.id

    @property
    def baselines_shown(self) -> Path:
        """The directory of this profile's baselines, as messages name it."""
        return self.baselines_named / self.profile_id

    @property
    def store(self) -> BaselineStore:
        """The baselines of this profile, validated. Raises BaselineError for a damaged one."""
        if self._store is None:
            from pytest_gaitperf.baseline.store import BaselineStore  # noqa: PLC0415

            store = BaselineStore(self.settings.baselines, self.profile_id, self.profile.fields)
            store.check(update=self.settings.update != "none")
            self._store = store
        return self._store

    @property
    def renews(self) -> bool:
        """Whether the processes can begin a new life; not ours: where models can be unloaded."""
        if self._renews is None:
            attached, several = self.server.mode == "attach", self.settings.lives > 1
            self._renews = not attached or (several and self.server.api.controls_models())
        return self._renews

    def restart_server(self) -> None:
        """Begin a new life, that what is measured next owes nothing to what was before.

        Nothing happens without ``renews``. ServerError where it, or a model, does not come back.
        """
        if self._server is None or not self.renews:
            return
        self.starts += 1
        began_s = time.monotonic()
        try:
            if self._server.mode == "attach":
                self.progress.live("unloading the models and loading them again")
                load = None if self.models_alone is None else self.models_alone.load
                served = self._server.models()  # what is not cannot begin anew, and stays so
                self._server.reload([one for one in models_of(self.planned) if one in served], load)
            else:
                self.progress.live("starting Triton anew")
                self._server.restart()
        except GaitperfError as error:
            self._server_error = ServerError(f"the server did not start again: {first_line(error)}")
            raise
        self.start_s = time.monotonic() - began_s
        metering = self._metering
        if metering is not None and metering.meter is not None and metering.meter.estimated:
            metering.meter.close()
            metering.meter = self._open_meter().meter  # the process whose CPU time counts is new

    def lose_server(self, why: str) -> None:
        """Note why the server is gone; ours begins anew for the other cells, a few times."""
        ours = self._server is not None and self._server.mode != "attach"
        if not ours or self._lost == _MOST_LOST:
            self._server_error = ServerError(why)
            return
        self._lost += 1
        with suppress(GaitperfError):  # which says itself that it did not start
            self.restart_server()
            self.progress.say(f"{why}; it was started anew")

    def close(self) -> None:
        """Stop what was started."""
        if self._metering is not None and self._metering.meter is not None:
            self._metering.meter.close()
        if self._server is not None:
            self._server.close()
        if self._beside is not None:
            self._beside.close()
        self.journal.close()
        if self._device is not None:
            self._device.release()

    @property
    def references(self) -> frozenset[str]:
        """The models that have a counterpart in the directory of ``--gaitperf-against``."""
        return self._beside.references if self._beside is not None else frozenset()

    @property
    def gone(self) -> tuple[str, ...]:
        """The models that only the directory of ``--gaitperf-against`` has."""
        return self._beside.gone if self._beside is not None else ()

    @property
    def opened_server(self) -> TritonServer | None:
        """The server if one was opened."""
        return self._server

    @property
    def opened_metering(self) -> Metering | None:
        """The meter, if one was looked for."""
        return self._metering
