"""Break everything around a run, and look at what it says and what it leaves.

Each injected fault is a run of the suite of its own, on two cells of a small model on a real
Triton: the first is measured in peace, the fault comes in the second, at a moment drawn from the
seed. Faults of the wire are made by a proxy between the two, those of the power meter on a fake
INA3221 in the kernel's format. Afterwards: did pytest end in time, with the right exit code and
words that name what happened, and no traceback (*detected*); are the results so far kept, does the
cell that was hit not pass as a good one, is no process, shared memory or temporary file left, and
is every baseline whole and as it was (*clean*)?

As root the campaign has /dev/shm and mounts of its own, and small disks that it fills; others leave
those out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.files import replace_file
from tests.campaigns.fault_parts import containers, disks, kills, sensors, servers, signals, wire
from tests.campaigns.fault_parts.bench import BUSY, IDLE, Bench
from tests.campaigns.fault_parts.case import Case, Look

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.campaigns.fault_parts.case import Kind

_GROUPS = (servers, wire, sensors, disks, signals, kills, containers)
KINDS = tuple(kind for group in _GROUPS for kind in group.KINDS)
_UNSHARED = "GAITPERF_FAULTS_UNSHARED"
_AGAIN = ("-m", "tests.campaigns.faults", *sys.argv[1:])
_ATTEMPTS = 4
"""A run that a busy machine spoils before the fault comes is repeated."""
_RUN_S = 9.0
"""What a run takes on a 2-core machine, most of it start-up and two cells."""


def in_own_mounts() -> None:
    """As root, start again with mounts that nobody else sees, and an empty /dev/shm."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        return
    if _UNSHARED not in os.environ:
        command = [*(unshare, "--mount", "--propagation", "private", sys.executable), *_AGAIN]
        os.execve(unshare, command, os.environ | {_UNSHARED: "1"})  # noqa: S606 - no shell
    command = ["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]  # noqa: S108 - the kernel's name
    subprocess.run(command, check=True)


def plan(
    kinds: Iterable[Kind], seed: int, *, quick: bool, only_number: int | None
) -> list[tuple[Kind, str]]:
    """Return every fault to inject with its seed, kinds mixed."""
    chosen = [
        (kind, f"{seed}:{kind.name}:{number}")
        for kind in kinds
        for number in range(kind.quick if quick else kind.count)
        if only_number is None or number == only_number
    ]
    return sorted(chosen, key=lambda one: one[1].rpartition(":")[2].zfill(3) + one[1])


def inject_all(bench: Bench, todo: Sequence[tuple[Kind, str]], minutes: float) -> list[Look]:
    """Inject every fault, some at a time; show what goes wrong as it does.

    After so many minutes no other is begun.
    """
    ends_s = time.monotonic() + minutes * 60
    looks: list[Look] = []
    lock = Lock()

    def work(slot: int, queue: deque[tuple[Kind, str]]) -> None:
        while True:
            try:
                kind, seed = queue.popleft()
            except IndexError:
                return
            if time.monotonic() > ends_s:
                return
            for _ in range(_ATTEMPTS):
                look = Case(bench, kind, seed, slot).look()
                if look.injected:
                    break
            with lock:
                looks.append(look)
                wrong = [*look.undetected, *look.unclean]
                mark = "WRONG" if wrong else "ok"
                print(f"{len(looks)}/{len(todo)} {mark} {look.exit_s:5.1f} s  {seed}", flush=True)
                for word in wrong:
                    print(f"    {word}", flush=True)

    busy = deque(one for one in todo if not one[0].waits)
    idle = deque(one for one in todo if one[0].waits)
    with ThreadPoolExecutor(BUSY + IDLE) as pool:
        futures = [
            pool.submit(work, slot, busy if slot < BUSY else idle) for slot in range(BUSY + IDLE)
        ]
        try:
            for future in futures:
                future.result()
        except KeyboardInterrupt:
            print("interrupted: the faults of this moment are the last", flush=True)
        finally:
            busy.clear()
            idle.clear()
    return looks


def show(kinds: Iterable[Kind], looks: Sequence[Look]) -> None:
    """Print the table."""
    print(f"\n{'kind':36}{'injected':>9}{'detected':>9}{'clean':>7}{'worst exit':>12}{'bound':>8}")
    for kind in kinds:
        here = [look for look in looks if look.kind == kind.name]
        if here:
            print(
                f"{kind.name:36}{len(here):9}{sum(not look.undetected for look in here):9}"
                f"{sum(not look.unclean for look in here):7}"
                f"{max(look.exit_s for look in here):10.1f} s{kind.bound_s:6.0f} s"
            )


def add(path: Path, looks: Iterable[Look]) -> None:
    """Add what was seen of each kind to a file; what failed is not left out."""
    kinds = earlier(path)
    for look in looks:
        if not look.injected:
            continue
        seen = kinds.setdefault(
            look.kind, {"injected": [], "undetected": [], "unclean": [], "worst_s": 0.0}
        )
        name = look.seed.replace(f":{look.kind}:", ":")
        seen["injected"].append(name)
        seen["undetected"] += [name] if look.undetected else []
        seen["unclean"] += [name] if look.unclean else []
        seen["worst_s"] = round(max(seen["worst_s"], look.exit_s), 1)
    text = ",\n".join(f"{json.dumps(kind)}: {json.dumps(kinds[kind])}" for kind in sorted(kinds))
    replace_file(path, f"{{\n{text}\n}}\n".encode())


def earlier(path: Path | None) -> dict[str, Any]:
    """Return what a file has of each kind."""
    if path is None or not path.exists():
        return {}
    kinds: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kinds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one or two faults of each kind")
    parser.add_argument(
        "--only",
        metavar="KIND,...",
        default="",
        help="kinds of this group, or whose name holds this",
    )
    parser.add_argument("--number", type=int, help="of each kind only the so-manieth, from 0")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and choices (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was seen to FILE")
    parser.add_argument(
        "--counts",
        type=Path,
        metavar="FILE",
        help="leave out the faults that FILE counts, and add these to it",
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="begin none after so many")
    parser.add_argument("--check", action="store_true", help="exit 1 where anything is wrong")
    arguments = parser.parse_args()
    in_own_mounts()
    # Who was started in the background has it ignored, and so would the runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kinds = [
        kind
        for kind in KINDS
        if any(word in kind.name or word == kind.group for word in arguments.only.split(","))
    ]
    todo = plan(kinds, arguments.seed, quick=arguments.quick, only_number=arguments.number)
    done = earlier(arguments.counts)
    todo = [
        (kind, seed)
        for kind, seed in todo
        if seed.replace(f":{kind.name}:", ":") not in done.get(kind.name, {}).get("injected", ())
    ]
    waiting = sum(kind.waits for kind, _ in todo)
    minutes = max((len(todo) - waiting) * _RUN_S / BUSY, waiting * 80 / IDLE) / 60 + 0.5
    print(f"{len(todo)} faults of {len(kinds)} kinds, {BUSY} at a time; about {minutes:.0f} min")
    if not disks.IS_ROOT:
        print("not as root: no full disks, and other people's shared memory is seen too")
    began = time.monotonic()
    with Bench() as bench:
        looks = inject_all(bench, todo, arguments.minutes)
    if arguments.counts:
        add(arguments.counts, looks)
    show(kinds, looks)
    wrong = [look for look in looks if look.undetected or look.unclean]
    for look in wrong:
        number = look.seed.rpartition(":")[2]
        print(f"\nWRONG: {look.seed}: {'; '.join([*look.undetected, *look.unclean])}")
        print(
            f"  again: python -m tests.campaigns.faults --seed {arguments.seed} "
            f"--only '{look.kind}' --number {number}\n"
            + "\n".join(f"  | {line}" for line in look.output.splitlines()[-40:])
        )
    print(
        f"\nfaults: {len(looks)} injected, {sum(not look.undetected for look in looks)} detected, "
        f"{sum(not look.unclean for look in looks)} clean, "
        f"{time.monotonic() - began:.0f} s: {'MISSED' if wrong else 'met'}"
    )
    if arguments.json:
        figures = {"seed": arguments.seed, "met": not wrong, "looks": [*map(asdict, looks)]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
