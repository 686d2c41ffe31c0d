"""``gaitperf baseline diff``: what changed, against a git revision or between directories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.baseline.difference import State, difference
from pytest_gaitperf.baseline.directory import Place, cells_by_place, files_in, no_baselines
from pytest_gaitperf.baseline.schema import decode
from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import Columns, directory_of, matches, say, say_json
from pytest_gaitperf.errors import BaselineError, ConfigurationError, sanitize
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.baseline_changes import (
    BEYOND,
    change,
    markdown,
    metric_title,
    notes,
    session_counts,
    sessions_added,
    summary,
    value,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.difference import CellChange, Difference
    from pytest_gaitperf.baseline.schema import BaselineFile

_DIFFERENT = 1
_OF_CHANGE = ("old", "new", "change", "beyond", "worse")


class _Side(NamedTuple):
    """One of the two states: how to call it, and its files."""

    name: str
    files: Mapping[Place, BaselineFile]


def diff_baselines(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline diff``."""
    with clock("comparing baselines"):
        old, new = _sides(arguments)
        found = difference(cells_by_place(old.files), cells_by_place(new.files))
    if arguments.json is not None:
        say_json(_document(found, old.name, new.name), arguments.json)
    elif arguments.markdown:
        sys.stdout.write(sanitize(markdown(found, old.name, new.name)))
    else:
        _say(found, old.name, new.name)
    if arguments.exit_code and found.cells:
        sys.stdout.flush()
        sys.exit(_DIFFERENT)


def _sides(arguments: argparse.Namespace) -> tuple[_Side, _Side]:
    """Read the two sides. Raises ConfigurationError where nothing is chosen on either."""
    seen: set[Place] = set()

    def wanted(place: Place) -> bool:
        seen.add(place)
        return arguments.profile in (None, place.profile) and matches(place.model, arguments.models)

    if arguments.between:
        if arguments.revisions:
            raise ConfigurationError("--between compares two directories: leave out the revisions")
        if missing := [directory for directory in arguments.between if not directory.is_dir()]:
            raise ConfigurationError(f"--between: {missing[0]} is not a directory")
        sides = [_Side(str(path), files_in(path, wanted)) for path in arguments.between]
        where = " and ".join(str(path) for path in arguments.between)
    else:
        directory = directory_of(arguments)
        revisions = arguments.revisions or ["HEAD"]
        if len(revisions) > 2:
            raise ConfigurationError("give one revision, or an old and a new one")
        sides = [_at(revision, directory, wanted) for revision in revisions]
        if len(sides) == 1:
            sides.append(_Side("work tree", files_in(directory, wanted)))
        where = f"{directory} in {sides[0].name} and {sides[1].name}"
    if not seen:
        raise no_baselines(where)
    if not any(side.files for side in sides):
        raise ConfigurationError(
            f"{where}: no baseline is chosen by --profile and --models; there are: "
            + ", ".join(sorted(map(str, seen)))
        )
    return sides[0], sides[1]


def _commit_of(revision: str, directory: Path) -> str:
    """Return a revision's commit hash in the repository that ``directory`` lies in."""
    # A name that begins with a dash would be an option.
    if not revision.startswith("-"):
        found = _git(directory, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.decode().strip()
    raise ConfigurationError(
        f"{revision!r} is no revision of the git repository of {directory}: name a commit, branch "
        "or tag, and fetch it first (a shallow clone has only the newest commits)"
    )


def _at(revision: str, directory: Path, wanted: Callable[[Place], bool]) -> _Side:
    """Read the baselines that ``directory`` had in a revision, by git itself; none without it."""
    below = directory.resolve().relative_to(_top(directory))
    commit = _commit_of(revision, directory)
    prefix = "" if below == Path() else f"{below.as_posix()}/"
    listed = _git(directory, "ls-tree", "-r", "-z", "--full-tree", commit, *filter(None, [prefix]))
    if listed.returncode:
        raise _failed(listed)
    blobs: dict[Place, str] = {}
    for entry in filter(None, listed.stdout.split(b"\0")):
        described, _, name = entry.partition(b"\t")
        mode, _, blob = described.decode().split(" ")
        profile, _, file = name.decode(errors="surrogateescape")[len(prefix) :].partition("/")
        place = Place(profile, file.removesuffix(".json"))
        if (
            mode.startswith("100")  # a file, no link
            and file.endswith(".json")
            and "/" not in file
            and not any(part.startswith(".") for part in place)
            and wanted(place)
        ):
            blobs[place] = blob
    files = {}
    for place, data in zip(blobs, _contents(directory, list(blobs.values())), strict=True):
        path = Path(f"{revision}:{prefix}{place}.json")
        try:
            files[place] = decode(data, path, place.model, place.profile)
        except BaselineError as error:
            raise BaselineError(
                f"{error} (that is the file of the revision: compare with another one, or choose "
                "other models with --models)"
            ) from None
    return _Side(f"{revision} ({commit[:12]})", files)


def _contents(directory: Path, blobs: Sequence[str]) -> Iterator[bytes]:
    """Yield the blobs' bytes in order, by one git process."""
    if not blobs:
        return
    batch = _git(directory, "cat-file", "--batch", data="".join(f"{b}\n" for b in blobs).encode())
    if batch.returncode:
        raise _failed(batch)
    rest = batch.stdout
    for _ in blobs:
        header, _, rest = rest.partition(b"\n")
        if header.endswith(b" missing"):  # else "<hash> blob <size>"
            raise ConfigurationError(
                f"git has no content of {header.decode(errors='replace')}: fetch it first (this "
                "is a partial clone or a damaged one)"
            )
        size = int(header.split(b" ")[2])
        yield rest[:size]
        rest = rest[size + 1 :]


def _top(directory: Path) -> Path:
    """Return the root of the repository that a directory, there or not, lies in."""
    found = _git(directory, "rev-parse", "--show-toplevel")
    if found.returncode == 0 and found.stdout.strip():
        return Path(found.stdout.decode(errors="surrogateescape").removesuffix("\n")).resolve()
    if b"not a git repository" in found.stderr:
        raise ConfigurationError(
            f"{directory}: not in a git repository, so there is no revision to compare with: "
            "compare two directories with --between DIR DIR"
        )
    raise _failed(found)


def _git(
    directory: Path, *arguments: str, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a directory or the nearest above, also where a hook of another runs this."""
    resolved = directory.resolve()
    nearest = next(path for path in (resolved, *resolved.parents) if path.is_dir())
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    try:
        return subprocess.run(
            ["git", "-C", str(nearest), *arguments],  # noqa: S607 - the user's own git
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
            env={**environment, "LC_ALL": "C"},
        )
    except OSError as error:
        raise ConfigurationError(
            f"git cannot be run ({error.strerror}): install it, or compare two directories with "
            "--between DIR DIR"
        ) from None


def _failed(process: subprocess.CompletedProcess[bytes]) -> ConfigurationError:
    """Tell git's whole reason: what to do against it stands in its later lines."""
    lines = process.stderr.decode(errors="replace").split("\n")
    why = " ".join(line.strip() for line in lines if line.strip()) or "no reason given"
    return ConfigurationError(f"git {process.args[3]}: {why.removeprefix('fatal: ')}")


def _say(found: Difference, old: str, new: str) -> None:
    say(f"{old} -> {new}")
    say(summary(found))
    for number, line in enumerate(sessions_added(found)):
        say(line, indent=" " * 7, first=None if number else "added: ")
    for line in notes(found):
        say(line, indent=" " * 6, first="note: ")
    for profile in sorted({cell.place.profile for cell in found.cells}):
        cells = [cell for cell in found.cells if cell.place.profile == profile]
        say(f"\n{profile}")
        _say_beyond(cells)
        for title, states in (
            ("all changes", (State.WORSE, State.BETTER, State.WITHIN)),
            ("new, with their values", (State.NEW,)),
            ("removed, with their values", (State.REMOVED,)),
        ):
            there = [cell for cell in cells if cell.state in states]
            for model in dict.fromkeys(cell.place.model for cell in there):
                say(f"\n{model}: {title}")
                _say_cells([cell for cell in there if cell.place.model == model])
    if any(item.beyond for cell in found.cells for item in cell.metrics):
        say(BEYOND)


def _say_beyond(cells: Sequence[CellChange]) -> None:
    """Print the changes beyond the spread, one to a line."""
    table = Columns(("cell", "metric", "old", "new", "change", "sessions"), left=("metric",))
    for cell in cells:
        name = f"{cell.place.model}/{cell.place.key}"
        for item in cell.metrics:
            if item.beyond:
                table.add(
                    name,
                    metric_title(item.metric),
                    value(item.metric, item.old),
                    value(item.metric, item.new),
                    change(item),
                    session_counts(cell),
                    style="red" if item.worse else "green",
                )
                name = ""
    table.show()


def _say_cells(cells: Sequence[CellChange]) -> None:
    """Print a model's cells: changes, or the values of those that one side does not have."""
    there = {item.metric for cell in cells for item in cell.metrics}
    metrics = [metric for metric in METRICS if metric in there]
    changes = all(item.change is not None for cell in cells for item in cell.metrics)
    units = {metric: "" if changes else f"\n{METRICS[metric].display_unit}" for metric in metrics}
    table = Columns(
        ["", *(f"{METRICS[metric].title}{unit}" for metric, unit in units.items()), "sessions"]
    )
    for cell in cells:
        items = {item.metric: item for item in cell.metrics}
        shown = []
        for metric in metrics:
            item = items.get(metric)
            if item is not None and item.change is None:
                shown.append(value(metric, item.new if item.old is None else item.old))
            else:
                shown.append("" if item is None else change(item))
        table.add(f" {cell.place.key}", *shown, session_counts(cell))
    table.show()


def _document(found: Difference, old: str, new: str) -> dict[str, object]:
    return {
        "old": old,
        "new": new,
        "compared": found.compared,
        "new_models": [place._asdict() for place in found.new_models],
        "removed_models": [place._asdict() for place in found.removed_models],
        "counts": {state.name.lower(): found.count(state) for state in State},
        "added": [
            {
                "session": session.id,
                "time": session.time,
                "recorder": session.recorder,
                "commit": session.commit or None,
                "dirty": session.dirty,
            }
            for session in found.added
        ],
        "cells": [
            {
                **cell.place._asdict(),
                "state": cell.state.name.lower(),
                "sessions": {"old": cell.old_sessions, "new": cell.new_sessions},
                "note": cell.note or None,
                "metrics": {
                    item.metric: {
                        "unit": METRICS[item.metric].unit,
                        **{name: getattr(item, name) for name in _OF_CHANGE},
                    }
                    for item in cell.metrics
                },
            }
            for cell in found.cells
        ],
    }
