"""What a model takes, and what a grid sends to it: shapes, ranges and data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.config.grid import ONLY_INPUT
from pytest_gaitperf.errors import ConfigurationError, first_line
from pytest_gaitperf.load.data import check_inputs
from pytest_gaitperf.model import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pytest_gaitperf.config.grid import Grid

    Offer = ModelInfo | str | None
    """What a model takes, or why it cannot be measured; None where only the server can tell."""

ABSENT = "it is not on this server"


def refusal(offer: Offer, batch_size: int) -> str | None:
    """Say why a model cannot be measured with a batch size, None where it can as far as known."""
    if offer is None or isinstance(offer, str):
        return None if offer is None else first_line(offer)
    if offer.stateful and batch_size > 1:
        return "it is stateful: Triton takes requests of one sample of a sequence"
    if offer.max_batch_size == 0 and batch_size > 1:
        return "it takes no batches (max_batch_size 0): only batches of 1 are measured"
    if offer.batched and batch_size > offer.max_batch_size:
        return f"its max_batch_size is {offer.max_batch_size}: larger batches are not measured"
    return None


def requests_of(
    grid: Grid,
    name: str,
    offer: Offer,
    recorded: Collection[str],
    data_of: Callable[[str], str],
    *,
    named: bool,
) -> tuple[Offer, list[dict[str, Any]]]:
    """Return the fields of a workload that say what is sent, for each point of the shape axis.

    With them comes what a model takes, or why no request can be made for it. Raises
    ConfigurationError for shapes or ranges that it cannot have, where they are given for it.
    """
    given = grid.shapes_of(name)
    ranges = grid.ranges_of(name)
    try:
        points = [_resolved(point, name, offer, recorded) for point in given]
        if isinstance(offer, ModelInfo):
            for point in points:
                check_inputs(offer, point, ranges)
    except ConfigurationError as error:
        points = [{}]
        if not isinstance(offer, str):
            if named or ONLY_INPUT not in given[0]:
                raise ConfigurationError(f"{grid.source}: {error}") from error
            offer = str(error)
    fields: dict[str, Any] = {"ranges": tuple(ranges.items())}
    try:
        fields["data"] = data_of(name)
    except ConfigurationError as error:
        offer = str(error)
    return offer, [{**fields, "shapes": tuple(point.items())} for point in points]


def _resolved(
    point: Mapping[str, tuple[int, ...]], name: str, offer: Offer, recorded: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Return shapes with the name of the model's input in place of ``ONLY_INPUT``."""
    return {
        tensor or _only_input(name, offer, shape, recorded): shape
        for tensor, shape in point.items()
    }


def _only_input(name: str, offer: Offer, shape: tuple[int, ...], recorded: Collection[str]) -> str:
    """Return the name of a model's only input; of one that is not there, what was recorded."""
    if isinstance(offer, ModelInfo):
        if len(offer.inputs) == 1:
            return offer.inputs[0].name
        why = f"has the inputs {', '.join(spec.name for spec in offer.inputs)}"
    else:
        written = re.compile(rf"-([\w.]+)={'x'.join(map(str, shape))}(-|$)")
        for found in filter(None, map(written.search, sorted(recorded))):
            return found[1]
        why = "has inputs that only the server knows"
    raise ConfigurationError(
        f"model {name!r} {why}: give its shapes by model and tensor, as in "
        f"shapes = {{{json.dumps(name)} = {{TENSOR = [{list(shape)}]}}}}"
    )
