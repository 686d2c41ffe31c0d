"""What is wrong with what the user asked for: all of it is found here, before measuring."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.engine.sustaining import check_sustained
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import check_writable
from pytest_gaitperf.metrics import GATED, METRICS
from pytest_gaitperf.power.meter import check_choice
from pytest_gaitperf.report.exporters import check_formats
from pytest_gaitperf.report.table import resolve_columns
from pytest_gaitperf.text import did_you_mean
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_gaitperf.config.policy import Policies
    from pytest_gaitperf.config.settings import Settings


def check_words(settings: Settings) -> Settings:
    """Return the settings with every column by its own name.

    Raises ConfigurationError for a meter, an export format or a column that does not exist.
    """
    check_choice(settings.power)
    check_formats(settings.exports)
    return replace(settings, columns=resolve_columns(settings.columns))


def check_outputs(settings: Settings) -> None:
    """Raise GaitperfError for a file that could not be written in the end, with what to do."""
    asked = (settings.json, settings.report, settings.summary, settings.journal)
    for path in filter(None, (*asked, *settings.exports.values())):
        check_writable(path)
    if settings.power_trace is not None:
        check_writable(settings.power_trace / "trace")
    if settings.report is not None:
        from pytest_gaitperf.report.html.page import require  # noqa: PLC0415 - optional packages

        require()


def check_models(policies: Policies, known: Collection[str]) -> None:
    """Raise ConfigurationError for a table of a model that is neither served nor recorded."""
    if (pattern := policies.unmatched(known)) is not None:
        raise ConfigurationError(
            f'[tool.gaitperf.model."{pattern}"] matches no model'
            f"{did_you_mean(pattern, known)} the models are: {', '.join(sorted(known))}"
        )


def check_planned(policies: Policies, workloads: Collection[Workload], settings: Settings) -> None:
    """Raise ConfigurationError where cells are asked for what no run could show."""
    models = sorted({one.model for one in workloads})
    if models and settings.relative_to not in ("", *models):
        raise ConfigurationError(
            f"--gaitperf-relative-to={settings.relative_to}: no cell of it is measured"
            f"{did_you_mean(settings.relative_to, models)} the models are: {', '.join(models)}"
        )
    check_policies(policies, workloads)
    check_sustained(workloads, settings)


def check_policies(policies: Policies, workloads: Iterable[Workload]) -> None:
    """Refuse a change that must be heard and does not matter: no run could be green."""
    for workload in workloads:
        for metric in GATED:
            tolerance = policies.tolerance(workload, metric)
            must_hear = policies.must_hear(workload, metric)
            if must_hear <= tolerance:
                raise ConfigurationError(
                    f"{METRICS[metric].title} of {workload.id}: a change of {must_hear:.3g} must "
                    f"be heard (must_hear), and one of {tolerance:.3g} does not matter "
                    "(tolerance): let the first be larger, such as twice the other"
                )


def check_ids(workloads: Iterable[Workload]) -> None:
    """Refuse two workloads with one id, which are possible where an id has hashes."""
    known: dict[str, Workload] = {}
    for workload in workloads:
        other = known.setdefault(workload.id, workload)
        differing = (
            f"{one.name} {_said(getattr(other, one.name))} and {_said(getattr(workload, one.name))}"
            for one in fields(workload)
            if getattr(other, one.name) != getattr(workload, one.name)
        )
        if other != workload:
            raise ConfigurationError(
                f"two workloads have the id {workload.id}: {'; '.join(differing)}: measure them in "
                "runs and with baselines of their own"
            )


def _said(value: object) -> object:
    """Return a field's value as a reader needs it: of neighbours, what is asked of them."""
    if not (isinstance(value, tuple) and value and all(isinstance(one, Workload) for one in value)):
        return value
    return ", ".join(f"{one.name} within {one.deadline_s * 1e3:g} ms" for one in value)
