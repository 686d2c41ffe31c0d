"""Each format, read by what reads it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pytest_gaitperf.environment import Environment, Profile, Triton
from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.export import missing_columns
from pytest_gaitperf.report.exporters import Exporter, exporter, names
from pytest_gaitperf.results import Cell, Run
from pytest_gaitperf.workload import Workload
from tests.export.openmetrics import families_of

# The Makefile puts it beside the environment, for as a plugin it would be part of every run.
CONSUMERS = Path(sys.prefix, "consumers")


VALUES = {
    "throughput": 45.5,
    "latency_mean": 0.0215,
    "latency_p50": 0.021,
    "latency_p99": 0.034,
    "energy_per_inference": 0.0097,
    "server_cpu_per_inference": 0.015,
}


def cell(
    model: str = "3D_fp32_0_batchd",
    batch: int = 1,
    factor: float = 1.0,
    *,
    key: str = "",
    **more: Any,
) -> Cell:
    """A cell whose every value is ``factor`` times the usual one."""
    latencies = np.random.default_rng(1).gamma(20, 0.0215 / 20, 200) * factor
    load = Workload(model, batch, 4)
    measurement = Measurement(
        metrics={
            name: Estimate(
                METRICS[name].unit, value * factor, value * factor * 0.98, value * factor * 1.02
            )
            for name, value in VALUES.items()
        },
        requests=200,
        latencies=distribution(latencies),
    )
    return Cell(
        id=f"{model}-{key or load.key}",
        workload=load,
        measurement=replace(measurement, **more),
    )


def session(*cells: Cell, day: int = 1, recorder: str = "") -> Run:
    """A run of this day of a month."""
    return Run(
        profile=Profile("agx-orin-15w", facts={"recorder": recorder}),
        environment=Environment(
            time=f"2026-11-{day:02}T10:00:00Z",
            commit=f"{day:040x}",
            dirty=False,
            plugin="0.1.0",
            triton=Triton("2.42.0"),
        ),
        cells=cells,
    )


def exported(name: str, *sessions: Run, file: str = "") -> str:
    return exporter(name).export(sessions, file)


@pytest.mark.parametrize("name", names())
def test_an_estimate_is_called_one(name: str) -> None:
    one = session(cell(energy_estimated=True))
    measured = exported(name, session(cell()), session(cell()))
    estimated = exported(name, one, one)

    said = "estimated" in estimated
    assert "estimated_" not in measured
    assert "estimated energy" not in measured
    assert said or "energy" not in estimated


@pytest.mark.parametrize("name", names())
def test_nothing_is_invented_for_a_cell_without_a_meter(name: str) -> None:
    metrics = {"throughput": Estimate("inf/s", 45.5), "latency_p50": Estimate("s", 0.021)}

    assert "energy" not in exported(name, session(cell(metrics=metrics)))


@pytest.mark.parametrize("name", names())
def test_a_cell_without_a_valid_measurement_is_left_out(name: str) -> None:
    invalid = cell("throttled", invalid="the device throttled")
    lost = replace(cell("lost"), measurement=None, error="it did not answer")

    text = exported(name, session(cell(), invalid, lost))

    assert "3D_fp32_0_batchd" in text
    assert "throttled" not in text
    assert "lost" not in text


@pytest.mark.parametrize("name", names())
def test_a_metric_of_a_later_version_is_left_out(name: str) -> None:
    metrics = {"throughput": Estimate("inf/s", 45.5), "kelvins": Estimate("K", 300.0)}

    assert "kelvins" not in exported(name, session(cell(metrics=metrics)))


def test_every_format_is_an_exporter() -> None:
    assert all(isinstance(exporter(name), Exporter) for name in names())


def test_a_format_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match=r"no format 'bmf'.*bencher, csv"):
        exporter("bmf")


def test_bencher_gets_nanoseconds_and_operations_per_second() -> None:
    report = json.loads(exported("bencher", session(cell())))

    measures = report["3D_fp32_0_batchd-b1-c4"]
    assert measures["latency"] == {
        "value": 21e6,
        "lower_value": 20.58e6,
        "upper_value": 21.42e6,
    }
    assert measures["throughput"]["value"] == 45.5
    assert measures["energy-per-inference"]["value"] == 0.0097
    for named in report.values():  # its schema: numbers named value, lower_value and upper_value
        for measure in named.values():
            assert {"value"} <= set(measure) <= {"value", "lower_value", "upper_value"}
            assert all(isinstance(number, float) for number in measure.values())


def test_bencher_gets_the_newest_of_several_sessions() -> None:
    report = json.loads(exported("bencher", session(cell()), session(cell(factor=2), day=2)))

    assert report["3D_fp32_0_batchd-b1-c4"]["throughput"]["value"] == 91.0


def test_github_benchmark_has_one_file_for_each_direction() -> None:
    smaller = json.loads(exported("github-benchmark-smaller", session(cell())))
    bigger = json.loads(exported("github-benchmark-bigger", session(cell())))

    assert [entry["name"] for entry in bigger] == ["3D_fp32_0_batchd-b1-c4 throughput"]
    assert len(smaller) + len(bigger) == len(VALUES)
    energy = next(entry for entry in smaller if entry["name"].endswith("energy"))
    assert (energy["value"], energy["unit"], energy["range"]) == (9.7, "mJ", "± 0.194")
    for entry in smaller + bigger:
        assert (
            {"name", "unit", "value"} <= set(entry) <= {"name", "unit", "value", "range", "extra"}
        )


@pytest.mark.parametrize("sessions", [1, 3])
def test_openmetrics_is_read_back_by_prometheus(sessions: int) -> None:
    history = [session(cell(factor=1 + day / 10), day=day) for day in range(1, sessions + 1)]

    families = families_of(exported("openmetrics", *history))

    throughput = families["gaitperf_throughput_inferences_per_second"]
    assert (throughput.type, throughput.unit) == ("gauge", "inferences_per_second")
    assert [sample.value for sample in throughput.samples] == [
        pytest.approx(45.5 * (1 + day / 10)) for day in range(1, sessions + 1)
    ]
    assert throughput.samples[0].labels["concurrency"] == "4"
    assert [sample.timestamp is None for sample in throughput.samples] == [sessions == 1] * sessions
    latency = families["gaitperf_latency_seconds"]
    assert latency.type == "summary"
    assert {sample.labels["quantile"] for sample in latency.samples} == {"0.5", "0.99"}
    assert set(families) > {
        "gaitperf_latency_mean_seconds",
        "gaitperf_energy_per_inference_joules",
        "gaitperf_server_cpu_per_inference_seconds",
    }


@given(model=st.text(min_size=1), key=st.text(min_size=1))
def test_any_name_survives_openmetrics(model: str, key: str) -> None:
    text = exported("openmetrics", session(cell(model, key=key)))

    samples = [one for family in families_of(text).values() for one in family.samples]
    assert {(one.labels["model"], one.labels["cell"]) for one in samples} == {(model, key)}


def test_the_table_has_a_row_for_each_session_and_no_gap() -> None:
    two = session(cell(), cell(batch=8), day=1)
    one = session(cell(factor=1.5), day=2)

    rows = list(csv.DictReader(io.StringIO(exported("csv", two, one))))

    assert [row["time"] for row in rows] == ["2026-11-01T10:00:00Z", "2026-11-02T10:00:00Z"]
    column = "3D_fp32_0_batchd-b1-c4:throughput_inf_per_s"
    assert [float(row[column]) for row in rows] == [45.5, 68.25]
    assert not [name for name in rows[0] if "b8-c4" in name]
    assert len([name for name in missing_columns([two, one]) if "b8-c4" in name]) == len(VALUES)


@given(st.text())
def test_no_text_in_the_table_is_a_formula(text: str) -> None:
    written = exported("csv", session(cell(), recorder=text))

    (row,) = csv.DictReader(io.StringIO(written, newline=""))
    one_line = sanitize(" ".join(text.replace("\0", " ").split()))
    assert row["recorder"].removeprefix("'") == one_line.removeprefix("'")
    assert not row["recorder"].startswith(("=", "+", "-", "@"))


def test_the_distribution_is_that_of_the_latencies() -> None:
    latencies = np.array([1.0, 2.0, 3.0, 4.0, 100.0])

    found = distribution(latencies)

    assert (found.percentiles_s[0], *found.quartiles_s, found.percentiles_s[100]) == (
        *(1.0, 2.0, 3.0, 4.0),
        100.0,
    )
    assert (found.tukey_outliers, found.tukey_low_s, found.tukey_high_s) == (1, 1.0, 4.0)
    assert found.sd_outliers == 1
    assert math.isclose(found.sd_s, float(np.std(latencies, ddof=1)))
    assert distribution(np.array([0.5])).sd_s == 0.0


@pytest.mark.skipif(
    not CONSUMERS.is_dir(), reason="pytest-benchmark is installed by make, into VENV/consumers"
)
def test_pytest_benchmark_compares_two_of_our_runs(tmp_path: Path) -> None:
    for name, factor in (("old", 1.0), ("new", 1.3)):
        cells = (cell(factor=factor), cell(batch=8, factor=factor))
        text = exported("pytest-benchmark", session(*cells))
        (tmp_path / f"{name}.json").write_text(text)

    # Its plugin would ask for its own command line; its command is what is run.
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "old.json", "new.json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CONSUMERS), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert shown.returncode == 0, shown.stderr
    assert "benchmark '3D_fp32_0_batchd': 4 tests" in shown.stdout
    assert "test_latency[3D_fp32_0_batchd-b1-c4] (old)" in shown.stdout
    assert "test_latency[3D_fp32_0_batchd-b8-c4] (new)" in shown.stdout
    assert "Failed to load" not in shown.stdout + shown.stderr


def test_pytest_benchmark_has_a_round_for_each_session_of_a_baseline() -> None:
    history = [session(cell(factor=factor)) for factor in (1.0, 1.1, 1.2)]

    (benchmark,) = json.loads(exported("pytest-benchmark", *history))["benchmarks"]

    assert benchmark["stats"]["rounds"] == 3
    assert benchmark["stats"]["median"] == pytest.approx(0.021 * 1.1)


@pytest.mark.skipif(
    shutil.which("otava") is None, reason="apache-otava, with its many dependencies, is not on PATH"
)
def test_otava_finds_a_planted_change(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).normal(1, 0.01, 24)
    history = [
        session(cell(factor=float(noise[day]) * (1.0 if day < 12 else 1.2)), day=day + 1)
        for day in range(24)
    ]
    (tmp_path / "history.csv").write_text(exported("csv", *history))
    (tmp_path / "history.yaml").write_text(exported("otava", *history, file="history.yaml"))

    shown = subprocess.run(
        ["otava", "analyze", "3D_fp32_0_batchd-b1-c4", "--config-file", "history.yaml"],  # noqa: S607
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert shown.returncode == 0, shown.stderr
    assert "+20" in shown.stdout or "+19" in shown.stdout or "+21" in shown.stdout, shown.stdout
