"""CPU quotas: from files as the kernel writes them, and a real one where this user may set it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.host.quota import Quota, QuotaWatch, read_quota

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.conftest import Planter, Tree

STAT_2 = "usage_usec 9000\nnr_periods 30\nnr_throttled 30\nthrottled_usec 1500000\n"
STAT_1 = "nr_periods 30\nnr_throttled 30\nthrottled_time 1500000000\n"
POD = "sys/fs/cgroup/kubepods/pod1/app"
OLD = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("tree", "quota"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/user.slice\n"}, None),
        ({}, None),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/cpu.stat": STAT_2,
            },
            Quota(1.5, 1.5),
        ),
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod1/app\n",
                f"{POD}/cpu.max": "max 100000\n",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
            },
            Quota(2.0, 0.0),
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab12\n1:memory:/docker/ab12\n",
                f"{OLD}/cpu.cfs_quota_us": "50000\n",
                f"{OLD}/cpu.cfs_period_us": "100000\n",
                f"{OLD}/cpu.stat": STAT_1,
            },
            Quota(0.5, 1.5),
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                f"{OLD}/cpu.cfs_quota_us": "-1\n",
                f"{OLD}/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {
                "proc/self/cgroup": "0::/../../other\nnonsense\n",
                "sys/fs/cgroup/cpu.max": "words 0\n",
            },
            None,
        ),
    ],
)
def test_a_quota_of_this_group_or_one_above_it(
    plant: Planter, tree: Tree, quota: Quota | None
) -> None:
    assert read_quota(root=plant({"proc/cpuinfo": "", **tree})) == quota


def test_a_machine_with_a_quota_is_another_profile(plant: Planter, orin_nano: Tree) -> None:
    free = identify(root=plant(orin_nano))
    limit = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}
    held = identify(root=plant({**orin_nano, **limit}))
    assert "cpu_quota" not in free.fields
    assert held.fields["cpu_quota"] == "1.5"


@pytest.fixture
def half_a_cpu() -> Iterator[Path]:
    """Make a control group that may use half a CPU; skip where this user may not."""
    names = (f"sys/fs/cgroup/{each}gaitperf-test-{os.getpid()}" for each in ("cpu/", ""))
    for folder in (Path("/", name) for name in names):
        with suppress(OSError):
            folder.mkdir()
            limit = folder / "cpu.cfs_quota_us"
            if limit.exists():
                limit.write_text("50000")
            else:
                (folder / "cpu.max").write_text("50000 100000")
            yield folder
            folder.rmdir()
            return
        with suppress(OSError):
            folder.rmdir()
    pytest.skip("no control group can be made here")


def test_who_is_held_up_by_a_real_quota_is_named(half_a_cpu: Path) -> None:
    spin = [sys.executable, "-c", "input()\nwhile True: pass"]
    said: list[str] = []
    with subprocess.Popen(spin, stdin=subprocess.PIPE) as process:
        try:
            (half_a_cpu / "cgroup.procs").write_text(str(process.pid))
            watch = QuotaWatch({"the server": process.pid})
            assert watch.held() == []
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            patience = time.monotonic() + 30  # among others it may take long to use half a CPU
            while not said and time.monotonic() < patience:
                time.sleep(0.1)
                said = watch.held()
        finally:
            process.kill()
    assert "a CPU quota of 0.5 CPUs held up the server (for " in said[0]
    assert "--cpus" in said[0]
