"""What is run to have a server: a tritonserver on this machine, or one in a container.

On this machine it is the one on PATH, or the one inside nvidia-pytriton's wheel. A container gets
the command line that the field uses on a Jetson.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.way import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    LoadModel = Callable[[Any, str, float], None]

Mode = Literal["auto", "attach", "local", "docker"]

GRACE_S = 8.0
"""How long a server may take to end after it was asked to; then it is killed."""

_WITH_STDIN = """\
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
trap 'kill $server' TERM INT HUP
{ while read -r _; do :; done; kill $server; sleep %d; kill -9 $server; } <&3 >&2 &
exec 3<&-
while :; do
    wait $server
    status=$?
    kill -0 $server 2>&- || exit $status
done
"""
"""A container's first process: it ends the server when its stdin closes, as at SIGTERM.

That is when nobody is left who holds the other end: whoever runs the client keeps it open.
"""

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_START = "start it with 'sudo systemctl start docker'"
_FETCH = "fetch the image with 'docker pull {image}', or name another with --triton-image"
_TOOLKIT = "install the NVIDIA container toolkit and restart docker"
_REMEDIES = (
    ("permission denied", "add yourself to the group 'docker' and log in again, or use sudo"),
    ("cannot connect to the docker daemon", _START),
    ("is the docker daemon running", _START),
    ("no such image", _FETCH),
    ("unable to find image", _FETCH),
    ("unknown or invalid runtime", _TOOLKIT),
    ("unknown runtime specified", _TOOLKIT),  # Docker 20
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to come by a Triton server.

    ``url`` is ``host:port`` of a running server's HTTP endpoint, ``grpc_port`` its other port
    (None: the HTTP port + 1). Without a ``url``, one at 127.0.0.1:8000 is taken if it is a Triton.
    ``way`` is what it asks for beside that. ``timeout_s`` is how long a started server may take to
    get ready, ``wait_s`` how long the one at the ``url`` is waited for. ``log_directory`` keeps
    ``tritonserver.log``; None keeps it in a private folder that is removed on close. ``models`` are
    loaded and no others; empty loads all. ``load`` are patterns of those that a running server is
    to load, and to unload in the end. ``mounts`` are what links in the repository point into. A
    started server loads by ``load_model``, ``controlled``: lets models be loaded again.
    """

    mode: Mode = "auto"
    url: str | None = None
    grpc_port: int | None = None
    way: Way = PLAIN
    repository: Path = Path("model_repository")
    image: str = "nvcr.io/nvidia/tritonserver:24.01-py3-igpu"
    timeout_s: float = 120.0
    wait_s: float = 0.0
    log_directory: Path | None = None
    models: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    mounts: tuple[Path, ...] = ()
    controlled: bool = False
    load_model: LoadModel | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one server, on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run; the names of the stubs' regions begin with ``region_prefix``.

    ``stop`` and ``kill`` are commands that end the server where a signal to the child is not
    enough.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    region_prefix: str = ""
    stop: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Local:
    """A server on this machine; ``wheel`` is the folder of ``pytriton`` it came in, if any."""

    mode: ClassVar[Literal["local", "docker"]] = "local"
    binary: Path
    wheel: Path | None = None

    @staticmethod
    def find() -> Local | None:
        """Find a server on PATH, else in the wheel (which is located, never imported)."""
        if (on_path := shutil.which("tritonserver")) is not None:
            return Local(Path(on_path))
        spec = importlib.util.find_spec("pytriton")
        for location in (spec and spec.submodule_search_locations) or ():
            binary = Path(location) / "tritonserver" / "bin" / "tritonserver"
            if binary.is_file():
                return Local(binary, Path(location))
        return None

    def launch(self, options: ServerOptions, ports: Ports, directory: Path) -> Launch:
        """Prepare a start from a ``directory`` of its own, whose name is the server's id."""
        binary, backends = self.binary, self._backends
        environment = self.check()
        if self.wheel is not None:
            for path, where in ((directory, "TMPDIR"), (options.repository, "--triton-repository")):
                _check_plain(path.resolve(), where)
            binary, backends = _unpack(self.wheel, binary, directory)
        flags = [
            f"--model-repository={options.repository.resolve()}",
            *_flags(options, ports, directory),
        ]
        if backends.is_dir():
            flags.append(f"--backend-directory={backends}")
        return Launch((str(binary), *flags), environment, _region_prefix(directory))

    def server_pid(self, pid: int, _name: str) -> int | None:
        """Return the server's pid, given the process that was started."""
        return pid

    def check(self) -> dict[str, str]:
        """Return the environment of a start; ServerError where it misses a stub or a library."""
        environment = dict(os.environ)
        if self.wheel is not None:  # whoever put one on PATH made it work
            environment |= _wheel_environment(self.wheel, environment)
            for program in (self.binary, _stub(self.wheel)):
                check_libraries(program, environment)
        return environment

    @property
    def _backends(self) -> Path:
        return self.binary.resolve().parent.parent / "backends"

    def backends(self) -> tuple[str, ...]:
        """Name the backends that come with it; none where their folder is elsewhere."""
        return tuple(sorted(entry.name for entry in self._backends.glob("*") if entry.is_dir()))

    def notes(self) -> tuple[str, ...]:
        """Return what a user should know before trusting what it serves."""
        try:
            numpy = version("numpy")
        except PackageNotFoundError:
            return ()
        if self.wheel is None or numpy.startswith("1."):
            return ()
        note = (
            f"NumPy {numpy}: the Python backend of this Triton was built for NumPy 1, and a "
            "model.py that calls as_numpy() or Tensor(name, array) gets wrong inputs or fails with "
            "'output tensor shape does not match size'; use from_dlpack there, or install numpy<2"
        )
        return (note,)


@dataclass(frozen=True, slots=True)
class Docker:
    """A server in a container, run by the ``executable`` docker."""

    mode: ClassVar[Literal["local", "docker"]] = "docker"
    executable: str

    @staticmethod
    def find() -> Docker | None:
        """Find the executable ``docker`` on PATH."""
        executable = shutil.which("docker")
        return None if executable is None else Docker(executable)

    def launch(self, options: ServerOptions, ports: Ports, directory: Path) -> Launch:
        """Prepare a start: ``docker run`` in the foreground, and the commands that end it.

        Its stdin has to stay open for as long as the server is wanted.
        """
        name = directory.name
        command = (
            *(self.executable, "run", "--interactive", "--rm"),
            # An image of several GB is fetched by the user, not within a time limit.
            "--pull=never",
            *("--runtime", "nvidia", "--net=host"),
            # So that tensors can be shared; the stubs get more than Docker's 64 MB too.
            "--ipc=host",
            *("--name", name),
            *("-v", f"{options.repository.resolve()}:/models:ro"),
            *(word for path in options.mounts for word in ("-v", f"{path}:{path}:ro")),
            options.image,
            *("sh", "-c", _WITH_STDIN % GRACE_S, "sh"),
            *("tritonserver", "--model-repository=/models"),
            *_flags(options, ports, directory),
        )
        return Launch(
            command,
            dict(os.environ),
            _region_prefix(directory),
            stop=(self.executable, "stop", "-t", str(round(GRACE_S) - 2), name),
            kill=(self.executable, "rm", "--force", name),
        )

    def server_pid(self, _pid: int, name: str) -> int | None:
        """Return the pid, on this host, of the container's first process; None when unknown."""
        try:
            answer = subprocess.run(
                [self.executable, "inspect", "--format", "{{.State.Pid}}", name],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
            return int(answer.stdout) or None
        except (OSError, subprocess.SubprocessError, ValueError):
            return None

    def notes(self) -> tuple[str, ...]:
        """Return what a user should know before trusting what it serves: nothing."""
        return ()

    def keep_on(self, name: str, cpus: Iterable[int]) -> bool:
        """Confine the container to these CPUs; return whether the engine did."""
        places = ",".join(map(str, sorted(cpus)))
        try:
            done = subprocess.run(
                [self.executable, "update", f"--cpuset-cpus={places}", name],
                capture_output=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0


def remedy(log: str, image: str) -> str:
    """Return what to do about the engine's message in the log, "" when it is none we know."""
    found = (advice for symptom, advice in _REMEDIES if symptom in log.lower())
    return next(found, "").format(image=image)


def _flags(options: ServerOptions, ports: Ports, directory: Path) -> list[str]:
    """Return the flags that every server we start has, here or in a container."""
    flags = [
        f"--id={directory.name}",
        *(f"--{what}-address=127.0.0.1" for what in ("http", "grpc", "metrics")),
        *(f"--http-port={ports.http}", f"--grpc-port={ports.grpc}"),
        f"--metrics-port={ports.metrics}",
        # One model that fails to load must not take the others with it, nor make the server
        # say for ever that it is not ready.
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--exit-timeout-secs=3",
        f"--backend-config=python,shm-region-prefix-name={_region_prefix(directory)}",
    ]
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        flags.append("--allow-gpu-metrics=false")
    if options.models or options.controlled or options.load_model:
        now = () if options.load_model else options.models or ("*",)
        flags += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in now)]
    return flags


def _region_prefix(directory: Path) -> str:
    """Return what the names of the stubs' regions of a start begin with."""
    return directory.name.replace("-", "_") + "_"


def _stub(wheel: Path) -> Path:
    """Find the program that runs a model.py of this Python."""
    server = wheel / "tritonserver"
    stub = server / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    if not stub.is_file():
        served = sorted(
            (entry.name for entry in (server / "python_backend_stubs").glob("3.*")),
            key=lambda name: int(name.partition(".")[2]),
        )
        raise ServerError(
            f"the Triton in {wheel} has no Python backend for Python {_PYTHON}: run pytest with "
            f"one of {', '.join(served) or 'none'}, or put a tritonserver on PATH"
        )
    return stub


def _unpack(wheel: Path, binary: Path, directory: Path) -> tuple[Path, Path]:
    """Make the private copy of the Python backend, with the stub of this Python beside it."""
    server, stub = wheel / "tritonserver", _stub(wheel)
    backends = directory / "backends"
    try:
        if not backends.is_dir():
            shutil.copytree(server / "backends" / "python", backends / "python")
            _copy_program(stub, backends / "python")
        if not os.access(binary, os.X_OK):  # a wheel that was unzipped, not installed
            binary = _copy_program(binary, directory)
    except OSError as error:
        raise ServerError(
            f"Triton's Python backend cannot be copied to {directory} ({error.strerror}): free "
            "some space there, or set TMPDIR to another place"
        ) from error
    return binary, backends


def _check_plain(path: Path, where: str) -> None:
    """Refuse what the Python backend gives to a shell as it is, and then finds no file."""
    if found := re.search(r"[^\w@%+=:,./-]", str(path)):
        raise ServerError(
            f"Triton's Python backend cannot start with {found[0]!r} in the path {path}: name "
            f"another place with {where}"
        )


def _copy_program(program: Path, folder: Path) -> Path:
    copy = folder / program.name
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    return copy


def _wheel_environment(wheel: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let the server find its libraries, and the stubs this Python."""
    libraries = [
        str(sysconfig.get_config_var("LIBDIR") or ""),
        str(Path(sys.base_prefix) / "lib"),
        str(wheel.parent / "nvidia_pytriton.libs"),
    ]
    packages = [entry for entry in sys.path if Path(entry).name.endswith("-packages")]

    def joined(name: str, before: list[str], after: list[str]) -> str:
        entries = [*before, *environment.get(name, "").split(os.pathsep), *after]
        return os.pathsep.join(dict.fromkeys(entry for entry in entries if entry))

    return {
        "LD_LIBRARY_PATH": joined("LD_LIBRARY_PATH", libraries, []),
        "PYTHONPATH": joined("PYTHONPATH", [], packages),
        # An embedded Python finds its standard library by the first python3 on PATH.
        "PATH": joined("PATH", [str(Path(sys.executable).parent)], []),
    }


def check_libraries(program: Path, environment: Mapping[str, str]) -> None:
    """Raise ServerError, with the command to install it, when a shared library is missing."""
    try:
        answer = subprocess.run(
            ["ldd", str(program)],  # noqa: S607  glibc's own, wherever it is
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**environment, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return  # without ldd the server itself will say what it misses
    missing = [
        line.strip() for line in (answer.stdout + answer.stderr).splitlines() if "not found" in line
    ]
    if any(f"libpython{_PYTHON}" in line for line in missing):
        raise ServerError(
            f"Triton's Python backend needs libpython{_PYTHON}.so.1.0, and the Python at "
            f"{sys.executable} was built without it: install it with 'sudo apt-get install "
            f"libpython{_PYTHON}' (Debian, Ubuntu), or use a Python that has it (uv's, conda's, "
            "pyenv's with --enable-shared)"
        )
    if missing:
        raise ServerError(
            f"{program.name} misses shared libraries: {'; '.join(missing)}; install them, or use "
            "--triton=docker or --triton=attach"
        )
