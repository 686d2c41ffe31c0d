"""The neighbours of a grid: which loads they are, and whether all models were in time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec.structs import replace as replace_struct

from pytest_gaitperf.config.policy import Limit
from pytest_gaitperf.engine.requests import ABSENT, refusal, requests_of
from pytest_gaitperf.errors import ConfigurationError, first_line
from pytest_gaitperf.load.data import resolved_shapes
from pytest_gaitperf.measurement import FEWEST_OF_P99
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.model import ModelInfo
from pytest_gaitperf.results import LimitCheck, LimitState
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_gaitperf.config.grid import Grid
    from pytest_gaitperf.config.neighbours import Neighbour
    from pytest_gaitperf.engine.requests import Offer
    from pytest_gaitperf.measurement import Measurement

    Mix = tuple[Workload, ...]


def neighbours(grid: Grid, offers: Mapping[str, Offer], data_of: Callable[[str], str]) -> list[Mix]:
    """Return the mixes that a grid's loads are measured beside; an empty one is the model alone.

    Raises ConfigurationError for a neighbour that is unknown, cannot be loaded, or takes no such
    requests, as far as that is known.
    """
    try:
        found = [
            tuple(_load(one, grid, offers, data_of) for one in written) for written in grid.beside
        ]
        for mix in found:
            _check_apart(mix, offers)
    except ConfigurationError as error:
        raise ConfigurationError(f"{grid.source}: beside: {error}") from error
    return found


def _check_apart(mix: Mix, offers: Mapping[str, Offer]) -> None:
    """Refuse an ensemble beside what it is made of: the server counts both together."""
    for one in mix:
        if steps := _steps(offers, one.model) & {other.model for other in mix}:
            raise ConfigurationError(
                f"the ensemble {one.model!r} is made of {', '.join(sorted(steps))}: name one of "
                "the two"
            )


def _steps(offers: Mapping[str, Offer], model: str) -> set[str]:
    """Return the models that an ensemble is made of, as far as they are known."""
    offer = offers.get(model)
    return {name for name, _ in offer.steps} if isinstance(offer, ModelInfo) else set()


def possible(
    mixes: Sequence[Mix],
    model: str,
    grid: Grid,
    offers: Mapping[str, Offer],
    left_out: dict[str, str],
    *,
    named: bool,
) -> list[Mix]:
    """Return the mixes that a model can be measured beside: those that it is not part of.

    An ensemble and what it is made of are part of each other: the server counts the inferences of
    both together. ``left_out`` learns that there are others. Raises ConfigurationError where the
    user named the model.
    """
    parts = {model, *_steps(offers, model)}

    def apart(one: Workload) -> bool:
        return one.model not in parts and model not in _steps(offers, one.model)

    found = [mix for mix in mixes if all(map(apart, mix))]
    if len(found) < len(mixes):
        if named:
            raise ConfigurationError(
                f"{grid.source}: beside: model {model!r} cannot be its own neighbour, nor that of "
                "an ensemble with it: take it out of beside, or out of the models"
            )
        left_out[model] = "it is a neighbour, and no model is measured beside itself"
    return found


def beside(workload: Workload, mix: Mix) -> Workload:
    """Return a load with its neighbours, which are sent what they are sent in the same way."""
    protocol, transport = workload.protocol, workload.transport
    same = (replace(one, protocol=protocol, transport=transport) for one in mix)
    return replace(workload, beside=tuple(same))


def in_time(workload: Workload, measurement: Measurement) -> list[LimitCheck]:
    """Say whether the models of a mix were in time: none is of a cell without neighbours.

    Each neighbour is held to its rate, and each model with a deadline to that, in its p99.
    """
    if not workload.beside:
        return []
    checks = []
    for load, kept in zip(workload.beside, measurement.neighbours, strict=True):
        each = load.batch_size
        checks.append(
            LimitCheck(
                limit=f"{load.name} at {load.request_rate:g} requests/s",
                metric="throughput",
                bound=load.request_rate * each,
                state=LimitState.VIOLATED if kept.behind else LimitState.MET,
                certain=True,
                now=Estimate("inf/s", kept.kept * each),
            )
        )
    for load, p99, requests in measurement.tails(workload):
        if load.deadline_s:
            limit = Limit("latency_p99", load.deadline_s, f"{load.deadline_s * 1e3:g} ms")
            few = f"{requests} requests, {FEWEST_OF_P99} are needed: raise --gaitperf-budget"
            check = limit.check(p99, few)
            checks.append(replace_struct(check, limit=f"{load.name} {check.limit}"))
    return checks


def _load(
    written: Neighbour, grid: Grid, offers: Mapping[str, Offer], data_of: Callable[[str], str]
) -> Workload:
    name, version = written.model, ""
    if name not in offers and "@" in name:
        name, _, version = name.rpartition("@")
    if name not in offers:
        near = did_you_mean(name, offers)
        raise ConfigurationError(
            f"no model is called {name!r}{near} the models are: {', '.join(sorted(offers))}"
        )
    offer, requests = requests_of(grid, name, offers.get(name, ABSENT), (), data_of, named=True)
    why = refusal(offer, written.batch_size)
    if isinstance(offer, ModelInfo):
        if offer.decoupled or offer.stateful:
            kind = "decoupled" if offer.decoupled else "stateful"
            why = f"it is {kind}: a neighbour answers single requests"
        elif version and version not in offer.versions:
            why = f"it has no version {version}, but {', '.join(offer.versions)}"
    if why is None and len(requests) > 1:
        why = f"the grid gives it {len(requests)} shapes: a neighbour has one"
    if why is not None:
        raise ConfigurationError(f"{written.model!r} cannot be a neighbour: {first_line(why)}")
    load = Workload(
        name,
        written.batch_size,
        version=version,
        request_rate=written.request_rate,
        deadline_s=written.deadline_s,
        **requests[0],
    )
    if isinstance(offer, ModelInfo) and not load.data.startswith("sha256:"):
        resolved_shapes(offer, dict(load.shapes))
    return load
