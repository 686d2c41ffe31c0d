"""The results file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import check_writable
from pytest_gaitperf.power.energy import PowerCourse
from pytest_gaitperf.power.metering import Idle
from pytest_gaitperf.report.results import results, write_results

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.session import Session


def test_every_cell_is_there_and_what_is_not_finite_is_null(run: Session, tmp_path: Path) -> None:
    result = next(iter(run.results.values()))
    verdict = replace(result.verdicts["throughput"], high=math.inf)
    result.verdicts["throughput"] = verdict
    path = tmp_path / "deep" / "r.json"
    check_writable(path)
    write_results(run, path)
    assert [entry.name for entry in path.parent.iterdir()] == ["r.json"]
    cells = {cell["id"]: cell for cell in json.loads(path.read_text())["cells"]}
    assert len(cells) == 4
    regressed = cells["3D_fp32_0_batchd-b8-c4"]
    assert regressed["verdicts"]["throughput"] == "regressed"
    assert regressed["judgements"]["throughput"]["high"] is None
    assert regressed["judgements"]["throughput"]["change"] == pytest.approx(verdict.change)
    assert regressed["rails_j"]["VDD_SOC"] == 3.0
    assert regressed["energy_rails"] == ["VDD_IN"]
    assert cells["[markup]-b1-c1"]["error"] == "it did not answer"
    assert "metrics" not in cells["[markup]-b1-c1"]


def test_lists_of_numbers_take_one_line_and_texts_stay_as_they_are(
    run: Session, tmp_path: Path
) -> None:
    result = next(iter(run.results.values()))
    assert result.measurement is not None
    course = Course((0.0, 0.25, 0.5), (1234.5678, 2e-7), (None, 0.0123456789))
    power = PowerCourse(-0.1, 0.1, 0.2, {"VDD_IN": (5.0, -1.25, 1 / 3, 7.0)}, 40, "power")
    note = "odd: [\n 1,\n 2\n] and [\\n 3]"
    result.measurement = replace(
        result.measurement, course=course, power=power, notes=(note,), estimated=True
    )
    write_results(run, tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert '"VDD_IN": [5.0,-1.25,0.33333,7.0]' in text
    assert '"latency_p50_s": [null,0.012346]' in text
    cell = json.loads(text)["cells"][0]
    assert cell["notes"] == [note]
    assert cell["course"]["throughput"] == [1234.6, 2e-7]
    assert cell["power_trace"] == {
        "reduced_by": "mean",
        "kind": "power",
        "readings": 40,
        "window_s": [0.0, 0.2],
        "start_s": -0.1,
        "bin_s": 0.1,
        "watts": {"VDD_IN": [5.0, -1.25, 0.33333, 7.0]},
        "estimated": True,
    }
    assert json.loads(text)["cells"][1]["power_trace"] is None


def test_writing_replaces_the_old_file_whole(run: Session, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    write_results(run, path)
    assert json.loads(path.read_text())["schema"] == 1


def test_a_place_that_cannot_be_written_is_told(run: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, why in (
        (tmp_path, "it is a directory"),
        (tmp_path / "file" / "r.json", "file is not a directory"),
        (tmp_path / "file" / "deep" / "r.json", "file is not a directory"),
    ):
        with pytest.raises(GaitperfError, match=rf"{path} cannot be written .*{why}.*may write to"):
            check_writable(path)
        with pytest.raises(GaitperfError, match=f"{path} cannot be written "):
            write_results(run, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize(
    ("idle_w", "expected_w"),
    [((1.0, 3.0), (2.0, 3.0)), ((1.0, 3.0, 7.0), (2.0, 5.0)), ((1.0,), (1.0, 1.0))],
)
def test_energy_above_idle_is_that_of_the_own_session(
    run: Session,
    monkeypatch: pytest.MonkeyPatch,
    idle_w: tuple[float, ...],
    expected_w: tuple[float, float],
) -> None:
    result = next(iter(run.results.values()))
    measurement = result.measurement
    assert measurement is not None
    result.further = [measurement]
    run.repetition.began_s = [0.0, 60.0]
    idle = [Idle({"VDD_IN": watts}, 3.0, None) for watts in idle_w]  # type: ignore[arg-type]
    metering = SimpleNamespace(meter=None, absent="", idle=idle, idle_drift=None)
    monkeypatch.setattr(run.resources, "_metering", metering)
    cell = results(run).cells[0]
    above = [one.energy_above_idle_per_inference_j for one in (cell, *cell.further_sessions)]
    # 15 J in 3 s, for 3000 inferences.
    assert above == [pytest.approx((15.0 - 3.0 * watts) / 3000.0) for watts in expected_w]
