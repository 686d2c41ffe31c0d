"""--gaitperf-data: what the requests carry."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf import Outcome, read_results
from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_users_file_is_sent_and_named_in_the_results_and_in_the_baseline(
    project: Project,
) -> None:
    (project.path / "inputs").mkdir()
    np.save(project.path / "inputs" / "steady.npy", np.zeros((3, 16)))
    arguments = (project.grid("steady"), "--gaitperf-data=inputs", "--gaitperf-json=results.json")
    shown = project.run(*arguments, "--gaitperf-update=missing", "-k", "throughput")
    shown.assert_outcomes(passed=1, deselected=3)
    (cell,) = project.cells().values()
    assert cell.measurement is not None
    data = cell.measurement.data
    assert data == f"steady.npy, samples: 3, {cell.workload.data}"
    assert cell.key == f"b1-c1-data=h{cell.workload.data[7:15]}"
    recorded = (project.path / "baselines" / "here" / "steady.json").read_text()
    assert f'"data":"{data}"' in recorded


def test_models_without_a_file_are_named_and_unmeasured_only_where_expected(
    project: Project,
) -> None:
    (project.path / "inputs").mkdir()
    np.save(project.path / "inputs" / "slow.npy", np.zeros((3, 16)))
    arguments = (
        *(project.grid("s[lt]*", "!streaming"), "--gaitperf-data=inputs", "-k", "throughput"),
        *("--gaitperf-update=missing", "--gaitperf-json=results.json"),
    )
    shown = project.run(*arguments)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    run = read_results(project.path / "results.json")
    assert [cell.workload.model for cell in run.cells] == ["slow"]
    (note,) = [note for note in run.notes if "steady" in note]
    assert "inputs: has none of steady.npz, steady.npy, steady.json: put one file" in note

    folder = project.path / "baselines" / "here"
    shutil.copy(project.recorded / "here" / "steady.json", folder)  # now it is expected
    shown = project.run(*arguments)
    assert shown.ret == UNMEASURED, shown.stdout.str()
    cells = read_results(project.path / "results.json").cells
    outcomes = {cell.workload.model: cell.outcome for cell in cells}
    assert outcomes == {"slow": Outcome.GREEN, "steady": Outcome.UNMEASURED}


def test_a_file_that_does_not_fit_is_an_error_with_its_tensor(project: Project) -> None:
    np.savez(project.path / "x.npz", INPUT0=np.zeros((3, 17)))
    shown = project.run(project.grid("steady"), "--gaitperf-data=x.npz", "-k", "throughput")
    shown.assert_outcomes(errors=1, deselected=3)
    text = " ".join(shown.stdout.str().split())
    assert "x.npz: tensor 'INPUT0': has the shape [17] per sample, and the model wants [16]" in text
    assert "Traceback" not in text


def test_what_is_no_data_is_refused(project: Project) -> None:
    project.refuses(
        "--gaitperf-data", "ones", "'ones' is neither random nor zeros nor an existing file"
    )


def test_a_wrong_answer_under_load_is_never_green(project: Project) -> None:
    known = {"INPUT0": [0.5] * 16}
    document = {"data": [known], "validation_data": [{"OUTPUT0": [0.5] * 15 + [0.6]}]}
    (project.path / "known.json").write_text(json.dumps(document))
    arguments = (
        *(project.grid("steady"), "--gaitperf-data=known.json", "-k", "throughput"),
        *("--gaitperf-update=missing", "--gaitperf-json=results.json"),
    )
    shown = project.run(*arguments)
    assert shown.ret == UNMEASURED, shown.stdout.str()
    (cell,) = project.cells().values()
    assert cell.outcome is Outcome.UNMEASURED
    said = "wrong answer to request 0: OUTPUT0 is 0.5 at [0, 15], and 0.6 in validation_data"
    assert said in " ".join(shown.stdout.str().split())
    assert not (project.path / "baselines" / "here" / "steady.json").exists()

    document["validation_data"] = [{"OUTPUT0": [0.5] * 16}]
    (project.path / "known.json").write_text(json.dumps(document))
    assert project.run(*arguments).ret == pytest.ExitCode.OK
