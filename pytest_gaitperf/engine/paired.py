"""The paired gate of one run: finds each cell's reference, measures both, keeps the verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gate.pairing import paired_verdicts
from pytest_gaitperf.measure.pairs import measure_pair
from pytest_gaitperf.metrics import GATED, QUANTITIES
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.text import count, percent
from pytest_gaitperf.triton.models import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.measure.cell import Budget
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Paired:
    """Gates against another model, on the same server, in place of the baselines.

    ``tolerance`` gives the relative change that does not matter, of a cell's metric.
    """

    def __init__(self, resources: Resources, tolerance: Callable[[Workload, str], float]) -> None:
        self._resources = resources
        self._tolerance = tolerance
        self._against = resources.settings.against
        self._verdicts: dict[Workload, dict[str, Verdict]] = {}
        self._without: dict[Workload, tuple[VerdictKind, str]] = {}
        self._no_p99: dict[Workload, str] = {}

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

    def measure(self, workload: Workload, reference: Workload, budget: Budget) -> Measurement:
        """Measure both in turns, and keep the verdicts; raises as ``measure_pair`` does."""
        resources, settings = self._resources, self._resources.settings

        def tolerance(metric: str) -> float:
            return self._tolerance(workload, metric)

        pair = measure_pair(
            resources.server,
            workload,
            reference,
            resources.metering,
            budget,
            alpha=settings.alpha / (len(GATED) * max(1, len(resources.planned))),
            tolerance=tolerance,
            data=settings.data,
            progress=lambda effect: resources.progress.text_goes_on(so_far(effect)),
        )
        self._verdicts[workload] = paired_verdicts(
            pair.candidate, pair.reference, pair.effects, tolerance, pair.undecided
        )
        if "latency_p99" in pair.uncompared:
            self._no_p99[workload] = pair.uncompared["latency_p99"]
        return pair.candidate

    @property
    def remarks(self) -> list[str]:
        """What a reader of the table should know of cells that were not compared, or not all."""
        lines = list(
            dict.fromkeys(f"{cell.model}: {why}" for cell, (_, why) in self._without.items())
        )
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


def so_far(effect: Effect) -> str:
    """Return what the pairs so far show; a change is the log of a ratio, positive for the worse."""
    size = percent(math.expm1(abs(effect.change))).removeprefix("+")
    return f"{count(effect.pairs, 'pair')}, {size} {'worse' if effect.change > 0 else 'better'}"
