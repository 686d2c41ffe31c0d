"""Which cells: a grid of models x batch sizes x loads, from a name, a TOML file or a marker."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec

from pytest_gaitperf.config.answers import read_answers
from pytest_gaitperf.config.neighbours import MIXES, Neighbour, mixes
from pytest_gaitperf.config.values import milliseconds, sustained
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import load_toml
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.workload import (
    PERCENTILE,
    SEQUENCE_LENGTH,
    Protocol,
    Transport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pytest_gaitperf.config.answers import Answers

    Sizes = tuple[int, ...]
    Range = tuple[float, float]

_T = TypeVar("_T")

ONLY_INPUT = ""
"""Stands for the tensor's name in a grid that gives shapes alone."""

_ALONE: tuple[tuple[Neighbour, ...], ...] = ((),)

QUICK = (1, 4)
FULL = (1, 4, 8, 12, 16, 20, 24, 28, 32)


@dataclass(frozen=True, slots=True)
class Grid:
    """Which cells: patterns of model names x batch sizes x loads.

    The loads are ``concurrencies`` (closed loop), ``request_rates`` (requests/s, arriving as
    ``arrival`` says), the arrival times in the file ``trace``, ``speed`` times as fast,
    ``subjects`` (of ``frame_rate`` inferences/s each) and, with ``most_subjects``, a search for the
    most of these whose latency, in the ``percentile``, is within the ``deadline`` (s), with
    ``best_under`` one for the highest rate whose percentile is within a time (s). Of the other
    loads the ``deadline`` is that of the goodput. ``sequence_length`` (lowest and highest) and, for
    a request rate, how many ``sequences`` are under way are those of stateful models.
    ``streaming`` sends all requests through gRPC streams, not only those of decoupled models.
    ``sustained`` keeps each load up for so many seconds (0: for no longer than needed), and
    ``think_time`` is what the clients of a closed loop wait between an answer and a request (s).
    ``frame_rate``, ``deadline``, ``protocol`` and ``transport`` are
    None where the run's options decide. ``shapes`` are the shapes that input tensors have one after
    the other, by model (a name or a pattern) and tensor (``ONLY_INPUT`` where only shapes are
    given), ``ranges`` the values of random data, ``accuracy`` what models are to answer. ``beside``
    are the mixes of neighbours that every load but a search is measured beside, one after the
    other; an empty one is the model alone. ``batches_named``: the batch sizes are the user's, not a
    default's. ``source`` names where the grid was asked for, for messages.
    """

    models: tuple[str, ...] = ("*",)
    batch_sizes: Sizes = QUICK
    concurrencies: Sizes = QUICK
    request_rates: tuple[float, ...] = ()
    arrival: Literal["constant", "poisson"] = "constant"
    subjects: Sizes = ()
    most_subjects: bool = False
    best_under: tuple[float, float] | None = None
    trace: Path | None = None
    speed: float = 1.0
    sequence_length: tuple[int, int] = SEQUENCE_LENGTH
    sequences: int = 0
    streaming: bool = False
    sustained: float = 0.0
    think_time: float = 0.0
    frame_rate: float | None = None
    deadline: float | None = None
    percentile: float = PERCENTILE
    protocol: Protocol | None = None
    transport: Transport | None = None
    shapes: Mapping[str, Mapping[str, tuple[Sizes, ...]]] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    accuracy: Mapping[str, Answers] = field(default_factory=dict)
    beside: tuple[tuple[Neighbour, ...], ...] = _ALONE
    batches_named: bool = False
    source: str = "the quick grid"

    def narrowed(self, arguments: Mapping[str, Any], source: str) -> Grid:
        """Return this grid with what ``arguments`` (a marker's) replace in it.

        Who names a kind of load replaces all of them, for how long they are sustained, and what
        clients wait: a marker with ``subjects`` alone has no closed-loop cells. Raises
        ConfigurationError for an unknown argument or a wrong value.
        """
        return _grid_from(arguments, self, source) if arguments else self

    def shapes_of(self, model: str) -> list[dict[str, Sizes]]:
        """Return the points of the shape axis of a model, each by tensor; one without any shape."""
        tensors = _table_of(model, self.shapes) or {}
        count = max(map(len, tensors.values()), default=1)
        points = [
            {name: shapes[index % len(shapes)] for name, shapes in tensors.items()}
            for index in range(count)
        ]
        return [point for index, point in enumerate(points) if point not in points[:index]]

    def ranges_of(self, model: str) -> Mapping[str, Range]:
        """Return the ranges of a model's tensors."""
        return _table_of(model, self.ranges) or {}

    def answers_of(self, model: str) -> Answers | None:
        """Return what a model is to answer; of a pattern's reference, no more than its labels."""
        found = _table_of(model, self.accuracy)
        if found is not None and found.model == (model, ""):
            found = msgspec.structs.replace(found, reference="")
        return found if found is not None and (found.reference or found.labels) else None

    def unmatched(self, models: Collection[str]) -> str | None:
        """Return a table, as messages name it, that is of none of the models; None without one."""
        for key in _TABLES:
            for pattern in getattr(self, key):
                if not any(name == pattern or fnmatchcase(name, pattern) for name in models):
                    return f"{key}.{pattern}"
        return None


def _table_of(model: str, tables: Mapping[str, _T]) -> _T | None:
    """Return what holds for a model: the table of its name, else of the last pattern it matches."""
    matching = [table for pattern, table in tables.items() if fnmatchcase(model, pattern)]
    return tables.get(model, matching[-1] if matching else None)


_LONGEST_SHOWN = 100
_LOWEST_PERCENTILE, _HIGHEST_PERCENTILE = 50, 100
_LOADS = ("concurrencies", "request_rates", "trace", "subjects", "most_subjects", "best_under")
_NO_LOAD: Mapping[str, Any] = {
    "most_subjects": False,
    "best_under": None,
    "trace": None,
    "sustained": 0.0,
    "think_time": 0.0,
}
_LATENCY = re.compile(r"p(\d+(?:\.\d+)?) *<=? *(.+)")
_FINITE = msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)
_POSITIVE = msgspec.Meta(gt=0, le=1e6)
_SOME = msgspec.Meta(min_length=1)
_FEW = msgspec.Meta(min_length=1, max_length=32)
_NUMBER: Any = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, _FINITE]
_COUNT: Any = Annotated[int, msgspec.Meta(gt=0, le=1 << 16)]
_SIZES: Any = (
    Annotated[tuple[Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)], ...], _SOME],
    "a list of positive whole numbers",
)
_SHAPE: Any = (
    Annotated[tuple[Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)], ...], _FEW],
    "a list of positive whole numbers, at most 32",
)
_LOAD: Any = (
    Annotated[tuple[_COUNT, ...], _SOME],
    "a list of positive whole numbers up to 65536",
)
_SHAPES: Any = (
    Annotated[tuple[_SHAPE[0], ...], _SOME],
    "a list of shapes, each such as [3, 224, 224]",
)
_RANGE: Any = (tuple[_NUMBER, _NUMBER], "[lowest, highest]")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "models": (Annotated[tuple[str, ...], _SOME], "a list of names or patterns"),
    "batch_sizes": _SIZES,
    "concurrencies": _LOAD,
    "request_rates": (
        Annotated[tuple[Annotated[float, _POSITIVE], ...], _SOME],
        "a list of positive numbers up to 1e6",
    ),
    "subjects": _LOAD,
    "most_subjects": (bool, "true or false"),
    "best_under": (str, "a percentile and its limit, such as 'p99 <= 40 ms'"),
    "trace": (str, "the path of a file"),
    "speed": (Annotated[float, _POSITIVE], "a positive number up to 1e6"),
    "sequence_length": (
        tuple[_COUNT, _COUNT],
        "a positive whole number, or [lowest, highest]",
    ),
    "sequences": (_COUNT, "a positive whole number up to 65536"),
    "streaming": (bool, "true or false"),
    "sustained": (str, "a time with its unit, such as '30 min'"),
    "think_time": (str, "a time with its unit, such as '20 ms'"),
    "arrival": (Literal["constant", "poisson"], "constant or poisson"),
    "frame_rate": (Annotated[float, _POSITIVE], "a positive number per second, up to 1e6"),
    "deadline": (Any, "a time with its unit, such as '40 ms'"),
    "percentile": (
        Annotated[float, msgspec.Meta(ge=_LOWEST_PERCENTILE, lt=_HIGHEST_PERCENTILE)],
        "a number from 50 to below 100",
    ),
    "protocol": (Protocol, "http or grpc"),
    "transport": (Transport, "inline or shm"),
    "shapes": (dict[str, Any] | list[Any], "a list of shapes, or a table of models"),
    "ranges": (dict[str, Any], "a table of models"),
    "accuracy": (dict[str, Any], "a table of models"),
    "beside": MIXES,
}
"""What each key of a grid file, or argument of the marker, must be: its type, and in words."""

GRID_KEYS = tuple(_KINDS)
_TABLES = ("shapes", "ranges", "accuracy")


def load_grid(name: str) -> Grid:
    """Return the grid called ``quick`` or ``full``, or the one in a TOML file.

    The file has keys of ``GRID_KEYS``. ``shapes`` is a list of shapes, of the only input of each
    model, or tables ``[shapes.MODEL]`` with ``TENSOR = [sizes]`` or a list of these; ``ranges`` are
    tables ``[ranges.MODEL]`` with ``TENSOR = [low, high]``, ``accuracy`` are tables
    ``[accuracy.MODEL]`` with the fields of ``Answers``. MODEL is a name or a pattern.
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


_NOT_SUSTAINED = ("most_subjects", "best_under", "trace")
_UNACCOMPANIED = ("most_subjects", "best_under", "sustained")


def _grid_from(table: Mapping[str, Any], base: Grid, source: str) -> Grid:
    if unknown := sorted(set(table) - set(GRID_KEYS)):
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], GRID_KEYS)} "
            f"the keys are {', '.join(GRID_KEYS)}"
        )
    values: dict[str, Any] = {key: getattr(base, key) for key in GRID_KEYS}
    if any(load in table for load in _LOADS):
        values |= {**dict.fromkeys(_LOADS, ()), **_NO_LOAD}
    values |= {key: _read(key, value, base, f"{source}: {key}") for key, value in table.items()}
    for key, loads in (
        ("arrival", ("request_rates",)),
        ("think_time", ("concurrencies",)),
        ("speed", ("trace",)),
        ("sequences", ("request_rates", "trace")),
        ("frame_rate", ("subjects", "most_subjects")),
        ("percentile", ("most_subjects",)),
    ):
        if key in table and not any(values[load] for load in loads):
            raise ConfigurationError(f"{source}: {key} is given without {' or '.join(loads)}")
    for load in (load for load in _NOT_SUSTAINED if values["sustained"] and values[load]):
        raise ConfigurationError(
            f"{source}: {load} cannot be sustained: leave out one of them, or give the load as "
            "concurrencies, request_rates or subjects"
        )
    for key, only in (("protocol", "grpc"), ("transport", "inline")):
        if values["streaming"] and values[key] not in (None, only):
            raise ConfigurationError(
                f"{source}: {key} is {values[key]!r}, and streams are {only}: "
                f"leave out {key} or streaming"
            )
    if any(values["beside"]) and any(values[one] for one in _UNACCOMPANIED):
        if "beside" in table:
            raise ConfigurationError(
                f"{source}: beside is given with a search or a sustained load, which have no "
                "neighbours: put these into a grid or a marker of their own"
            )
        values["beside"] = _ALONE  # the load is a marker's: the rest of the file stays
    named = base.batches_named or "batch_sizes" in table
    return Grid(**values, batches_named=named, source=source)


def _read(key: str, given: Any, base: Grid, where: str) -> Any:
    if key == "models" and isinstance(given, str):
        return (given,)
    if key == "sequence_length" and isinstance(given, int):
        given = (given, given)
    kind, words = _KINDS[key]
    value = _converted(given, kind, words, where)
    if key in _READ:
        try:
            return _READ[key](value)
        except ArgumentTypeError as error:
            raise ConfigurationError(f"{where}: {error}") from None
    if key in _TABLES:
        tables: dict[str, Any]
        if isinstance(value, list):
            return {"*": {ONLY_INPUT: _shapes_of(value, where)}}
        if key == "accuracy":
            tables = {
                model: read_answers(model, one, f"{where}.{model}") for model, one in value.items()
            }
        else:
            tables = _tensors(value, _shapes_of if key == "shapes" else _range_of, where)
        for model, tensors in tables.items() if key == "shapes" else ():
            if len(counts := {len(shapes) for shapes in tensors.values()} - {1}) > 1:
                raise ConfigurationError(
                    f"{where}.{model}: the tensors have {' and '.join(map(str, sorted(counts)))} "
                    "shapes, and go together: give each as many, or one"
                )
        kept = {
            model: table
            for model, table in getattr(base, key).items()
            if not any(fnmatchcase(model, pattern) for pattern in tables)
        }
        return {**kept, **tables}
    return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value


def _tensors(
    tables: Mapping[str, Any], read: Callable[[Any, str], Any], where: str
) -> dict[str, Any]:
    """Read tables of tensors, by model."""
    return {
        model: {
            name: read(item, f"{where}.{model}.{name}")
            for name, item in _converted(
                tensors, dict[str, Any], "a table of tensors", f"{where}.{model}"
            ).items()
        }
        for model, tensors in tables.items()
    }


def _percentile_within(text: str) -> tuple[float, float]:
    """Read ``p99 <= 40 ms``: the percentile and the seconds."""
    found = _LATENCY.fullmatch(text.removeprefix("latency_").strip())
    if found is None or not _LOWEST_PERCENTILE <= float(found[1]) < _HIGHEST_PERCENTILE:
        raise ArgumentTypeError(
            f"{_brief(text)} is no percentile, from p50 to below p100, with its limit, such as "
            "'p99 <= 40 ms'"
        )
    return float(found[1]), milliseconds(found[2])


def _lowest_and_highest(length: tuple[int, int]) -> tuple[int, int]:
    low, high = length
    if low > high:
        raise ArgumentTypeError(f"[{low}, {high}] is not [lowest, highest]")
    return low, high


_READ: Mapping[str, Callable[[Any], Any]] = {
    "deadline": milliseconds,
    "best_under": _percentile_within,
    "sustained": sustained,
    "think_time": milliseconds,
    "trace": Path,
    "sequence_length": _lowest_and_highest,
    "beside": mixes,
}
"""How a key's value is read on, where its type alone does not say all."""


def _shapes_of(given: Any, where: str) -> tuple[Sizes, ...]:
    """Read one shape, or the shapes that a tensor has one after the other."""
    several = isinstance(given, (list, tuple)) and any(isinstance(x, (list, tuple)) for x in given)
    kind, words = _SHAPES if several else _SHAPE
    found = _converted(given, kind, words, where)
    return tuple(found) if several else (found,)


def _range_of(given: Any, where: str) -> Range:
    kind, words = _RANGE
    found: Range = _converted(given, kind, words, where)
    return found


def _converted(given: Any, kind: Any, words: str, where: str) -> Any:
    try:
        value = msgspec.convert(given, kind)
        if words != _RANGE[1] or value[0] <= value[1]:
            return value
    except msgspec.ValidationError:
        pass
    raise ConfigurationError(f"{where} must be {words}, not {_brief(given)}")


def _brief(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."
