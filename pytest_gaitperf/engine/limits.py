"""The limits of a run: which are met, and which no test has looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.engine.neighbours import in_time
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.results import LimitState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf.config.policy import Limit, Policies
    from pytest_gaitperf.engine.cells import CellState
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import LimitCheck

ESTIMATED = (
    "the energy is an estimate, which is shown but not gated: use a real power meter, or give "
    "--gaitperf-accept-estimates"
)


def checked(
    measurement: Measurement, limits: Iterable[Limit], *, estimates: bool
) -> list[LimitCheck]:
    """Compare a measurement with limits; ``estimates``: those of energy count."""
    checks = []
    for limit in limits:
        estimate = measurement.metrics.get(limit.metric)
        absent = measurement.absent.get(limit.metric, f"nothing measures {limit.metric} here")
        if measurement.estimates(limit.metric) and not estimates:
            estimate, absent = None, ESTIMATED
        checks.append(limit.check(estimate, absent))
    return checks


def unchecked_limits(cells: Iterable[CellState], policies: Policies) -> dict[str, int]:
    """Count the measured cells whose limits no test of a run looked at, by limit.

    It is 0 of a limit on what no cell has, such as subjects in a closed loop.
    """
    found: dict[str, int] = {}
    checked: set[str] = set()
    for cell in cells:
        checked |= cell.limits.keys()
        if cell.measurement is None or cell.measurement.invalid:
            continue
        asked = [
            (str(limit), quantity in cell.workload.quantities)
            for quantity in QUANTITIES
            for limit in policies.limits(cell.workload, quantity)
        ]
        mix = in_time(cell.workload, cell.measurement)
        # A rate that was kept is no limit that somebody set.
        asked += [
            (one.limit, True)
            for one in mix
            if one.metric != "throughput" or one.state is LimitState.VIOLATED
        ]
        for limit, has_it in asked:
            if limit not in cell.limits:
                found[limit] = found.get(limit, 0) + has_it
    return {limit: count for limit, count in found.items() if count or limit not in checked}
