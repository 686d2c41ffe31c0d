"""Which cells: a grid of models x batch sizes x loads, from a name, a TOML file or a marker."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pytest_gaitperf.config.values import milliseconds
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import load_toml
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.workload import (
    PERCENTILE,
    Arrival,
    Protocol,
    Transport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Sizes = tuple[int, ...]
    Range = tuple[float, float]

QUICK = (1, 4)
FULL = (1, 4, 8, 12, 16, 20, 24, 28, 32)


@dataclass(frozen=True, slots=True)
class Grid:
    """Which cells: patterns of model names x batch sizes x loads.

    The loads are ``concurrencies`` (closed loop), ``request_rates`` (requests/s, arriving as
    ``arrival`` says), ``subjects`` (of ``frame_rate`` inferences/s each) and, with
    ``most_subjects``, a search for the most of these whose latency, in the ``percentile``, is
    within the ``deadline`` (s). ``frame_rate``, ``deadline``, ``protocol`` and ``transport`` are
    None where the run's options decide. ``shapes`` and ``ranges`` are those of input tensors, by
    model and tensor. ``batches_named``: the batch sizes are the user's, not a default's. ``source``
    names where the grid was asked for, for messages.
    """

    models: tuple[str, ...] = ("*",)
    batch_sizes: Sizes = QUICK
    concurrencies: Sizes = QUICK
    request_rates: tuple[float, ...] = ()
    arrival: Arrival = "constant"
    subjects: Sizes = ()
    most_subjects: bool = False
    frame_rate: float | None = None
    deadline: float | None = None
    percentile: float = PERCENTILE
    protocol: Protocol | None = None
    transport: Transport | None = None
    shapes: Mapping[str, Mapping[str, Sizes]] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    batches_named: bool = False
    source: str = "the quick grid"

    def narrowed(self, arguments: Mapping[str, Any], source: str) -> Grid:
        """Return this grid with what ``arguments`` (a marker's) replace in it.

        Who names a kind of load replaces all of them: a marker with ``subjects`` alone has no
        closed-loop cells.

        Raises
        ------
        ConfigurationError
            An unknown argument or a value of the wrong kind.
        """
        if not arguments:
            return self
        return _grid_from(arguments, self, source)


_LOADS = ("concurrencies", "request_rates", "subjects", "most_subjects")
GRID_KEYS = (
    "models",
    "batch_sizes",
    *_LOADS,
    "arrival",
    "frame_rate",
    "deadline",
    "percentile",
    "protocol",
    "transport",
    "shapes",
    "ranges",
)
"""The keys of a grid file and the arguments of the marker."""


def load_grid(name: str) -> Grid:
    """Return the grid called ``quick`` or ``full``, or the one in a TOML file.

    The file has the keys of ``GRID_KEYS``, all of them optional; ``shapes`` and ``ranges`` are
    tables ``[shapes.MODEL]`` with ``TENSOR = [sizes]`` for dynamic tensors and ``[ranges.MODEL]``
    with ``TENSOR = [low, high]`` for random data.

    Raises
    ------
    ConfigurationError
        No such grid, or a file that is not one.
    """
    if name == "quick":
        return Grid()
    if name == "full":
        return Grid(batch_sizes=FULL, concurrencies=FULL, source="the full grid")
    if not name.endswith(".toml"):
        close = did_you_mean(name, ("quick", "full"))
        raise ConfigurationError(
            f"unknown grid {name!r}{close} give quick, full, or the path of a .toml file"
        )
    return _grid_from(load_toml(Path(name)), Grid(), name)


def _grid_from(table: Mapping[str, Any], base: Grid, source: str) -> Grid:
    unknown = sorted(set(table) - set(GRID_KEYS))
    if unknown:
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], GRID_KEYS)} "
            f"the keys are {', '.join(GRID_KEYS)}"
        )
    readers: dict[str, Callable[[Any, str], Any]] = {
        "models": _models,
        "batch_sizes": _sizes,
        "concurrencies": _sizes,
        "request_rates": _rates,
        "arrival": lambda value, where: _one_of(get_args(Arrival), value, where),
        "subjects": _sizes,
        "most_subjects": _switch,
        "frame_rate": _rate,
        "deadline": _deadline,
        "percentile": _percentile,
        "protocol": lambda value, where: _one_of(get_args(Protocol), value, where),
        "transport": lambda value, where: _one_of(get_args(Transport), value, where),
        "shapes": lambda value, where: {**base.shapes, **_by_tensor(value, where, _sizes)},
        "ranges": lambda value, where: {**base.ranges, **_by_tensor(value, where, _range)},
    }
    values: dict[str, Any] = {key: getattr(base, key) for key in GRID_KEYS}
    if any(load in table for load in _LOADS):
        values |= {**dict.fromkeys(_LOADS, ()), "most_subjects": False}
    values |= {key: readers[key](value, f"{source}: {key}") for key, value in table.items()}
    for key, loads in (
        ("arrival", ("request_rates",)),
        ("frame_rate", ("subjects", "most_subjects")),
        ("deadline", ("most_subjects",)),
        ("percentile", ("most_subjects",)),
    ):
        if key in table and not any(values[load] for load in loads):
            raise ConfigurationError(f"{source}: {key} is given without {' or '.join(loads)}")
    named = base.batches_named or "batch_sizes" in table
    return Grid(**values, batches_named=named, source=source)


def _models(value: Any, where: str) -> tuple[str, ...]:
    models = (value,) if isinstance(value, str) else value
    good = isinstance(models, (list, tuple)) and models
    if not good or not all(isinstance(model, str) for model in models):
        raise ConfigurationError(f"{where} must be a list of names or patterns, not {models!r}")
    return tuple(models)


def _sizes(value: Any, where: str) -> Sizes:
    good = isinstance(value, (list, tuple)) and value
    if not good or not all(type(size) is int and size > 0 for size in value):
        raise ConfigurationError(f"{where} must be a list of positive whole numbers, not {value!r}")
    return tuple(dict.fromkeys(value))


def _rate(value: Any, where: str) -> float:
    if not _is_number(value) or value <= 0:
        raise ConfigurationError(f"{where} must be a positive number per second, not {value!r}")
    return float(value)


def _switch(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise ConfigurationError(f"{where} must be true or false, not {value!r}")
    return value


def _deadline(value: Any, where: str) -> float:
    try:
        return milliseconds(value)
    except ArgumentTypeError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _percentile(value: Any, where: str) -> float:
    if not _is_number(value) or not 50 <= value < 100:
        raise ConfigurationError(f"{where} must be a number from 50 to below 100, not {value!r}")
    return float(value)


def _rates(value: Any, where: str) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigurationError(f"{where} must be a list of positive numbers, not {value!r}")
    return tuple(dict.fromkeys(_rate(rate, where) for rate in value))


def _range(value: Any, where: str) -> Range:
    good = isinstance(value, (list, tuple)) and len(value) == 2
    if not good or not all(map(_is_number, value)) or value[0] > value[1]:
        raise ConfigurationError(f"{where} must be [lowest, highest], not {value!r}")
    return value[0], value[1]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _one_of(choices: tuple[str, ...], value: Any, where: str) -> str:
    if value not in choices:
        close = did_you_mean(str(value), choices).removesuffix(";")
        raise ConfigurationError(f"{where} must be {' or '.join(choices)}, not {value!r}{close}")
    return str(value)


def _by_tensor(
    value: Any, where: str, read: Callable[[Any, str], Any]
) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} must be a table of models, not {value!r}")
    for model, tensors in value.items():
        if not isinstance(tensors, dict):
            raise ConfigurationError(f"{where}.{model} must be a table of tensors")
    return {
        model: {tensor: read(item, f"{where}.{model}.{tensor}") for tensor, item in tensors.items()}
        for model, tensors in value.items()
    }
