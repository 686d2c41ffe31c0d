"""The kernel's counters, read from captured texts and from this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.counters import (
    Counters,
    CpuTimes,
    between,
    called,
    parse_cpu_times,
    parse_pressure,
    parse_stat,
)
from pytest_gaitperf.way import FORWARDERS

if TYPE_CHECKING:
    from tests.host.conftest import Planter

MS = 10**6
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")

SPINNER = (
    b"4242 (a ) b(c) R 1 4242 4242 0 -1 4194304 771 0 0 0 150 2 0 0 20 0 1 0 90123 15282176 2300 "
    b"18446744073709551615 1 1 0 0 0 0 0 16781312 2 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
KSOFTIRQD = (
    b"15 (ksoftirqd/0) S 2 0 0 0 -1 69238848 0 0 0 0 0 31 0 0 20 0 1 0 8 0 0 "
    b"18446744073709551615 0 0 0 0 0 0 0 2147483647 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
STAT = b"""\
cpu  18906 82368 15197 71315 811 0 545 967 0 0
cpu0 5457 38376 6904 43325 245 0 209 482 0 0
cpu1 13449 43992 8292 27989 565 0 335 484 0 0
intr 5012345 0 9
ctxt 9912345
"""
PRESSURE = b"""\
some avg10=8.12 avg60=7.81 avg300=19.10 total=193195858
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""


def test_a_process_is_read_whatever_its_name() -> None:
    process = parse_stat(SPINNER)
    assert process is not None
    assert (process.name, process.state, process.parent) == ("a ) b(c", "R", 1)
    assert process.cpu_ns == 152 * TICK_NS
    assert not process.kernel


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("stress", ["--cpu", "2"], "stress"),
        ("python3", ["-u", "/home/x/train.py", "--lr", "1"], "python3 train.py"),
        ("python3.11", ["-m", "http.server"], "python3.11 -m http.server"),
        ("python3", ["-c", "password = 1"], "python3 -c"),
        ("java", ["-Xmx1g", "-jar", "server.jar"], "java -jar server.jar"),
        ("bash", ["-e", "./build.sh"], "bash build.sh"),
        ("node", [], "node"),
        ("python3", ["-m"], "python3 -m"),
    ],
)
def test_an_interpreter_is_called_by_what_it_runs(
    name: str, arguments: list[str], expected: str
) -> None:
    assert called(name, arguments) == expected


def test_a_kernel_thread_is_one() -> None:
    process = parse_stat(KSOFTIRQD)
    assert process is not None
    assert process.kernel
    assert process.name == "ksoftirqd/0"


@pytest.mark.parametrize("text", [b"", b"4242 (gone", b"4242 (cut) R 1 4242"])
def test_a_process_that_is_gone_is_none(text: bytes) -> None:
    assert parse_stat(text) is None


def test_the_cpus_are_those_that_were_asked_for() -> None:
    both = CpuTimes((5457 + 38376 + 6904 + 13449 + 43992 + 8292) * TICK_NS, 966 * TICK_NS)
    assert parse_cpu_times(STAT, [0, 1]) == both
    assert parse_cpu_times(STAT, [1]) == CpuTimes(65733 * TICK_NS, 484 * TICK_NS)
    assert parse_cpu_times(STAT, [7]) is None
    assert parse_cpu_times(b"", [0]) is None


def test_pressure_is_the_total_of_some() -> None:
    assert parse_pressure(PRESSURE) == 193195858000
    assert parse_pressure(b"") is None


def stat(pid: int, name: str, parent: int, ticks: int, state: str = "S") -> str:
    return (
        f"{pid} ({name}) {state} {parent} {pid} {pid} 0 -1 4194304 0 0 0 0 {ticks} 0 0 0 20 0 "
        "1 0 1 0 0\n"
    )


def test_others_are_told_from_the_servers_tree(plant: Planter) -> None:
    def tree(ticks: int, state: str = "S") -> dict[str, str]:
        return {
            "proc/10/stat": stat(10, "tritonserver", 1, ticks, state),
            "proc/10/task/10/schedstat": f"0 {ticks * TICK_NS} 1\n",
            "proc/11/stat": stat(11, "stub", 10, ticks),
            "proc/11/task/12/schedstat": f"0 {2 * ticks * TICK_NS} 1\n",
            "proc/20/stat": stat(20, "stress", 1, 3 * ticks, "R"),
            "proc/20/comm": "stress\n",
            "proc/15/stat": KSOFTIRQD.decode().replace(" 31 0 0 20", f" {50 * ticks} 0 0 20"),
            "proc/stat": f"cpu0 {5 * ticks} 0 {50 * ticks} 0 0 {ticks} {9 * ticks} 0 0 0\n",
            "proc/self": "not a process\n",
        }

    counters = Counters(10, root=plant(tree(0)))
    first = counters.look()
    plant(tree(100, "T"))
    second = counters.look()
    assert second.others_ns == {20: 300 * TICK_NS}
    assert second.ours_ns == {10: 100 * TICK_NS, 11: 100 * TICK_NS}
    assert second.waited_ns == {10: 100 * TICK_NS, 12: 200 * TICK_NS}
    assert (first.stopped, second.stopped) == ((), (10,))
    assert counters.names == {20: "stress"}
    # Threads of the kernel, and interrupts, work for ours as well: nobody unseen does.
    assert between(first, second).unseen == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", FORWARDERS)
@pytest.mark.parametrize("attached", [True, False])
def test_what_forwards_requests_to_an_attached_server_is_no_other(
    plant: Planter, name: str, attached: bool
) -> None:
    tree = {"proc/10/stat": stat(10, "tritonserver", 1, 5), "proc/20/stat": stat(20, name, 1, 7)}
    look = Counters(10, attached=attached, root=plant(tree)).look()
    assert (look.ours_ns if attached else look.others_ns)[20] == 7 * TICK_NS
    assert 20 not in (look.others_ns if attached else look.ours_ns)


def test_a_machine_that_shows_nothing_is_read_as_nothing(plant: Planter) -> None:
    counters = Counters(10, root=plant({"proc/version": "Linux\n"}))
    first, second = counters.look(), counters.look()
    seen = between(first, second)
    assert (seen.others, seen.waited, seen.stolen, seen.pressure) == (0, None, None, None)


def test_a_process_that_works_is_seen_on_this_machine() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "while 1: pass"], start_new_session=True
    ) as spinner:
        try:
            counters = Counters()
            first = counters.look()
            time.sleep(0.5)
            seen = between(first, counters.look())
            assert seen.others is not None
            assert seen.by[spinner.pid] > 0
            assert spinner.pid in counters.names
            assert os.getpid() not in seen.by
        finally:
            spinner.kill()


def test_a_process_on_other_cpus_is_nobody_beside_us_from_its_first_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU")
    pinned = f"import os\nos.sched_setaffinity(0, [{cpus[1]}])\nwhile 1: pass"
    real = os.sched_getaffinity
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: real(pid) if pid else {cpus[0]})
    counters = Counters()
    first = counters.look()
    with subprocess.Popen([sys.executable, "-S", "-c", pinned]) as spinner:
        try:
            time.sleep(0.5)
            seen = between(first, counters.look())
            assert spinner.pid not in seen.by
            assert spinner.pid not in counters.names
        finally:
            spinner.kill()
