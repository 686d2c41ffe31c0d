"""One measurement on a device at a time: a lock that ends with its holder, however that ends.

A ``flock`` on a file that every user of the machine can open. The kernel frees it when its holder
ends, so a killed run leaves nothing that blocks the next. What the file says of its holder only
informs those who wait: anybody may have written it.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import pwd
import re
import shlex
import socket
import stat
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from pytest_gaitperf.errors import ConfigurationError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY = "GAITPERF_LOCK_DIR"
"""The environment variable that names another directory, e.g. one that two containers share."""

WAIT_S = 1800.0
"""How long a run waits for another one's end."""

THIS_DEVICE = "this-device"

_SHARED = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - the same place for every user is meant
_EVERYBODY = 0o666
_STICKY = 0o1002
_POLL_S = 0.1
_TELL_EVERY_S = 1.0
_MOST_BYTES = 4096
_MOST_SHOWN = 200
_ADVICE = (
    "wait for its end, or stop it; --gaitperf-lock=off measures all the same, and gets numbers "
    "that both runs share"
)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a device, as that process said itself."""

    pid: int
    user: str
    since: str
    directory: str
    command: str

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {_shown(self.user)}, since {_shown(self.since)}, in "
            f"{_shown(self.directory)}: {_shown(self.command)}"
        )


def _shown(said: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in said[:_MOST_SHOWN])


def device_at(host: str) -> str:
    """Return the name of the device behind a server's host: this one, or the host's own name.

    Every address of this machine is this device, and so is a name that cannot be resolved here.
    """
    try:
        found = {str(item[4][0]).partition("%")[0] for item in socket.getaddrinfo(host, None)}
    except OSError:
        return THIS_DEVICE
    ours = {
        one.address.partition("%")[0] for card in psutil.net_if_addrs().values() for one in card
    }
    ips = map(ipaddress.ip_address, found)
    if found & ours or any(ip.is_loopback or ip.is_unspecified for ip in ips):
        return THIS_DEVICE
    return re.sub(r"[^a-z0-9.-]+", "-", host.lower())


@contextmanager
def held(
    device: str = THIS_DEVICE,
    *,
    command: str = "",
    wait_s: float = WAIT_S,
    waiting: Callable[[str], None] = lambda _holder: None,
) -> Iterator[None]:
    """Hold a device for the block; wait up to ``wait_s`` seconds while another process holds it.

    ``waiting`` is called about once a second with the holder in words. ``command`` is what others
    read of this process, by default its command line. No child inherits the lock across an exec.

    Raises MeasurementError: the device is still being measured by another run, which is named;
    ConfigurationError: there is no place for the lock, or something else stands in it.
    """
    path = _directory() / f"gaitperf-{device}.lock"
    deadline = time.monotonic() + wait_s
    told_s = 0.0
    while (file := _taken(path)) is None:
        now_s = time.monotonic()
        if now_s >= deadline:
            what = "this device is" if device == THIS_DEVICE else f"the device {device} is"
            waited = f" for {wait_s:.0f} s" if wait_s else ""
            raise MeasurementError(f"{what} being measured by {_holder(path)}{waited}: {_ADVICE}")
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            waiting(_holder(path))
        time.sleep(_POLL_S)
    try:
        with suppress(OSError):  # a file that this user may only read: who waits learns less
            _describe(file, _myself(command))
        yield
    finally:
        with suppress(OSError):
            _describe(file, b"")
        fcntl.flock(file, fcntl.LOCK_UN)  # also where a fork has the file open
        os.close(file)


def _taken(path: Path) -> int | None:
    """Open the file and lock it; None while another process has locked it.

    Raises ConfigurationError where that is impossible.
    """
    try:
        with ExitStack() as stack:
            file = _opened(path)
            stack.callback(os.close, file)
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Where the file was removed or replaced meanwhile, this one guards nothing.
                if os.path.samestat(os.fstat(file), path.lstat()):
                    stack.pop_all()
                    return file
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the lock of this device cannot be taken ({error.strerror or error}): remove "
            f"what stands there, name another directory in {DIRECTORY}, or give --gaitperf-lock=off"
        ) from None
    return None


def _opened(path: Path) -> int:
    """Open the lock's file, for reading only where this user may not write: flock needs no more.

    A symbolic link is refused. An existing file is opened without O_CREAT, which the kernel refuses
    for another user's file in a sticky directory (fs.protected_regular).
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_RDWR)
    except FileNotFoundError:
        with suppress(FileExistsError):
            file = os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, _EVERYBODY)
            os.fchmod(file, _EVERYBODY)  # the umask must not keep out the next user
            return file
        return _opened(path)  # another process was faster
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, flags | os.O_RDONLY)


def _directory() -> Path:
    """Return the directory that all users of this machine choose."""
    named = os.environ.get(DIRECTORY)
    if named:
        return Path(named)
    for directory in _SHARED:
        with suppress(OSError):
            found = directory.stat()
            # Writable for everybody, files deletable by their owners only: the same for all users.
            if stat.S_ISDIR(found.st_mode) and found.st_mode & _STICKY == _STICKY:
                return directory
    raise ConfigurationError(
        f"none of {', '.join(map(str, _SHARED))} can hold the lock of this device (a directory "
        f"that everybody may write to, with the sticky bit): name one in {DIRECTORY}, or give "
        "--gaitperf-lock=off"
    )


def _myself(command: str) -> bytes:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.geteuid())
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = (user, since, str(Path.cwd()), command or shlex.join(sys.orig_argv))
    return msgspec.json.encode(Holder(os.getpid(), *map(_shown, words)))


def _describe(file: int, content: bytes) -> None:
    """Replace what the file says; not where it has a second name: it may be anybody's file."""
    if os.fstat(file).st_nlink == 1:
        os.ftruncate(file, 0)
        os.pwrite(file, content, 0)


def _holder(path: Path) -> str:
    """Return who holds the lock, in words; anybody may have written the file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            said = os.read(file, _MOST_BYTES)
        finally:
            os.close(file)
        return str(msgspec.json.decode(said, type=Holder))
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
        return "a run that does not say whose it is"
