"""``gaitperf baseline sensitivity``: from the command line, on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.cli import main

RECORDED = Path(__file__).parents[2] / "baselines"
H200 = "x86_64-intel-xeon-16cpu-128gb-nvidia-h200"
FINGERPRINT = Fingerprint("2.51.0", "in -> out", "http", "inline")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def record(profile: str, *values: float, model: str = "steady", spread: float = 0.02) -> None:
    for day, value in enumerate(values, 1):
        store = BaselineStore(Path("baselines"), profile, {})
        for number, key in enumerate(("b1-c1", "b8-c4")):
            moved = value * (1 + 0.01 * number * (day % 3))
            store.record(model, key, FINGERPRINT, {"throughput": Value(moved, spread, 3)})
        store.write(Provenance(f"s{day}", f"2026-11-{day:02}T00:00:00Z"))


def sensitivity(*arguments: str) -> int:
    return main(["baseline", "sensitivity", *arguments])


def document(*arguments: str) -> list[dict[str, object]]:
    assert sensitivity(*arguments, "--json=found.json") == 0
    rows: list[dict[str, object]] = json.loads(Path("found.json").read_text())["detectable"]
    return rows


def test_the_recorded_baseline_of_a_gpu_in_eighty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sensitivity("--baselines", str(RECORDED), "--profile", H200) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"{H200}, alpha 0.005 for a run of 4 cells"
    assert lines[2].split() == ["throughput", "p50", "p99", "energy", "CPU", "have", "need"]
    names = [line.split("  ")[0].strip() for line in lines[3:9]]
    assert names == ["whole run", "3D_fp16_0_batchd", "b1-c1", "b1-c8", "b8-c1", "b8-c8"]
    assert lines[5].split()[1].startswith("-"), "throughput falls"
    assert lines[5].split()[3].startswith("+"), "latency rises"
    assert lines[5].split()[-2:] == ["5", ">10"]


def test_the_results_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    record("orin", 40.0, 41.0, 39.5, 40.5)
    assert sensitivity("--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["profile"], found["alpha"], found["probability"]) == ("orin", 0.005, 0.9)
    run, *cells = found["detectable"]
    assert (run["scope"], run["model"], run["key"]) == ("run", "", "")
    assert [(c["scope"], c["model"], c["key"], c["metric"]) for c in cells] == [
        ("cell", "steady", "b1-c1", "throughput"),
        ("cell", "steady", "b8-c4", "throughput"),
    ]
    assert all(-1 < item["change"] <= item["one_more"] < 0 for item in found["detectable"])
    Path("file").touch()
    assert sensitivity("--json", "file/found.json") == 1
    assert "gaitperf: file/found.json cannot be written" in capsys.readouterr().err


def test_alpha_tolerance_and_models_change_what_is_found() -> None:
    for model in ("steady", "other"):
        record("orin", 40.0, 43.0, 37.5, 42.5, model=model, spread=0.2)
    changes = [
        document(*arguments)[-1]["change"]
        for arguments in ([], ["--alpha=5%"], ["--tolerance=60%"])
    ]
    usual, lax, tolerant = (change for change in changes if isinstance(change, float))
    assert tolerant < usual < lax < 0
    assert tolerant < 1 / 1.6 - 1
    assert {row["model"] for row in document("--models=stea*")} == {"", "steady"}


def test_what_the_project_asks_for_is_the_default() -> None:
    record("orin", 40.0, 41.0, 39.5, 40.5)
    before = document()[-1]["change"]
    Path("pyproject.toml").write_text(
        '[tool.gaitperf]\nalpha = 0.1\n[tool.gaitperf.model."st*"]\ntolerance = "60%"\n'
    )
    after = document()[-1]["change"]
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert after < 1 / 1.6 - 1 < before


def test_a_single_session_has_a_figure_too(capsys: pytest.CaptureFixture[str]) -> None:
    record("orin", 40.0)
    assert sensitivity() == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "in brackets: after one more session" in text
    assert "what must be heard (--gaitperf-must-hear) is heard in every metric" in text
    (run, *_cells) = document()
    assert run["sessions"] == 1
    assert isinstance(run["needed"], int)


def test_a_gate_that_hears_nothing_is_not_given_a_figure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for day, value in enumerate((0.01, 1.0, 0.02, 3.0), 1):
        store = BaselineStore(Path("baselines"), "wild", {})
        store.record("steady", "b1-c1", FINGERPRINT, {"latency_p50": Value(value, 0.02, 12)})
        store.write(Provenance(f"s{day}", f"2026-11-{day:02}T00:00:00Z"))
    assert sensitivity("--profile", "wild") == 0
    assert ">+1000%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baselines=nowhere"], "nowhere: there are no baselines; record one with"),
        (["--profile=nano"], "there is no baseline of 'nano'; name one with --profile: agx, orin"),
        ([], "; name one with --profile: agx, orin"),
        (["--profile=orin", "--models=x*"], "no recorded model matches 'x*'; the models are: ste"),
        (["--profile=orin", "--alpha=5"], "argument --alpha: '5' is neither a percentage below"),
        (["--profile=orin", "--tolerance=p99=5%"], "argument --tolerance: 'p99' is not gated"),
    ],
)
def test_a_mistake_gives_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    record("orin", 40.0)
    record("agx", 40.0)
    assert sensitivity(*arguments) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("gaitperf: ")
    assert len(error.splitlines()) == 1


def test_help_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert sensitivity("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the smallest change for the worse that the gate finds nine times in ten" in text
    assert "Defaults come from [tool.gaitperf] of ./pyproject.toml" in text
