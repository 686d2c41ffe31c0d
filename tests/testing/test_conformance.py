"""The kit for other packages: our meters and exporters pass, each broken promise is named."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.sensor import Request, Sensor
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.report.exporters import exporter, names
from pytest_gaitperf.testing import (
    AGX_ORIN,
    ORIN_NANO,
    FakeBoard,
    Square,
    check_exporter,
    check_meter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.results import Run

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize(("page", "count"), [("write-a-meter", 2), ("write-an-exporter", 1)])
def test_the_documented_example_passes_its_own_tests(
    pytester: pytest.Pytester, page: str, count: int
) -> None:
    named = re.findall(
        r"`(\w+\.py)`:\n\n```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL
    )
    assert len(named) == count + 1
    for name, text in named:
        (pytester.path / name).write_text(text)
    pytester.syspathinsert()
    ran = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    ran.assert_outcomes(passed=count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chips", "total"),
    [(ORIN_NANO, 1), pytest.param(AGX_ORIN, 3, marks=pytest.mark.slow)],
    ids=["orin-nano", "agx-orin"],
)
def test_the_built_in_monitor_passes(
    tmp_path: Path, chips: Mapping[str, Sequence[str]], total: int
) -> None:
    with FakeBoard(tmp_path, chips) as board:
        board.drive(dict.fromkeys(list(board.channels)[:total], Square(2000, 2000)))
        meter = open_meter("ina3221", sysfs_root=board.root).meter
        assert meter is not None
        check_meter(meter, watts=(9.9 * total, 10.2 * total))


class Perfect:
    """A Meter without a sensor: 10 W on one rail."""

    name, description = "perfect", "ten watts"
    rails: tuple[str, ...] = ("VIN",)
    total_rails, gpu_rails, estimated = ("VIN",), (), False
    update_period_s, minimum_window_s = 0.001, 0.02
    watts = 10.0

    def __init__(self) -> None:
        self.began_ns = self.ended_ns = 0

    def start(self) -> None:
        if self.ended_ns or not self.began_ns:
            self.began_ns, self.ended_ns = time.monotonic_ns(), 0

    def stop(self) -> None:
        self.ended_ns = self.ended_ns or time.monotonic_ns()

    def close(self) -> None:
        self.began_ns = 0

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        if not self.began_ns or start_ns < self.began_ns:
            raise MeterError("it was not sampling")
        times = np.linspace(start_ns, end_ns, 50).astype(np.int64)
        return Trace(self.rails, times, np.full((50, len(self.rails)), self.watts), "power")


def test_a_meter_of_its_own_passes() -> None:
    check_meter(Perfect(), watts=(9.9, 10.1))


def broken(**attributes: Any) -> Any:
    return type("Broken", (Perfect,), attributes)()


def eager(self: Perfect, start_ns: int, end_ns: int) -> Trace:
    times = np.array([start_ns, end_ns])
    return Trace(self.rails, times, np.full((2, 1), 10.0), "power")


def drifting(self: Perfect, start_ns: int, end_ns: int) -> Trace:
    trace = Perfect.trace(self, start_ns, end_ns)
    return replace(trace, values=trace.values * 1e9 / (end_ns - start_ns))


def tardy(self: Perfect, start_ns: int, end_ns: int) -> Trace:
    trace = Perfect.trace(self, start_ns, end_ns)
    return replace(trace, times_ns=trace.times_ns + 10**6)


@pytest.mark.parametrize(
    ("meter", "sentence"),
    [
        (broken(description=""), "description must be one line"),
        (broken(rails=("VIN", "VIN")), "rails are empty or repeat"),
        (broken(total_rails=()), "total_rails is empty"),
        (broken(gpu_rails=("GPU",)), "gpu_rails names"),
        (broken(minimum_window_s=1e-6), "must not be shorter than update_period_s"),
        (broken(update_period_s=0.0), "not a positive number"),
        (broken(estimated=None), "estimated must be"),
        (broken(watts=float("nan")), "NaN"),
        (broken(watts=20.0), "the total is 20 W, not 9 to 11 W"),
        (broken(trace=eager), "must raise MeterError for a window that began before start"),
        (broken(trace=drifting), "its two parts"),
        (broken(close=lambda _: None), r"must raise MeterError after close\(\)"),
    ],
)
def test_a_broken_promise_of_a_meter_is_named(meter: Any, sentence: str) -> None:
    watts = (9.0, 11.0) if "W" in sentence else None
    with pytest.raises(AssertionError, match=sentence):
        check_meter(meter, watts=watts)


def test_a_window_that_is_not_covered_is_an_error_of_the_meter() -> None:
    with pytest.raises(MeterError, match="does not cover"):
        check_meter(broken(trace=tardy))


GOOD = Sensor("bench", "a shunt", ("VIN",), ("VIN",), (), "power", "shunt:Reader", {}, {}, 0.01)


@pytest.fixture
def readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shunt.py").write_text("class Reader: pass\n")
    (tmp_path / "heavy.py").write_text("import numpy\nclass Reader: pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize(
    ("sensor", "sentence"),
    [
        (replace(GOOD, kind="current"), "kind is 'current'"),  # type: ignore[arg-type]
        (replace(GOOD, arguments={"path": Path("x")}), "must be JSON values"),
        (replace(GOOD, arguments={"pair": (1, 2)}), "must be JSON values"),
        (replace(GOOD, nominal_period_s=0.0), "nominal_period_s"),
        (replace(GOOD, chips={"chip": ("VOUT",)}), "chips names a rail"),
        (replace(GOOD, reader="shunt.Reader"), "not module:attribute"),
        (replace(GOOD, reader="shunt:Writer"), "must be importable"),
        (replace(GOOD, reader="heavy:Reader"), "without numpy, scipy, pytest: numpy"),
    ],
)
def test_a_broken_promise_of_a_sensor_is_named(sensor: Sensor, sentence: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(sentence)):
        check_meter(lambda _: sensor, Request())


@pytest.mark.parametrize("name", names())
def test_every_built_in_exporter_passes(name: str) -> None:
    assert check_exporter(exporter(name))


class Exporting:
    """A format of one line for each energy, or what ``line`` makes of a cell."""

    def __init__(self, line: str) -> None:
        self.line, self.count = line, 0

    def export(self, runs: Sequence[Run], _name: str) -> str:
        self.count += 1
        lines = []
        for cell in runs[-1].cells:
            if cell.measurement is None:
                continue
            found = cell.measurement.metrics.get("energy_per_inference")
            lines.append(
                self.line.format(
                    cell=cell,
                    value=found.value if found else 0.0,
                    known=found.value if found else "",
                    word="estimated" if cell.measurement.energy_estimated else "measured",
                    count=self.count,
                )
            )
        return "\n".join(lines)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "must return text"),
        ("{count}", "another text"),
        ("{cell.id} nan", "NaN is written"),
        ("{cell.id} \ud800", "surrogates"),
        ("{value} {word}", "written as zero"),
        ("{known}", "written as measured energy is"),
    ],
)
def test_a_broken_promise_of_an_exporter_is_named(line: str, sentence: str) -> None:
    with pytest.raises((AssertionError, UnicodeEncodeError), match=sentence):
        check_exporter(Exporting(line))
    assert check_exporter(Exporting("{cell.id} {known} {word}"))
    assert check_exporter(Exporting("{cell.id}")), "a format may have no energy"


def test_nothing_in_the_package_imports_the_kit() -> None:
    package = Path(sys.modules["pytest_gaitperf"].__path__[0])
    for path in package.rglob("*.py"):
        if path.parent.name != "testing":
            assert "pytest_gaitperf.testing" not in path.read_text(), path
