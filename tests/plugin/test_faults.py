"""When things break: the message, what is kept, the exit code, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.plugin.baselines import UNMEASURED, baseline_files, kinds, make_faster
from tests.triton.infer import infer, wait_gone
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload
    from tests.plugin.conftest import Project


def interfered(
    project: Project, line: str, what: Callable[[psutil.Process], None], *arguments: str
) -> tuple[int, list[str], list[int]]:
    """Run pytest, and do ``what`` to it a little after it wrote a line that holds ``line``.

    Returns the exit code, the output and the pids of all that it had started.
    """
    command = [sys.executable, "-m", "pytest", *project.options, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=project.path
    ) as process:
        assert process.stdout is not None
        lines = []
        for text in process.stdout:
            lines.append(text)
            if line in text:
                break
        time.sleep(1.0)
        started = psutil.Process(process.pid).children(recursive=True)
        what(psutil.Process(process.pid))
        rest, _ = process.communicate(timeout=60)
    return process.returncode, "".join([*lines, rest]).splitlines(), [s.pid for s in started]


def kill_server(process: psutil.Process) -> None:
    (server,) = (
        child for child in process.children(recursive=True) if child.name() == "tritonserver"
    )
    os.kill(server.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_server_killed_within_a_cell(offline: Project) -> None:
    write_model(offline.path / "model_repository", "zebra", sleep_s=0.02)
    grid = offline.grid("other", "steady", "zebra")
    code, lines, pids = interfered(
        offline,
        "1/3 other-b1-c1: ",
        kill_server,
        grid,
        "--gaitperf-json=results.json",
        "--gaitperf-update=missing",
    )
    text = "\n".join(lines)
    assert code == UNMEASURED, text
    assert "was killed by SIGKILL" in text
    assert text.count("Started HTTPService at") == 1, "the log's end, once"
    assert text.count("steady-b1-c1 could not be measured: Triton at 127.0.0.1:") == 4
    assert "the server was lost during steady-b1-c1" in text
    assert "; it was started anew" in text
    assert "Traceback" not in text
    assert "1 unmeasured" in text
    cells = offline.cells()
    for unharmed in ("other-b1-c1", "zebra-b1-c1"):
        assert set(kinds(cells[unharmed]).values()) == {"missing"}
    assert "SIGKILL" in str(cells["steady-b1-c1"].error)
    assert [path.name for path in baseline_files(offline)] == ["other.json", "zebra.json"]
    assert len(pids) >= 2
    assert wait_gone(pids) == []


def test_a_server_killed_between_two_cells(offline: Project) -> None:
    offline.pytester.makeconftest(
        """
        import os
        import signal

        from pytest_gaitperf.own import RUNNING

        def pytest_collection_finish(session):
            resources = session.config.pluginmanager.get_plugin(RUNNING).engine.resources
            done = resources.progress.cell_done

            def cell_done(*arguments, **more):
                done(*arguments, **more)
                process = resources.server.process
                os.kill(process.pid, signal.SIGKILL)
                process.wait(10)

            resources.progress.cell_done = cell_done
        """
    )
    shown = offline.run(offline.grid("other", "steady"), "--gaitperf-update=missing")
    shown.assert_outcomes(passed=3, skipped=1, errors=4)
    text = shown.stdout.str()
    assert "steady-b1-c1 could not be measured: Triton at 127.0.0.1:" in text
    assert "was killed by SIGKILL" in text
    assert text.count("Started HTTPService at") == 1


def twice(process: psutil.Process) -> None:
    """Press Ctrl-C, and once more while the run is ending."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)


# That SIGTERM and SIGHUP interrupt as Ctrl-C does is tested in tests/faults/test_interruption.py.
@pytest.mark.slow
def test_an_interruption_within_a_cell(offline: Project) -> None:
    code, lines, pids = interfered(
        offline,
        "1/2 other-b1-c1: ",
        twice,
        offline.grid("other", "steady"),
        "--gaitperf-json=results.json",
        "--gaitperf-update=missing",
    )
    text = "\n".join(lines)
    assert code == pytest.ExitCode.INTERRUPTED, text
    cells = offline.cells()
    assert offline.measured("other-b1-c1").metrics["throughput"].value > 0
    assert str(cells["steady-b1-c1"].error).startswith("the run was interrupted")
    assert "no baseline was written" in text
    assert "Traceback" not in text
    assert not (offline.path / "baselines").exists()
    assert wait_gone(pids) == []


def test_a_model_that_does_not_load_names_its_reason(offline: Project) -> None:
    write_model(offline.path / "model_repository", "broken", initialize_error="no weights here")
    shown = offline.run(offline.grid("broken"), "--gaitperf-json=results.json")
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    shown.stdout.fnmatch_lines(["broken-b1-c1 could not be measured: *could not load broken: *"])
    assert "no weights here" in shown.stdout.str()
    assert "no weights here" in str(offline.cells()["broken-b1-c1"].error)


def test_failing_responses_are_shown_and_never_become_a_result(project: Project) -> None:
    grid = project.grid("flaky", "refusing")
    shown = project.run(grid, "--gaitperf-update=missing", "--gaitperf-json=results.json")
    shown.assert_outcomes(errors=8)
    assert shown.ret == UNMEASURED
    shown.stdout.fnmatch_lines(
        [
            "flaky-b1-c1 is invalid: * requests failed: HTTP 5*fails, as it was told to*",
            # "100 of 100 requests", or on a busy machine "all 73 requests of the first 0.5 s"
            "refusing-b1-c1 could not be measured: * requests* failed: HTTP 5*as it was told*",
        ]
    )
    shown.stdout.fnmatch_lines(["* invalid", "refusing", "* unmeasured"])
    assert not (project.path / "baselines").exists()
    flaky = project.measured("flaky-b1-c1")
    assert flaky.failures > 0
    assert "requests failed" in str(flaky.invalid)
    assert " failed: HTTP 5" in str(project.cells()["refusing-b1-c1"].error)


@contextmanager
def disturbance(server: TritonServer) -> Iterator[Thread]:
    """Give a thread that, once started, sends requests of its own to the model steady."""
    stop = Event()

    def disturb() -> None:
        while not stop.is_set():
            infer(server.url, "steady")

    thread = Thread(target=disturb)
    try:
        yield thread
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()


def test_another_client_on_the_server_makes_a_cell_invalid(
    project: Project, server: TritonServer
) -> None:
    project.record()
    with disturbance(server) as other:
        other.start()
        shown = project.run(project.grid("steady"))
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    shown.stdout.fnmatch_lines(["steady-b1-c1 is invalid: another client uses the server: *"])


@pytest.mark.slow
def test_a_disturbed_second_measurement_acquits_no_suspect(
    project: Project, server: TritonServer
) -> None:
    project.record()
    make_faster(baseline_files(project), 30.0)
    with disturbance(server) as other:
        code, lines, _ = interfered(
            project,
            "measuring it once more",
            lambda _: other.start(),
            *(project.grid("steady"), "-k", "throughput"),
        )
    text = "\n".join(lines)
    assert code == UNMEASURED, text
    assert "throughput regressed: -9" in text
    assert "  not confirmed: another client uses the server: " in text


def edited(document: dict[str, object]) -> str:
    """What a hand edit leaves: a metric that became text, deep inside."""
    text = json.dumps(document)
    return text.replace('"throughput": [', '"throughput": ["fast", ', 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda document: json.dumps(document)[:-40], "line "),
        (lambda document: json.dumps(document | {"schema": 99}), "$.schema"),
        (edited, "$.cells"),
    ],
    ids=["truncated", "foreign-schema", "hand-edited"],
)
def test_a_damaged_baseline_is_named_before_anything_is_measured(
    project: Project, damage: Callable[[dict[str, object]], str], message: str
) -> None:
    project.record()
    (path,) = baseline_files(project)
    path.write_text(damage(json.loads(path.read_text())))
    damaged = path.read_bytes()
    shown = project.run(project.grid("steady"), "--gaitperf-update=all")
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "baselines/here/steady.json" in text
    assert message in text
    assert "inf/s +-" not in text
    assert "Traceback" not in text
    assert path.read_bytes() == damaged


def test_a_damaged_baseline_is_named_for_what_a_test_measures_by_hand_too(
    project: Project,
) -> None:
    project.record()
    (path,) = baseline_files(project)
    path.write_text(path.read_text()[:-40])
    project.pytester.makepyfile(
        test_own="""
        from pytest_gaitperf import Workload

        def test_gated(perf):
            perf.gate(Workload("steady", 1, 1), "throughput")

        def test_measured(perf):
            perf.measure(Workload("steady", 1, 1))
        """
    )
    shown = project.run("test_own.py", "--gaitperf-update=all")
    shown.assert_outcomes(failed=2)
    assert shown.ret == UNMEASURED
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "steady-b1-c1 could not be measured: " in text
    assert "baselines/here/steady.json" in text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text


@pytest.mark.slow
def test_odd_models_are_measured_or_named_with_the_tensor(project: Project) -> None:
    grid = project.grid("text", "two", "dynamic")
    shown = project.run(
        grid, "-k", "throughput", "--gaitperf-json=results.json", "--gaitperf-budget=1.5"
    )
    shown.assert_outcomes(failed=2, errors=1, deselected=9)
    shown.stdout.fnmatch_lines(
        [
            "dynamic-b1-c1 could not be measured: model 'dynamic': input tensor 'ROWS' has *",
        ]
    )
    assert "[[]shapes.dynamic] ROWS = [[]16, 2]".replace("[[]", "[") in shown.stdout.str()
    for cell in ("text-b1-c1", "two-b1-c1"):
        assert project.measured(cell).metrics["throughput"].value > 0

    project.grid("dynamic")
    with (project.path / "grid.toml").open("a") as file:
        file.write("[shapes.dynamic]\nROWS = [3, 2]\n")
    shown = project.run(grid, "-k", "throughput", "--gaitperf-update=missing")
    shown.assert_outcomes(passed=1, deselected=3)


def test_what_no_memory_holds_is_the_error_of_its_cell(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_model: object, workload: Workload, *_rest: object, **_more: object) -> None:
        if workload.concurrency == 2:
            raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr("pytest_gaitperf.load.loops.check_room", full)
    shown = project.run(
        project.grid("steady", concurrencies="[1, 2, 3]"),
        *("-k", "throughput", "--gaitperf-json=results.json"),
    )
    assert shown.ret == UNMEASURED
    first, second, third = project.cells().values()
    assert first.measurement is not None
    assert third.measurement is not None
    assert "the memory does not hold it (Unable to allocate 7 TiB)" in str(second.error)
    assert "Traceback" not in shown.stdout.str()
