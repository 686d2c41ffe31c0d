"""The million cases end: a case that hangs or dies is named, and the others are done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.campaigns import fuzz_workers
from tests.campaigns.fuzz_workers import Job, Lost, note, results

if TYPE_CHECKING:
    from pathlib import Path


def read(job: Job, directory: Path) -> str:
    note(directory, job.cases, b"12\n" + job.name.encode())
    if job.name == "hangs":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(600)
    elif job.name == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif job.name == "leaves":
        os._exit(3)
    return job.name


def nothing() -> None:
    """Prepare nothing."""


@pytest.mark.slow
def test_what_hangs_or_dies_is_named_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzz_workers, "CASE_LIMIT_S", 3)
    names = ["hangs", "crashes", "fine", "leaves", "well"]
    jobs = deque(Job(name, 1, number) for number, name in enumerate(names))
    done = {}
    with closing(results(jobs, read, nothing, 2)) as found:
        for job, result in found:
            done[job.name] = result
            if job.name == "crashes":  # once more, otherwise
                jobs.append(Job("later", 1, 9))
    assert done == {
        "hangs": Lost("no end within 3 s", 0, b"12\nhangs"),
        "crashes": Lost("killed by SIGSEGV", 1, b"12\ncrashes"),
        "fine": "fine",
        "leaves": Lost("exit status 3", 3, b"12\nleaves"),
        "well": "well",
        "later": "later",
    }


def test_processes_are_ended_with_who_asks_them() -> None:
    jobs = deque([Job("fine", 1, 0), Job("hangs", 1, 1)])
    with closing(results(jobs, read, nothing, 2)) as found:
        assert next(found)[1] == "fine"
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
