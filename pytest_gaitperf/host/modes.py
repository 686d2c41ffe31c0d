"""The power modes of a Jetson: which there are, setting one, and giving the old one back."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import msgspec

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.files import parse_json, text_at
from pytest_gaitperf.host import nvpmodel
from pytest_gaitperf.host.clocks import restorable
from pytest_gaitperf.host.nvpmodel import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Self

MODE_SET = "GAITPERF_POWER_MODE"
"""The environment variable by which a run knows that its mode has been set for it."""

_QUIET_S = 0.5
_SETTLED_WITHIN_S = 15.0
_CONFIGURATION = "etc/nvpmodel.conf"


class RebootNeededError(MeasurementError):
    """The device would have to be rebooted for a mode; nothing was changed."""


def power_mode(root: Path) -> str | None:
    """Name the power mode of the machine below ``root``, e.g. ``15W``; None where it has none.

    ``var/lib/nvpmodel/status`` holds ``pmode:0002``, ``etc/nvpmodel.conf`` the names. Without the
    former, as in some containers, ``nvpmodel -q`` is asked.
    """
    status = text_at(root / "var/lib/nvpmodel/status")
    number = re.search(r"pmode:\s*(\d{1,9})", status)
    if number:
        names = nvpmodel.modes_in(text_at(root / _CONFIGURATION))
        return names.get(int(number[1]), f"mode{int(number[1])}")
    tool = shutil.which("nvpmodel")
    if root != Path("/") or tool is None:
        return None
    mode = nvpmodel.mode_in(nvpmodel.output([tool, "-q"]))
    return None if mode is None else mode.name


class PowerModes:
    """Sets and asks the power mode with ``nvpmodel``.

    Setting needs root, or ``sudo`` without a password. Raises ConfigurationError where there is no
    ``nvpmodel``, or it names no modes.
    """

    def __init__(self) -> None:
        tool = shutil.which("nvpmodel")
        if tool is None:
            raise ConfigurationError(
                "there is no nvpmodel on PATH: power modes are set on a Jetson only"
            )
        self.query_command = [tool, "-q"]
        self._set = [tool, "-m"] if os.geteuid() == 0 else ["sudo", "-n", tool, "-m"]
        listed = nvpmodel.modes_in(text_at(Path("/", _CONFIGURATION)))
        listed = listed or nvpmodel.modes_in(nvpmodel.output([tool, "-p", "--verbose"]))
        if not listed:
            raise ConfigurationError(
                f"no power modes are named in /{_CONFIGURATION}, nor by 'nvpmodel -p --verbose'"
            )
        self.known = tuple(Mode(*mode) for mode in sorted(listed.items()))

    def set_command(self, mode: int) -> list[str]:
        """Return the command that sets a mode."""
        return [*self._set, str(mode)]

    def chosen(self, wanted: Sequence[str]) -> list[Mode]:
        """Return the modes of these numbers or names, or all of them for ``all``, each once.

        Raises ConfigurationError for one that this device does not have.
        """
        if list(wanted) == ["all"]:
            return list(self.known)
        found: dict[Mode, None] = {}
        for word in wanted:
            named = [one for one in self.known if word.lower() in (str(one.id), one.name.lower())]
            if not named:
                raise ConfigurationError(
                    f"--gaitperf-power-modes: this device has no mode {word!r}; it has "
                    + ", ".join(map(str, self.known))
                )
            found[named[0]] = None
        return list(found)

    def now(self) -> Mode:
        """Return the mode that the device is in. Raises MeasurementError when it does not say."""
        said = nvpmodel.output(self.query_command)
        mode = nvpmodel.mode_in(said)
        if mode is None:
            raise MeasurementError(
                f"'nvpmodel -q' does not tell the power mode: {said.strip()[:200]!r}"
            )
        return mode

    def set(self, mode: Mode) -> None:
        """Set a mode and see that the device is in it and has settled.

        Raises RebootNeededError: it would need a reboot. The question is answered with no;
        ConfigurationError: the right to set modes is missing; MeasurementError: the device did not
        take the mode.
        """
        command = self.set_command(mode.id)
        said = nvpmodel.output(command)
        if "reboot" in said.lower():
            raise RebootNeededError(f"{mode} needs a reboot, which a run never does")
        now = self.now()
        if now.id != mode.id:
            last = (said.strip() or "it said nothing").splitlines()[-1]
            if command[0] == "sudo":
                # Not "-m *": that would allow further arguments, a configuration file among them.
                user, tool = os.environ.get("USER", "USER"), command[2]
                raise ConfigurationError(
                    f"the power mode {mode} cannot be set ({last}): run as root, or allow it in "
                    "sudoers (visudo -f /etc/sudoers.d/nvpmodel):\n"
                    f"  {user} ALL=(root) NOPASSWD: {tool} -m [0-9], {tool} -m [0-9][0-9]"
                )
            raise MeasurementError(f"the device stays in {now} and not in {mode}: {last}")
        settle()


def settle() -> None:
    """Wait until the clocks' limits and the cores that are on have stood still for a moment."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    before, since = list(_limits()), time.monotonic()
    while time.monotonic() < min(since + _QUIET_S, deadline):
        time.sleep(0.1)
        if (now := list(_limits())) != before:
            before, since = now, time.monotonic()


def _limits() -> Iterator[str | None]:
    yield text_at(Path("/sys/devices/system/cpu/online"))
    for pattern in ("devices/system/cpu/cpu*/cpufreq/scaling_max_freq", "class/devfreq/*/max_freq"):
        for path in sorted(Path("/sys").glob(pattern)):
            yield text_at(path)


class Keeper:
    """Gives the device its mode and clocks back when closed, and when this process ends otherwise.

    ``mode`` is None where only clocks are changed, ``clocks`` what their files held. Raises
    ConfigurationError where another run changes the modes of this device, or the note for the next
    run cannot be written.
    """

    def __init__(
        self, modes: PowerModes | None, mode: Mode | None, clocks: Mapping[str, str]
    ) -> None:
        self.restored = False
        self.problem = ""
        note = note_path()
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
        except OSError as error:
            raise ConfigurationError(
                f"{note}, the note of the power mode to restore, cannot be written "
                f"({error.strerror})"
            ) from error
        job: dict[str, object] = {"note": str(note), "clocks": clocks, "set": []}
        job |= {"mode": mode and mode.id, "name": mode.name if mode else ""}
        if modes is not None and mode is not None:
            job |= {"set": modes.set_command(mode.id), "query": modes.query_command}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", nvpmodel.__file__, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        if self._answer() != "keeping":
            self.close()
            raise _busy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _answer(self) -> str:
        return self._stdout.readline().decode(errors="replace").strip()

    def close(self) -> None:
        """Let the mode be restored and wait for it; ``problem`` says why it was not."""
        if self._stdin.closed:
            return
        ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        old = signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # it takes a second
        try:
            with self._stdout:
                self._stdin.close()
                answer = self._answer()
            self.restored = answer == "restored"
            self.problem = "" if self.restored else answer or "the keeper was killed"
            self._process.wait()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)


def note_path() -> Path:
    """Return the file that holds what to restore while the device is being changed."""
    from platformdirs import user_state_path  # noqa: PLC0415 - only where modes are changed

    return user_state_path("gaitperf") / "power-mode.json"


class _Note(msgspec.Struct):
    """What a killed run left behind: the mode before it, and what the clocks' files held."""

    mode: int | None
    name: str
    clocks: dict[str, str] = {}


def restore_leftover() -> str:
    """Restore what a killed run left behind; return a line about it, "" where none was.

    Raises ConfigurationError where a run is changing the modes right now, and where the mode or a
    clock cannot be restored.
    """
    note = note_path()
    try:
        file = note.open("r+b")
    except OSError:
        return ""
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _busy() from None
        try:
            left = msgspec.convert(parse_json(file.read()), _Note)
        except ValueError:
            note.unlink(missing_ok=True)  # killed before it had changed anything
            return ""
        what, by_hand, problem = "", "", ""
        if left.mode is not None:
            mode = Mode(left.mode, left.name)
            what, by_hand = f"power mode {mode}", f"run 'sudo nvpmodel -m {mode.id}'"
            modes = PowerModes()
            if modes.now().id != mode.id:
                problem = nvpmodel.restore(modes.set_command(mode.id), modes.query_command, mode.id)
        if left.clocks and not problem:
            what = " and ".join(filter(None, (what, "clocks")))
            by_hand = "reboot" if left.mode is None else f"{by_hand} or reboot"
            problem = nvpmodel.write_all(restorable(left.clocks))
        if problem:
            raise ConfigurationError(
                f"a run that was killed left this device without its {what}, which cannot be "
                f"restored ({problem.splitlines()[-1]}): {by_hand}, or delete {note} to leave the "
                "device as it is"
            )
        with suppress(OSError):
            note.unlink()
    return f"restored the {what}, which a run that was killed had changed"


def _busy() -> ConfigurationError:
    return ConfigurationError(
        "another run is changing the power modes or clocks of this device: wait for its end"
    )
