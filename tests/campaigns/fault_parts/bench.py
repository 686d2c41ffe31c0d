"""What the faults are injected into: real Triton servers, and a baseline recorded on one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.launch import Launch, Local, ServerOptions
from pytest_gaitperf.triton.process import ServerProcess, free_ports
from pytest_gaitperf.triton.server import open_server
from tests.triton.docker_engine import Engine
from tests.triton.models import write_model

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[3]
BUSY, IDLE = 3, 3
"""So many runs at a time, and so many more of those that only wait for a silent server."""

QUICKLY = (
    *("-p", "no:hypothesispytest", "--gaitperf-budget=1.5", "--gaitperf-profile=here"),
    *("--gaitperf-precision=10%", "--gaitperf-tolerance=50%", "--gaitperf-lock=off"),
    *("--gaitperf-must-hear=9000%", "--gaitperf-disturbed=off"),
)
"""Short cells, a tolerance beyond what a shared machine does by itself, several runs at once."""

FLAKY = {"hurt1": 100, "hurt10": 10, "hurt100": 1}


class Triton:
    """A Triton of somebody else's: the run under test attaches to it, and does not own it."""

    def __init__(self, repository: Path, *flags: str) -> None:
        self.ports = free_ports()
        self.api = Api("127.0.0.1", self.ports.http)
        self._repository, self._flags = repository, flags
        self._started: list[ServerProcess] = []
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._started:
            process.close()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._started[-1].pid

    def start(self) -> None:
        """Start it on its ports, again too, and wait until it is ready."""
        installation = Local.find()
        if installation is None:
            sys.exit("there is no Triton here: pip install 'pytest-gaitperf[local]'")
        directory = Path(tempfile.mkdtemp(prefix="gaitperf-triton-"))
        options = ServerOptions(mode="local", repository=self._repository)
        launch = installation.launch(options, self.ports, directory)
        command = (*launch.command, *self._flags)
        launch = Launch(command, launch.environment, launch.region_prefix)
        process = ServerProcess(launch, directory / "tritonserver.log", directory)
        self._started.append(process)
        deadline = time.monotonic() + 60
        while not self.api.ready():
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"a Triton to spoil did not start:\n{process.log_tail()}")
            time.sleep(0.05)


class Bench:
    """The directory of the campaign, the server that most runs share, and a recorded baseline.

    Each of the runs at a time has models of its own on that server, so that they do not take each
    other for strangers.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lock = Lock()
        self._engine: Engine | None = None
        try:
            name = self._stack.enter_context(TemporaryDirectory(prefix="gaitperf-faults-"))
            self.directory = Path(name)
            self.repository = self.directory / "shared"
            self._write_models()
            models = tuple(sorted(path.name for path in self.repository.iterdir()))
            options = ServerOptions(mode="local", repository=self.repository, models=models)
            self.server = self._stack.enter_context(open_server(options))
            self.baselines = self._record()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and remove everything."""
        self._stack.close()

    @property
    def engine(self) -> Engine:
        """Docker's engine, started for the first that asks; EngineError where none can be had."""
        with self._lock:
            if self._engine is None:
                directory = self.directory / "docker"
                directory.mkdir()
                engine = Engine(directory)
                engine.start()
                self._stack.callback(engine.stop)
                engine.make_image()
                self._engine = engine
        return self._engine

    def load(self, model: str, *, unload: bool = False) -> None:
        """Load a model of the shared server, or unload it."""
        word = "unload" if unload else "load"
        with suppress(ServerError):
            self.server.api.json("POST", f"/v2/repository/models/{model}/{word}", "{}")

    def _write_models(self) -> None:
        for slot in range(BUSY + IDLE):
            write_model(self.repository, f"calm_{slot}", sleep_s=0.02)
            write_model(self.repository, f"hurt_{slot}", sleep_s=0.02)
        for slot in range(BUSY):
            for name, each in FLAKY.items():
                sleep_s = 0.005 if each == 100 else 0.01
                write_model(self.repository, f"{name}_{slot}", sleep_s=sleep_s, fail_every=each)

    def _record(self) -> Path:
        """Record what the gate compares with where a fault only makes a cell slow."""
        directory = self.directory / "recorded"
        directory.mkdir()
        (directory / "grid.toml").write_text("batch_sizes = [1]\nconcurrencies = [1]\n")
        command = (
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICKLY),
            *(str(ROOT / "suites" / "test_grid.py"), f"--rootdir={directory}", "--power=none"),
            *("--triton=attach", f"--triton-url={self.server.url}", "--gaitperf-grid=grid.toml"),
            *(f"--gaitperf-models=calm_[01],hurt_[0-{BUSY - 1}]", "--gaitperf-update=missing"),
            "--gaitperf-budget=4",
        )
        for _ in range(3):  # the machine may be too busy at first
            done = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, timeout=300, check=False
            )
            if not done.returncode:
                break
        else:
            sys.exit(f"the run to compare with failed:\n{done.stdout}{done.stderr}")
        return directory / "baselines" / "here"
