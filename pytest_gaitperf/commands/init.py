"""``gaitperf init``: a grid, tests, settings and a CI job for the models of a project."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.commands.output import say
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import load_toml, read_bytes, write_output
from pytest_gaitperf.text import count
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.models import model_folders, repository_models
from pytest_gaitperf.triton.server import open_server

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_gaitperf.model import ModelInfo, TensorSpec

    Models = Mapping[str, ModelInfo | None]

FOLDER = Path("performance")
"""Where tests and grid are put: apart, so that the tests of the code do not measure."""

_JOB_PATH = Path(".github", "workflows", "performance.yml")
_LARGEST_BATCH = 8
_IMAGE_SIDE, _TOKENS, _SIZE = 224, 128, 16
_IMAGE_CHANNELS = {1, 3}
_IGNORED = ("/performance-results.json", "/performance-report.html")
_TESTS = '''\
"""One test for each quantity of each cell of the grid, gated against baselines/."""


def test_throughput(perf, perf_cell):
    perf.gate(perf_cell, "throughput")


def test_latency(perf, perf_cell):
    perf.gate(perf_cell, "latency")


def test_energy(perf, perf_cell):
    perf.gate(perf_cell, "energy")


def test_cpu(perf, perf_cell):
    perf.gate(perf_cell, "cpu")
'''
_JOB = """\
# On a runner of your own, one for each device. Pull requests of forks do not run: read them first.
name: performance
on: pull_request
permissions:
  contents: read
jobs:
  gate:
    if: github.event.pull_request.head.repo.full_name == github.repository
    runs-on: [self-hosted, jetson]
    timeout-minutes: 60
    concurrency: {{ group: device-jetson, cancel-in-progress: false }}
    steps:
      - uses: actions/checkout@08eba0b27e820071cde6df949e0beb9ba4906955 # v4.3.0
        with: {{ persist-credentials: false }}
      - run: |
          python3 -m venv --clear "$RUNNER_TEMP/gate"
          "$RUNNER_TEMP/gate/bin/pip" install --quiet pytest-gaitperf=={version}
      - run: >-
          "$RUNNER_TEMP/gate/bin/pytest" performance
          --gaitperf-json=performance-results.json --junitxml=performance-junit.xml
"""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``init`` to the program's commands."""
    init = commands.add_parser(
        "init",
        help="write tests, a grid, settings and a CI job for the models of this project",
        description=(
            "Look for a Triton model repository in this directory, or ask a server, and write what "
            "a gate of its models needs: performance/grid.toml and performance/test_performance.py"
            ", [tool.gaitperf] in pyproject.toml, lines for .gitignore, and a job for GitHub. What "
            "is there already is left alone. It asks nothing."
        ),
    )
    where = init.add_mutually_exclusive_group()
    where.add_argument("--repository", type=Path, metavar="DIR", help="the model repository")
    where.add_argument("--url", metavar="HOST:PORT", help="a Triton server that runs")
    init.add_argument("--no-ci", action="store_true", help="write no job for GitHub")
    init.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> None:
    settings: dict[str, str] = {"grid": str(FOLDER / "grid.toml")}
    if arguments.url is not None:
        models, where = _served(arguments.url), f"the server at {arguments.url}"
        settings["triton_url"] = arguments.url
    else:
        repository = arguments.repository or _repository()
        models, where = repository_models(repository), f"the model repository {repository}"
        settings["triton_repository"] = str(repository)
    if not models:
        raise ConfigurationError(
            f"{where} has no models: import one with 'gaitperf models import MODEL.onnx'"
        )
    say(f"{where} has {count(len(models), 'model')}: {', '.join(models)}", indent="  ", first="")
    files = {FOLDER / "grid.toml": grid_text(models), FOLDER / "test_performance.py": _TESTS}
    if not arguments.no_ci:
        files[_JOB_PATH] = _JOB.format(version=version("pytest-gaitperf"))
    looks = list(_to_look_at(models, [path for path in files if not path.exists()]))
    written, kept = _write(files)
    told = _settle(Path("pyproject.toml"), settings)
    (kept if told else written).append("[tool.gaitperf] in pyproject.toml")
    if _ignore(Path(".gitignore")):
        written.append("lines of .gitignore")
    for what, names in (("written", written), ("left as it was", kept)):
        if names:
            say(f"{what}: {', '.join(names)}", indent="  ", first="")
    for line in filter(None, (*looks, told)):
        say(f"look at: {line}", indent="  ", first="")
    say(f"next: pytest {FOLDER}")
    say(f"then: pytest {FOLDER} --gaitperf-update=missing --gaitperf-sessions=3")


def _write(files: Mapping[Path, str]) -> tuple[list[str], list[str]]:
    """Write the files that are not there; return the names of these, and of those that are."""
    written, kept = [], []
    for path, text in files.items():
        if path.exists():
            kept.append(str(path))
        else:
            write_output(path, text.encode())
            written.append(str(path))
    return written, kept


def _repository() -> Path:
    """Return the model repository of the directory. Raises ConfigurationError unless it has one."""
    found = [path for path in sorted(Path().iterdir()) if path.is_dir() and _holds_models(path)]
    if len(found) == 1:
        return found[0]
    raise ConfigurationError(
        f"several directories hold models, {', '.join(map(str, found))}: name one with --repository"
        if found
        else "no directory here holds models of Triton (MODEL/config.pbtxt, MODEL/1/model.*): make "
        "one with 'gaitperf models import MODEL.onnx', or name it with --repository, or a server "
        "with --url"
    )


def _holds_models(directory: Path) -> bool:
    with suppress(OSError):
        return any(
            (folder / "config.pbtxt").is_file() or any(folder.glob("[0-9]*/model.*"))
            for folder in model_folders(directory)
        )
    return False


def _served(url: str) -> Models:
    with open_server(ServerOptions(mode="attach", url=url)) as server:
        return {name: server.model(name) for name in server.models()}


def grid_text(models: Models) -> str:
    """Return a grid file over models; shapes that they leave open are proposed in it."""
    # One that a model cannot have is an error; of a configuration that is not whole 1 is sure.
    largest = min(one.max_batch_size if one is not None else 1 for one in models.values())
    sizes = [1, min(largest, _LARGEST_BATCH)] if largest > 1 else [1]
    lines = [
        "# Which cells are measured: each model x batch size x requests in flight.",
        f"models = {json.dumps(sorted(models))}",
        f"batch_sizes = {sizes}",
        "concurrencies = [1, 4]",
    ]
    for name, model in sorted(models.items()):
        if model is not None and (open_ := list(_open(model))):
            lines += ["", f"# {name} leaves sizes open: these are proposed."]
            lines.append(f"[shapes.{_key(name)}]")
            lines += [
                f"{_key(spec.name)} = {_proposed(spec, batched=model.batched)}" for spec in open_
            ]
    return "\n".join(lines) + "\n"


def _open(model: ModelInfo) -> Iterator[TensorSpec]:
    return (spec for spec in model.inputs if -1 in spec.shape and not spec.optional)


def _proposed(spec: TensorSpec, *, batched: bool) -> list[int]:
    """Propose a shape: images of 224 x 224, texts of 128 tokens, else 16 of each open size."""
    image = _IMAGE_CHANNELS & {*spec.shape[-3:-2], *spec.shape[-1:]} and len(spec.shape) in (3, 4)
    tokens = spec.datatype in ("INT64", "INT32")
    size = _IMAGE_SIDE if image else _TOKENS if tokens else _SIZE
    found = [given if given > 0 else size for given in spec.shape]
    if batched or len(found) == 1 or (image and spec.shape[0] > 0):
        return found
    # Where a model takes no batches, the first size that is open is often one of its own.
    return [
        1 if given < 0 and min(spec.shape[:index], default=1) > 0 else size
        for index, (given, size) in enumerate(zip(spec.shape, found, strict=True))
    ]


def _key(name: str) -> str:
    """Return a key of TOML."""
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isascii() and bare.isalnum() else json.dumps(name)


def _settle(path: Path, settings: Mapping[str, str]) -> str:
    """Add ``[tool.gaitperf]`` to pyproject.toml; where it has one, say what belongs there."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    if path.exists():
        table = load_toml(path).get("tool", {})
        if "gaitperf" in table:
            wanting = [line for line in lines if line.partition(" ")[0] not in table["gaitperf"]]
            return f"pyproject.toml: {'; '.join(wanting) or 'all is there'}"
    before = read_bytes(path).decode() if path.exists() else ""
    gap = "\n" if before.endswith("\n") else "\n\n" if before else ""
    write_output(path, f"{before}{gap}[tool.gaitperf]\n{chr(10).join(lines)}\n".encode())
    return ""


def _ignore(path: Path) -> bool:
    """Add the files of a run to .gitignore; return whether one was missing."""
    try:
        before = read_bytes(path) if path.exists() else b""  # in any encoding
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    missing = [line.encode() for line in _IGNORED if line.encode() not in before.splitlines()]
    if missing:
        gap = b"" if before.endswith(b"\n") or not before else b"\n"
        write_output(path, before + gap + b"\n".join(missing) + b"\n")
    return bool(missing)


def _to_look_at(models: Models, written: Sequence[Path]) -> Iterator[str]:
    """Say what of the written files a person should read, and why."""
    guessed = [name for name, one in models.items() if one is not None and any(_open(one))]
    if guessed:
        yield f"{FOLDER / 'grid.toml'}: the shapes of {', '.join(guessed)} are proposed"
    if unknown := [name for name, model in models.items() if model is None]:
        yield (
            f"{', '.join(unknown)}: the configuration is not whole, and the server completes it; "
            "'pytest performance' says where a shape is missing"
        )
    if _JOB_PATH in written:
        yield f"{_JOB_PATH}: the labels of your runner, and where it gets the plugin from"
