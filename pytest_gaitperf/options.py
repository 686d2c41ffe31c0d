"""Every option: its flag, its ini and TOML key, and how its text becomes a value.

The flag on the command line (``--gaitperf-budget``) is the key ``gaitperf_budget`` in pytest's ini
and ``budget`` in the TOML table ``[tool.gaitperf]`` of ``pyproject.toml``. Loaded at every start of
pytest, so it must stay light: what the values become together is in ``settings.py``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

    from pytest_gaitperf.policy import Limit

DEFAULT_IMAGE = "nvcr.io/nvidia/tritonserver:24.01-py3-igpu"


# The converters take what a command line, an ini or a TOML table holds: text, a number, a list...


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise argparse.ArgumentTypeError(f"{given!r} is not text: put it in quotes")
    return given


def _path(given: object) -> Path:
    return Path(_text(given))


def _number(given: object) -> float:
    """Return a number, NaN where it is none."""
    try:
        return float(str(given))
    except ValueError:
        return float("nan")


def _seconds(given: object) -> float:
    value = _number(given)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{given!r} is not a positive number of seconds")
    return value


def _frames(given: object) -> float:
    value = _number(given)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{given!r} is not a positive number of frames per second")
    return value


def milliseconds(given: object) -> float:
    """Read ``20 ms`` or ``0.02 s``: seconds."""
    text = str(given).strip()
    for unit, parts in (("ms", 1e3), ("s", 1.0)):
        if text.endswith(unit):
            value = _number(text.removesuffix(unit)) / parts
            if 0 < value < float("inf"):
                return value
            break
    raise argparse.ArgumentTypeError(f"{given!r} is not a time with its unit, such as '40 ms'")


def _data(given: object) -> str:
    text = _text(given)
    if text not in ("random", "zeros") and not os.path.exists(text):  # noqa: PTH110 - Path's raises for a long name
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither random nor zeros nor an existing file or directory"
        )
    return text


def _count(given: object) -> int:
    text = str(given)
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is not a whole number of 1 or more")
    return int(text)


def _port(given: object) -> int:
    text = str(given)
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{given!r} is not a port number")
    return int(text)


def _degrees(given: object) -> float:
    value = _number(given)
    if not 0 < value < 150:  # noqa: PLR2004 - no device runs hotter
        raise argparse.ArgumentTypeError(f"{given!r} is not a temperature in degrees Celsius")
    return value


def ratio(given: object) -> float:
    """Read ``5%`` or ``0.05``: a number between 0 and 1."""
    text = str(given).strip()
    value = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{given!r} is neither a percentage below 100% nor a number between 0 and 1"
        )
    return value


def _tolerances(given: object) -> dict[str, float]:
    from pytest_gaitperf.policy import tolerances  # noqa: PLC0415 - only where one is given

    return tolerances(given)


def _limits(given: object) -> Mapping[str, Limit]:
    from pytest_gaitperf.policy import limits  # noqa: PLC0415 - only where one is given

    return limits(given)


def _exports(given: object) -> dict[str, Path]:
    """Read ``FORMAT:FILE``, or several: a TOML list of them, or a table of files by format."""
    from pytest_gaitperf.export.exporters import names  # noqa: PLC0415 - only where one is given

    if isinstance(given, dict):
        given = [f"{name}:{file}" for name, file in given.items()]
    found = {}
    for text in given if isinstance(given, list) else [_text(given)]:
        name, _, file = _text(text).partition(":")
        if not file or name not in names():
            raise argparse.ArgumentTypeError(
                f"{text!r} is not FORMAT:FILE; the formats are: {', '.join(names())}"
            )
        found[name] = Path(file)
    return found


def _latency_bound(given: object) -> Limit:
    from pytest_gaitperf.policy import parse_limit  # noqa: PLC0415 - only where one is given

    return parse_limit(f"latency_p99 <= {_text(given)}")


def _names(given: object) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise argparse.ArgumentTypeError(f"{given!r} is not a list of names")
    return tuple(part.strip() for part in parts if part.strip())


def _columns(given: object) -> tuple[str, ...]:
    from pytest_gaitperf.report.columns import parse  # noqa: PLC0415 - only where one is given

    return parse(given)


def _reference(given: object) -> str | Path:
    """Return a version's number as text, anything else as a path."""
    text = str(given).strip() if type(given) is int else _text(given)
    if not text:
        raise argparse.ArgumentTypeError("give a version's number or a directory")
    return text if text.isdecimal() else Path(text)


class Option(NamedTuple):
    """One setting: the flag, and how its text becomes a value."""

    flag: str
    help: str
    convert: Callable[[Any], Any] = _text
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    switch: bool = False
    merged: bool = False
    """Every place adds to it, by metric: the command line comes in parts, each converted."""
    key: str = ""

    @property
    def dest(self) -> str:
        """The attribute of Settings and the key in ``[tool.gaitperf]``."""
        return self.key or self.flag.lstrip("-").removeprefix("gaitperf-").replace("-", "_")

    @property
    def ini(self) -> str:
        """The key in pytest's ini section, and the attribute on pytest's options."""
        return f"gaitperf_{self.dest}"


OPTIONS: tuple[Option, ...] = (
    Option(
        "--triton",
        "where the server is: attach to --triton-url, start a local one, or docker; auto attaches "
        "when something answers at the URL, else starts one (default: auto)",
        choices=("auto", "attach", "local", "docker"),
    ),
    Option(
        "--triton-url",
        "host:port of a running server's HTTP endpoint (default: 127.0.0.1:8000)",
        metavar="URL",
    ),
    Option(
        "--triton-grpc-port",
        "the gRPC port of the server at --triton-url (default: its HTTP port + 1)",
        _port,
        "PORT",
    ),
    Option(
        "--triton-repository",
        "the model repository of a server that is started (default: model_repository)",
        _path,
        "DIR",
    ),
    Option(
        "--triton-image",
        f"the container image for --triton=docker (default: {DEFAULT_IMAGE})",
        metavar="IMAGE",
    ),
    Option(
        "--triton-timeout",
        "seconds until a started server must be ready (default: 120)",
        _seconds,
        "S",
    ),
    Option(
        "--power",
        "the power meter: auto takes the first that reads a value; none; ina3221, jtop, nvml, "
        "nvml-power, rapl, replay:FILE, or estimate:WATTS (CPU seconds x watts per busy core: no "
        "sensor) (default: auto)",
        metavar="METER",
    ),
    Option(
        "--power-rails",
        "the rails that make up the total, comma-separated (default: the rule of the module)",
        _names,
        "RAILS",
    ),
    Option(
        "--power-trace",
        "keep the power readings of every cell in this directory; --power=replay:FILE reads one "
        "back",
        _path,
        "DIR",
    ),
    Option(
        "--gaitperf-grid",
        "batch sizes and concurrencies: quick (1 and 4), full (1, 4, 8, 12 ... 32), or a TOML "
        "file, which may also ask for request rates and subjects (default: quick)",
        metavar="GRID",
    ),
    Option(
        "--gaitperf-models",
        "measure only the models that match one of these patterns, comma-separated",
        _names,
        "PATTERNS",
    ),
    Option(
        "--gaitperf-protocol",
        "how the server is asked, where the grid does not say (default: http)",
        choices=("http", "grpc"),
    ),
    Option(
        "--gaitperf-transport",
        "how tensors travel, where the grid does not say: in the request (inline) or in system "
        "shared memory (shm) (default: inline)",
        choices=("inline", "shm"),
    ),
    Option(
        "--gaitperf-frame-rate",
        "inferences per second that one subject needs, where the grid does not say (default: 25)",
        _frames,
        "FPS",
    ),
    Option(
        "--gaitperf-deadline",
        "the latency within which a subject counts as served, such as '20 ms', where the grid does "
        "not say (default: the time of one frame)",
        milliseconds,
        "TIME",
    ),
    Option(
        "--gaitperf-data",
        "what the requests carry: random (from a fixed seed), zeros, an .npz, .npy or JSON file "
        "(perf_analyzer's format), or a directory of them named by model (default: random)",
        _data,
        "DATA",
    ),
    Option(
        "--gaitperf-precision",
        "stop measuring a cell when the 95 %% interval of its throughput (at a fixed rate: of its "
        "mean latency) is this narrow: relative half-width, such as 2%% or 0.02 (default: 2%%)",
        ratio,
        "RATIO",
    ),
    Option(
        "--gaitperf-budget",
        "seconds a cell may take, warm-up included; only a cell too slow for six windows takes "
        "longer, at most three times (default: 20)",
        _seconds,
        "S",
    ),
    Option(
        "--gaitperf-run-budget",
        "seconds the whole run may take: the time left is shared among the cells left, and cells "
        "that get too little are not measured (default: no limit)",
        _seconds,
        "S",
    ),
    Option(
        "--gaitperf-cooldown",
        "before each cell, wait until the hottest sensor reads at most this many degrees Celsius, "
        "for five minutes at most",
        _degrees,
        "C",
    ),
    Option(
        "--gaitperf-power-modes",
        "on a Jetson, run everything once under each of these nvpmodel modes, by number or name, "
        "comma-separated, or all, each with baselines and results of its own, and restore the mode",
        _names,
        "MODES",
    ),
    Option(
        "--gaitperf-lock",
        "where another run measures this device: wait for its end (30 minutes at most), refuse, or "
        "off, which measures beside it (default: wait)",
        choices=("wait", "refuse", "off"),
    ),
    Option(
        "--gaitperf-update",
        "record this session in the baselines, if nothing fails: missing (cells that have none), "
        "all (every measured cell) (default: none)",
        choices=("none", "missing", "all"),
    ),
    Option(
        "--gaitperf-sessions",
        "with --gaitperf-update, measure the cells to be recorded this many times: each time is a "
        "session of its own, on a server started anew where it is ours (default: 1)",
        _count,
        "N",
    ),
    Option(
        "--gaitperf-accept-regressions",
        "with --gaitperf-update=all, a regressed cell is no failure: its history starts afresh at "
        "what was measured",
        bool,
        switch=True,
    ),
    Option(
        "--gaitperf-baselines",
        "the directory of the baselines (default: baselines)",
        _path,
        "DIR",
    ),
    Option(
        "--gaitperf-profile",
        "the name of this kind of device, a folder of the baselines (default: from the device)",
        metavar="NAME",
    ),
    Option(
        "--gaitperf-against",
        "measure each model in turns with another one, and gate against that in place of the "
        "baselines: with another version of it (a number), or with the model of the same name in "
        "another model repository, e.g. of the main branch's checkout",
        _reference,
        "VERSION|DIR",
    ),
    Option(
        "--gaitperf-tolerance",
        "the change that does not matter, such as 5%% or 0.05, for all metrics or for named ones: "
        "latency_p99=10%%,throughput=3%% (default: 5%%)",
        _tolerances,
        "RATIO",
        merged=True,
    ),
    Option(
        "--gaitperf-limit",
        "a requirement on every cell, such as 'latency_p99 <= 40 ms' or 'throughput >= 25', with "
        "or without a baseline; can be given several times",
        _limits,
        "LIMIT",
        merged=True,
        key="limits",
    ),
    Option(
        "--gaitperf-latency-bound",
        "under the table, name the cells with the most throughput and the least energy whose p99 "
        "is at most this, such as 40ms",
        _latency_bound,
        "LATENCY",
    ),
    Option(
        "--gaitperf-accuracy",
        "a CSV or TOML file with the accuracy of each model (0.947 or 94.7%%), the third objective "
        "of the frontier",
        _path,
        "FILE",
    ),
    Option(
        "--gaitperf-alpha",
        "the probability of any false alarm in a whole run (default: 0.01)",
        ratio,
        "P",
    ),
    Option(
        "--gaitperf-accept-estimates",
        "gate and record estimated energy too; without it an estimate is only shown",
        bool,
        switch=True,
    ),
    Option(
        "--gaitperf-strict",
        "provisional and inconclusive verdicts fail too",
        bool,
        switch=True,
    ),
    Option(
        "--gaitperf-columns",
        "the columns of the table, comma-separated: throughput, mean, p50, p90, p95, p99, p99.9, "
        "energy, gpu (its energy), watts, cpu (the server's), subjects, precision (of the "
        "throughput), queue, compute, network, client (its CPU), requests, seconds, change (the "
        "worst), or all (default: throughput,p50,p99,energy,cpu, where measured)",
        _columns,
        "COLUMNS",
    ),
    Option(
        "--gaitperf-summary",
        "write what a reader of a pull request wants to know to this file, as Markdown; a GitHub "
        "job summary gets it without asking",
        _path,
        "FILE",
    ),
    Option(
        "--gaitperf-report",
        "write an HTML page with everything that was measured and judged to this file (needs the "
        "extra report)",
        _path,
        "FILE",
    ),
    Option(
        "--gaitperf-json",
        "write everything that was measured and judged to this file",
        _path,
        "FILE",
    ),
    Option(
        "--gaitperf-export",
        "write the results in the format of another tool too, such as bencher:bmf.json or "
        "openmetrics:gaitperf.prom; can be given once for each format ('gaitperf baseline export "
        "--help' lists them)",
        _exports,
        "FORMAT:FILE",
        merged=True,
        key="exports",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option on the command line and in the ini."""
    group = parser.getgroup("gaitperf", "gaitperf: throughput, latency and energy on Triton")
    for option in OPTIONS:
        kwargs: dict[str, Any] = {"dest": option.ini, "default": None, "help": option.help}
        if option.switch:
            kwargs["action"] = "store_true"
        elif option.choices:
            kwargs["choices"] = option.choices
        else:
            kwargs |= {"type": option.convert, "metavar": option.metavar}
            if option.merged:
                kwargs["action"] = "append"
        group.addoption(option.flag, **kwargs)
        parser.addini(option.ini, f"ini form of {option.flag}", default=None)
