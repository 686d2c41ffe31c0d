"""The reference of a run: earlier files of its models, which are measured beside today's."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf import git
from pytest_gaitperf.engine.paired import Paired
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeasurementError, first_line
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.triton.revisions import absent_models, models_at, take_models

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.engine.judging import Case
    from pytest_gaitperf.engine.progress import Progress
    from pytest_gaitperf.results import Verdict
    from pytest_gaitperf.workload import Workload

_ANY_CHANGE = 1e6
"""The tolerance, as a ratio, of a metric that nobody asked about: it is decided at once."""

_LOOK_S = 60.0
"""A suspect has as many seconds at least: nine blocks confirm a change, of 3 to 10 s each."""


def look(
    settings: Settings,
    reference: Path,
    cells: Mapping[Workload, Collection[str]],
    tolerance: Callable[[Workload, str], float],
    *,
    budget: Budget,
    progress: Progress,
) -> dict[Workload, dict[str, Verdict] | GaitperfError]:
    """Compare cells in pairs with the models of a directory, on a server that is started for it.

    ``cells`` has the metrics that are asked about, ``tolerance`` the change of each that does not
    matter; ``budget`` is for one cell. What comes back is, by cell, what was seen of the metrics
    that were compared, or why none was. Raises GaitperfError where no server can be had.
    """
    energy = any("energy_per_inference" in metrics for metrics in cells.values())
    resources = Resources(
        replace(
            settings,
            against=reference,
            power=settings.power if energy else "none",
            power_trace=None,
            lock="off",  # whoever looks has the device
        ),
        None,
        progress,
    )

    def asked(workload: Workload, metric: str) -> float:
        return tolerance(workload, metric) if metric in cells[workload] else _ANY_CHANGE

    found: dict[Workload, dict[str, Verdict] | GaitperfError] = {}
    try:
        resources.plan(cells, others=False)
        paired = Paired(resources, asked)
        _ = resources.server  # what keeps it from starting concerns all cells
        for model in dict.fromkeys(one.model for one in cells):
            mine = [one for one in cells if one.model == model]
            found |= _compared(paired, mine, budget)
    finally:
        resources.close()
    return {
        one: {metric: each for metric, each in seen.items() if metric in cells[one]}
        if isinstance(seen, dict)
        else seen
        for one, seen in found.items()
    }


def _compared(
    paired: Paired, cells: Iterable[Workload], budget: Budget
) -> dict[Workload, dict[str, Verdict] | GaitperfError]:
    """Compare cells of one model."""
    found: dict[Workload, dict[str, Verdict] | GaitperfError] = {}
    there = []
    for workload in cells:
        try:
            if paired.reference(workload) is None:
                found[workload] = MeasurementError(paired.why_not(workload))
            else:
                there.append(workload)
        except GaitperfError as error:
            found[workload] = error
    if there:
        all_s = budget.budget_s * len(there)
        paired.measure(there, replace(budget, budget_s=all_s))
    for workload in there:
        try:
            invalid = paired.measured(workload).invalid
        except GaitperfError as error:
            found[workload] = error
            continue
        found[workload] = MeasurementError(invalid) if invalid else paired.verdicts(workload)
    return found


class Reference:
    """What ``--gaitperf-reference`` names: a directory of models, or a revision of this one.

    ``notes`` say why a suspect was not compared with it. Raises ConfigurationError where there is
    no such revision, and where it has no models.
    """

    def __init__(self, given: str | Path, repository: Path) -> None:
        self.notes: dict[str, None] = {}
        self._directory = given if isinstance(given, Path) else None
        self._commit = ""
        self.description = str(given)
        self._absent: dict[str, str] = {}
        try:
            if self._directory is not None:
                self._absent = absent_models(self._directory)
            else:
                self._commit = git.commit_of(str(given), repository)
                models_at(self._commit, repository)
        except ConfigurationError as error:
            raise ConfigurationError(f"--gaitperf-reference={given}: {error}") from None

    def verdicts(
        self,
        case: Case,
        resources: Resources,
        tolerance: Callable[[Workload, str], float],
        left_s: float,
    ) -> dict[int, Verdict]:
        """Return the verdicts on suspects in pairs with the reference, by index, where there are.

        ``left_s`` is what is left of the run's budget, in seconds. Not compared is what takes no
        turns, a search, a sustained load or one beside neighbours, and a regression that is
        accepted: what is recorded of that is measured once more. The server of the run is closed
        meanwhile.
        """
        settings, server = resources.settings, resources.opened_server
        cells: dict[Workload, dict[str, int]] = {}
        for i in case.judgement.suspects:
            cell, metric = case.compared[i]
            load = cell.workload
            if not (load.search or load.sustained_s or load.beside):
                cells.setdefault(cell.workload, {})[metric] = i
        if not cells or left_s <= 0 or settings.accept_regressions or server is None:
            return {}
        if server.mode == "attach":
            self._note(cells, f"the server at {server.url} cannot be given other models")
            return {}
        server.close()
        try:
            with tempfile.TemporaryDirectory(prefix=prefix("reference")) as temporary:
                looked = self._look(cells, Path(temporary), tolerance, left_s, resources)
        except GaitperfError as error:
            self._note(cells, first_line(error))
            return {}
        finally:
            with suppress(GaitperfError):  # whoever needs the server is told
                resources.restart_server()
        seen = self._told(looked)
        return {
            i: seen[workload][metric]
            for workload, metrics in cells.items()
            for metric, i in metrics.items()
            if metric in seen[workload]
        }

    def _look(
        self,
        cells: Mapping[Workload, Collection[str]],
        temporary: Path,
        tolerance: Callable[[Workload, str], float],
        left_s: float,
        resources: Resources,
    ) -> dict[Workload, dict[str, Verdict] | GaitperfError]:
        settings, directory, absent = resources.settings, self._directory, self._absent
        models = {one.model for one in cells}
        if directory is None:
            directory = temporary
            absent = take_models(self._commit, settings.triton_repository, models, temporary)
        there = {one: metrics for one, metrics in cells.items() if one.model not in absent}
        found: dict[Workload, dict[str, Verdict] | GaitperfError] = {
            one: MeasurementError(absent[one.model]) for one in cells if one.model in absent
        }
        if there:
            what = ", ".join(one.id for one in there)
            resources.progress.say(f"suspected, and compared with {self.description}: {what}")
            budget = Budget(settings.precision, max(settings.budget, _LOOK_S), left_s)
            found |= look(
                settings, directory, there, tolerance, budget=budget, progress=resources.progress
            )
        return found

    def _told(
        self, looked: Mapping[Workload, dict[str, Verdict] | GaitperfError]
    ) -> dict[Workload, dict[str, Verdict]]:
        """Return what was seen; of the cells where nothing was, note why, once for each reason."""
        reasons: dict[str, list[Workload]] = {}
        for workload, seen in looked.items():
            if isinstance(seen, GaitperfError):
                reasons.setdefault(first_line(seen), []).append(workload)
        for why, cells in reasons.items():
            self._note(cells, why)
        return {one: seen if isinstance(seen, dict) else {} for one, seen in looked.items()}

    def _note(self, cells: Iterable[Workload], why: str) -> None:
        named = ", ".join(one.id for one in cells)
        self.notes[f"{named}: not compared with {self.description}, but measured again: {why}"] = (
            None
        )
