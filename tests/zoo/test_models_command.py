from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest

from pytest_gaitperf.cli import main
from tests.triton.models import Tensor, write_model

TINY = "3D_fp32_97_batchd"
ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own program
        [sys.executable, "-m", "pytest_gaitperf.cli", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_build_then_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = ["--repository", str(tmp_path)]
    assert main(["models", "build", *repository, TINY]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    first, second = output.err.splitlines()
    assert first.startswith(f"{TINY}: building")
    assert " MB, built in " in second

    assert main(["models", "build", *repository, TINY]) == 0
    assert "up to date" in capsys.readouterr().err

    assert main(["models", "list", *repository]) == 0
    table = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert table[TINY].endswith("  built")
    assert table["2D_fp32_0_batchd"].split() == [
        *("2D_fp32_0_batchd", "14,168,032", "2.04", "~56.7", "not", "built")
    ]
    assert "2 for each multiply-accumulate" in " ".join(table.values())


def test_list_shows_other_models_of_the_repository_with_their_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, "mine", inputs=[Tensor("X", "FP32", (-1, 2))], max_batch_size=4)
    (tmp_path / "half" / "1").mkdir(parents=True)
    assert main(["models", "list", "--repository", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "half: the server completes its configuration",
        "mine: max_batch_size 4; X FP32 [-1, 2]; OUTPUT0 FP32 [-1, 2]",
    ]


def test_list_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "resnet50" / "1").mkdir(parents=True)
    assert main(["models", "build", "--repository", str(tmp_path), TINY]) == 0
    (tmp_path / TINY / "config.pbtxt").write_text("# mine\n")
    capsys.readouterr()
    assert main(["models", "list", "--json", "--repository", str(tmp_path)]) == 0
    rows = {row["variant"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 5
    assert rows["3D_fp32_40_batchd"] == {
        "variant": "3D_fp32_40_batchd",
        "network": "3D",
        "precision": "fp32",
        "pruned": 40,
        "parameters": 3159746,
        "flops": 1042904024,
        "estimated_bytes": 4 * 3159746,
        "weights_bytes": None,
        "state": "not built",
        "reason": "there is no 1/model.onnx",
        "edited": [],
    }
    assert rows[TINY]["state"] == "built"
    assert rows[TINY]["edited"] == ["config.pbtxt"]
    assert rows[TINY]["weights_bytes"] == (tmp_path / TINY / "1" / "model.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["models"], "ACTION"),
        (["frobnicate"], "frobnicate"),
        (["models", "info", "resnet50"], "3D_fp32_40_batchd"),
        (["models", "list", "--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gaitperf: ")
    assert message in line
    assert "--help" in line


def test_a_failure_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["models", "build", "--repository", str(tmp_path / "file"), TINY]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"gaitperf: cannot write into {tmp_path / 'file' / TINY}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["models", "--help"],
        *(["models", a, "--help"] for a in ("build", "list", "info")),
    ],
)
def test_help_is_not_a_failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "gaitperf" in capsys.readouterr().out


def test_ctrl_c_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_gaitperf.zoo.commands.ensure_built", interrupt)
    assert main(["models", "build", "--repository", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "gaitperf: interrupted\n"


@pytest.mark.slow
def test_as_a_program_in_the_default_repository(tmp_path: Path) -> None:
    built = run("models", "build", TINY, cwd=tmp_path)
    assert (built.returncode, built.stdout) == (0, "")
    assert (tmp_path / "model_repository" / TINY / "1" / "model.onnx").is_file()
    listed = run("models", "list", "--json", cwd=tmp_path)
    assert listed.returncode == 0
    states = {row["variant"]: row["state"] for row in json.loads(listed.stdout)}
    assert states[TINY] == "built"
    assert run("models", "info", "resnet50", cwd=tmp_path).returncode == 2
    assert run("models", "build", "resnet50", cwd=tmp_path).returncode == 1
    assert run("models", "build", "--repository", "/dev/null", cwd=tmp_path).returncode == 1


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(  # our own program
        [
            sys.executable,
            "-m",
            "pytest_gaitperf.cli",
            "models",
            "list",
            "--repository",
            str(tmp_path),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize("action", [["list", "--all"], ["info", "GaitSet_int8_40_batchd"]])
def test_listing_and_explaining_import_nothing_heavy(tmp_path: Path, action: list[str]) -> None:
    program = (
        "import sys; from pytest_gaitperf.cli import main; "
        f"main(['models', *{action}, '--repository', {str(tmp_path)!r}]); "
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run(  # our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_imports_no_other_command() -> None:
    program = (
        "import sys; from pytest_gaitperf.cli import main; main(['doctor', '--help']); "
        "print([name for name in sys.modules if name.startswith('pytest_gaitperf.baseline.')])"
    )
    done = subprocess.run(  # our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["models", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_all_lists_the_zoo_and_patterns_choose_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = ["--repository", str(tmp_path)]
    everything = shown(capsys, "list", "--all", *repository)
    assert len(everything) == 1 + 3 * 4 * 10 + 3
    chosen = shown(capsys, "list", "GaitSet_best_*", "3D_fp16_7_batchd", *repository)
    assert [line.split()[0] for line in chosen[1:-3]] == [
        *(f"GaitSet_best_{pruned}_batchd" for pruned in range(0, 100, 10)),
        "3D_fp16_7_batchd",
    ]
    assert chosen[1].endswith("needs TensorRT")
    assert len(shown(capsys, "list", "local", *repository)) == 1 + 18 + 3


def test_a_pattern_builds_what_a_cpu_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``best`` is left out of what a pattern stands for, and refused by its name."""
    repository = ["--repository", str(tmp_path)]
    assert main(["models", "build", "GaitSet_*_90_*", *repository]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"GaitSet_{kind}_90_batchd" for kind in ("fp32", "fp16", "int8")}
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("1/3 GaitSet_fp32_90_batchd: building 0.2 M parameters")
    assert said[-1].startswith("3/3 GaitSet_int8_90_batchd: ")
    assert main(["models", "build", "3D_fp32_96_batchd", "3D_best_96_batchd", *repository]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gaitperf: 3D_best_96_batchd: best leaves each layer's precision to")
    assert {path.name for path in tmp_path.iterdir()} == names


def test_info_shows_layers_that_add_up_and_how_it_was_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, repository = "GaitSet_int8_90_batchd", ["--repository", str(tmp_path)]
    before = "\n".join(shown(capsys, "info", name, *repository))
    assert "weights    not built" in before
    assert "built with" not in before
    assert main(["models", "build", name, *repository]) == 0
    capsys.readouterr()
    lines = shown(capsys, "info", name, *repository)
    text = "\n".join(lines)
    assert "input      input [batch, 30, 64, 44, 1]" in text
    assert "output     code [batch, 15872]" in text
    assert f"{name}/1/model.onnx, 0.2 MB" in text
    assert "seed 20240625, opset 13, conversion 1, calibration samples 4" in text
    assert f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}" in text
    start = next(i for i, line in enumerate(lines) if line.startswith("layer"))
    rows = [line.split() for line in lines[start + 1 : -3]]
    assert rows[0] == ["frame1", "3x1x5x5", "30x3x64x44", "75", "12.7"]
    assert len(rows) == 11
    total = lines[-3].split()
    assert sum(int(row[3].replace(",", "")) for row in rows) == int(total[-2].replace(",", ""))
    assert sum(float(row[4]) for row in rows) == pytest.approx(float(total[-1]), abs=1)


@pytest.mark.parametrize("network", ["3D", "2D", "GaitSet"])
def test_tables_fit_80_columns(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    network: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for action in (["list", "--all"], ["info", f"{network}_int8_0_batchd"]):
        assert max(map(len, shown(capsys, *action))) <= 80
