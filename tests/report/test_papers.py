"""The figures of the publications, of runs that are made up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pytest_gaitperf.cli import main
from pytest_gaitperf.config.grid import load_grid
from pytest_gaitperf.environment import Power, Profile
from pytest_gaitperf.report.html.papers import PAPERS, section
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.workload import Workload
from tests.report.runs import BASE, cell, run, searched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.report.html.data import Figure

ROOT = Path(__file__).parents[2]
DARK = {name: value for name, value in BASE.items() if name != "energy_per_inference"}
CELLS = [
    cell(Workload(model, batch, concurrency), factor=factor)
    for model, factor in (("3D_fp32_0_batchd", 1.0), ("3D_fp16_0_batchd", 0.5))
    for batch in (1, 8)
    for concurrency in (1, 8)
]


@pytest.mark.parametrize("name", [*PAPERS, *(f"{name}-quick" for name in PAPERS)])
def test_each_figure_has_a_grid(name: str) -> None:
    grid = load_grid(str(ROOT / "suites" / "papers" / f"{name}.toml"))
    assert grid.batch_sizes
    assert (ROOT / "suites" / PAPERS[name.removesuffix("-quick")].suite).exists()


def traces(figure: Figure) -> Mapping[str, list[tuple[str, float]]]:
    """The points of a figure, by series."""
    data = figure.spec["data"]
    assert isinstance(data, list)
    return {one["name"]: list(zip(one["x"], one["y"], strict=True)) for one in data}


def test_energy_is_drawn_over_the_batch_size_a_line_for_each_model() -> None:
    loaded = [one for one in CELLS if one.workload.concurrency == 8]
    (figure,) = section("energy", run(*loaded)).figures
    assert traces(figure) == {
        "3D_fp32_0_batchd": [("1", 12.3), ("8", 12.3)],
        "3D_fp16_0_batchd": [("1", 6.15), ("8", 6.15)],
    }


def test_subjects_stand_beside_what_was_published() -> None:
    found = section("subjects", run(searched()))
    assert found.figures[0].id == "paper-subjects"
    assert ["published", "Jetson Orin Nano and AGX Orin, 2025", "42 to 188"] in list(
        found.figures[0].table.rows
    )
    shapes = found.figures[0].spec["layout"]["shapes"]  # type: ignore[index]
    assert [one["y0"] for one in shapes] == [42, 188]
    assert "which is not a board of the publications" in str(found.view)


def test_ratios_are_means_over_the_loads_that_both_have() -> None:
    base = {"relative_to": "3D_fp32_0_batchd"}
    faster, energy = section("ratios", run(*CELLS, **base)).figures
    assert traces(faster) == {"faster": [("3D_fp32_0_batchd", 1), ("3D_fp16_0_batchd", 2)]}
    assert traces(energy) == {"less energy": [("3D_fp32_0_batchd", 1), ("3D_fp16_0_batchd", 2)]}


@pytest.mark.parametrize(
    ("module", "rail", "words"),
    [
        ("Jetson Orin Nano", "VDD_IN", "published is that of VDD_IN: the same."),
        ("Jetson AGX Orin", "VDD_IN", "published is that of VDD_GPU_SOC: not the same."),
        ("", "package", "published is that of VDD_IN or VDD_GPU_SOC: not the same."),
    ],
)
def test_it_says_whether_the_rails_agree(module: str, rail: str, words: str) -> None:
    environment = replace(run().environment, power=Power(meter="ina3221", total_rails=(rail,)))
    known = run(*CELLS, profile=Profile("here", {"module": module}), environment=environment)
    assert words in str(section("energy", known).view)


def test_without_energy_it_says_why_and_draws_what_it_has() -> None:
    environment = replace(run().environment, power=Power(absent="no power meter: none"))
    dark = run(cell(values=DARK), environment=environment)
    found = section("variants", dark)
    assert [figure.id for figure in found.figures] == ["paper-variants-latency"]
    assert "There is no energy: no power meter: none." in str(found.view)
    assert "Nothing was measured that it shows." in str(section("energy", dark).view)


# The command


def test_without_a_name_it_lists_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper"]) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if line[0] != " "] == list(PAPERS)


def test_it_draws_results_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, output = tmp_path / "results.json", tmp_path / "figure.html"
    results.write_text(encode(run(*CELLS, relative_to="3D_fp32_0_batchd")))
    assert main(["paper", "ratios", "--results", str(results), "-o", str(output)]) == 0
    assert f"figure written: {output}" in capsys.readouterr().out.replace("\n", " ")
    assert "Times faster than 3D_fp32_0_batchd" in output.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["subject"], "there is no figure 'subject' (did you mean 'subjects'?); they are sweep,"),
        (["sweep"], "is not here: run this in a checkout of pytest-gaitperf"),
        (["sweep", "--results", "none.json"], "none.json: cannot be read"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["paper", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_where_pytest_measures_nothing_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "suites" / "papers").mkdir(parents=True)
    (tmp_path / "suites" / "papers" / "sweep-quick.toml").touch()
    (tmp_path / "python").write_text("#!/bin/sh\necho $@ > asked\nexit 4\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert main(["paper", "sweep", "--quick", "--pytest", "--power=none"]) == 1
    assert "nothing was measured: pytest ended with 4" in capsys.readouterr().err
    *asked, baselines, update = (tmp_path / "asked").read_text().split()
    assert (baselines[:21], update) == ("--gaitperf-baselines=", "--gaitperf-update=missing")
    assert asked == [
        *("-m", "pytest", "suites/test_grid.py", "--gaitperf-grid=suites/papers/sweep-quick.toml"),
        *("--gaitperf-json=paper-sweep.json", "--power=none"),
    ]
