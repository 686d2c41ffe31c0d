"""Which cells are not worth measuring: fixed numbers of subjects that a search found too many."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload

_NO_PAIRS = "searching for the most subjects has no pairs"


def left_out(
    workload: Workload,
    planned: Iterable[Workload],
    measured: Callable[[Workload], Measurement | None],
    *,
    paired: bool,
) -> str | None:
    """Say why a cell is not to be measured, None where it is.

    ``measured`` gives what was measured of a planned cell so far. ``paired``: each model is
    measured in turns with another one.
    """
    if workload.most_subjects:
        return f"{_NO_PAIRS}: leave --gaitperf-against out" if paired else None
    if not workload.subjects:
        return None
    searches = [one for one in planned if _searches_for(one, workload)]
    if searches and paired:
        return f"{_NO_PAIRS}, so that nothing tells whether so many are served"
    for search in searches:
        found = measured(search)
        if found is None or found.invalid:
            continue
        capacity = found.metrics["subjects"].value
        if workload.subjects > capacity:
            return f"{search.key} found {capacity:.3g} subjects served: more are not measured"
    return None


def _searches_for(search: Workload, fixed: Workload) -> bool:
    """Return whether a cell searches for the most subjects of the load that another one fixes."""
    return search == replace(
        fixed,
        subjects=0,
        most_subjects=True,
        deadline_s=search.deadline_s,
        percentile=search.percentile,
    )
