"""What the fixtures give: ``perf``, ``power_meter`` and ``triton_load`` as tests use them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest
from msgspec.structs import replace

from pytest_gaitperf.config.policy import parse_limit
from pytest_gaitperf.engine.loading import given_to, load_for
from pytest_gaitperf.errors import GaitperfError, LeftOut, sanitize
from pytest_gaitperf.metrics import METRICS, QUANTITIES, quantity_of
from pytest_gaitperf.outcomes import limit_outcome, settled_cell
from pytest_gaitperf.power.spent import spending
from pytest_gaitperf.report.ci import properties_of_test
from pytest_gaitperf.report.failure import failure_text
from pytest_gaitperf.results import LimitState, Outcome
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.config.marker import Marker
    from pytest_gaitperf.engine.cells import CellState
    from pytest_gaitperf.engine.engine import Engine
    from pytest_gaitperf.engine.loading import Loaded
    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.power.spent import Spent
    from pytest_gaitperf.results import LimitCheck, Verdict
    from pytest_gaitperf.workload import Workload


def failure(text: str, why: Literal["explained", "unmeasured"]) -> BaseException:
    """Return a test's failure that shows its message and no traceback.

    ``why``: the record of a cell explains it, or something could not be measured.
    """
    error = pytest.fail.Exception(text, pytrace=False)
    error.gaitperf = why  # type: ignore[attr-defined]  # read when pytest makes its report
    return error


@contextmanager
def failing(prefix: str = "", explained: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Turn an error of ours into a failure that shows its message.

    ``explained`` tells whether the record of a cell has the reason.
    """
    try:
        yield
    except LeftOut as reason:
        pytest.skip(str(reason))
    except GaitperfError as error:
        # Without the cause, which would be shown above the message, with its traceback.
        why: Literal["explained", "unmeasured"] = "explained" if explained() else "unmeasured"
        raise failure(f"{prefix}{error}", why) from None


class PowerMeter:
    """Measures the joules of a block; see the fixture ``power_meter``.

    Whatever a ``Meter`` has is an attribute of this too: ``description``, ``rails``,
    ``total_rails``, ``minimum_window_s``, ``estimated`` ...
    """

    def __init__(self, metering: Metering, meter: Meter) -> None:
        self._metering, self._meter = metering, meter

    @contextmanager
    def measure(self) -> Iterator[Spent]:
        """Measure a block: ``with power_meter.measure() as spent: ...``, then ``spent.joules``.

        ``spent`` also has ``rails_j``, ``duration_s``, ``mean_w``, ``above_idle_j``,
        ``relative_error`` and ``estimated``. The test fails, without a traceback, when the block is
        shorter than the meter resolves, when the meter fails, and inside another such block.
        """
        with failing("power_meter: "), spending(self._metering, self._meter) as spent:
            yield spent

    def __getattr__(self, name: str) -> Any:
        """Give what the meter has."""
        return getattr(self._meter, name)


class Loader:
    """Loads the run's server and looks at what happened; see the fixture ``triton_load``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._resources = engine.resources

    def __call__(self, workload: Workload, seconds: float, *, power: bool = False) -> Loaded:
        """Load the server with a workload for about ``seconds``, drain, and tell what happened.

        Slow requests take longer. Failed ones are counted; the test fails, without a traceback,
        only where nothing can be said. With ``power`` the meter is read too.
        """
        with failing(f"{workload.id} could not be loaded: "):
            workload = self._engine.completed(workload)
            self._engine.check_served(workload)
            if power:
                self._resources.metering.check_free()
            return load_for(self._resources, workload, seconds, power=power)

    def inputs(self, workload: Workload) -> Sample:
        """Return what the first request of a workload carries: arrays by tensor name.

        They come from a fixed seed, or from ``--gaitperf-data``, batch dimension included.
        """
        with failing(f"{workload.id} has no input: "):
            return given_to(self._resources, self._engine.completed(workload)).samples[0]


class Perf:
    """Measures workloads and gates them against their baselines; see the fixture ``perf``."""

    def __init__(self, node: pytest.Item, engine: Engine, marker: Marker) -> None:
        self._node = node
        self._engine = engine
        self._marker = marker

    def measure(self, workload: Workload) -> Measurement:
        """Measure a workload, or return what this run already measured of it.

        The test fails, without a traceback, when the workload cannot be measured or the
        measurement is invalid; it is skipped for more subjects than this run found served.
        """
        return self._measured(workload)[1]

    def gate(self, workload: Workload, quantity: str) -> None:
        """Compare ``quantity`` with the workload's baseline: throughput, latency, energy, cpu...

        The test fails when it regressed, when there is no baseline or none that compares, when it
        could not be measured although the baseline has it, and when a limit on it is not met or
        cannot be checked. It is skipped, with the reason, when nothing was expected of it.
        """
        if quantity not in QUANTITIES:
            pytest.fail(_unknown_quantity(quantity), pytrace=False)
        engine = self._engine
        engine.gates += 1
        cell, _ = self._measured(workload)
        workload = cell.workload
        policies, marker = engine.policies, self._marker
        with failing():
            judged = cell.judged is not None
            policies.mark([workload], marker.rules, marker.where, judged=judged)
        absent = engine.absent(workload, quantity)
        has_it = quantity in workload.quantities
        limits = policies.limits(workload, quantity) if has_it else ()
        checks = engine.check(workload, limits, quantity)
        bad = [one for one in checks if limit_outcome(one, engine.policy) is not Outcome.GREEN]
        with failing(f"{workload.id} could not be judged: "):
            verdicts = [] if absent is not None else engine.verdicts(workload, quantity)
        about = replace(  # of the cell, what this test is about
            cell.record(),
            verdicts={verdict.metric: verdict for verdict in verdicts},
            limits=tuple(checks),
            lacking={name: why for name, why in cell.lacking.items() if name == quantity},
        )
        about = settled_cell(about, engine.policy, paired=engine.paired is not None)
        self._node.user_properties.extend(properties_of_test(about, verdicts))
        failed = [one for one in verdicts if engine.verdict_outcome(cell, one) is not Outcome.GREEN]
        self._fail_for(cell, failed, bad)
        if quantity in cell.lacking:
            lacking = engine.once(f"{quantity}: {cell.lacking[quantity]}")
            raise failure(sanitize(lacking), "explained")
        if absent is not None:
            engine.skipped_gates += not checks
            pytest.skip(sanitize(absent))

    def require(self, workload: Workload, limit: str, *more: str) -> None:
        """Measure a workload and hold it to limits, such as ``"latency_p99 <= 40 ms"``.

        No baseline is needed. Any metric may be limited, with ``<=`` or ``>=`` as its direction
        is, and with a unit. The test fails when a limit is not met or could not be measured; with
        ``--power=none`` a limit on energy skips it.
        """
        try:
            limits = [parse_limit(text) for text in (limit, *more)]
        except ArgumentTypeError as error:
            raise pytest.fail.Exception(f"perf.require: {error}", pytrace=False) from None
        cell, _ = self._measured(workload)
        checks = self._engine.check(cell.workload, limits)
        policy = self._engine.policy
        bad = [check for check in checks if limit_outcome(check, policy) is not Outcome.GREEN]
        self._fail_for(cell, [], bad)
        for check in checks:
            if check.state is LimitState.UNMEASURED:
                pytest.skip(check.absent)

    def _measured(self, workload: Workload) -> tuple[CellState, Measurement]:
        resources = self._engine.resources

        def is_recorded() -> bool:
            cell = self._engine.measuring.cells.get(workload)
            return cell is not None and cell.error is not None

        with failing(f"{workload.id} could not be measured: ", explained=is_recorded):
            if (metering := resources.opened_metering) is not None:
                metering.check_free()
            workload = self._engine.completed(workload)
            cell = self._engine.measured(workload)
        measurement = cell.measurement
        assert measurement is not None
        if measurement.invalid:
            text = f"{workload.id} is invalid: {measurement.invalid}"
            raise failure(sanitize(self._engine.once(text)), "explained")
        return cell, measurement

    def _fail_for(
        self, cell: CellState, verdicts: Sequence[Verdict], checks: Sequence[LimitCheck]
    ) -> None:
        if not verdicts and not checks:
            return
        engine = self._engine
        text = failure_text(
            engine.policy,
            cell.record(),
            verdicts,
            checks,
            arguments=tuple(map(str, engine.settings.invocation)),
            baselines=str(engine.resources.baselines_shown),
            paired=engine.paired is not None,
        )
        raise failure(sanitize(text), "explained")


def _unknown_quantity(word: str) -> str:
    """Say that a quantity is none, and which was probably meant."""
    quantities = {
        known: quantity
        for name, metric in METRICS.items()
        if (quantity := quantity_of(name)) is not None
        for known in (name, metric.title)
    }
    quantities |= {name: name for name in QUANTITIES}
    return (
        f"perf.gate: {word!r} is not a quantity{did_you_mean(word, quantities, quantities)} "
        f"the quantities are {', '.join(QUANTITIES)}"
    )
