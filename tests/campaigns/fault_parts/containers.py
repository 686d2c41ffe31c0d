"""Faults of a server in a container of Docker's real engine, and of the engine."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_gaitperf.power import sampler
from pytest_gaitperf.triton import supervisor
from tests.campaigns.fault_parts.case import Kind
from tests.campaigns.fault_parts.sensors import fake_board
from tests.triton.docker_engine import IMAGE
from tests.triton.infer import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.campaigns.fault_parts.case import Case
    from tests.triton.docker_engine import Engine

_ENDS_S = 30.0


def _contained(case: Case) -> tuple[Engine, str]:
    """Start a run with a server in a container; return the engine and the container's name."""
    engine = case.bench.engine
    case.environment |= engine.environment
    fake_board(case)
    case.start(
        *("--power=ina3221", "--triton=docker", f"--triton-image={IMAGE}"),
        f"--triton-repository={case.repository()}",
    )
    case.within_second_cell()
    (name,) = [name for name in engine.containers() if f"-{case.process.pid}-" in name]
    case.checks.append(lambda: _remains(engine, name))
    return engine, name


def _remains(engine: Engine, name: str) -> str:
    """Say whether the container is still there after a while."""
    deadline = time.monotonic() + _ENDS_S
    while name in engine.containers():
        if time.monotonic() > deadline:
            return f"the container {name} is left"
        time.sleep(0.2)
    return ""


def _kill(case: Case, pids: Sequence[int]) -> None:
    case.struck()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(case.random.choice((0, 0, 0.01, 0.3)))


def _parts(case: Case, engine: Engine, name: str) -> list[int]:
    """Return some of the client, the supervisor, the sampler, and what is in the container."""
    inside = tree(int(engine.docker("inspect", "--format", "{{.State.Pid}}", name).stdout))
    ours = [case.child(word) for word in ("docker", supervisor.__file__, sampler.__name__)]
    every = [*ours, *case.random.sample(inside, min(2, len(inside)))]
    return case.random.sample(every, case.random.randint(1, len(every)))


def together(case: Case) -> None:
    """Kill pytest and some of its client, supervisor, sampler, server and stub, in any order."""
    engine, name = _contained(case)
    pids = [case.process.pid, *_parts(case, engine, name)]
    case.random.shuffle(pids)
    _kill(case, pids)


def client(case: Case) -> None:
    _contained(case)
    _kill(case, [case.child("docker")])


def ended(case: Case) -> None:
    """As an administrator or the kernel for want of memory ends it."""
    engine, name = _contained(case)
    case.struck()
    engine.docker("kill", name)


KINDS: tuple[Kind, ...] = (
    Kind(
        "a container's run killed", "docker", together, 60, 1, 30, (-signal.SIGKILL,), ("",),
        swept=True, written=True,
    ),
    Kind("docker's client killed", "docker", client, 10, 1, 60, (10,), (r"was killed by SIGKILL",)),
    Kind("container killed", "docker", ended, 10, 1, 60, (10,), (r"was killed by SIGKILL",)),
)  # fmt: skip
if os.geteuid() != 0 or shutil.which("dockerd") is None:
    KINDS = ()
