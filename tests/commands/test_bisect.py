"""``gaitperf bisect``: the search, and the command on real repositories with a scripted look."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.cli import main
from pytest_gaitperf.commands.bisect import Answer, most_looks, search
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.results import Verdict, VerdictKind
from tests.baseline.recording import git
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.measure.cell import Budget
    from pytest_gaitperf.workload import Workload

UNMEASURED = 10
SLOW, FAST, NOISY, BROKEN, MIDDLING = "slow", "fast", "noisy", "broken", "middling"


def truth(first: int, odd: Mapping[int, Answer], looked: Counter[Answer]) -> Callable[..., Answer]:
    """Answer truly where ``first`` is the first commit that is worse, but for ``odd`` ones."""

    def answer(number: int) -> Answer:
        found = odd.get(number, Answer.WORSE if number >= first else Answer.NOT_WORSE)
        looked[found] += 1
        return found

    return answer


@given(st.data(), st.integers(1, 3000))
def test_the_search_finds_the_commit_in_few_looks(data: st.DataObject, commits: int) -> None:
    first = data.draw(st.integers(1, commits))
    looked: Counter[Answer] = Counter()
    found = search(commits, truth(first, {}, looked), most_looks(commits) - 1)
    assert found == (first - 1, first)
    assert looked.total() + 1 <= math.log2(commits) + 2


@given(st.data(), st.integers(1, 60))
@settings(max_examples=200)
def test_what_cannot_be_decided_is_left_between_commits_that_are_known(
    data: st.DataObject, commits: int
) -> None:
    first = data.draw(st.integers(1, commits))
    odd = data.draw(
        st.dictionaries(
            st.integers(1, commits), st.sampled_from((Answer.UNDECIDED, Answer.NOT_COMPARED))
        )
    )
    looked: Counter[Answer] = Counter()
    good, bad = search(commits, truth(first, odd, looked), most_looks(commits) - 1)
    assert good < first <= bad
    assert good not in odd
    assert bad == commits or bad not in odd
    assert looked.total() - looked[Answer.NOT_COMPARED] + 1 <= math.log2(commits) + 2
    if not any(one is Answer.UNDECIDED for one in odd.values()):
        # Looks are enough then: what is left between the two cannot be compared.
        assert all(number in odd for number in range(good + 1, bad))


# The command


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    Path("pyproject.toml").write_text('[tool.gaitperf]\nlock = "off"\n')


def history(*states: str) -> None:
    """Commit a model "m" in these states, tagged v0, v1 ..., with other commits between them."""
    git("init", "--quiet", "--initial-branch=main")
    folder = Path("model_repository/m")
    (folder / "1").mkdir(parents=True)
    for number, state in enumerate(states):
        (folder / "1" / "model.onnx").write_text(f"{state} {number}")
        git("add", "model_repository")
        git("commit", "--quiet", f"--message=m is {state}")
        git("tag", f"v{number}")
        git("commit", "--quiet", "--allow-empty", "--message=another matter")


_SEEN = {
    SLOW: (VerdictKind.REGRESSED, -0.5, -0.55, -0.45),
    FAST: (VerdictKind.PASS, 0.0, -0.01, 0.01),
    NOISY: (VerdictKind.INCONCLUSIVE, -0.2, -0.6, 0.2),
}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The looks that were taken: at what, and for how many seconds at most."""
    taken: list[tuple[str, float]] = []

    def look(
        settings: Settings,
        reference: Path,
        cells: Mapping[Workload, set[str]],
        _tolerance: object,
        *,
        budget: Budget,
        progress: object,
    ) -> dict[Workload, dict[str, Verdict] | MeasurementError]:
        content = (settings.triton_repository / "m/1/model.onnx").read_text()
        assert (reference / "m/1/model.onnx").read_text().startswith(FAST)
        (workload,) = cells
        taken.append((content, budget.budget_s))
        state = content.split()[0]
        if state == BROKEN:
            return {workload: MeasurementError("model 'm' could not be loaded: no weights")}
        kind, change, low, high = _SEEN[state]
        verdict = Verdict(
            "throughput", kind, "", change=change, low=low, high=high, sensitivity=0.03
        )
        return {workload: {"throughput": verdict}}

    monkeypatch.setattr("pytest_gaitperf.commands.bisect.look", look)
    return taken


def bisect(*arguments: str) -> int:
    return main(["bisect", *arguments, "--model=m"])


def test_the_commit_is_named_with_its_change(
    looks: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    history(FAST, FAST, FAST, SLOW, SLOW, SLOW)
    Path("model_repository/m/1/model.onnx").write_text("of the work tree")
    before = git("status", "--porcelain")
    assert bisect("v0", "HEAD") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("5 commits of m between v0 and HEAD; b1-c1, throughput; at most 4")
    assert [line.split()[0] for line in lines[1:4]] == ["look", "look", "look"]
    commit = git("rev-parse", "v3").strip()
    date = git("log", "-1", "--format=%aI", "v3").strip()
    assert lines[-2] == f"{commit} of {date}: m is slow"
    assert lines[-1] == "  throughput -50.0% (-55.0% .. -45.0%) beside v0"
    assert [content for content, _ in looks] == ["slow 5", "fast 2", "slow 3"]
    assert git("status", "--porcelain") == before
    assert not list(Path("temporary").iterdir())


def test_one_commit_needs_one_look(looks: list[tuple[str, float]]) -> None:
    history(FAST, SLOW)
    assert bisect("v0", "v1") == 0
    assert len(looks) == 1


def test_a_model_that_did_not_become_slower_is_said_to_be_equal(
    looks: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    history(FAST, FAST, FAST)
    assert bisect("v0", "v2") == UNMEASURED
    text = " ".join(capsys.readouterr().out.split())
    assert "v2 beside v0: not worse: throughput +0.0% (-1.0% .. +1.0%)" in text
    assert "this look finds 3% nine times in ten" in text
    assert len(looks) == 1


def test_an_undecided_look_gets_more_blocks_once_and_is_then_passed_over(
    looks: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    history(FAST, NOISY, NOISY, SLOW)
    assert bisect("v0", "v3", "--budget=7") == UNMEASURED
    text = " ".join(capsys.readouterr().out.split())
    assert [budget for content, budget in looks if content == "noisy 1"] == [7.0, 21.0]
    assert "after v0, up to and including" in text
    assert '"m is slow": one of 3 commits' in text


def test_a_commit_that_does_not_load_is_named_and_passed_over(
    looks: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    history(FAST, FAST, BROKEN, BROKEN, SLOW)
    assert bisect("v0", "v4") == UNMEASURED
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("\"m is broken\": model 'm' could not be loaded: no weights") == 2
    assert "one of 3 commits" in text
    assert len(looks) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "v1"), "'nothing' is no revision of the git repository"),
        (("v1", "v0"), "v1 is no ancestor of v0"),
        (("v0", "v0"), "no commit between v0 and v0 touches 'm'"),
        (("v0", "v1", "--metric=througput"), "(did you mean 'throughput'?)"),
        (("v0", "v1", "--repository=nowhere"), "nowhere has no models in"),
    ],
)
def test_what_cannot_be_searched_is_an_error_before_the_first_look(
    arguments: tuple[str, ...],
    message: str,
    looks: list[tuple[str, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    history(FAST, SLOW)
    assert bisect(*arguments) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not looks


def test_a_good_revision_whose_large_file_is_absent_is_an_error(
    looks: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    history("version https://git-lfs.github.com/spec/v1\n", SLOW)
    assert bisect("v0", "v1") == 1
    assert "m/1/model.onnx is a pointer of Git LFS" in capsys.readouterr().err
    assert not looks


def test_interrupted_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    history(FAST, SLOW)

    def look(*_: object, **__: object) -> None:
        assert list(Path("temporary").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_gaitperf.commands.bisect.look", look)
    assert bisect("v0", "v1") == 130
    assert not list(Path("temporary").iterdir())


_MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils

DATA = np.ones(4096)
OUT = np.ones(4096)


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            for _ in range({loops}):
                np.add(DATA, 1.0, out=OUT)
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            answers.append(pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())]))
        return answers
"""


@pytest.mark.slow
def test_the_commit_that_made_the_work_four_times_as_much_is_found_on_a_real_triton(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pytest_gaitperf.measure.pairs.SHORTEST_VISIT_S", 0.3)
    git("init", "--quiet", "--initial-branch=main")
    folder = write_model(Path("model_repository"), "m")
    for number, loops in enumerate((1000, 1001, 4000)):
        (folder / "1" / "model.py").write_text(_MODEL.format(loops=loops))
        git("add", "model_repository")
        git("commit", "--quiet", f"--message={loops} loops")
        git("tag", f"v{number}")
    code = bisect("v0", "v2", "--budget=20", "--tolerance=60%")
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert f"{git('rev-parse', 'v2').strip()} of " in shown
    assert "4000 loops" in shown.splitlines()[-2]
    assert sum(line.startswith("look ") for line in shown.splitlines()) == 2
    assert not list(Path("temporary").glob("gaitperf-*"))
