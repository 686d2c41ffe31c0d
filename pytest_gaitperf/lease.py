"""Leases: what a run creates names its owner, so that what has none any more can be swept.

Directories, containers and shared memory are called ``gaitperf-KIND-BOOT-NAMESPACE-PID-START-...``:
the boot and the PID namespace in which the process id means something, the id, and when that
process started, in clock ticks after the boot. The server's Python stubs have such a name among
their arguments. Only what certainly has no owner is swept: it is of an earlier boot, or its process
is gone.

Run as a script with the standard library alone, ``python -I lease.py``, it sweeps what it finds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the kernel's name, not a temporary file

_NAME = re.compile(
    r"gaitperf[-_][a-z]+[-_](?P<boot>[0-9a-f]{8})[-_](?P<namespace>\d+)[-_](?P<pid>\d+)"
    r"[-_](?P<start>\d+)[-_].*"
)
_STUB = b"triton_python_backend_stub"
_DOCKER_S = 10.0


def prefix(kind: str) -> str:
    """Return what the name of something begins with that this process creates."""
    pid = os.getpid()
    return f"gaitperf-{kind}-{_boot()}-{_namespace()}-{pid}-{_start(pid)}-"


def abandoned(name: str, created_s: float | None = None) -> bool:
    """Return whether a name is a lease whose owner is gone.

    One of another boot may be another machine's, whose files are seen here: it counts where
    ``created_s`` (Unix time) lies before this boot.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    if found["boot"] != _boot():
        return created_s is not None and created_s < _booted_s()
    if int(found["namespace"]) != _namespace():
        return False
    pid = int(found["pid"])
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # another user's
    started = _start(pid)
    return started is not None and started != int(found["start"])


def sweep() -> list[str]:
    """Remove this user's abandoned stubs, directories and shared memory; return what went."""
    swept = list(_sweep_stubs())
    for folder in (Path(tempfile.gettempdir()), SHARED_MEMORY):
        for path in folder.glob("gaitperf[-_]*"):
            with suppress(OSError):
                status = path.lstat()
                if status.st_uid != os.geteuid() or not abandoned(path.name, status.st_mtime):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                swept.append(path.name)
    return swept


def _sweep_stubs() -> Iterator[str]:
    """Kill stubs whose run is gone.

    A stub ends when its server does, unless the server was killed while both were at a lock that
    they share: then it waits for ever.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program, *words = (process / "cmdline").read_bytes().split(b"\0")
            if program.rpartition(b"/")[2] != _STUB or not any(
                abandoned(word.decode(errors="replace")) for word in words
            ):
                continue
            os.kill(int(process.name), signal.SIGKILL)
            yield f"process {process.name}"


def sweep_containers(docker: str) -> list[str]:
    """Remove abandoned containers; return their names. Where no engine answers, nothing happens."""
    listed = _run(docker, "ps", "--all", "--filter", "name=gaitperf-", "--format", "{{.Names}}")
    names = list(filter(abandoned, listed.split()))
    for name in names:
        _run(docker, "rm", "--force", name)
    return names


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOCKER_S, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
    except OSError:
        return "00000000"


@lru_cache(maxsize=1)
def _booted_s() -> float:
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start(pid: int) -> int | None:
    """Return field 22 of proc_pid_stat(5), None where it cannot be read."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return None


def main() -> int:
    """Sweep all, and say what went."""
    swept = sweep()
    if (docker := shutil.which("docker")) is not None:
        swept += sweep_containers(docker)
    for name in swept:
        sys.stdout.write(f"removed {name}: the run that made it is gone\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
