"""The CPU quota of control groups, as ``docker run --cpus=1`` sets one (cgroups(7)).

Version 2 has ``cpu.max`` (microseconds of CPU in each period, or ``max``) and ``cpu.stat`` with
``throttled_usec``; version 1 has ``cpu.cfs_quota_us`` (-1 for none), ``cpu.cfs_period_us`` and
``cpu.stat`` with ``throttled_time`` in nanoseconds. A quota of a group above counts, too.
"""

from __future__ import annotations

import re
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.files import int_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOTEWORTHY = 0.01


class Quota(NamedTuple):
    """How many CPUs a process may use together with its group, and how long that held them up."""

    cpus: float
    throttled_s: float


def read_quota(pid: int | None = None, *, root: Path = Path("/")) -> Quota | None:
    """Return the tightest quota on a process, by default this one; None where there is none."""
    groups = text_at(root / "proc" / (str(pid) if pid else "self") / "cgroup")
    found = [quota for folder in _folders(groups, root) if (quota := _quota(folder)) is not None]
    if not found:
        return None
    return Quota(min(one.cpus for one in found), max(one.throttled_s for one in found))


class QuotaWatch:
    """Watches from now on for how long quotas hold up some processes, named in words."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._before = {who: read_quota(pid) for who, pid in pids.items()}
        self._pids, self._began_s = pids, time.monotonic()

    def held(self) -> list[str]:
        """Name the processes that were held up for more than a hundredth of the time."""
        span_s = time.monotonic() - self._began_s
        said = {}
        for who, pid in self._pids.items():
            before, after = self._before[who], read_quota(pid)
            if before is None or after is None:
                continue
            held_s = after.throttled_s - before.throttled_s
            if held_s > _NOTEWORTHY * span_s:
                said[after] = (
                    f"a CPU quota of {after.cpus:g} CPUs held up {who} (for {held_s:.1f} s of "
                    f"{span_s:.1f} s, summed over CPUs): give the container more (docker run "
                    "--cpus), or none"
                )
        return list(said.values())


def _folders(groups: str, root: Path) -> Iterator[Path]:
    """Yield the directories of a process's groups that can be seen from here, and those above."""
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mount = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controllers
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        # A container may see the host's path, with its own group mounted at the top.
        yield from (mount / level for level in (own, *own.parents) if ".." not in level.parts)


def _quota(folder: Path) -> Quota | None:
    limit = text_at(folder / "cpu.max").split()
    if limit:
        allowed, period = (int(one) if one.isdigit() else -1 for one in (*limit, "100000")[:2])
    else:
        allowed = int_at(folder / "cpu.cfs_quota_us") or -1
        period = int_at(folder / "cpu.cfs_period_us") or -1
    if allowed <= 0 or period <= 0:
        return None
    statistics = text_at(folder / "cpu.stat")
    said = re.search(r"^throttled_(usec|time) (\d{1,18})$", statistics, re.MULTILINE)
    held_s = int(said[2]) * (1e-6 if said[1] == "usec" else 1e-9) if said else 0.0
    return Quota(allowed / period, held_s)
