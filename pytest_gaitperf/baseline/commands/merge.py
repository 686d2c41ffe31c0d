"""``gaitperf baseline merge``: join what was recorded in two places, or on two branches."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf.baseline.commands.output import add_json, write_json
from pytest_gaitperf.baseline.commands.selection import add_directory, directory_of
from pytest_gaitperf.baseline.merging import MergeConflictError, merge
from pytest_gaitperf.baseline.reading import Place, paths_in, read
from pytest_gaitperf.baseline.schema import decode, encode
from pytest_gaitperf.baseline.store import MAX_SESSIONS
from pytest_gaitperf.baseline.writing import rewrite
from pytest_gaitperf.errors import BaselineError, ConfigurationError, GaitperfError
from pytest_gaitperf.files import replace_file
from pytest_gaitperf.report.text import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.baseline.schema import BaselineFile

_CONFLICT = 1


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``merge``."""
    joining = actions.add_parser(
        "merge",
        help="join sessions recorded on several boards or branches",
        description=(
            "Add the sessions of other directories or files of baselines to those in --baselines, "
            f"per profile and model. A cell keeps its newest {MAX_SESSIONS} sessions. Where the "
            "same session has other values, nothing is written."
        ),
        epilog=(
            "Example: gaitperf baseline merge board-2/baselines. With --driver it joins the two "
            "sides of a git merge: put 'baselines/**/*.json merge=gaitperf' into .gitattributes, "
            "and run: git config merge.gaitperf.driver "
            "'gaitperf baseline merge --driver %O %A %B %P'"
        ),
    )
    joining.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="DIR|FILE",
        help="directories of baselines, or files .../PROFILE/MODEL.json",
    )
    joining.add_argument(
        "--driver",
        nargs=4,
        metavar=("BASE", "OURS", "THEIRS", "PATH"),
        help="what git calls: join BASE, OURS and THEIRS into OURS; PATH is the file's name",
    )
    add_directory(joining)
    add_json(joining)
    joining.set_defaults(run=_merge)


def _merge(arguments: argparse.Namespace) -> None:
    if arguments.driver is not None:
        if arguments.sources or arguments.json or arguments.baselines:
            raise ConfigurationError("--driver stands alone: git names the files")
        _drive(*arguments.driver)
        return
    sources = [_found(source) for source in arguments.sources]
    if not sources:
        raise ConfigurationError("say what to merge: directories of baselines, or files")
    directory = directory_of(arguments)
    outcomes = _outcomes(directory, sources)  # what cannot be merged is found before any lock

    def contents() -> dict[Path, bytes | None]:
        outcomes[:] = _outcomes(directory, sources)
        return {
            directory / outcome.place.relative: encode(outcome.after)
            for outcome in outcomes
            if outcome.changed
        }

    if any(outcome.changed for outcome in outcomes):
        rewrite({directory / outcome.place.profile for outcome in outcomes}, contents)
    if arguments.json is not None:
        write_json({"merged": [_document(outcome) for outcome in outcomes]}, arguments.json)
        return
    for outcome in outcomes:
        print(_told(outcome))


class _Outcome(NamedTuple):
    """One model's file before and after the merge; None where there was none."""

    place: Place
    before: BaselineFile | None
    after: BaselineFile

    @property
    def changed(self) -> bool:
        return self.before != self.after

    @property
    def added(self) -> list[str]:
        known = {} if self.before is None else self.before.sessions
        return [session for session in self.after.sessions if session not in known]

    @property
    def dropped(self) -> list[str]:
        known = {} if self.before is None else self.before.sessions
        return [session for session in known if session not in self.after.sessions]

    @property
    def new_cells(self) -> list[str]:
        known = {} if self.before is None else self.before.cells
        return [key for key in self.after.cells if key not in known]


def _found(source: Path) -> Mapping[Place, Path]:
    """Return the files that a source means. Raises ConfigurationError where it means none."""
    if source.is_file():
        if source.suffix != ".json":  # a shell's PROFILE/* names what lies beside the baselines too
            raise ConfigurationError(
                f"{source}: not a baseline: give the profile's directory, or files "
                ".../PROFILE/MODEL.json"
            )
        return {Place(source.absolute().parent.name, source.stem): source}
    if not source.is_dir():
        raise ConfigurationError(f"{source}: there is no such file or directory")
    paths = paths_in(source)
    if not paths:
        raise ConfigurationError(
            f"{source}: there are no baselines in it: give a directory like ./baselines, or a "
            "profile's directory there"
        )
    return paths


def _outcomes(directory: Path, sources: Sequence[Mapping[Place, Path]]) -> list[_Outcome]:
    """Merge everything in memory. Raises BaselineError, naming both files of a conflict."""
    outcomes = []
    for place in sorted({place for source in sources for place in source}):
        target = directory / place.relative
        before = after = read(target, place) if target.exists() else None
        for path in (source[place] for source in sources if place in source):
            other = read(path, place)
            try:
                after = merge(None, after or other, other)
            except MergeConflictError as conflict:
                raise BaselineError(
                    f"{target} and {path}: {conflict}: they cannot both be right: take it out of "
                    "one of them; nothing was written"
                ) from None
        assert after is not None  # noqa: S101 - one source at least has the place
        outcomes.append(_Outcome(place, before, after))
    return outcomes


def _told(outcome: _Outcome) -> str:
    parts = []
    if outcome.added:
        parts.append(f"{count(len(outcome.added), 'session')} added")
    if outcome.dropped:
        parts.append(f"{len(outcome.dropped)} older ones dropped ({MAX_SESSIONS} are kept)")
    if outcome.new_cells:
        parts.append(f"{count(len(outcome.new_cells), 'new cell')}")
    if outcome.changed and not parts:
        parts.append("sessions added to cells")
    return f"{outcome.place}: {', '.join(parts) or 'nothing new'}"


def _document(outcome: _Outcome) -> dict[str, object]:
    return {
        **outcome.place._asdict(),
        "changed": outcome.changed,
        "sessions_added": outcome.added,
        "sessions_dropped": outcome.dropped,
        "cells_added": outcome.new_cells,
    }


def _drive(base: str, ours: str, theirs: str, name: str) -> None:
    """Merge as git asks for it: into ``ours``, exit code 1 where a person must look."""
    where = Path(name)
    place = Place(where.absolute().parent.name, where.stem)

    def decoded(data: bytes, called: str) -> BaselineFile:
        return decode(data, Path(f"{name} ({called})"), place.model, place.profile)

    try:
        before, here, there = (Path(side).read_bytes() for side in (base, ours, theirs))
        after = encode(
            merge(
                decoded(before, "base") if before else None,  # empty where both made the file
                decoded(here, "ours"),
                decoded(there, "theirs"),
            )
        )
        decoded(after, "merged")  # what could not be read back is not written
        replace_file(Path(ours), after)
    except MergeConflictError as conflict:
        _leave_conflict(base, ours, theirs)
        raise BaselineError(
            f"{name}: {conflict}: keep one of the two, then git add the file"
        ) from None
    except BaselineError:
        _leave_conflict(base, ours, theirs)
        raise
    except OSError as error:
        raise GaitperfError(f"{error.filename}: {error.strerror}") from None


def _leave_conflict(base: str, ours: str, theirs: str) -> None:
    """Leave the usual conflict markers in ``ours``; ours as it is where the lines do not collide.

    Lines that do not collide are no agreement: half a session of each side would be nobody's.
    """
    words = ["git", "merge-file", "-p", "-L", "ours", "-L", "base", "-L", "theirs"]
    merged = subprocess.run(  # noqa: S603 - a list of words, no shell
        [*words, ours, base, theirs], capture_output=True, check=False
    )
    if 0 < merged.returncode < 128:  # noqa: PLR2004 - the number of conflicts; from 128 on, failed
        Path(ours).write_bytes(merged.stdout)
