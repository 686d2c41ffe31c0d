"""The memory of processes, from real ones and from what kernels say."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.triton.memory import Memory, hold_twice, memory_of, reset_peaks

if TYPE_CHECKING:
    from pathlib import Path

ROLLUP = """\
5607b33f9000-7ffc9779e000 ---p 00000000 00:00 0                          [rollup]
Rss:               36100 kB
Pss:               22900 kB
Pss_Anon:          16500 kB
Pss_File:           6300 kB
Pss_Shmem:           100 kB
"""
STATUS = """\
Name:\ttriton_python_b
VmHWM:\t   40000 kB
VmRSS:\t   36100 kB
RssFile:\t   19500 kB
"""
_GROWS = """\
import sys
for line in sys.stdin:
    block = b"x" * (int(line) << 20)
    if "keep" in sys.argv:
        kept = block
    del block
    print(flush=True)
"""


def process(folder: Path, pid: int, rollup: str = ROLLUP, status: str = STATUS) -> None:
    (folder / str(pid)).mkdir()
    (folder / str(pid) / "smaps_rollup").write_text(rollup)
    (folder / str(pid) / "status").write_text(status)


def test_files_count_in_full_and_the_rest_by_its_share(tmp_path: Path) -> None:
    process(tmp_path, 1)
    process(tmp_path, 2)
    each = (16500 + 100 + 19500) << 10
    one = Memory(each, each + (3900 << 10))
    assert memory_of([1], tmp_path) == one
    assert memory_of([1, 2], tmp_path) == one + one
    assert memory_of([], tmp_path) == Memory()


def test_a_kernel_that_does_not_part_the_shares_gives_nothing(tmp_path: Path) -> None:
    process(tmp_path, os.getpid(), rollup="Rss: 36100 kB\nPss: 22900 kB\n")
    assert memory_of([os.getpid()], tmp_path) is None


def test_what_is_swapped_out_counts(tmp_path: Path) -> None:
    process(tmp_path, 1)
    process(tmp_path, 2, rollup=f"{ROLLUP}Swap:  9000 kB\nSwapPss:  7000 kB\n")
    here, swapped = memory_of([1], tmp_path), memory_of([2], tmp_path)
    assert here is not None
    assert swapped == here + Memory(7000 << 10, 7000 << 10)


def test_a_process_that_nobody_has_waited_for_takes_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert memory_of([child.pid]) == Memory()


def test_a_process_that_has_ended_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "4194305").mkdir()
    (tmp_path / "4194305" / "status").write_text("State: Z (zombie)\nPid: 1 kB\n")
    assert memory_of([4194305], tmp_path) == Memory()


@pytest.mark.parametrize("keep", ["keep", "drop"])
def test_a_peak_is_known_without_a_look_at_it(keep: str) -> None:
    """64 MiB for a moment, or for good, of a real process; a reset peak begins at what is there."""
    with subprocess.Popen(
        [sys.executable, "-c", _GROWS, keep], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def grow(mebibytes: int) -> Memory:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"%d\n" % mebibytes)
            child.stdin.flush()
            child.stdout.readline()
            found = memory_of([child.pid])
            assert found is not None
            return found

        before = grow(0)
        after = grow(64)
        assert after.peak - before.resident == pytest.approx(64 << 20, rel=0.1)
        kept = 64 << 20 if keep == "keep" else 0
        assert after.resident - before.resident == pytest.approx(kept, abs=4 << 20)
        reset_peaks([child.pid])
        again = memory_of([child.pid])
        assert again is not None
        assert again.peak - after.resident < 4 << 20
        child.stdin.close()


@pytest.mark.parametrize(("available", "holds"), [(1 << 40, True), (1 << 10, False)])
def test_processes_are_held_twice_where_so_much_is_free(
    available: int, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_gaitperf.triton.memory.free_memory", lambda: available)
    assert hold_twice([os.getpid()]) == holds


def test_a_server_that_cannot_be_seen_is_not_held_twice() -> None:
    assert not hold_twice([])
