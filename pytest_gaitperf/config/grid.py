"""Which cells: a grid of models x batch sizes x loads, from a name, a TOML file or a marker."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

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
    from collections.abc import Mapping

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
        closed-loop cells. Raises ConfigurationError for an unknown argument or a wrong value.
        """
        return _grid_from(arguments, self, source) if arguments else self


_LOADS = ("concurrencies", "request_rates", "subjects", "most_subjects")
_FINITE = msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)
_POSITIVE = msgspec.Meta(gt=0, le=sys.float_info.max)
_SOME = msgspec.Meta(min_length=1)
_NUMBER: Any = int | Annotated[float, _FINITE]
_SIZES: Any = (
    Annotated[tuple[Annotated[int, msgspec.Meta(gt=0)], ...], _SOME],
    "a list of positive whole numbers",
)
_RANGE: Any = (tuple[_NUMBER, _NUMBER], "[lowest, highest]")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "models": (Annotated[tuple[str, ...], _SOME], "a list of names or patterns"),
    "batch_sizes": _SIZES,
    "concurrencies": _SIZES,
    "request_rates": (
        Annotated[tuple[Annotated[float, _POSITIVE], ...], _SOME],
        "a list of positive numbers",
    ),
    "subjects": _SIZES,
    "most_subjects": (bool, "true or false"),
    "arrival": (Arrival, "constant or poisson"),
    "frame_rate": (Annotated[float, _POSITIVE], "a positive number per second"),
    "deadline": (Any, "a time with its unit, such as '40 ms'"),
    "percentile": (
        Annotated[float, msgspec.Meta(ge=50, lt=100)],
        "a number from 50 to below 100",
    ),
    "protocol": (Protocol, "http or grpc"),
    "transport": (Transport, "inline or shm"),
    "shapes": (dict[str, Any], "a table of models"),
    "ranges": (dict[str, Any], "a table of models"),
}
"""What each key of a grid file, or argument of the marker, must be: its type, and in words."""

GRID_KEYS = tuple(_KINDS)


def load_grid(name: str) -> Grid:
    """Return the grid called ``quick`` or ``full``, or the one in a TOML file.

    The file has keys of ``GRID_KEYS``; ``shapes`` and ``ranges`` are tables ``[shapes.MODEL]`` with
    ``TENSOR = [sizes]`` and ``[ranges.MODEL]`` with ``TENSOR = [low, high]``.
    """
    if name == "quick":
        return Grid()
    if name == "full":
        return Grid(batch_sizes=FULL, concurrencies=FULL, source="the full grid")
    if not name.endswith(".toml"):
        raise ConfigurationError(
            f"unknown grid {name!r}{did_you_mean(name, ('quick', 'full'))} "
            "give quick, full, or the path of a .toml file"
        )
    return _grid_from(load_toml(Path(name)), Grid(), name)


def _grid_from(table: Mapping[str, Any], base: Grid, source: str) -> Grid:
    if unknown := sorted(set(table) - set(GRID_KEYS)):
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], GRID_KEYS)} "
            f"the keys are {', '.join(GRID_KEYS)}"
        )
    values: dict[str, Any] = {key: getattr(base, key) for key in GRID_KEYS}
    if any(load in table for load in _LOADS):
        values |= {**dict.fromkeys(_LOADS, ()), "most_subjects": False}
    values |= {key: _read(key, value, base, f"{source}: {key}") for key, value in table.items()}
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


def _read(key: str, given: Any, base: Grid, where: str) -> Any:
    if key == "models" and isinstance(given, str):
        return (given,)
    kind, words = _KINDS[key]
    value = _converted(given, kind, words, where)
    if key == "deadline":
        try:
            return milliseconds(value)
        except ArgumentTypeError as error:
            raise ConfigurationError(f"{where}: {error}") from None
    if key in ("shapes", "ranges"):
        kind, words = _SIZES if key == "shapes" else _RANGE
        tables = {
            model: {
                name: _converted(item, kind, words, f"{where}.{model}.{name}")
                for name, item in _converted(
                    tensors, dict[str, Any], "a table of tensors", f"{where}.{model}"
                ).items()
            }
            for model, tensors in value.items()
        }
        return {**getattr(base, key), **tables}
    return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value


def _converted(given: Any, kind: Any, words: str, where: str) -> Any:
    try:
        value = msgspec.convert(given, kind)
        if words != _RANGE[1] or value[0] <= value[1]:
            return value
    except msgspec.ValidationError:
        pass
    raise ConfigurationError(f"{where} must be {words}, not {given!r}")
