"""Models by themselves: what their starts come to, and whether they still answer the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.accuracy import Accuracy
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, first_line
from pytest_gaitperf.measure.accuracy import measure_accuracy
from pytest_gaitperf.measure.starts import evaluate_starts
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.config.answers import Answers
    from pytest_gaitperf.config.grid import Grid
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload

_LOADING_S = 120.0


class Alone:
    """Measures the cells that are models by themselves; ``asked`` is what each is to answer."""

    def __init__(self, resources: Resources) -> None:
        self.asked: dict[Workload, Answers] = {}
        self._resources = resources
        self._sources: dict[Workload, str] = {}

    def plan(self, grid: Grid, cells: Iterable[Workload], quantity: str) -> None:
        """Note what the grid of a test of answers says that they are to be.

        Raises ConfigurationError where another test's says otherwise, or it cannot be had.
        """
        for cell in cells if quantity == "accuracy" else ():
            asked = grid.answers_of(cell.model) if cell.alone else None
            if asked is None:
                continue
            where = f"{self._sources.setdefault(cell, grid.source)}: accuracy of {cell.model}"
            if self.asked.setdefault(cell, asked) != asked:
                raise ConfigurationError(
                    f"{where} is not what {grid.source} says: a model has one, for all tests"
                )
            self._check(asked, where)
        self._resources.also = {one.model[0] for one in self.asked.values()} - {""}

    def _check(self, asked: Answers, where: str) -> None:
        """Refuse what cannot be had, before anything is measured."""
        models, settings = self._resources.offers, self._resources.settings
        name = asked.model[0]
        if name and name not in models:
            raise ConfigurationError(
                f"{where}: there is no model {name!r}{did_you_mean(name, models)} the models are "
                f"{', '.join(sorted(models))}; a file of outputs ends in .npz, a directory in /"
            )
        files = [asked.file, Path(asked.labels) if asked.labels else None]
        for path in filter(None, files):
            if not path.exists():
                raise ConfigurationError(f"{where}: there is no {path}")
            if settings.data in ("random", "zeros"):
                raise ConfigurationError(
                    f"{where}: {path} is of samples, and this run sends {settings.data} ones: give "
                    "them with --gaitperf-data"
                )

    def measured(
        self, workload: Workload, session: Session, left_s: Callable[[], float]
    ) -> Measurement:
        """Return what the starts of a model in this session come to: each life has begun with one.

        A server that was there before has begun the first. What it answers is compared once in a
        session, by when all else of the life was measured.
        """
        known, server = self._resources.models_alone, self._resources.server
        server.model(workload.model, workload.version)  # raises where it is not served
        starts = session.starts.setdefault(workload, [])
        if known is not None and (start := known.latest.pop(workload.model, None)) is not None:
            starts.append(start)
        why = f"the server at {server.url} had loaded it before: let this run start one, or start "
        why += "that with --model-control-mode=explicit and measure several lives"
        measurement = evaluate_starts(starts, why)
        asked = self.asked.get(workload)
        if asked is None:
            return measurement
        before = session.accuracy.get(workload)
        if before is None or before.failed:
            session.accuracy[workload] = self._answered(workload, asked, left_s)
        return with_accuracy(measurement, session.accuracy[workload])

    def _answered(
        self, workload: Workload, asked: Answers, left_s: Callable[[], float]
    ) -> Accuracy:
        beside = f" beside {asked.reference}" if asked.reference else ""
        self._resources.progress.live(f"{workload.model}: its answers{beside}")
        settings = self._resources.settings
        try:
            return measure_accuracy(
                self._resources.server,
                workload,
                asked,
                settings.data,
                timeout_s=settings.triton_timeout or _LOADING_S,
                left_s=left_s,
            )
        except GaitperfError as error:
            return Accuracy(failed=first_line(error))
        except MemoryError as error:
            return Accuracy(failed=f"the memory does not hold the outputs ({error})")


def with_accuracy(measurement: Measurement, found: Accuracy) -> Measurement:
    """Return a measurement with how its model answered."""
    values = {
        "output_error": found.error,
        "output_error_typical": found.typical,
        "label_accuracy": found.score,
    }
    known = {
        # It is known exactly: the samples are the same each time.
        name: Estimate(METRICS[name].unit, value, value, value)
        for name, value in values.items()
        if value is not None
    }
    absent = {"output_error": found.failed} if found.failed else {}
    return replace(
        measurement,
        metrics={**measurement.metrics, **known},
        absent={**measurement.absent, **absent},
        accuracy=found,
        notes=(*measurement.notes, *found.notes),
    )
