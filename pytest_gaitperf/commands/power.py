"""The command ``gaitperf power``: power logs of other programs, and a reference meter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.config.values import as_names
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import read_bytes
from pytest_gaitperf.power.calibration import write_calibration
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.imports import imported
from pytest_gaitperf.power.reference import calibrate
from pytest_gaitperf.power.trace import SUFFIX, load, save

if TYPE_CHECKING:
    import argparse


_PAUSE = 5.0
"""A pause so many times the usual distance between two readings is said."""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``power`` to the program's commands."""
    power = commands.add_parser("power", help="import power logs, calibrate the meter")
    actions = power.add_subparsers(title="actions", metavar="ACTION", required=True)
    action = actions.add_parser(
        "import",
        help="turn a log into a recording for --power=replay",
        description=(
            "Read a log of tegrastats or jtop, an MLPerf power log (spl.txt) or a CSV file with a "
            "time and watts, or volts and amperes; write a recording for --power=replay and say "
            "what it comes to."
        ),
    )
    action.add_argument("log", type=Path, metavar="LOG")
    action.add_argument(
        "--detail", type=Path, metavar="FILE", help="MLPerf's detail log, for the measured window"
    )
    action.add_argument(
        "--rails", type=as_names, default=(), metavar="RAIL,...", help="the rails of the total"
    )
    action.add_argument(
        "--interval",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="between two readings of a log without dates (default: 1)",
    )
    action.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)"
    )
    action.set_defaults(run=_import)
    action = actions.add_parser(
        "calibrate",
        help="compare the board's own meter with a reference meter",
        description=(
            "Align recordings of --power-trace with the log of a reference meter by "
            "cross-correlation; say gain, offset and the share of the power that the board does "
            "not show, and write them into a profile."
        ),
    )
    action.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING")
    action.add_argument(
        "--reference",
        type=Path,
        required=True,
        metavar="LOG",
        help="a recording, or a log that can be imported, of the same time",
    )
    action.add_argument(
        "--rails", type=as_names, default=(), metavar="RAIL,...", help="the reference's total"
    )
    action.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="the profile whose joules are to be calibrated, such as baselines/PROFILE",
    )
    action.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> None:
    board = [load(path) for path in arguments.recordings]
    log: Path = arguments.reference
    if log.name.endswith(SUFFIX):
        reference = load(log)
    else:
        text = _content(log).decode("utf-8-sig", errors="replace")
        reference = imported(text, log.name, arguments.rails)
    found = calibrate(board, reference)
    sys.stdout.write(
        f"{reference.about.label} = {found.gain:.4f} (+-{found.gain_error:.4f}) x "
        f"{' + '.join(found.rails)} {found.offset_w:+.3f} (+-{found.offset_error_w:.3f}) W\n"
        f"{found.reference_w:.3f} W, of which the board showed {found.board_w:.3f} W: "
        f"{found.unseen:.1%} unseen; {found.seconds:.0f} s in common, correlation "
        f"{found.correlation:.3f}, the reference's clock {found.lag_s:+.2f} s\n"
    )
    if arguments.write is not None:
        path = write_calibration(arguments.write, found)
        sys.stdout.write(
            f"{path}: from the next run on the profile's joules are calibrated and say so; they "
            "are not compared with older ones\n"
        )


def _import(arguments: argparse.Namespace) -> None:
    detail = b"" if arguments.detail is None else _content(arguments.detail)
    recording = imported(
        _content(arguments.log).decode("utf-8-sig", errors="replace"),
        arguments.log.stem,
        arguments.rails,
        detail=detail.decode(errors="replace"),
        interval_s=arguments.interval,
    )
    start_ns, end_ns = int(recording.edges_ns[0]), int(recording.edges_ns[-1])
    energy = integrate(recording.trace, start_ns, end_ns)
    path = save(arguments.output, recording)
    total = recording.about.total_rails
    usual_s = float(np.median(np.diff(recording.trace.times_ns))) * 1e-9
    pause = (
        f"; NO READING for {energy.longest_gap_s:.1f} s"
        if energy.longest_gap_s > _PAUSE * usual_s
        else ""
    )
    sys.stdout.write(
        f"{path}: {recording.about.description}, {energy.samples} readings in "
        f"{energy.duration_s:.3f} s; {' + '.join(total)} {energy.mean_power_w(total):.4f} W, "
        f"{energy.total_j(total):.4f} J{pause}\n"
    )


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
