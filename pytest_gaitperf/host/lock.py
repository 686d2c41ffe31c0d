"""One measurement on a device at a time: a lock that ends with its holder, however that ends.

The kernel's lock on a file is what counts, so a killed run leaves nothing that blocks the next. A
second file beside it says who holds it; that one is for reading only.
"""

from __future__ import annotations

import getpass
import ipaddress
import json
import os
import re
import shlex
import socket
import stat
import sys
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.errors import ConfigurationError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filelock import BaseFileLock

DIRECTORY = "GAITPERF_LOCK_DIR"
"""The environment variable that names another directory, e.g. one that two containers share."""

WAIT_S = 1800.0
"""How long a run waits for another one's end."""

THIS_DEVICE = "this-device"

_SHARED = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - the same place for every user is meant
_EVERYBODY = 0o666
_POLL_S = 0.1
_TELL_EVERY_S = 1.0
_MOST_BYTES = 4096
_MOST_SHOWN = 200
_ADVICE = (
    "wait for its end, or stop it; --gaitperf-lock=off measures all the same, and gets numbers "
    "that both runs share"
)


class Holder(NamedTuple):
    """Who holds a device, as that process said itself."""

    pid: int
    user: str
    since: str
    directory: str
    command: str

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user}, since {self.since}, in {self.directory}: "
            f"{self.command}"
        )


def device_at(host: str) -> str:
    """Return the name of the device behind a server's host: this one, or the host's own name.

    Every address of this machine is this device, and so is a name that cannot be resolved here.
    """
    try:
        found = {item[4][0] for item in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)}
    except OSError:
        return THIS_DEVICE
    if any(_is_here(str(address)) for address in found):
        return THIS_DEVICE
    return re.sub(r"[^a-z0-9.-]+", "-", host.lower())


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's: the kernel binds to no others."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            return True
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def held(
    device: str = THIS_DEVICE,
    *,
    command: str = "",
    wait_s: float = WAIT_S,
    waiting: Callable[[str], None] = lambda _holder: None,
) -> Iterator[None]:
    """Hold a device for the block; for ``wait_s`` seconds wait for who holds it before.

    ``waiting`` is called about once a second with who that is. ``command`` is what others are told
    that this process does, by default its command line. No child inherits the lock across an exec.

    Raises
    ------
    MeasurementError
        The device is still being measured by another run, which is named.
    ConfigurationError
        There is no place for the lock, or something else stands in it.
    """
    from filelock import FileLock  # noqa: PLC0415 - only when measuring

    path = _directory() / f"gaitperf-{device}.lock"
    note = path.with_suffix(".holder")
    lock = FileLock(path, mode=_EVERYBODY)
    deadline = time.monotonic() + wait_s
    told_s = 0.0
    while not _taken(lock):
        now_s = time.monotonic()
        if now_s >= deadline:
            raise _busy(device, _holder(note), wait_s)
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            waiting(_holder(note))
        time.sleep(_POLL_S)
    try:
        with suppress(OSError):  # who waits is then told less
            _write_note(note, _myself(command))
        yield
    finally:
        with suppress(OSError):
            _write_note(note, b"")
        lock.release()


def _taken(lock: BaseFileLock) -> bool:
    """Take the lock if it is free; ConfigurationError where there can be none."""
    from filelock import Timeout  # noqa: PLC0415 - only when measuring

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"{lock.lock_file}: the lock of this device cannot be taken ({why}): remove what "
            f"stands there, name another directory in {DIRECTORY}, or give --gaitperf-lock=off"
        ) from None
    return True


def _directory() -> Path:
    """Return the directory that all users of this machine would choose."""
    named = os.environ.get(DIRECTORY)
    if named:
        return Path(named)
    for directory in _SHARED:
        with suppress(OSError):
            found = directory.stat()
            # What everybody may write to and only owners may delete from; what one user may write
            # to would be another place for each.
            if stat.S_ISDIR(found.st_mode) and found.st_mode & 0o1002 == 0o1002:
                return directory
    raise ConfigurationError(
        f"none of {', '.join(map(str, _SHARED))} can hold the lock of this device (a directory "
        f"that everybody may write to, with the sticky bit): name one in {DIRECTORY}, or give "
        "--gaitperf-lock=off"
    )


def _busy(device: str, holder: str, waited_s: float) -> MeasurementError:
    what = "this device is" if device == THIS_DEVICE else f"the device {device} is"
    waited = f" for {waited_s:.0f} s" if waited_s else ""
    return MeasurementError(f"{what} being measured by {holder}{waited}: {_ADVICE}")


def _myself(command: str) -> bytes:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    command = (command or shlex.join(sys.orig_argv))[:_MOST_SHOWN]
    holder = Holder(os.getpid(), user, since, str(Path.cwd())[:_MOST_SHOWN], command)
    return json.dumps(holder._asdict()).encode()


def _write_note(path: Path, content: bytes) -> None:
    """Replace the note's content; never through a link, nor in a file that has a second name."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, _EVERYBODY)
        os.fchmod(file, _EVERYBODY)  # the umask must not keep out the next user
    try:
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)
    finally:
        os.close(file)


def _holder(note: Path) -> str:
    """Return who holds the lock, in words; anybody may have written the note."""
    try:
        file = os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            said = json.loads(os.read(file, _MOST_BYTES))
        finally:
            os.close(file)
        holder = Holder(int(said["pid"]), *(_shown(said[name]) for name in Holder._fields[1:]))
    except (OSError, ValueError, KeyError, TypeError):
        return "a run that does not say whose it is"
    return str(holder)


def _shown(said: object) -> str:
    return "".join(one if one.isprintable() else "?" for one in str(said)[:_MOST_SHOWN])
