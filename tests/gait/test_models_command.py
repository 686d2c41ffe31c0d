from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_gaitperf.cli import main

TINY = "3D_fp32_97_batchd"
ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own program
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
    assert "built: up to date" in table[TINY]
    assert "not built" in table["2D_fp32_0_batchd"]
    assert "14,168,032" in table["2D_fp32_0_batchd"]


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
        (["models", "build", "resnet50"], "2D_fp32_40_batchd"),
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
    "arguments", [["--help"], ["models", "--help"], ["models", "build", "--help"]]
)
def test_help_is_not_a_failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "gaitperf" in capsys.readouterr().out


def test_ctrl_c_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_gaitperf.gait.commands.ensure_built", interrupt)
    assert main(["models", "build", "--repository", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "gaitperf: interrupted\n"


def test_as_a_program_in_the_default_repository(tmp_path: Path) -> None:
    built = run("models", "build", TINY, cwd=tmp_path)
    assert (built.returncode, built.stdout) == (0, "")
    assert (tmp_path / "model_repository" / TINY / "1" / "model.onnx").is_file()
    listed = run("models", "list", "--json", cwd=tmp_path)
    assert listed.returncode == 0
    states = {row["variant"]: row["state"] for row in json.loads(listed.stdout)}
    assert states[TINY] == "built"
    assert run("models", "build", "resnet50", cwd=tmp_path).returncode == 2
    assert run("models", "build", "--repository", "/dev/null", cwd=tmp_path).returncode == 1


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: S603  # our own program
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


def test_listing_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from pytest_gaitperf.cli import main; "
        f"main(['models', 'list', '--repository', {str(tmp_path)!r}]); "
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
