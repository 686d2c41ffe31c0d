"""The paired gate of one run: finds each cell's reference, measures both, keeps the verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError, GaitperfError
from pytest_gaitperf.gate.pairing import paired_verdicts
from pytest_gaitperf.measure.pairs import Progress, Terms, measure_pairs
from pytest_gaitperf.measure.visits import COMPARED
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.text import count, percent
from pytest_gaitperf.triton.models import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.measure.cell import Budget
    from pytest_gaitperf.measure.pairs import Pair
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Paired:
    """Gates against another model, on the same server, in place of the baselines.

    ``tolerance`` gives, of a cell's metric, the relative change that does not matter, ``must_hear``
    the one that an undecided comparison must have been able to find.
    """

    def __init__(
        self,
        resources: Resources,
        tolerance: Callable[[Workload, str], float],
        must_hear: Callable[[Workload, str], float] = lambda _workload, _metric: math.inf,
    ) -> None:
        self._resources = resources
        self._tolerance, self._must_hear = tolerance, must_hear
        self._against = resources.settings.against
        self._verdicts: dict[Workload, dict[str, Verdict]] = {}
        self._without: dict[Workload, tuple[VerdictKind, str]] = {}
        self._found: dict[Workload, Pair | GaitperfError] = {}
        self._no_p99: dict[Workload, str] = {}
        self._notes: dict[str, None] = {}

    @property
    def description(self) -> str:
        """What the run compares with, in words."""
        return f"version {self._against}" if isinstance(self._against, str) else str(self._against)

    def reference(self, workload: Workload) -> Workload | None:
        """Return the same load on the model to compare with, None where there is none to compare.

        Raises ConfigurationError for a version that the server does not serve, or that is the one
        which is measured.
        """
        server = self._resources.server
        candidate = server.model(workload.model, workload.version)
        if isinstance(self._against, str):
            found = self._version(workload, self._against)
        elif workload.model in self._resources.references:
            found = replace(workload, model=workload.model + SUFFIX)
        else:
            found = None
        if found is None:
            self._without[workload] = (
                VerdictKind.MISSING,
                f"a new model: there is none to compare it with in {self.description}",
            )
            return None
        reference = server.model(found.model, found.version)
        if reference.signature != candidate.signature:
            why = f"its tensors differ: {reference.signature}, now {candidate.signature}"
        elif 0 < reference.max_batch_size < workload.batch_size:
            why = f"the reference takes batches of {reference.max_batch_size} at most"
        else:
            return found
        self._without[workload] = (VerdictKind.INCOMPARABLE, why)
        return None

    def _version(self, workload: Workload, version: str) -> Workload | None:
        """Return the workload on that version; None where the repository has none, a new model."""
        served = self._resources.server.model(workload.model, workload.version).versions
        measured = workload.version or served[-1]
        if version == measured:
            raise ConfigurationError(
                f"--gaitperf-against={version}: version {version} of {workload.model!r} is the one "
                "that is measured; name an older one, or another repository's directory"
            )
        if version in served:
            return replace(workload, version=version)
        ours = self._resources.settings.triton_repository / workload.model
        started = self._resources.server.mode != "attach"
        if started and not (ours / version).is_dir():
            return None
        raise ConfigurationError(
            f"--gaitperf-against={version}: the server serves {', '.join(served)} of "
            f"{workload.model!r} and not {version}: let its config.pbtxt have both, e.g. "
            f"version_policy: {{ specific: {{ versions: [ {version}, {measured} ] }} }}"
        )

    def has(self, workload: Workload) -> bool:
        """Whether a cell was measured already, with another one of its model."""
        return workload in self._found

    def measured(self, workload: Workload) -> Measurement:
        """Return what was measured of a cell; raises what kept it from being measured."""
        pair = self._found[workload]
        if isinstance(pair, GaitperfError):
            raise pair
        return pair.candidate

    def measure(self, cells: Iterable[Workload], budget: Budget) -> None:
        """Measure cells of one model beside their references, and keep what was found.

        Cells without a reference are left out. Raises ServerError as ``measure_pairs`` does.
        """
        resources, settings = self._resources, self._resources.settings
        progress = resources.progress
        pairs = []
        for workload in cells:
            try:
                reference = self.reference(workload)
            except GaitperfError as error:
                self._found[workload] = error
            else:
                pairs += [(workload, reference)] if reference is not None else []
        terms = Terms(
            alpha=settings.alpha / (len(COMPARED) * max(1, len(resources.planned))),
            tolerance=self._tolerance,
            budget_s=budget.budget_s,
            most_s=budget.most_s,
            data=settings.data,
        )
        told = Progress(
            progress.say, lambda text, effect: progress.text_goes_on(so_far(text, effect))
        )
        found = measure_pairs(resources.server, pairs, resources.metering, terms, told)
        for (workload, _), pair in zip(pairs, found, strict=True):
            self._found[workload] = pair
            if isinstance(pair, GaitperfError):
                continue
            self._notes |= dict.fromkeys(pair.notes)
            self._verdicts[workload] = paired_verdicts(
                pair.candidate,
                pair.reference,
                pair.effects,
                partial(self._tolerance, workload),
                partial(self._must_hear, workload),
                undecided=pair.undecided,
            )
            if "latency_p99" in pair.uncompared:
                self._no_p99[workload] = pair.uncompared["latency_p99"]

    def why_not(self, workload: Workload) -> str:
        """Say why a cell has no reference."""
        return self._without[workload][1]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the table should know of cells that were not compared, or not all."""
        lines = list(
            dict.fromkeys(f"{cell.model}: {why}" for cell, (_, why) in self._without.items())
        )
        lines += self._notes
        if gone := self._resources.gone:
            lines.append(
                f"only in {self.description}, and compared with nothing: {', '.join(gone)}"
            )
        if self._no_p99:
            why = next(iter(self._no_p99.values()))
            lines.append(f"p99 not compared in {count(len(self._no_p99), 'cell')}: e.g. {why}")
        open_ = [
            workload
            for workload, found in self._verdicts.items()
            if any(verdict.kind is VerdictKind.INCONCLUSIVE for verdict in found.values())
        ]
        if open_:
            lines.append(
                f"undecided within the budget in {count(len(open_), 'cell')}: "
                "raise --gaitperf-budget"
            )
        return lines

    def verdicts(self, workload: Workload) -> dict[str, Verdict]:
        """Return the verdicts on the metrics of a measured cell, by name."""
        if workload in self._without:
            kind, why = self._without[workload]
            return {
                metric: Verdict(metric, kind, why)
                for quantity in workload.quantities
                for metric in QUANTITIES[quantity]
            }
        return self._verdicts[workload]


def so_far(text: str, effect: Effect | None) -> str:
    """Return what the blocks show; a change is the log of a ratio, positive for the worse."""
    if effect is None:
        return text
    size = percent(math.expm1(abs(effect.change))).removeprefix("+")
    return f"{text}, {size} {'worse' if effect.change > 0 else 'better'}"
