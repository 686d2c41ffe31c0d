"""Options, ini and ``[tool.gaitperf]`` -> one frozen Settings.

Every option is one entry of ``OPTIONS``: its flag on the command line, its key in pytest's ini
(``gaitperf_budget``) and in the TOML table ``[tool.gaitperf]`` of ``pyproject.toml`` (``budget``).
The command line wins over the ini, the ini over the table, the table over the default.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

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


def _ratio(given: object) -> float:
    text = str(given).strip()
    value = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{given!r} is neither a percentage below 100% nor a number between 0 and 1"
        )
    return value


def _names(given: object) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise argparse.ArgumentTypeError(f"{given!r} is not a list of names")
    return tuple(part.strip() for part in parts if part.strip())


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: the flag, and how its text becomes a value."""

    flag: str
    help: str
    convert: Callable[[Any], Any] = _text
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    switch: bool = False

    @property
    def dest(self) -> str:
        """The attribute of Settings and the key in ``[tool.gaitperf]``."""
        return self.flag.lstrip("-").removeprefix("gaitperf-").replace("-", "_")

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
        "the power meter: auto takes the first that reads a value; none; or one by name, such as "
        "ina3221 or nvml (default: auto)",
        metavar="METER",
    ),
    Option(
        "--power-rails",
        "the rails that make up the total, comma-separated (default: the rule of the module)",
        _names,
        "RAILS",
    ),
    Option(
        "--gaitperf-grid",
        "batch sizes and concurrencies: quick (1 and 4), full (1, 4, 8, 12 ... 32), or a TOML file "
        "(default: quick)",
        metavar="GRID",
    ),
    Option(
        "--gaitperf-models",
        "measure only the models that match one of these patterns, comma-separated",
        _names,
        "PATTERNS",
    ),
    Option(
        "--gaitperf-precision",
        "stop measuring a cell when the throughput's 95 %% interval is this narrow: relative "
        "half-width, such as 2%% or 0.02 (default: 2%%)",
        _ratio,
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
        "--gaitperf-update",
        "record this session in the baselines, if nothing fails: missing (cells that have none), "
        "all (every measured cell) (default: none)",
        choices=("none", "missing", "all"),
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
        "--gaitperf-tolerance",
        "the change that does not matter, such as 5%% or 0.05 (default: 5%%)",
        _ratio,
        "RATIO",
    ),
    Option(
        "--gaitperf-alpha",
        "the probability of any false alarm in a whole run (default: 0.01)",
        _ratio,
        "P",
    ),
    Option(
        "--gaitperf-strict",
        "provisional and inconclusive verdicts fail too",
        bool,
        switch=True,
    ),
    Option(
        "--gaitperf-json",
        "write everything that was measured and judged to this file",
        _path,
        "FILE",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for; paths are relative to the directory pytest was started in.

    ``tolerance``, ``alpha`` and ``precision`` are ratios (0.05 is 5 %), ``budget`` and
    ``triton_timeout`` seconds.
    """

    triton: Literal["auto", "attach", "local", "docker"] = "auto"
    triton_url: str = "127.0.0.1:8000"
    triton_repository: Path = Path("model_repository")
    triton_image: str = DEFAULT_IMAGE
    triton_timeout: float = 120.0
    power: str = "auto"
    power_rails: tuple[str, ...] = ()
    grid: str = "quick"
    models: tuple[str, ...] = ()
    precision: float = 0.02
    budget: float = 20.0
    update: str = "none"
    baselines: Path = Path("baselines")
    profile: str = ""
    tolerance: float = 0.05
    alpha: float = 0.01
    strict: bool = False
    json: Path | None = None
    invocation: tuple[str, ...] = field(default=())


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
        group.addoption(option.flag, **kwargs)
        parser.addini(option.ini, f"ini form of {option.flag}", default=None)


def load_settings(config: pytest.Config) -> Settings:
    """Gather the settings of this run.

    Raises
    ------
    ConfigurationError
        A value that cannot be read, or an unknown key in ``[tool.gaitperf]``.
    """
    table, source = _toml_table(config.rootpath / "pyproject.toml")
    known = {option.dest for option in OPTIONS}
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r} in [tool.gaitperf]; the keys are "
            + ", ".join(sorted(known))
        )
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = config.getoption(option.ini)
        if given is not None:
            values[option.dest] = given
            continue
        ini = config.getini(option.ini)
        if ini not in (None, ""):
            values[option.dest] = _converted(option, ini, f"ini {option.ini}")
        elif option.dest in table:
            values[option.dest] = _converted(option, table[option.dest], f"{source}: {option.dest}")
    return Settings(**values, invocation=tuple(config.invocation_params.args))


def _converted(option: Option, value: Any, where: str) -> Any:
    if option.switch:
        if str(value).lower() in ("true", "1", "yes", "false", "0", "no"):
            return str(value).lower() in ("true", "1", "yes")
        raise ConfigurationError(f"{where}: {value!r} is neither true nor false")
    if option.choices and value not in option.choices:
        raise ConfigurationError(f"{where}: {value!r} is none of {', '.join(option.choices)}")
    try:
        return option.convert(value)
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _toml_table(path: Path) -> tuple[Mapping[str, Any], Path]:
    from pytest_gaitperf.toml import load_toml  # noqa: PLC0415 - only when a cell is measured

    if not path.is_file():
        return {}, path
    table = load_toml(path).get("tool", {}).get("gaitperf", {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: [tool.gaitperf] is not a table: {table!r}")
    return table, path
