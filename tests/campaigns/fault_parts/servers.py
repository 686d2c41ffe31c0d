"""Faults of the server: it dies, stops, comes back, loses a model, or fails requests."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from tests.campaigns.fault_parts.bench import Triton
from tests.campaigns.fault_parts.case import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.campaigns.fault_parts.case import Case


def own_server(case: Case) -> tuple[str, ...]:
    """Return the options for a server that pytest starts itself."""
    return ("--triton=local", f"--triton-repository={case.repository()}")


def killed(case: Case) -> None:
    case.start(*own_server(case))
    case.within_second_cell()
    case.struck()
    os.kill(case.child("tritonserver"), signal.SIGKILL)


def killed_early(case: Case) -> None:
    case.start(*own_server(case))
    server = case.child("tritonserver")
    time.sleep(case.random.uniform(0, 1.5))
    case.struck()
    os.kill(server, signal.SIGKILL)


def foreign(case: Case, *flags: str) -> Triton:
    """Start a server of somebody else's, and a run that attaches to it."""
    triton = case.stack.enter_context(Triton(case.repository(), *flags))
    case.start(
        f"--gaitperf-protocol={case.random.choice(('http', 'grpc'))}",
        f"--triton-grpc-port={triton.ports.grpc}",
        url=triton.api.url,
    )
    return triton


def killed_attached(case: Case) -> None:
    triton = foreign(case)
    case.within_second_cell()
    case.struck()
    os.kill(triton.pid, signal.SIGKILL)


def stopped(case: Case) -> None:
    case.start(*own_server(case))
    case.within_second_cell()
    case.struck()
    os.kill(case.child("tritonserver"), signal.SIGSTOP)


def stopped_attached(case: Case) -> None:
    triton = foreign(case)
    case.within_second_cell()
    case.struck()
    os.kill(triton.pid, signal.SIGSTOP)
    case.stack.callback(os.kill, triton.pid, signal.SIGCONT)


def restarted(case: Case) -> None:
    """Half of the time pytest is stopped meanwhile, so that it finds only the new server."""
    triton = foreign(case)
    case.within_second_cell()
    unseen = case.random.random() < 0.5
    if unseen:
        os.kill(case.process.pid, signal.SIGSTOP)
    case.struck()
    os.kill(triton.pid, signal.SIGKILL)
    triton.start()
    if unseen:
        case.struck()
        os.kill(case.process.pid, signal.SIGCONT)


def unloaded(case: Case) -> None:
    case.stack.callback(case.bench.load, case.hurt)
    case.start(f"--gaitperf-protocol={case.random.choice(('http', 'grpc'))}")
    case.within_second_cell()
    case.struck()
    case.bench.load(case.hurt, unload=True)


def reloaded(case: Case) -> None:
    case.start(f"--gaitperf-transport={case.random.choice(('inline', 'shm'))}")
    case.within_second_cell()
    case.struck()
    case.bench.load(case.hurt, unload=True)
    case.bench.load(case.hurt)


def no_metrics(case: Case) -> None:
    foreign(case, "--allow-metrics=false")


def failing(name: str) -> Callable[[Case], None]:
    """Return an injector that measures a model which fails some of its requests."""

    def inject(case: Case) -> None:
        case.hurt = f"{name}_{case.slot}"
        case.start(
            f"--gaitperf-protocol={case.random.choice(('http', 'grpc'))}",
            f"--gaitperf-transport={case.random.choice(('inline', 'shm'))}",
        )
        case.wait_for("1/2 ")
        case.struck()

    return inject


_GONE = (r"could not be measured: .*(was killed by SIGKILL|no longer answers)",)
_SILENT = (r"could not be measured: .*no longer answers",)
_FAILED = (
    r"is invalid: .*requests failed",
    r"could not be measured: .*(requests failed|requests of the first .* failed)",
    r"could not be measured: .*no request succeeded",
)
_UNLOADED = (*_FAILED, r"could not be measured: .*(is not on this server|not ready)")
_NEW = (*_FAILED, *_GONE, r"another|restarted|refused|did not count")

KINDS = (
    Kind("server killed", "server", killed, 7, 1, 40, (10,), _GONE),
    Kind(
        "server killed while it starts", "server", killed_early, 5, 1, 60, (10,),
        (r"was killed by SIGKILL",), kept=False,
    ),
    Kind("attached server killed", "server", killed_attached, 6, 1, 40, (10,), _GONE),
    Kind("server stopped", "server", stopped, 4, 1, 180, (10,), _SILENT, waits=True),
    Kind(
        "attached server stopped", "server", stopped_attached, 4, 1, 180, (10,), _SILENT, waits=True
    ),
    Kind("server restarted on its port", "server", restarted, 6, 1, 60, (10,), _NEW),
    Kind("model unloaded", "server", unloaded, 7, 1, 40, (10,), _UNLOADED),
    Kind("model unloaded and loaded", "server", reloaded, 5, 1, 40, (10,), (*_UNLOADED, *_NEW)),
    Kind("1 % of requests fail", "server", failing("hurt1"), 6, 1, 60, (10,), _FAILED[:1]),
    Kind("10 % of requests fail", "server", failing("hurt10"), 6, 1, 60, (10,), _FAILED),
    Kind("every request fails", "server", failing("hurt100"), 6, 1, 60, (10,), _FAILED),
    Kind("no metrics endpoint", "server", no_metrics, 4, 1, 60, (0,), (r"\d passed",), good=True),
)  # fmt: skip
