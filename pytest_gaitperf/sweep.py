"""One run under several power modes and clocks: pytest runs itself once for each, in turn.

Each setting is a profile of its own, with its server, results and baselines: what a process knows
of the device never has to change under it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_gaitperf.config.option import without
from pytest_gaitperf.config.settings import load_settings, read_accuracy
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, sanitize
from pytest_gaitperf.files import write_output
from pytest_gaitperf.host.clocks import CLOCKS_SET, Clock, ClockNotAllowedError, Clocks
from pytest_gaitperf.host.identity import is_jetson
from pytest_gaitperf.host.modes import (
    MODE_SET,
    Keeper,
    PowerModes,
    RebootNeededError,
    restore_leftover,
    settle,
)
from pytest_gaitperf.host.nvpmodel import Mode, write_all
from pytest_gaitperf.report.frontier import frontier_lines
from pytest_gaitperf.report.joined import joined
from pytest_gaitperf.report.relative import relative_lines
from pytest_gaitperf.results_file import encode, read_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from pytest_gaitperf.config.settings import Settings

FLAGS = ("--gaitperf-power-modes", "--gaitperf-gpu-clocks", "--gaitperf-emc-clocks")
_GRACE_S = 60.0
_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StoppedError(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class DeviceSetting(NamedTuple):
    """What one run of a sweep sets: a power mode, or None to leave it, and clocks that are held."""

    mode: Mode | None
    clocks: tuple[Clock, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, (*filter(None, (self.mode,)), *self.clocks)))

    @property
    def name(self) -> str:
        """A name for files, profiles and models: ``15W-gpu612``."""
        words = (self.mode.name if self.mode else "", self.held)
        return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(filter(None, words)))

    @property
    def held(self) -> str:
        """The clocks: ``gpu612-emc2133``."""
        return "-".join(clock.name for clock in self.clocks)


class SettingRun(NamedTuple):
    """What became of one setting: pytest's exit code, or None and why it did not run."""

    setting: DeviceSetting
    code: int | None
    why: str = ""


def is_child() -> bool:
    """Return whether this process is one of a sweep's runs."""
    return MODE_SET in os.environ


def sweep(config: pytest.Config) -> int:
    """Run this command line once under each setting asked for, restore the device, and say all.

    Returns 1 where a run is red, else 10 where one is unmeasured or a setting that was named could
    not be set, else pytest's own codes. Interrupted: 2, by SIGTERM 143.

    Raises
    ------
    ConfigurationError
        Power modes or clocks cannot be set here, or not by this user; nothing has been measured.
    """
    settings = load_settings(config)
    _refuse(config, settings)
    if left := restore_leftover():
        _say(left)
    device = _Device(settings)
    runs: list[SettingRun] = []
    stopped = 0
    with _signals_raise():
        keeper = Keeper(device.modes, device.before, device.clocks.values())
        try:
            with keeper:
                for setting in device.chosen:
                    runs.append(_under(setting, device, config, settings, len(runs)))
                    if runs[-1].code in (pytest.ExitCode.INTERRUPTED, 4, 5):
                        break
        except _StoppedError as error:
            stopped = 2 if error.number == signal.SIGINT else 128 + error.number
    problem = join(runs, device.chosen, settings)
    _say("=" * 20 + " power modes and clocks " + "=" * 20)
    for run in runs:
        _say(f"{run.setting}: {run.why or f'exit code {run.code}'}")
    for setting in device.chosen[len(runs) :]:
        _say(f"{setting}: not run to its end: the sweep was stopped")
    before = "its clocks" if device.before is None else str(device.before)
    if keeper.restored:
        _say(f"the device is in {before} again" if device.before else "the clocks are restored")
    else:
        by_hand = f"sudo nvpmodel -m {device.before.id}" if device.before else "sudo reboot"
        _say(
            f"ERROR: the device could not be put back into {before}: {keeper.problem}; the next "
            f"run tries again, or run '{by_hand}'"
        )
    code = merged(runs, restored=keeper.restored, all_=_all(settings))
    return stopped or code or (10 if problem else 0)


class _Device:
    """What can be set, what is to be set in turn, and how the device was before.

    Raises ConfigurationError where a mode or a clock that is asked for cannot be set here.
    """

    def __init__(self, settings: Settings) -> None:
        self.modes = PowerModes() if settings.power_modes else None
        self.before = self.modes.now() if self.modes else None
        wanted = {"gpu": settings.gpu_clocks, "emc": settings.emc_clocks}
        wanted = {part: words for part, words in wanted.items() if words}
        self.clocks = Clocks(list(wanted))
        modes = self.modes.chosen(settings.power_modes) if self.modes else [None]
        clocks = [self.clocks.chosen(part, words) for part, words in wanted.items()]
        self.chosen = [DeviceSetting(mode, held) for mode in modes for held in product(*clocks)]

    @contextmanager
    def under(self, setting: DeviceSetting) -> Iterator[None]:
        """Set a mode and its clocks; in the end the clocks are again what the mode makes of them.

        Raises RebootNeededError, ClockNotAllowedError; MeasurementError where the device does not
        take it; ConfigurationError without the right to.
        """
        if self.modes and setting.mode:
            self.modes.set(setting.mode)
        free = self.clocks.values()
        try:
            for clock in setting.clocks:
                self.clocks.fix(clock)
            if setting.clocks:
                settle()
            yield
        finally:
            write_all(free)  # the keeper does so too, and says where it does not succeed


def _all(settings: Settings) -> bool:
    return ("all",) in (settings.power_modes, settings.gpu_clocks)


def join(runs: Sequence[SettingRun], chosen: Sequence[DeviceSetting], settings: Settings) -> bool:
    """Write what was found in all settings to the files that were named, and show the frontier.

    Returns whether something could not be read or written, which is said.
    """
    if settings.json is None:
        _say("--gaitperf-json=FILE puts all modes into one record, with one frontier")
        return False
    names = [run.setting.name for run in runs if not run.why]
    files = {name: _file_of(name, settings.json) for name in names}
    missing = [f"{run.setting}: {run.why}" for run in runs if run.why]
    missing += [f"{setting}: not run to its end" for setting in chosen[len(runs) :]]
    if _all(settings):
        missing = [one for one in missing if ": skipped" not in one]
    there = {name: path for name, path in files.items() if Path(path).exists()}
    missing += [f"{name}: it left no results" for name in files if name not in there]
    try:
        found = {name: read_results(Path(path)) for name, path in there.items()}
        if not found:
            return False
        accuracy = {} if settings.accuracy is None else read_accuracy(settings.accuracy)
        whole = joined(
            found,
            accuracy,
            settings.latency_bound,
            estimates=settings.accept_estimates,
            unjudged=missing,
        )
        _say("=" * 20 + " all power modes " + "=" * 20)
        for line in (*frontier_lines(whole), *relative_lines(whole)):
            _say(sanitize(line))
        write_output(settings.json, encode(whole).encode())
        _say(f"results of all modes written: {settings.json}")
        if settings.report is not None:
            from pytest_gaitperf.report.html.page import page  # noqa: PLC0415 - optional packages

            write_output(settings.report, page([whole]).encode())
            _say(f"report of all modes written: {settings.report}")
    except GaitperfError as error:
        _say(f"problem: {error}")
        return True
    return False


def _refuse(config: pytest.Config, settings: Settings) -> None:
    option = config.option
    if getattr(option, "dist", "no") != "no" or getattr(option, "tx", None):
        raise ConfigurationError(
            f"{_given(settings)} sets this device, and xdist runs tests elsewhere: run the sweep "
            "on each device itself"
        )
    if not settings.profile and not is_jetson(Path("/")):
        raise ConfigurationError(
            f"{_given(settings)}: the profile of this machine, which is no Jetson, does not tell "
            "power modes and clocks apart: name it with --gaitperf-profile"
        )


def _given(settings: Settings) -> str:
    values = (settings.power_modes, settings.gpu_clocks, settings.emc_clocks)
    return next(flag for flag, value in zip(FLAGS, values, strict=True) if value)


def _under(
    setting: DeviceSetting, device: _Device, config: pytest.Config, settings: Settings, done: int
) -> SettingRun:
    """Run pytest in one setting; where the first cannot be set for want of rights, none can."""
    _say(f"{'=' * 20} {'power mode ' if setting.mode else ''}{setting} {'=' * 20}")
    try:
        with device.under(setting):
            return SettingRun(setting, _run(setting, config, settings))
    except (RebootNeededError, ClockNotAllowedError) as error:
        _say(f"skipped: {error}")
        return SettingRun(setting, None, f"skipped: {error}")
    except GaitperfError as error:
        if not done and isinstance(error, ConfigurationError):
            raise
        _say(f"ERROR: {error}")
        return SettingRun(setting, None, f"not measured: {error}")


def _run(setting: DeviceSetting, config: pytest.Config, settings: Settings) -> int:
    """Run pytest as the device is now set; return its exit code."""
    if settings.json is not None:  # an earlier sweep's
        Path(_file_of(setting.name, settings.json)).unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments_for(setting, config, settings)],
        cwd=config.invocation_params.dir,
        env={**os.environ, MODE_SET: setting.name, CLOCKS_SET: setting.held},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C at the terminal reaches it once, through us
        preexec_fn=_ends_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
    )
    try:
        return child.wait()
    except _StoppedError:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_GRACE_S)
        except (subprocess.TimeoutExpired, _StoppedError):
            child.kill()
            child.wait()
        raise


def _ends_with(parent: int) -> Callable[[], None]:
    """Return what a child does before it runs: from then on it ends when its parent does."""
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def arguments_for(setting: DeviceSetting, config: pytest.Config, settings: Settings) -> list[str]:
    """Return the command line for one setting: files, traces and a named profile of its own."""
    name = setting.name
    replaced: dict[str, str] = {}
    if settings.profile:
        replaced["--gaitperf-profile"] = f"{settings.profile}-{name.lower()}"
    if settings.power_trace is not None:
        replaced["--power-trace"] = str(settings.power_trace / name)
    if settings.json is not None:
        replaced["--gaitperf-json"] = _file_of(name, settings.json)
    if settings.report is not None:
        replaced["--gaitperf-report"] = _file_of(name, settings.report)
    if settings.summary is not None:
        replaced["--gaitperf-summary"] = _file_of(name, settings.summary)
    if settings.journal is not None:
        replaced["--gaitperf-journal"] = _file_of(name, settings.journal)
    exports = [
        f"--gaitperf-export={form}:{_file_of(name, path)}"
        for form, path in settings.exports.items()
    ]
    given = list(map(str, config.invocation_params.args))
    if (junit := getattr(config.option, "xmlpath", None)) is not None:
        given = without(given, {"--junitxml", "--junit-xml"})
        replaced["--junitxml"] = _file_of(name, Path(junit))
    kept = without(given, {*replaced, *FLAGS, "--gaitperf-export"})
    if settings.journal is not None and not Path(replaced["--gaitperf-journal"]).exists():
        # This mode came to its end, or has not begun.
        kept = [word for word in kept if word != "--gaitperf-resume"]
    return [*(f"{flag}={value}" for flag, value in replaced.items()), *exports, *kept]


def _file_of(name: str, path: Path) -> str:
    return str(path.with_name(f"{path.stem}-{name}{path.suffix}"))


def merged(runs: Sequence[SettingRun], *, restored: bool, all_: bool) -> int:
    """Return the exit code of the sweep; a setting that ``all_`` brought along may be skipped."""
    codes = [run.code for run in runs if run.code is not None]
    missing = any(run.code is None and not (all_ and run.why.startswith("skipped")) for run in runs)
    for worst in (2, 3, 4, 5, 1):
        if worst in codes:
            return worst
    return 0 if restored and not missing and codes and not any(codes) else 10


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let signals that end a process raise here, so that the mode is restored on the way out."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _StoppedError(number)

    # Who started us with a signal ignored, as nohup does, wants it ignored.
    old = {
        number: signal.signal(number, stop)
        for number in _STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
