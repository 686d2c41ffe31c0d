"""What perf_analyzer wrote, beside ours: files that 2.41 made on a real Triton, and damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.environment import Profile
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.joined import together
from pytest_gaitperf.report.perf_analyzer import read_any
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.workload import Workload
from tests.report.runs import cell, run

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN = Path(__file__).parent / "perf_analyzer"
"""By the commands in its README: -b 2, 1 and 2 requests in flight, and 50 requests a second."""


def copy(name: str, folder: Path, as_: str) -> Path:
    return Path(shutil.copy(WRITTEN / name, folder / as_))


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_loads_become_cells_of_the_model_that_the_file_is_named_by(
    tmp_path: Path, ending: str
) -> None:
    found = read_any(copy(f"concurrency.{ending}", tmp_path, f"my-net-b2.{ending}"))
    assert [one.id for one in found.cells] == ["my-net-b2-c1", "my-net-b2-c2"]
    for one in found.cells:
        assert one.measurement is not None
        metrics = one.measurement.metrics
        in_flight = one.workload.concurrency
        # Little's law, with the client's own part and a queue's ends.
        latency_s = in_flight * 2 / metrics["throughput"].value
        assert metrics["latency_p50"].value == pytest.approx(latency_s, rel=0.2)
        assert metrics["latency_p50"].value <= metrics["latency_p95"].value
    assert found.outcome is Outcome.UNMEASURED, "nothing of it was judged"


def test_its_two_files_of_one_run_say_the_same(tmp_path: Path) -> None:
    table = read_any(copy("concurrency.csv", tmp_path, "net-b2.csv"))
    export = read_any(copy("concurrency.json", tmp_path, "net-b2.json"))
    for one, other in zip(table.cells, export.cells, strict=True):
        assert one.measurement is not None
        assert other.measurement is not None
        for name, value in other.measurement.metrics.items():
            theirs = one.measurement.metrics[name].value
            assert theirs == pytest.approx(value.value, rel=0.005), (one.id, name)
        assert ("latency_p99" in other.measurement.metrics) == (other.measurement.requests >= 100)


def test_request_rates_are_read_and_the_parts_of_a_request(tmp_path: Path) -> None:
    (found,) = read_any(copy("rate.csv", tmp_path, "net.csv")).cells
    assert (found.id, found.workload.request_rate) == ("net-b1-r50", 50.0)
    assert found.measurement is not None
    parts = found.measurement.time_split_s
    assert set(parts) >= {"network", "queue", "compute_infer"}
    assert sum(parts.values()) == pytest.approx(
        found.measurement.metrics["latency_p50"].value, rel=0.5
    )


def test_they_stand_beside_ours_on_one_page(tmp_path: Path) -> None:
    ours = tmp_path / "ours.json"
    ours.write_text(encode(run(cell(Workload("net", 2, 1)), profile=Profile("agx-orin"))))
    theirs = copy("concurrency.csv", tmp_path, "net-b2.csv")
    whole = together([ours, theirs])
    assert [one.id for one in whole.cells] == [
        "net@agx-orin-b2-c1",
        "net@perf_analyzer-b2-c1",
        "net@perf_analyzer-b2-c2",
    ]
    assert whole.outcome is Outcome.UNMEASURED
    assert "net-b2.csv: perf_analyzer's values are shown, not judged" in whole.reasons[0]
    page = tmp_path / "page.html"
    assert main(["report", "--together", str(ours), str(theirs), "-o", str(page)]) == 0
    assert "net@perf_analyzer" in page.read_text()


def test_different_kinds_without_together_are_refused_with_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tmp_path / "ours.json"
    ours.write_text(encode(run(cell(), profile=Profile("agx-orin"))))
    theirs = copy("concurrency.csv", tmp_path, "net.csv")
    assert main(["report", str(ours), str(theirs), "-o", str(tmp_path / "x.html")]) == 1
    assert "--together" in capsys.readouterr().err


def _export(change: Callable[[dict[str, Any]], None]) -> str:
    document = json.loads((WRITTEN / "concurrency.json").read_text())
    change(document["experiments"][0])
    return json.dumps({"experiments": document["experiments"][:1]})


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("x.csv", "", "it has no column Concurrency or Request Rate"),
        ("x.csv", "a,b\n1,2\n", "it has no column Concurrency or Request Rate"),
        ("x.csv", "Concurrency,Inferences/Second\n1,fast\n", "could not convert"),
        ("x.csv", "Concurrency,Inferences/Second\n1,nan\n", "Inferences/Second is nan"),
        ("x.csv", "Concurrency,Inferences/Second\n0,5\n", "workload of 'x'"),
        ("x.csv", "Concurrency,Inferences/Second\n", "no load that had a result"),
        ("x.json", '{"experiments": 5}', "not what perf_analyzer writes"),
        ("x.json", '{"experiments": []}', "no load that had a result"),
        ("x.json", '{"experiments": [{}]}', "not what perf_analyzer writes"),
        ("x.json", _export(lambda one: one.update(requests=[])), "no load that had a result"),
        (
            "x.json",
            _export(lambda one: one.update(window_boundaries=[])),
            "not what perf_analyzer writes",
        ),
        (
            "x.json",
            _export(lambda one: one["experiment"].update(mode="period")),
            "loads of the mode 'period' are not read",
        ),
        ("x.json", '{"other": 1}', "give a file that --gaitperf-json"),
    ],
)
def test_what_is_damaged_is_refused_by_name(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_any(tmp_path / name)
    assert name in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"Concurrency\xff\n")
    for name in ("x.csv", "missing.csv", "missing.json"):
        with pytest.raises(ConfigurationError, match=name):
            read_any(tmp_path / name)
