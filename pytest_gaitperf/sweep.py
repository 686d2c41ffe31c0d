"""One run under several power modes: pytest runs itself once for each, in turn.

Each mode is a profile of its own, with a server, results and baselines of its own: what a process
knows of the device never has to change under it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_gaitperf.config.option import without
from pytest_gaitperf.config.settings import load_settings, read_accuracy
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, sanitize
from pytest_gaitperf.files import write_output
from pytest_gaitperf.host.identity import is_jetson
from pytest_gaitperf.host.modes import (
    MODE_SET,
    Keeper,
    PowerModes,
    RebootNeededError,
    restore_leftover,
)
from pytest_gaitperf.report.frontier import frontier_lines
from pytest_gaitperf.report.joined import joined
from pytest_gaitperf.report.relative import relative_lines
from pytest_gaitperf.results_file import encode, read_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.host.nvpmodel import Mode

_FLAG = "--gaitperf-power-modes"
_GRACE_S = 60.0
_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StoppedError(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class ModeRun(NamedTuple):
    """What became of one mode: pytest's exit code, or None and why it did not run."""

    mode: Mode
    code: int | None
    why: str = ""


def is_child() -> bool:
    """Return whether this process is one of a sweep's runs."""
    return MODE_SET in os.environ


def sweep(config: pytest.Config) -> int:
    """Run this command line once under each mode asked for, restore the mode, and say all.

    Returns 1 where a run is red, else 10 where one is unmeasured or a mode that was named could not
    be set, else pytest's own codes. Interrupted: 2, by SIGTERM 143.

    Raises
    ------
    ConfigurationError
        Power modes cannot be set here, or not by this user; nothing has been measured.
    """
    settings = load_settings(config)
    _refuse(config, settings)
    modes = PowerModes()
    chosen = modes.chosen(settings.power_modes)
    if left := restore_leftover():
        _say(left)
    before = modes.now()
    runs: list[ModeRun] = []
    stopped = 0
    with _signals_raise():
        keeper = Keeper(modes, before)
        try:
            with keeper:
                for mode in chosen:
                    runs.append(_under(mode, modes, config, settings, len(runs)))
                    if runs[-1].code in (pytest.ExitCode.INTERRUPTED, 4, 5):
                        break
        except _StoppedError as error:
            stopped = 2 if error.number == signal.SIGINT else 128 + error.number
    problem = join(runs, chosen, settings)
    _say("=" * 20 + " power modes " + "=" * 20)
    for run in runs:
        _say(f"{run.mode}: {run.why or f'exit code {run.code}'}")
    for mode in chosen[len(runs) :]:
        _say(f"{mode}: not run to its end: the sweep was stopped")
    if keeper.restored:
        _say(f"the device is in {before} again")
    else:
        _say(
            f"ERROR: the device could not be put back into {before}: {keeper.problem}; the next "
            f"run tries again, or run 'sudo nvpmodel -m {before.id}'"
        )
    code = merged(runs, restored=keeper.restored, all_=settings.power_modes == ("all",))
    return stopped or code or (10 if problem else 0)


def join(runs: Sequence[ModeRun], chosen: Sequence[Mode], settings: Settings) -> bool:
    """Write what was found in all modes to the files that were named, and show the frontier.

    Returns whether something could not be read or written, which is said.
    """
    if settings.json is None:
        _say("--gaitperf-json=FILE puts all modes into one record, with one frontier")
        return False
    files = {run.mode.name: _file_of(_name(run.mode), settings.json) for run in runs if not run.why}
    missing = [f"{run.mode}: {run.why}" for run in runs if run.why]
    missing += [f"{mode}: not run to its end" for mode in chosen[len(runs) :]]
    if settings.power_modes == ("all",):
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
            f"{_FLAG} sets the modes of this device, and xdist runs tests elsewhere: run the sweep "
            "on each device itself"
        )
    if not settings.profile and not is_jetson(Path("/")):
        raise ConfigurationError(
            f"{_FLAG}: the profile of this machine, which is no Jetson, does not tell power modes "
            "apart: name it with --gaitperf-profile"
        )


def _under(
    mode: Mode, modes: PowerModes, config: pytest.Config, settings: Settings, done: int
) -> ModeRun:
    """Run pytest in one mode; where the first cannot be set for want of rights, none can."""
    _say(f"{'=' * 20} power mode {mode} {'=' * 20}")
    try:
        modes.set(mode)
    except RebootNeededError as error:
        _say(f"skipped: {error}")
        return ModeRun(mode, None, f"skipped: {error}")
    except GaitperfError as error:
        if not done and isinstance(error, ConfigurationError):
            raise
        _say(f"ERROR: {error}")
        return ModeRun(mode, None, f"not measured: {error}")
    if settings.json is not None:  # an earlier sweep's
        Path(_file_of(_name(mode), settings.json)).unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments_for(mode, config, settings)],
        cwd=config.invocation_params.dir,
        env={**os.environ, MODE_SET: str(mode.id)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C at the terminal reaches it once, through us
        preexec_fn=_ends_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
    )
    try:
        code = child.wait()
    except _StoppedError:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_GRACE_S)
        except (subprocess.TimeoutExpired, _StoppedError):
            child.kill()
            child.wait()
        raise
    return ModeRun(mode, code)


def _ends_with(parent: int) -> Callable[[], None]:
    """Return what a child does before it runs: from then on it ends when its parent does."""
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def arguments_for(mode: Mode, config: pytest.Config, settings: Settings) -> list[str]:
    """Return the command line for one mode: files, traces and a named profile of its own."""
    name = _name(mode)
    replaced = {_FLAG: mode.name}
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
    given = list(map(str, config.invocation_params.args))
    if (junit := getattr(config.option, "xmlpath", None)) is not None:
        given = without(given, {"--junitxml", "--junit-xml"})
        replaced["--junitxml"] = _file_of(name, Path(junit))
    kept = without(given, replaced)
    return [*(f"{flag}={value}" for flag, value in replaced.items()), *kept]


def _name(mode: Mode) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", mode.name)


def _file_of(mode: str, path: Path) -> str:
    return str(path.with_name(f"{path.stem}-{mode}{path.suffix}"))


def merged(runs: Sequence[ModeRun], *, restored: bool, all_: bool) -> int:
    """Return the exit code of the sweep; a mode that ``all_`` brought along may be skipped."""
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
