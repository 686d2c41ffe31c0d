"""What is measured: one workload is one cell of the grid model x batch size x concurrency."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_gaitperf.triton.models import ModelInfo

Protocol = Literal["http", "grpc"]
Transport = Literal["inline", "shm"]
Arrival = Literal["constant", "poisson"]

QUICK = (1, 4)
FULL = (1, 4, 8, 12, 16, 20, 24, 28, 32)
FRAME_RATE = 25.0
"""Inferences per second that one walking subject needs: the cameras' frames per second."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One cell: what is asked of the server, and how.

    ``version`` is the model's version, "" for the one the server chooses. Each request carries
    ``batch_size`` samples. Exactly one of three says when requests are sent: ``concurrency`` keeps
    that many in flight (closed loop); ``request_rate`` sends that many a second whatever comes back
    (open loop), evenly or as a Poisson process (``arrival``); ``subjects`` does so for that many
    subjects, each of whom needs ``frame_rate`` inferences a second, their phases spread evenly.
    ``transport`` is how tensors travel: in the request, or in system shared memory (shm).
    ``shapes`` are those of the tensors which the model leaves dynamic, without the batch dimension.

    Raises ConfigurationError unless exactly one of the three is given, and is positive.
    """

    model: str
    batch_size: int
    concurrency: int = 0
    version: str = ""
    protocol: Protocol = "http"
    transport: Transport = "inline"
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    request_rate: float = 0.0
    arrival: Arrival = "constant"
    subjects: int = 0
    frame_rate: float = FRAME_RATE

    def __post_init__(self) -> None:
        """Refuse a load that is not exactly one of closed loop, request rate and subjects."""
        given = [value for value in (self.concurrency, self.request_rate, self.subjects) if value]
        if len(given) != 1 or given[0] < 0:
            raise ConfigurationError(
                f"workload of {self.model!r}: give one of concurrency, request_rate and subjects, "
                "as a positive number"
            )

    @property
    def sends_per_s(self) -> float:
        """Requests per second of an open loop, 0 for a closed one.

        A request of several samples carries that many subjects.
        """
        return self.request_rate or self.subjects * self.frame_rate / self.batch_size

    @property
    def key(self) -> str:
        """The cell's name within its model, e.g. ``b8-c4``, ``b1-r100-poisson``, ``b1-s42-shm``."""
        if self.concurrency:
            load = f"c{self.concurrency}"
        elif self.subjects:
            load = f"s{self.subjects}"
            if self.frame_rate != FRAME_RATE:
                load += f"-fps{self.frame_rate:g}"
        else:
            load = f"r{self.request_rate:g}"
            if self.arrival != "constant":
                load += f"-{self.arrival}"
        how = [name for name in (self.protocol, self.transport) if name not in ("http", "inline")]
        return "-".join([f"b{self.batch_size}", load, *how])

    @property
    def id(self) -> str:
        """The cell's name in test ids and results, e.g. ``3D_fp32_0_batchd-b8-c4``."""
        return f"{self.model}-{self.key}"


@dataclass(frozen=True, slots=True)
class Grid:
    """Which cells: patterns of model names x batch sizes x concurrencies.

    ``source`` names where it was asked for, for messages.
    """

    models: tuple[str, ...] = ("*",)
    batch_sizes: tuple[int, ...] = QUICK
    concurrencies: tuple[int, ...] = QUICK
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    source: str = "the quick grid"

    def narrowed(self, arguments: Mapping[str, Any], source: str) -> Grid:
        """Return this grid with what ``arguments`` (a marker's) replace in it.

        Raises
        ------
        ConfigurationError
            An unknown argument or a value of the wrong kind.
        """
        if not arguments:
            return self
        return _grid_from(arguments, self, source)


_KEYS = ("models", "batch_sizes", "concurrencies", "shapes")


def load_grid(name: str) -> Grid:
    """Return the grid called ``quick`` or ``full``, or the one in a TOML file.

    The file has the keys ``models`` (patterns), ``batch_sizes``, ``concurrencies`` and tables
    ``[shapes.MODEL]`` with ``TENSOR = [sizes]`` for dynamic tensors; all are optional.

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
        raise ConfigurationError(f"unknown grid {name!r}: quick, full, or the path of a .toml file")
    from pytest_gaitperf.toml import load_toml  # noqa: PLC0415 - a grid in a file is rare

    return _grid_from(load_toml(Path(name)), Grid(), name)


def _grid_from(table: Mapping[str, Any], base: Grid, source: str) -> Grid:
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r}; the keys are {', '.join(_KEYS)}"
        )
    models = table.get("models", base.models)
    models = (models,) if isinstance(models, str) else models
    good = isinstance(models, (list, tuple)) and models
    if not good or not all(isinstance(model, str) for model in models):
        raise ConfigurationError(
            f"{source}: models must be a list of names or patterns, not {models!r}"
        )
    shapes: dict[str, Mapping[str, tuple[int, ...]]] = dict(base.shapes)
    given = table.get("shapes", {})
    if not isinstance(given, dict):
        raise ConfigurationError(f"{source}: shapes must be a table of models, not {given!r}")
    for model, tensors in given.items():
        if not isinstance(tensors, dict):
            raise ConfigurationError(f"{source}: shapes.{model} must be a table of tensors")
        shapes[model] = {
            tensor: _sizes(sizes, f"{source}: shapes.{model}.{tensor}")
            for tensor, sizes in tensors.items()
        }
    return Grid(
        models=tuple(models),
        batch_sizes=_sizes(table.get("batch_sizes", base.batch_sizes), f"{source}: batch_sizes"),
        concurrencies=_sizes(
            table.get("concurrencies", base.concurrencies), f"{source}: concurrencies"
        ),
        shapes=shapes,
        source=source,
    )


def _sizes(value: Any, where: str) -> tuple[int, ...]:
    good = isinstance(value, (list, tuple)) and value
    if not good or not all(type(size) is int and size > 0 for size in value):
        raise ConfigurationError(f"{where} must be a list of positive whole numbers, not {value!r}")
    return tuple(dict.fromkeys(value))


def expand(grid: Grid, known: Mapping[str, ModelInfo], only: Sequence[str] = ()) -> list[Workload]:
    """Return the cells of the grid on the models that exist, grouped by model.

    ``known`` are the models of the server or the repository; ``only`` are the patterns of
    ``--gaitperf-models``, which narrow the grid.

    Raises
    ------
    ConfigurationError
        A pattern that no model matches, or a batch above a model's maximum: each with what exists.
    """
    models = _matching(known, grid.models, grid.source)
    if only:
        chosen = _matching(known, only, "--gaitperf-models")
        models = [model for model in models if model in chosen]
    cells = []
    for name in models:
        model = known[name]
        for batch_size in grid.batch_sizes:
            _check_batch(model, batch_size, grid.source)
            shapes = tuple(sorted(grid.shapes.get(name, {}).items()))
            cells += [
                Workload(name, batch_size, concurrency, shapes=shapes)
                for concurrency in grid.concurrencies
            ]
    return cells


def _matching(known: Iterable[str], patterns: Iterable[str], source: str) -> list[str]:
    names = sorted(known)
    matched: list[str] = []
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            exist = ", ".join(names) or "none: build them with 'gaitperf models build'"
            raise ConfigurationError(
                f"{source}: no model matches {pattern!r}; the models are: {exist}"
            )
        matched += [name for name in found if name not in matched]
    return matched


def _check_batch(model: ModelInfo, batch_size: int, source: str) -> None:
    limit = model.max_batch_size
    if limit == 0 and batch_size != 1:
        raise ConfigurationError(
            f"{source}: batch size {batch_size} for model {model.name!r}, which takes no batches "
            "(max_batch_size 0); use batch_sizes = [1] for it"
        )
    if limit and batch_size > limit:
        raise ConfigurationError(
            f"{source}: batch size {batch_size} for model {model.name!r}, whose max_batch_size is "
            f"{limit}; choose at most {limit}, or raise it in its config.pbtxt"
        )
