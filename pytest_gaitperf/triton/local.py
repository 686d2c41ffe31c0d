"""A tritonserver on this machine: on PATH, or the one inside nvidia-pytriton's wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton.process import Launch, Ports, PrivateDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.triton.options import ServerOptions

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Installation:
    """A server's binary; ``wheel`` is the folder of the package ``pytriton`` it came in, if any."""

    binary: Path
    wheel: Path | None = None


def find() -> Installation | None:
    """Find a server on PATH, else in the wheel (which is located, never imported)."""
    on_path = shutil.which("tritonserver")
    if on_path is not None:
        return Installation(Path(on_path))
    spec = importlib.util.find_spec("pytriton")
    for location in (spec and spec.submodule_search_locations) or ():
        binary = Path(location) / "tritonserver" / "bin" / "tritonserver"
        if binary.is_file():
            return Installation(binary, Path(location))
    return None


def server_flags(options: ServerOptions, ports: Ports, server_id: str) -> list[str]:
    """Return the flags that every server we start has, here or in a container."""
    flags = [
        f"--id={server_id}",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports.grpc}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        # One model that fails to load must not take the others with it, nor make the server
        # say for ever that it is not ready.
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--exit-timeout-secs=3",
    ]
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        flags.append("--allow-gpu-metrics=false")
    if options.models:
        flags.append("--model-control-mode=explicit")
        flags += [f"--load-model={name}" for name in options.models]
    return flags


def launch(
    installation: Installation, options: ServerOptions, ports: Ports, private: PrivateDirectory
) -> Launch:
    """Prepare a start: the command and its environment, with the libraries checked before."""
    binary, environment = installation.binary, dict(os.environ)
    # The user's repository is not the place for the stubs' bytecode.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    region_prefix = f"gaitperf_{private.token}_"
    flags = [
        f"--model-repository={options.repository.resolve()}",
        *server_flags(options, ports, f"gaitperf-{private.token}"),
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
    ]
    if installation.wheel is not None:
        binary, backends = _unpack(installation.wheel, binary, private.path)
        flags.append(f"--backend-directory={backends}")
        environment |= _wheel_environment(installation.wheel, environment)
        for program in (binary, backends / "python" / "triton_python_backend_stub"):
            check_libraries(program, environment)
    elif (backends := binary.resolve().parent.parent / "backends").is_dir():
        flags.append(f"--backend-directory={backends}")
    return Launch((str(binary), *flags), environment, region_prefix)


def check(installation: Installation) -> None:
    """Raise ServerError where a start would fail for want of a stub or a shared library."""
    if installation.wheel is None:
        return  # whoever put it on PATH made it work
    environment = dict(os.environ)
    environment |= _wheel_environment(installation.wheel, environment)
    for program in (installation.binary, _stub(installation.wheel)):
        check_libraries(program, environment)


def backends(installation: Installation) -> tuple[str, ...]:
    """Name the backends that come with a server; none where their folder is elsewhere."""
    folder = installation.binary.resolve().parent.parent / "backends"
    return tuple(sorted(entry.name for entry in folder.glob("*") if entry.is_dir()))


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
            own_stub = backends / "python" / stub.name
            shutil.copyfile(stub, own_stub)
            own_stub.chmod(0o755)
        if not os.access(binary, os.X_OK):  # a wheel that was unzipped, not installed
            own_binary = directory / binary.name
            shutil.copyfile(binary, own_binary)
            own_binary.chmod(0o755)
            binary = own_binary
    except OSError as error:
        raise ServerError(
            f"Triton's Python backend cannot be copied to {directory} ({error.strerror}): free "
            "some space there, or set TMPDIR to another place"
        ) from error
    return binary, backends


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


def notes(installation: Installation) -> tuple[str, ...]:
    """Return what a user of this installation should know before trusting what it serves."""
    try:
        numpy = version("numpy")
    except PackageNotFoundError:
        return ()
    if installation.wheel is None or int(numpy.partition(".")[0]) < 2:  # noqa: PLR2004
        return ()
    note = (
        f"NumPy {numpy}: the Python backend of this Triton was built for NumPy 1, and a model.py "
        "that calls as_numpy() or Tensor(name, array) gets wrong inputs or fails with 'output "
        "tensor shape does not match size'; use from_dlpack there, or install numpy<2"
    )
    return (note,)


def check_libraries(program: Path, environment: Mapping[str, str]) -> None:
    """Raise ServerError, with the command to install it, when a shared library is missing."""
    try:
        answer = subprocess.run(  # noqa: S603  a fixed command on our own file
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
    if not missing:
        return
    if any(f"libpython{_PYTHON}" in line for line in missing):
        raise ServerError(
            f"Triton's Python backend needs libpython{_PYTHON}.so.1.0, and the Python at "
            f"{sys.executable} was built without it: install it with 'sudo apt-get install "
            f"libpython{_PYTHON}' (Debian, Ubuntu), or use a Python that has it (uv's, conda's, "
            "pyenv's with --enable-shared)"
        )
    raise ServerError(
        f"{program.name} misses shared libraries: {'; '.join(missing)}; install them, or use "
        "--triton=docker or --triton=attach"
    )
