"""Docker's real engine for tests, from Debian's ``docker.io``, and an image made from the wheel.

Nothing is fetched: the image holds what the Triton of the wheel needs of this machine, which are
its libraries, a shell, this Python and NumPy, where NVIDIA's image has them or at the same paths.
The engine has its own socket and directories, no bridge and no firewall rules, so that one that
runs here already is not touched. ``nvidia`` is runc by another name, as there is no GPU.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.triton.launch import Local

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "gaitperf/triton:wheel"
_STARTS_S = 30.0
_SHELL = ("bash", "sh", "env", "sleep")
_TRITON = "/opt/tritonserver"
_LIBRARIES = "/opt/libraries"
_UNUSED = re.compile(r"/(site-packages|dist-packages|__pycache__|test|tests|idlelib|config-[^/]*)$")


class EngineError(Exception):
    """No engine can be had here."""


class Engine:
    """A ``dockerd`` of our own; ``environment`` makes the client use it.

    EngineError where none can be had.
    """

    def __init__(self, directory: Path) -> None:
        """Name where everything of it lies; the path of its socket has to be short."""
        self._directory = directory
        self._client = _program("docker")
        self.environment = {
            "DOCKER_HOST": f"unix://{directory}/sock",
            "DOCKER_CONFIG": str(directory),
        }
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self, *, nvidia: bool = True) -> None:
        """Start it and wait until it answers; EngineError with its log's end, where it does not.

        ``nvidia``: it has that runtime.
        """
        if os.geteuid() != 0 or Local.find() is None:
            raise EngineError("it takes root, and a Triton to make an image from")
        where = self._directory
        with (where / "log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [
                    *(_program("dockerd"), "--bridge=none"),
                    *("--iptables=false", "--ip6tables=false"),
                    *(f"--data-root={where}/data", f"--exec-root={where}/exec"),
                    *(f"--host=unix://{where}/sock", f"--pidfile={where}/pid"),
                    *([f"--add-runtime=nvidia={_program('runc')}"] * nvidia),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _STARTS_S
        while self.docker("info", check=False).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EngineError("dockerd: " + (where / "log").read_text()[-1000:])
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it: SIGTERM ends its containers first, SIGKILL leaves them."""
        if self._daemon is not None:
            self.go_on()
            self._daemon.send_signal(number)
            self._daemon.wait(60)
            # A containerd that went with its daemon, and that nobody waits for, looks alive.
            (self._directory / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        if number == signal.SIGTERM:
            for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
                if (place := line.split()[1]).startswith(f"{self._directory}/"):
                    subprocess.run([_program("umount"), place], check=True)

    def stand_still(self) -> None:
        """Stop it, so that it says nothing and goes on later."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run its client."""
        return subprocess.run(
            [self._client, *words],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=60,
        )

    def containers(self) -> list[str]:
        """Return the names of all containers, running or not."""
        return self.docker("ps", "--all", "--format", "{{.Names}}").stdout.split()

    def make_image(self) -> None:
        """Make IMAGE."""
        settings = {
            "PATH": f"{_TRITON}/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": f"{_LIBRARIES}:{sysconfig.get_config_var('LIBDIR')}",
            "PYTHONHOME": sys.base_prefix,
        }
        changes = (f"--change=ENV {name}={value}" for name, value in settings.items())
        importing = subprocess.Popen(
            [self._client, "import", *changes, "-", IMAGE],
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        with importing, tarfile.open(fileobj=importing.stdin, mode="w|", dereference=True) as image:
            image.addfile(_temporary())
            for source, name in dict.fromkeys(_contents()):
                image.add(source, name, filter=_used)
        if importing.returncode:
            raise EngineError("docker import failed")


def _program(name: str) -> str:
    if (found := shutil.which(name)) is None:
        raise EngineError(f"no {name} on PATH (Debian's docker.io has what an engine is)")
    return found


def _used(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _UNUSED.search(member.name) else member


def _temporary() -> tarfile.TarInfo:
    folder = tarfile.TarInfo("tmp")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
    return folder


def _contents() -> Iterator[tuple[Path, str]]:
    """Yield what goes into the image, and where."""
    installed = Local.find()
    assert installed is not None
    assert installed.wheel is not None
    wheel = installed.wheel
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / f"tritonserver/python_backend_stubs/{python}/triton_python_backend_stub"
    backend = f"{_TRITON}/backends/python"
    libraries = wheel.parent / "nvidia_pytriton.libs"
    shell = [Path(_program(name)) for name in _SHELL]
    yield installed.binary, f"{_TRITON}/bin/tritonserver"
    yield wheel / "tritonserver/backends/python", backend
    yield stub, f"{backend}/{stub.name}"
    yield libraries, _LIBRARIES
    for program in shell:
        yield program, f"/usr/bin/{program.name}"
    yield Path("/bin/sh"), "/bin/sh"
    standard = Path(sysconfig.get_path("stdlib"))
    yield standard, str(standard)
    numpy = Path(np.__file__).parent
    # The stub looks here only, where there is no virtual environment.
    yield numpy, f"{standard}/numpy"
    if (beside := numpy.with_name("numpy.libs")).is_dir():
        yield beside, f"{standard}/numpy.libs"
    extensions = standard.glob("lib-dynload/*.so")
    yield from _libraries([installed.binary, stub, *shell, *extensions], libraries)


def _libraries(programs: list[Path], own: Path) -> Iterator[tuple[Path, str]]:
    """Yield this machine's libraries that programs are linked with, and the loader."""
    search = f"{sysconfig.get_config_var('LIBDIR')}:{own}"
    listed = subprocess.run(
        [_program("ldd"), *programs],
        env=os.environ | {"LD_LIBRARY_PATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", listed.stdout, re.MULTILINE):
        if own.name not in path:  # those of the wheel are there
            yield Path(path), path
