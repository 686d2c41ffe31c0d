"""Options and ``[tool.gaitperf]`` -> one frozen Settings.

The command line wins over the table, the table over the default.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_gaitperf.config.option import Option, without
from pytest_gaitperf.config.options import DEFAULT_IMAGE, OPTIONS
from pytest_gaitperf.config.policy import (
    ANY,
    Bound,
    Limit,
    Rules,
    latency_bound,
    limits,
    metric_tolerances,
    must_hear,
    rules,
    tolerances,
)
from pytest_gaitperf.config.values import as_header, as_path
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import load_toml, read_bytes
from pytest_gaitperf.metrics import MAX_SESSIONS
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.way import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pytest

    from pytest_gaitperf.workload import Protocol, Transport

_RULES: Mapping[str, Callable[[Any], Any]] = {
    "tolerance": tolerances,
    "must_hear": must_hear,
    "limits": limits,
    "latency_bound": latency_bound,
}
"""How the policy's options are read: here, so that no start of pytest pays for the policy."""

HEADER_VARIABLE = "GAITPERF_TRITON_HEADER"
"""The environment variable with headers for the server, one a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for.

    A relative path on the command line is taken from the directory that pytest was started in, one
    in the table from that of the table's file.

    ``alpha``, ``precision`` and ``disturbed`` (None: the default of ``host.watch``) are ratios
    (0.05 is 5 %), ``budget``, ``run_budget``,
    ``triton_timeout`` and ``deadline`` (0: one frame) seconds, ``cooldown`` degrees Celsius,
    ``frame_rate`` frames per second. ``against`` is a version's number as text, or a directory;
    ``reference`` is a git revision as text, or a directory.
    ``tolerance`` and ``must_hear`` hold ratios by metric, and one for ``policy.ANY``; ``limits``
    are by metric too.
    ``model`` has the rules of the tables ``[tool.gaitperf.model.*]`` by pattern. Without a
    ``triton_url``, a Triton at 127.0.0.1:8000 is taken where there is one.
    """

    triton: Literal["auto", "attach", "local", "docker"] = "auto"
    triton_url: str | None = None
    triton_grpc_port: int | None = None
    triton_repository: Path = Path("model_repository")
    triton_image: str = DEFAULT_IMAGE
    triton_timeout: float | None = None
    triton_load: tuple[str, ...] = ()
    triton_header: tuple[str, ...] = field(default=(), repr=False)
    triton_ssl_ca: Path | None = None
    triton_ssl_cert: Path | None = None
    triton_ssl_key: Path | None = None
    triton_ssl_no_verify: bool = False
    power: str = "auto"
    power_rails: tuple[str, ...] = ()
    power_trace: Path | None = None
    grid: str = "quick"
    models: tuple[str, ...] = ()
    protocol: Protocol = "http"
    transport: Transport = "inline"
    frame_rate: float = 25.0
    deadline: float = 0.0
    data: str = "random"
    precision: float = 0.02
    disturbed: float | None = None
    budget: float = 6.5
    lives: int = 3
    run_budget: float | None = None
    cooldown: float | None = None
    power_modes: tuple[str, ...] = ()
    gpu_clocks: tuple[str, ...] = ()
    emc_clocks: tuple[str, ...] = ()
    benchmarks: bool = False
    lock: Literal["wait", "refuse", "off"] = "wait"
    update: Literal["none", "missing", "all"] = "none"
    sessions: int = 1
    accept_regressions: bool = False
    baselines: Path = Path("baselines")
    profile: str = ""
    against: str | Path | None = None
    reference: str | Path | None = None
    tolerance: Mapping[str, float] = field(default_factory=lambda: {ANY: 0.05})
    must_hear: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    model: dict[str, Rules] = field(default_factory=dict)
    latency_bound: Bound | None = None
    accuracy: Path | None = None
    relative_to: str = ""
    alpha: float = 0.005
    accept_estimates: bool = False
    strict: bool = False
    columns: tuple[str, ...] = ()
    summary: Path | None = None
    report: Path | None = None
    json: Path | None = None
    journal: Path | None = None
    resume: bool = False
    exports: dict[str, Path] = field(default_factory=dict)
    boards: tuple[str, ...] = ()
    invocation: tuple[str, ...] = field(default=())

    @property
    def way(self) -> Way:
        """How the server at ``triton_url`` is reached, with the headers that are kept out of sight.

        Raises ConfigurationError for headers in the environment that are none.
        """
        variable = os.environ.get(HEADER_VARIABLE, "")
        try:
            secret = [as_header(line) for line in variable.splitlines() if line.strip()]
        except argparse.ArgumentTypeError as error:
            raise ConfigurationError(f"{HEADER_VARIABLE}: {error}") from error
        given = [*self.triton_header, *chain.from_iterable(secret)]
        fields = [line.partition(":")[::2] for line in given]
        return Way(
            ca=self.triton_ssl_ca,
            certificate=self.triton_ssl_cert,
            key=self.triton_ssl_key,
            verify=not self.triton_ssl_no_verify,
            headers=tuple((name.strip(), value.strip()) for name, value in fields),
        )


def load_settings(config: pytest.Config) -> Settings:
    """Gather the settings of this run.

    Raises ConfigurationError for a value that cannot be read, and an unknown key in
    ``[tool.gaitperf]``.
    """
    return _settings(config.rootpath, config)


def project_settings(directory: Path) -> Settings:
    """Return what ``[tool.gaitperf]`` of a directory's ``pyproject.toml`` says, without pytest.

    Raises ConfigurationError as ``load_settings`` does.
    """
    return _settings(directory, None)


def _settings(directory: Path, config: pytest.Config | None) -> Settings:
    source = directory / "pyproject.toml"
    table = load_toml(source).get("tool", {}).get("gaitperf", {}) if source.is_file() else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{source}: [tool.gaitperf] is not a table: {table!r}")
    if config is not None and not table:
        _check_unread(config.invocation_params.dir, source)
    known = {option.dest for option in OPTIONS} | {"tolerances", "model"}
    if unknown := sorted(set(table) - known):
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r} in [tool.gaitperf]"
            f"{did_you_mean(unknown[0], known)} the keys are " + ", ".join(sorted(known))
        )
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = _given(option, config, table, source)
        if option.merged:
            merged = dict(getattr(Settings(), option.dest))
            for part in reversed(list(given)):
                merged |= part
            values[option.dest] = merged
        elif (value := next(given, None)) is not None:
            values[option.dest] = value
    settings = Settings(
        **values,
        model=_model_rules(table.get("model", {}), source),
        invocation=()
        if config is None
        else tuple(without(map(str, config.invocation_params.args), ("--triton-header",))),
    )
    if settings.triton in ("local", "docker") and config is not None:
        url = config.getoption("gaitperf_triton_url")
        if url is not None:
            raise ConfigurationError(
                f"--triton={settings.triton} starts a server, and --triton-url={url} is one that "
                "runs already: leave one of them out"
            )
    _check_against(settings)
    _check_update(settings, config)
    return settings


def _check_unread(directory: Path, source: Path) -> None:
    """Refuse a run beside a table that pytest's choice of a root directory leaves unread."""
    beside = directory / "pyproject.toml"
    if not beside.is_file() or beside.resolve() == source.resolve():
        return
    try:
        unread = load_toml(beside).get("tool", {}).get("gaitperf")
    except ConfigurationError:  # what pytest does not read need not be right
        return
    if unread:
        raise ConfigurationError(
            f"{beside} has [tool.gaitperf], which is not read, since pytest's root directory is "
            f"{source.parent}: give --rootdir={directory}, or move the table to {source}"
        )


def _check_against(settings: Settings) -> None:
    against = settings.against
    # Not Path.is_dir: before Python 3.14 that raises where a name is too long.
    if isinstance(against, Path) and not os.path.isdir(against):  # noqa: PTH112 - as said
        raise ConfigurationError(
            f"--gaitperf-against={against}: there is no such directory; give the model repository "
            "to compare with, or the number of another version of the models"
        )
    if against is not None and settings.update != "none":
        raise ConfigurationError(
            "--gaitperf-against compares with another model and knows no baseline, so "
            f"--gaitperf-update={settings.update} has nothing to record: leave one of them out"
        )


def _check_update(settings: Settings, config: pytest.Config | None) -> None:
    # The table may say how many sessions a recording run has: other runs have one.
    asked = config is not None and config.getoption("gaitperf_sessions") is not None
    if settings.sessions > 1 and settings.update == "none" and asked:
        raise ConfigurationError(
            f"--gaitperf-sessions={settings.sessions} records that many sessions, and nothing is "
            "to be recorded: add --gaitperf-update=missing or --gaitperf-update=all"
        )
    if settings.sessions > MAX_SESSIONS:
        raise ConfigurationError(
            f"--gaitperf-sessions={settings.sessions}: a baseline keeps the last "
            f"{MAX_SESSIONS} sessions of a cell; give at most {MAX_SESSIONS}"
        )
    if settings.accept_regressions and settings.update != "all":
        raise ConfigurationError(
            "--gaitperf-accept-regressions accepts what is recorded over a baseline, and "
            f"--gaitperf-update={settings.update} records over none: add --gaitperf-update=all"
        )


def _model_rules(tables: Any, source: Path) -> dict[str, Rules]:
    if not isinstance(tables, dict) or not all(isinstance(one, dict) for one in tables.values()):
        raise ConfigurationError(
            f'{source}: model is not tables such as [tool.gaitperf.model."3D_*"]: {tables!r}'
        )
    return {
        pattern: rules(table, f'{source}: model."{pattern}"') for pattern, table in tables.items()
    }


def _given(
    option: Option, config: pytest.Config | None, table: Mapping[str, Any], source: Path
) -> Iterator[Any]:
    """Yield what each place says of an option, converted, the strongest place first."""
    if config is not None:
        given = config.getoption(option.pytest_dest)
        if given is not None and option.repeated:
            yield tuple(chain.from_iterable(given))
        elif given is not None:
            late = option.dest in _RULES
            for value in reversed(given) if option.merged else [given]:
                yield _converted(option, value, option.flag) if late else value
    if option.dest == "tolerance" and "tolerances" in table:
        yield _converted(option, table["tolerances"], f"{source}: tolerances", metric_tolerances)
    if option.dest in table:
        value = _placed(option, table[option.dest], source.parent)
        yield _converted(option, value, f"{source}: {option.dest}")


def _placed(option: Option, given: Any, directory: Path) -> Any:
    """Return what a table says of an option, with relative paths taken from its directory."""
    if directory.resolve() == Path.cwd():
        return given
    if option.dest == "exports" and isinstance(given, (dict, list)):
        if isinstance(given, list):
            return [_placed(option, one, directory) for one in given]
        return {name: str(directory / one) for name, one in given.items() if isinstance(one, str)}
    if not isinstance(given, str) or not given:
        return given
    if option.dest in ("exports", "power"):  # FORMAT:FILE, replay:FILE
        name, colon, file = given.partition(":")
        named = file and (option.dest == "exports" or name == "replay")
        return f"{name}{colon}{directory / file}" if named else given
    is_path = option.convert is as_path
    is_path |= option.dest == "grid" and given.endswith(".toml")
    is_path |= option.dest == "data" and given not in ("random", "zeros")
    is_path |= option.dest == "against" and not given.strip().isdecimal()
    is_path |= option.dest == "reference" and os.path.isdir(directory / given)  # noqa: PTH112
    return str(directory / given) if is_path else given


def _converted(
    option: Option, value: Any, where: str, convert: Callable[[Any], Any] | None = None
) -> Any:
    if option.switch:
        if str(value).lower() in ("true", "1", "yes", "false", "0", "no"):
            return str(value).lower() in ("true", "1", "yes")
        raise ConfigurationError(f"{where}: {value!r} is neither true nor false")
    if option.choices and value not in option.choices:
        close = did_you_mean(str(value), option.choices)
        raise ConfigurationError(
            f"{where}: {value!r} is unknown{close} choose one of {', '.join(option.choices)}"
        )
    try:
        return (convert or _RULES.get(option.dest, option.convert))(value)
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


def read_accuracy(path: Path) -> dict[str, float]:
    """Return the accuracy of each model, a ratio from 0 to 1.

    A ``.toml`` file has one key a model: ``"3D_fp32_0_batchd" = 0.947``, or ``"94.7%"``; any other
    is CSV with the columns model and accuracy, and may have a line with their names. Raises
    ConfigurationError, with the line, for a file that cannot be read, a value that is no accuracy,
    and a model named twice.
    """
    if path.suffix == ".toml":
        return _from_toml(path)
    try:
        content = read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from error
    found: dict[str, float] = {}
    reader = csv.reader(io.StringIO(content), skipinitialspace=True)
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return found
        except csv.Error as error:
            raise ConfigurationError(f"{path}: cannot be read as CSV ({error})") from error
        where = f"{path}:{reader.line_num}"
        if not any(cells) or cells[0].startswith("#"):
            continue
        if len(cells) != 2:
            raise ConfigurationError(
                f"{where}: {len(cells)} columns; each line is a model and its accuracy, as in "
                "3D_fp32_0_batchd,94.7%"
            )
        model, accuracy = cells
        if not found and accuracy.lower() == "accuracy":
            continue
        if model in found:
            raise ConfigurationError(f"{where}: {model!r} is named twice: leave one of them out")
        found[model] = _accuracy(accuracy, where)


def _from_toml(path: Path) -> dict[str, float]:
    table = load_toml(path)
    lines = read_bytes(path).decode(errors="replace").splitlines()
    found = {}
    for model, accuracy in table.items():
        # The parser knows no lines; the key stands at the start of one.
        keys = [line.partition("=")[0].strip().strip("\"'[]") for line in lines]
        number = 1 + (keys.index(model) if model in keys else 0)
        found[model] = _accuracy(accuracy, f"{path}:{number}")
    return found


def _accuracy(given: object, where: str) -> float:
    text = str(given).strip()
    try:
        value = float(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if isinstance(given, bool) or not 0 <= value <= 1:
        raise ConfigurationError(
            f"{where}: {given!r} is neither a number from 0 to 1 nor a percentage such as 94.7%"
        )
    return value
