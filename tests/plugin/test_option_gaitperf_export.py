"""--gaitperf-export and --junitxml: the results, for other tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.export.openmetrics import families_of
from tests.plugin.baselines import kinds

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_every_format_is_written_at_the_end_of_the_run(project: Project) -> None:
    project.record()

    shown = project.run(
        project.grid("steady"),
        "--gaitperf-export=bencher:out/bmf.json",
        "--gaitperf-export=openmetrics:gaitperf.prom",
        "--gaitperf-export=pytest-benchmark:pb.json",
        "--gaitperf-json=results.json",
        "--junitxml=junit.xml",
    )

    shown.stdout.fnmatch_lines(["bencher written: out/bmf.json"])
    cell, measured = project.cells()["steady-b1-c1"], project.measured()
    median_s = measured.metrics["latency_p50"].value
    report = json.loads((project.path / "out" / "bmf.json").read_text())
    assert report["steady-b1-c1"]["latency"]["value"] == float(f"{median_s * 1e9:.12g}")
    text = (project.path / "gaitperf.prom").read_text()
    assert "gaitperf_latency_seconds" in families_of(text)
    stats = json.loads((project.path / "pb.json").read_text())["benchmarks"][0]["stats"]
    assert stats["rounds"] == measured.requests
    assert stats["min"] <= stats["q1"] <= stats["median"] <= stats["q3"] <= stats["max"]

    # The file is one that this test had written.
    suite = ET.parse(project.path / "junit.xml").getroot()[0]  # noqa: S314 - see above
    of_run = {one.get("name"): one.get("value") for one in suite.findall("properties/property")}
    assert of_run["gaitperf.profile"] == "here"
    assert of_run["gaitperf.triton"]
    case = next(one for one in suite.iter("testcase") if "throughput" in str(one.get("name")))
    of_test = {one.get("name"): one.get("value") for one in case.findall("properties/property")}
    assert of_test["gaitperf.model"] == "steady"
    assert of_test["gaitperf.throughput.unit"] == "inf/s"
    assert of_test["gaitperf.throughput.verdict"] == kinds(cell)["throughput"]
    assert float(str(of_test["gaitperf.throughput.baseline"])) > 0


def test_a_format_that_does_not_exist_is_refused(project: Project) -> None:
    project.refuses(
        "--gaitperf-export",
        "bmf:x.json",
        "--gaitperf-export: there is no format 'bmf'; the formats are: bencher, csv",
        key="exports",
        named=False,
    )


def test_what_cannot_be_written_is_said_before_anything_is_measured(project: Project) -> None:
    (project.path / "out").write_text("a file")

    shown = project.run(project.grid("steady"), "--gaitperf-export=bencher:out/bmf.json")

    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "out/bmf.json cannot be written" in text
    assert "inf/s +-" not in text
