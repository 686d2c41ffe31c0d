"""What a run is expected to show: the cells of a grid, of the models that should be there.

A model comes from the patterns and from the server, the repository or the baselines. It is expected
where the user named it, and a cell where the baselines have it: what is expected and cannot be
measured is unmeasured. Everything else that cannot be measured is left out, with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.engine.neighbours import beside, neighbours, possible
from pytest_gaitperf.engine.requests import ABSENT, refusal, requests_of
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.trace import read_trace
from pytest_gaitperf.metrics import quantities_of
from pytest_gaitperf.model import ModelInfo
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.workload import FRAME_RATE, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from pytest_gaitperf.config.grid import Grid
    from pytest_gaitperf.engine.requests import Offer
    from pytest_gaitperf.workload import Protocol, Transport

_CONTENT = r"(v\d+($|-)|zeros($|-)|(?!trace=|beside=)[^-=]+=)"
"""How the part of a cell's key begins that says what is sent (``Workload.content``)."""


@dataclass(slots=True)
class Expectation:
    """What one run is expected to show.

    ``recorded`` are the keys of the cells in the baselines, by model, ``named`` the models that the
    user named. ``left_out`` says, by model, why nothing, or not all of its grid, is measured.
    """

    recorded: Mapping[str, Collection[str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)

    def expects(self, workload: Workload) -> bool:
        """Return whether a cell must be shown: it has a baseline, or its model was named."""
        return workload.model in self.named or self.records(workload)

    def records(self, workload: Workload) -> bool:
        """Return whether a cell has a baseline, whatever was sent.

        Without its shape or its data a cell could not be measured, and would not be missed.
        """
        load = re.compile(f"{re.escape(workload.load)}($|-{_CONTENT})")
        return any(load.match(key) for key in self.recorded.get(workload.model, ()))

    def set_aside(
        self, workloads: Iterable[Workload], offers: Mapping[str, Offer]
    ) -> dict[Workload, str]:
        """Return the cells that cannot be measured and are not expected, with the reason."""
        found = {}
        for workload in workloads:
            why = refusal(offers.get(workload.model, ABSENT), workload.batch_size)
            if why is not None and not self.expects(workload):
                found[workload] = self.left_out[workload.model] = why
        return found

    def notes(self) -> Iterator[str]:
        """Say what is left out, one line for each reason."""
        reasons: dict[str, list[str]] = {}
        for model, why in sorted(self.left_out.items()):
            reasons.setdefault(why, []).append(model)
        for why, models in reasons.items():
            yield f"not measured: {', '.join(models)}: {why}"


def expand(
    grid: Grid,
    offers: Mapping[str, Offer],
    only: Sequence[str] = (),
    expectation: Expectation | None = None,
    *,
    protocol: Protocol = "http",
    transport: Transport = "inline",
    frame_rate: float = FRAME_RATE,
    deadline_s: float = 0.0,
    data_of: Callable[[str], str] = lambda _model: "",
    quantity: str = "",
) -> list[Workload]:
    """Return the cells of the grid that are to be measured, grouped by model.

    Each model by itself is a cell, too, where ``quantity`` is one that it has.

    ``offers`` are the models of the server or the repository; ``only`` are the patterns of
    ``--gaitperf-models``, which narrow the grid. The others are those of a grid that names none.
    Cells that are expected are among them, even where it is known that they cannot be measured.
    ``expectation`` learns which models were named, and what is left out. ``data_of`` gives what a
    model's requests hold, as ``Workload.data`` has it.

    Raises
    ------
    ConfigurationError
        A pattern that no model matches, a batch above the maximum of a model where the user named
        both, subjects that do not fill the batches, shapes or ranges of no model or tensor, or that
        contradict it, a grid of which nothing can be measured.
    """
    expectation = Expectation() if expectation is None else expectation
    models = _matching(grid.models, grid.source, offers, expectation)
    if only:
        chosen = _matching(only, "--gaitperf-models", offers, expectation)
        models = {name: named or chosen[name] for name, named in models.items() if name in chosen}
    expectation.named |= {name for name, named in models.items() if named}
    _check_tables(grid, sorted({*offers, *expectation.recorded}))
    loads, mixes = _loads(grid, frame_rate, deadline_s), neighbours(grid, offers, data_of)
    cells: list[Workload] = []
    for name, named in models.items():
        common: dict[str, Any] = {
            "protocol": grid.protocol or protocol,
            "transport": grid.transport or transport,
        }
        recorded = expectation.recorded.get(name, ())
        offer, requests = requests_of(
            grid, name, offers.get(name, ABSENT), recorded, data_of, named=named
        )
        sizes = [size for size in grid.batch_sizes if refusal(offer, size) is None]
        besides = possible(mixes, name, grid, offers, expectation.left_out, named=named)
        hopeless, how = named and not sizes, {**common, **_kind(grid, offer)}
        refused: list[Workload] = []
        whys = []
        for size in grid.batch_sizes:
            if named and grid.batches_named:
                _check_batch(name, offer, size, grid.source)
            try:
                found = [
                    beside(Workload(name, size, **sent, **load, **how), mix)
                    for sent in requests
                    for load in loads
                    for mix in besides
                ]
            except ConfigurationError as error:
                raise ConfigurationError(f"{grid.source}: {error}") from error
            if why := refusal(offer, size):
                whys.append(why)
                found = [one for one in found if hopeless or expectation.records(one)]
                refused += found
            cells += found
        if quantity in quantities_of(["model"]):
            alone = Workload(name, 1, concurrency=1, alone=True, **how, **requests[0])
            cells += [alone] if sizes or hopeless or expectation.records(alone) else []
        if whys and not refused and name in offers:
            expectation.left_out[name] = whys[0]
    if models and not cells:
        raise ConfigurationError(
            f"{grid.source}: nothing of it can be measured: "
            + "; ".join(expectation.notes()).replace("not measured: ", "")
        )
    return cells


def _loads(grid: Grid, frame_rate: float, deadline_s: float) -> list[dict[str, Any]]:
    """Return the fields of a workload that say when requests are sent, for each load of a grid."""
    of_all = {"deadline_s": grid.deadline or 0.0, "sustained_s": grid.sustained}
    closed = {"think_s": grid.think_time, **of_all}
    loads: list[dict[str, Any]] = [{"concurrency": count, **closed} for count in grid.concurrencies]
    rates: list[dict[str, Any]] = [
        {"request_rate": rate, "arrival": grid.arrival} for rate in grid.request_rates
    ]
    if grid.trace is not None:
        trace = read_trace(grid.trace)
        recorded = {"trace": trace.digest, "trace_file": str(grid.trace), "arrival": "trace"}
        rates.append({"request_rate": float(f"{trace.rate * grid.speed:.6g}"), **recorded})
    loads += [{**rate, "sequences": grid.sequences, **of_all} for rate in rates]
    frames = grid.frame_rate or frame_rate
    loads += [{"subjects": count, "frame_rate": frames, **of_all} for count in grid.subjects]
    if grid.most_subjects:
        search = {"deadline_s": grid.deadline or deadline_s, "percentile": grid.percentile}
        loads.append({"most_subjects": True, "frame_rate": frames, **search})
    if grid.best_under is not None:
        percentile, within_s = grid.best_under
        loads.append({"best_rate": True, "deadline_s": within_s, "percentile": percentile})
    return loads


def _kind(grid: Grid, offer: Offer) -> dict[str, Any]:
    """Return the fields of a workload that a decoupled or a stateful model needs."""
    if not isinstance(offer, ModelInfo):
        return {"streaming": grid.streaming}
    return {
        "streaming": grid.streaming or offer.decoupled,
        "sequence_length": grid.sequence_length if offer.stateful else (0, 0),
    }


def _matching(
    patterns: Sequence[str], source: str, offers: Mapping[str, Offer], expectation: Expectation
) -> dict[str, bool]:
    """Return the models that the patterns choose, and of each whether the user named it.

    So are all models of a pattern that only matches what cannot be measured.
    """
    names = sorted({*offers, *expectation.recorded})
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    matched: dict[str, bool] = {}
    for pattern in wanted or ["*"]:
        # A name may have what means something in a pattern: model[fp16].
        found = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not found:
            raise ConfigurationError(
                f"{source}: no model matches {pattern!r}{did_you_mean(pattern, names)} "
                f"the models are: {', '.join(names) or 'none'}"
            )
        hopeless = all(refusal(offers.get(name, ABSENT), 1) is not None for name in found)
        for name in found:
            matched[name] = matched.get(name, False) or name == pattern or hopeless
    for pattern in unwanted:
        left = {
            name: named
            for name, named in matched.items()
            if name != pattern and not fnmatchcase(name, pattern)
        }
        if left == matched:
            raise ConfigurationError(f"{source}: '!{pattern}' leaves out no model")
        matched = left
    return matched


def _check_tables(grid: Grid, models: Sequence[str]) -> None:
    """Refuse shapes and ranges of a model that is not there."""
    if (table := grid.unmatched(models)) is not None:
        near = did_you_mean(table.partition(".")[2], models)
        raise ConfigurationError(
            f"{grid.source}: {table} matches no model{near} the models are: {', '.join(models)}"
        )


def _check_batch(name: str, offer: Offer, batch_size: int, source: str) -> None:
    """Refuse a batch size that a model does not take, where the user named both."""
    if offer is None or isinstance(offer, str):
        return
    limit = offer.max_batch_size
    if limit == 0 and batch_size != 1:
        raise ConfigurationError(
            f"{source}: batch size {batch_size} for model {name!r}, which takes no batches "
            "(max_batch_size 0); use batch_sizes = [1] for it"
        )
    if limit and batch_size > limit:
        raise ConfigurationError(
            f"{source}: batch size {batch_size} for model {name!r}, whose max_batch_size is "
            f"{limit}; choose at most {limit}, or raise it in its config.pbtxt"
        )
