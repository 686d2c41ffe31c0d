"""Kill updates of a baseline at random moments, run others at once, and look at every byte.

A child process adds one to three sessions to a profile of 5 models with 20 cells each, some cells
afresh, and is killed (SIGKILL) after a delay drawn evenly over the length of an update and a fifth
more; three in ten are killed when so many of the five files were replaced, since the moment between
renames is too short to be hit by chance. After each kill, every file must decode and be byte for
byte the old or the new one, the lock must be free, and the same update must succeed then: it leaves
exactly the new files, no temporary ones, and the `traces.csv` that lies beside them as it was. A
kill between two renames leaves some files old and some new, each of them whole: that is counted.

Then two and five processes update one profile at once, in every second round as sessions of the
same second: each session must be in all its cells afterwards, or have been refused with the reason.
At last an update meets a writer that does not end.

A kill ends a process, not the machine: what a loss of power leaves is not asked here.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pytest_gaitperf.baseline.directory import locked
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError
from tests.campaigns.baseline_writer import (
    CELLS,
    MODELS,
    PROFILE,
    REFUSED,
    Update,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BEFORE, AFTER = "before the write", "after the write"
MERGING, COPYING = "in it: lock, read, merge", "in it: copies written"
RENAMING, SYNCING = "in it: between two renames", "in it: after the last rename"
MOMENTS = (BEFORE, MERGING, COPYING, RENAMING, SYNCING, AFTER)
BEYOND = 1.2
TRACES = b"cell,window,joules\nb1-c1,0,12.5\n"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: when it hit, what it left, and what was wrong with that (nothing, it is hoped)."""

    aimed: bool
    moment: str
    replaced: int
    leftovers: int
    damaged: list[str]
    locked: bool
    repair: str


@dataclass(frozen=True, slots=True)
class Round:
    """Updates at once: how many were written and refused, and what is missing of the former."""

    writers: int
    written: int
    refusals: list[str]
    lost: list[str]


class Writer:
    """A process that updates a profile once it is told to go."""

    def __init__(self, root: Path, update: Update) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "tests.campaigns.baseline_writer"),
                str(root),
                json.dumps(asdict(update)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._input, self._output = pipe(self.process.stdin), pipe(self.process.stdout)
        assert self._output.readline().startswith("ready"), self.process.communicate()[1]

    def go(self) -> None:
        """Let it update."""
        self._input.write("go\n")
        self._input.flush()

    def ended(self) -> tuple[dict[str, int], str]:
        """Wait for its end; return when it was where (ns, by word) and its errors."""
        output, errors = self.process.communicate(timeout=120)
        said = (line.split() for line in output.splitlines())
        return {word: int(at_ns) for word, at_ns in said}, errors.strip()


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def contents(root: Path) -> dict[str, bytes]:
    """Return the bytes of every baseline file of the profile, by model."""
    return {path.stem: path.read_bytes() for path in (root / PROFILE).glob("[!.]*.json")}


def updates(numbers: range) -> Iterator[Update]:
    """Yield updates of one to three sessions; every second one has cells that begin anew."""
    for number in numbers:
        yield Update(number, sessions=1 + number % 3, afresh=number % 2 == 1)


def kills(root: Path, count: int, seed: int, *, calibrations: int = 8) -> Iterator[Kill]:
    """Update a new profile under ``root``, killed ``count`` times; yield what each kill left."""
    lengths_s = []
    for update in updates(range(calibrations)):
        writer = Writer(root, update)
        writer.go()
        said, errors = writer.ended()
        assert "written" in said, errors
        lengths_s.append((said["written"] - said["begin"]) * 1e-9)
    length_s = statistics.median(lengths_s)
    (root / PROFILE / "traces.csv").write_bytes(TRACES)
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    for index, update in enumerate(updates(range(calibrations, calibrations + count))):
        delay_s, replaced = draw.uniform(0, BEYOND * length_s), draw.randrange(1, len(MODELS))
        yield kill(root, update, delay_s, replaced if index % 10 in (2, 5, 8) else 0)


def kill(root: Path, update: Update, delay_s: float, replaced: int) -> Kill:
    """Kill an update after a delay, or once so many files were replaced; then repeat it."""
    old = contents(root)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "baselines"
        shutil.copytree(root, copy)
        update.queued(copy).write(*update.provenances())
        new = contents(copy)
    writer = Writer(root, update)
    last = root / PROFILE / f"{sorted(MODELS)[replaced - 1]}.json"
    inode = last.stat().st_ino
    writer.go()
    if replaced:
        deadline = time.monotonic() + 2
        while last.stat().st_ino == inode and time.monotonic() < deadline:
            pass
    else:
        time.sleep(delay_s)
    writer.process.kill()
    said, _ = writer.ended()
    found = contents(root)
    leftovers = len(list((root / PROFILE).glob(".*.tmp")))
    moment = moment_of(said, found, new, leftovers)
    damaged = damages(root, old, new, moment)
    free = lock_is_free(root / PROFILE)
    repair = repaired(root, update, new)
    if damaged or repair:  # the next kill begins with whole files
        for path in (root / PROFILE).iterdir():
            path.unlink()
        for model, data in new.items():
            (root / PROFILE / f"{model}.json").write_bytes(data)
        (root / PROFILE / "traces.csv").write_bytes(TRACES)
    done = sum(found.get(model) == data for model, data in new.items())
    return Kill(replaced > 0, moment, done, leftovers, damaged, not free, repair)


def moment_of(
    said: dict[str, int], found: dict[str, bytes], new: dict[str, bytes], leftovers: int
) -> str:
    """Tell when a kill hit, by what the writer had said and by what it left."""
    if "writing" not in said:
        return BEFORE
    if "written" in said:
        return AFTER
    done = sum(found.get(model) == data for model, data in new.items())
    if done == 0:
        return COPYING if leftovers else MERGING
    return RENAMING if done < len(new) else SYNCING


def damages(root: Path, old: dict[str, bytes], new: dict[str, bytes], moment: str) -> list[str]:
    """Return what a kill has damaged, in words."""
    found = contents(root)
    sides = {"old": old, "new": new}
    allowed = {BEFORE: ("old",), AFTER: ("new",)}.get(moment, ("old", "new"))
    wrong = [
        f"{model}, killed {moment}, is not {' or '.join(allowed)}"
        for model in sorted(old.keys() | new.keys() | found.keys())
        if not any(found.get(model) == sides[side].get(model) for side in allowed)
    ]
    try:
        BaselineStore(root, PROFILE, {}).check()
    except BaselineError as error:
        wrong.append(str(error))
    return wrong


def lock_is_free(directory: Path) -> bool:
    """Return whether the next writer would get the lock at once."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def repaired(root: Path, update: Update, new: dict[str, bytes]) -> str:
    """Repeat an update that was killed; return what is wrong then, "" if nothing."""
    try:
        update.queued(root).write(*update.provenances())
    except BaselineError as error:
        return str(error)
    if contents(root) != new:
        return "the next update left other files than it should"
    names = {path.name for path in (root / PROFILE).iterdir()}
    strange = names ^ {"traces.csv", *(f"{model}.json" for model in new)}
    if strange:
        return f"too much or too little is left: {', '.join(sorted(strange))}"
    if (root / PROFILE / "traces.csv").read_bytes() != TRACES:
        return "traces.csv was changed"
    return ""


def at_once(root: Path, writers: int, *, same_second: bool) -> Round:
    """Let some processes update a new profile under ``root`` at the same time."""
    first = Update(0, sessions=3, recorder="host first")
    first.queued(root).write(*first.provenances())
    # So many that no cell has more than the ten sessions that are kept.
    mine = [
        Update(1 if same_second else 1 + index, 2 if writers < 4 else 1, recorder=f"host {index}")
        for index in range(writers)
    ]
    started = [Writer(root, update) for update in mine]
    for writer in started:
        writer.go()
    there = [first]
    refusals = []
    lost = []
    for writer, update in zip(started, mine, strict=True):
        said, errors = writer.ended()
        if "written" in said:
            there.append(update)
        elif writer.process.returncode == REFUSED and errors:
            refusals.append(errors)
        else:
            lost.append(f"{update.recorder} ended without a word: {errors}")
    stored = BaselineStore(root, PROFILE, {})
    stored.check()
    for model in MODELS:
        for key in CELLS:
            cell = stored.cell(model, key)
            sessions = [] if cell is None else list(cell.sessions)
            found = sorted(((one.recorder, dict(one.values)) for one in sessions), key=repr)
            expected = sorted(
                (
                    (update.recorder, dict(sorted(update.values(model, key, index).items())))
                    for update in there
                    for index in range(update.sessions)
                ),
                key=repr,
            )
            if found != expected:
                lost.append(f"{model}-{key}: {len(found)} sessions in place of {len(expected)}")
    return Round(writers, len(there) - 1, refusals, lost)


def refused(root: Path) -> tuple[bool, str]:
    """Update while another writer holds the lock; return whether nothing changed, and the words."""
    first = Update(0)
    first.queued(root).write(*first.provenances())
    before = contents(root)
    with locked(root / PROFILE):
        writer = Writer(root, Update(1))
        writer.go()
        _, errors = writer.ended()
    return writer.process.returncode == REFUSED and contents(root) == before, errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="20 kills and 2 rounds, not 200 and 10"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the moments (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where anything is wrong")
    arguments = parser.parse_args()
    count, rounds = (20, 2) if arguments.quick else (200, 10)
    print(
        f"{count} kills of an update; {rounds} rounds of 2 and of 5 updates at once; about "
        f"{14 + count * 0.18 + rounds * 1.3:.0f} s"
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        there = Path(name)
        (there / "killed").mkdir()
        hit = list(kills(there / "killed", count, arguments.seed))
        together = [
            at_once(there / f"{writers}-{index}", writers, same_second=index % 2 == 1)
            for writers in (2, 5)
            for index in range(rounds)
        ]
        unchanged, words = refused(there / "refused")
    show_kills(hit)
    for writers in (2, 5):
        of_so_many = [one for one in together if one.writers == writers]
        print(
            f"{writers} updates at once, {len(of_so_many)} rounds: "
            f"{sum(one.written for one in of_so_many)} written, "
            f"{sum(len(one.refusals) for one in of_so_many)} refused, "
            f"{sum(len(one.lost) for one in of_so_many)} lost"
        )
    print(f"beside a writer that does not end: {words}")
    wrong = [
        *(word for one in hit for word in (*one.damaged, one.repair) if word),
        *("the lock was held by a killed writer" for one in hit if one.locked),
        *(word for one in together for word in one.lost),
        *(() if unchanged else ("an update beside a writer was not refused, or changed files",)),
    ]
    for word in wrong:
        print(f"WRONG: {word}")
    mixed = sum(0 < one.replaced < len(MODELS) for one in hit)
    during = sum(one.moment not in (BEFORE, AFTER) for one in hit)
    met = not wrong and during > 0 and mixed > 0
    print(
        f"baseline_kills: {sum(bool(one.damaged) for one in hit)} of {count} kills damaged a file "
        f"({during} hit the write, {mixed} left some files old and some new); "
        f"{sum(len(one.lost) for one in together)} of {sum(one.writers for one in together)} "
        f"updates at once lost anything: {'met' if met else 'MISSED'}; "
        f"{time.monotonic() - began:.0f} s"
    )
    if arguments.json:
        figures = {
            "kills": [asdict(one) for one in hit],
            "at_once": [asdict(one) for one in together],
            "refusal": words,
            "met": met,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


def show_kills(hit: list[Kill]) -> None:
    """Print where the kills hit, and what they left."""
    print(
        f"\n{'the kill hit':30}{'drawn':>7}{'aimed':>7}{'mixed':>7}{'left .tmp':>11}{'damaged':>9}"
    )
    for moment in MOMENTS:
        here = [one for one in hit if one.moment == moment]
        aimed = sum(one.aimed for one in here)
        print(
            f"{moment:30}{len(here) - aimed:7}{aimed:7}"
            f"{sum(0 < one.replaced < len(MODELS) for one in here):7}"
            f"{sum(one.leftovers > 0 for one in here):11}"
            f"{sum(bool(one.damaged) for one in here):9}"
        )


if __name__ == "__main__":
    sys.exit(main())
