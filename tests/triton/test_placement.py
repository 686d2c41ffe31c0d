"""The processes of a model: found by their command line, timed, and kept on chosen CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.triton.launch import Docker
from pytest_gaitperf.triton.placement import (
    all_processes,
    allowed_cpus,
    busy_threads,
    cpu_seconds,
    keep_on,
    own_processes,
    thread_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As a stub is: the model's file is the first argument. It starts one thread, and a child.
_STUB = """\
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
until = time.monotonic() + 60
while time.monotonic() < until:
    pass
"""


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The pid of a process that serves version 2 of "net", as far as one can see, and its child's.

    Its parent, this process, stands for the server.
    """
    path = tmp_path / "net" / "2" / "model.py"
    path.parent.mkdir(parents=True)
    path.write_text(_STUB, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process.pid, child
        finally:
            os.kill(child, 9)
            process.kill()


def test_a_models_processes_are_those_of_its_version_and_their_children(
    stub: tuple[int, int],
) -> None:
    here = os.getpid()
    assert own_processes(here, "net", "2") == own_processes(here, "net") == stub
    for other in (("net", "1"), ("et", "2"), ("nets", "")):
        assert own_processes(here, *other) == ()
    assert own_processes(None, "net") == all_processes(None) == ()
    assert {here, *stub} <= set(all_processes(here))


def test_a_folder_above_the_models_is_no_model(stub: tuple[int, int], tmp_path: Path) -> None:
    assert own_processes(os.getpid(), tmp_path.name) == ()


def test_the_threads_of_a_model_have_their_own_times(stub: tuple[int, int]) -> None:
    before, cpu_before_s = thread_seconds(stub), cpu_seconds(stub)
    time.sleep(0.3)
    after, cpu_after_s = thread_seconds(stub), cpu_seconds(stub)
    assert len(after) == 3
    spent = {thread: after[thread] - before.get(thread, 0.0) for thread in after}
    assert min(spent.values()) < 0.01 < max(spent.values())
    assert cpu_before_s is not None
    assert cpu_after_s is not None
    assert cpu_after_s > cpu_before_s
    assert cpu_seconds((*stub, 2**22 + 1)) is None


@pytest.mark.parametrize(
    ("spent", "busy"),
    [([0.9, 0.01], 1), ([0.9, 0.8, 0.3, 0.1], 3), ([0.001, 0.001], 1), ([], 1)],
)
def test_busy_threads_work_a_quarter_of_what_the_busiest_does(
    spent: list[float], busy: int
) -> None:
    after = dict(enumerate(spent))
    assert busy_threads(dict.fromkeys(after, 0.0), after, 1.0) == busy


def test_every_thread_is_kept_on_the_chosen_cpus(stub: tuple[int, int]) -> None:
    allowed = allowed_cpus(stub)
    one = {min(allowed)}
    assert keep_on(stub, one)
    threads = [int(name) for pid in stub for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    assert len(threads) == 3
    assert all(os.sched_getaffinity(thread) == one for thread in threads)
    assert keep_on(stub, allowed)
    assert all(os.sched_getaffinity(thread) == allowed for thread in threads)


def test_cpus_that_cannot_be_had_are_refused_and_what_ended_is_no_fault() -> None:
    blocked = threading.Thread(target=time.sleep, args=(0.01,))
    blocked.start()
    assert not keep_on([os.getpid()], {4095})
    assert keep_on([2**22 + 1], {0})
    assert allowed_cpus([2**22 + 1]) == frozenset()
    blocked.join()


@pytest.mark.parametrize("status", [0, 1])
def test_a_container_is_confined_by_its_engine(tmp_path: Path, status: int) -> None:
    engine = tmp_path / "docker"
    engine.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit {status}\n', encoding="utf-8")
    engine.chmod(0o755)
    assert Docker(str(engine)).keep_on("gaitperf-x", {3, 1}) is (status == 0)
    assert (tmp_path / "asked").read_text() == "update --cpuset-cpus=1,3 gaitperf-x\n"
    assert not Docker(str(tmp_path / "none")).keep_on("gaitperf-x", {1})


def test_the_cpu_time_of_children_that_ended_counts() -> None:
    command = "read _; (for ((i = 0; i < 200000; i++)); do :; done); echo; read _"
    with subprocess.Popen(
        ["bash", "-c", command],  # noqa: S607 - any bash will do
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        both = cpu_seconds([process.pid])
        own = time.clock_gettime((~process.pid << 3) | 2)
        assert both is not None
        assert both > own + 0.05
        process.stdin.write("\n")
