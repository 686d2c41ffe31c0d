"""``gaitperf baseline prune``: take out cells and models that are measured no longer."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_gaitperf.baseline.commands.output import add_json, write_json
from pytest_gaitperf.baseline.commands.selection import (
    add_profile,
    matches,
    patterns,
    profile_of,
)
from pytest_gaitperf.baseline.reading import Place, files_in, read
from pytest_gaitperf.baseline.rewriting import without
from pytest_gaitperf.baseline.schema import encode
from pytest_gaitperf.baseline.writing import rewrite
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.text import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence


class _Profile(msgspec.Struct):
    id: str


class _Results(msgspec.Struct):
    """What is needed of a run's results."""

    profile: _Profile
    full_run: bool
    orphans: dict[str, list[str]]


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``prune``."""
    prune = actions.add_parser(
        "prune",
        help="take out cells and models that are measured no longer",
        description=(
            "Take cells out of the baselines of one profile, and delete the files that are then "
            "empty. Nothing else ever removes a cell. What goes is listed first, and asked for "
            "on a terminal. What you committed stays in git's history."
        ),
        epilog=(
            "Examples: gaitperf baseline prune --models '2D_*' --dry-run; "
            "gaitperf baseline prune --cells 'b32-*,b16-*'; "
            "pytest suites --gaitperf-json=run.json && gaitperf baseline prune --results run.json"
        ),
    )
    prune.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="what the results of a full run (--gaitperf-json) say was not part of it",
    )
    prune.add_argument(
        "--models", metavar="PATTERNS", help="models that match one of these, comma-separated"
    )
    prune.add_argument(
        "--cells",
        metavar="PATTERNS",
        help="cells that match one of these, e.g. 'b32-*' (with --models: of those models)",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    prune.add_argument("--yes", action="store_true", help="do not ask")
    add_profile(prune, "that of the results, this device's, or the only one")
    add_json(prune)
    prune.set_defaults(run=_prune)


def _prune(arguments: argparse.Namespace) -> None:
    if (arguments.results, arguments.models, arguments.cells) == (None, None, None):
        raise ConfigurationError(
            "say what is to go: --models PATTERNS, --cells PATTERNS or --results FILE"
        )
    orphans = None if arguments.results is None else _orphans(arguments)
    directory, profile = profile_of(arguments, project_settings(Path()))
    files = files_in(directory, lambda place: place.profile == profile)
    recorded = {place.model: list(content.cells) for place, content in files.items()}
    going = _going(arguments, recorded, orphans)
    if not going and orphans is None:
        raise ConfigurationError(
            "no recorded cell matches --models and --cells; the models are: " + ", ".join(recorded)
        )
    output = sys.stdout if arguments.json is None else sys.stderr
    for line in _listed(going, recorded, profile):
        print(line, file=output)
    doing = bool(going) and not arguments.dry_run
    if doing and not arguments.yes:
        _ask()
    if doing:
        _remove(directory / profile, going)
    if arguments.json is not None:
        removed = {"profile": profile, "dry_run": arguments.dry_run, "removed": going}
        write_json(removed, arguments.json)
    elif not going:
        print(f"{profile}: nothing to remove")
    elif arguments.dry_run:
        print("nothing was removed (--dry-run)")
    else:
        print("removed; what was committed stays in git's history")


def _orphans(arguments: argparse.Namespace) -> Mapping[str, Sequence[str]]:
    """Return the orphans of the results, whose profile becomes the chosen one."""
    results = _results(arguments.results)
    if arguments.profile not in (None, results.profile.id):
        raise ConfigurationError(
            f"{arguments.results} is of profile {results.profile.id!r}, not of "
            f"{arguments.profile!r}: leave out --profile"
        )
    arguments.profile = results.profile.id
    return results.orphans


def _results(path: Path) -> _Results:
    """Read what the results say of orphans. Raises ConfigurationError where they say nothing."""
    try:
        results = msgspec.json.decode(path.read_bytes(), type=_Results)
    except OSError as error:
        raise ConfigurationError(f"--results: {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"--results: {path}: {error}: give the file that --gaitperf-json wrote in a full run "
            "of this version"
        ) from None
    if not results.full_run:
        raise ConfigurationError(
            f"--results: {path} is of a run that measured only some of the cells, so the others "
            "need not be orphans: run the whole suite (no -k, no paths, no --gaitperf-models)"
        )
    return results


def _going(
    arguments: argparse.Namespace,
    recorded: Mapping[str, Sequence[str]],
    orphans: Mapping[str, Sequence[str]] | None,
) -> dict[str, list[str]]:
    """Return the cells that are to go, by model."""
    chosen = {}
    for model, keys in recorded.items():
        of_model = arguments.models is None or matches(model, patterns(arguments.models))
        going = [
            key
            for key in keys
            if of_model
            and (arguments.cells is None or matches(key, patterns(arguments.cells)))
            and (orphans is None or key in orphans.get(model, ()))
        ]
        if going:
            chosen[model] = going
    return chosen


def _listed(
    going: Mapping[str, Sequence[str]], recorded: Mapping[str, Sequence[str]], profile: str
) -> list[str]:
    lines = []
    for model, keys in going.items():
        what = count(len(keys), "cell")
        if len(keys) == len(recorded[model]):
            lines.append(f"{profile}/{model}: all {what}, and the file")
        else:
            text = f"{profile}/{model}: {what} of {len(recorded[model])}: {', '.join(keys)}"
            lines.append(textwrap.fill(text, 80, subsequent_indent="  ", break_on_hyphens=False))
    return lines


def _ask() -> None:
    """Ask on the terminal. Raises ConfigurationError for any other answer than yes."""
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nothing was removed: there is no terminal to ask on; say --yes, or --dry-run"
        )
    print("remove them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigurationError("nothing was removed")


def _remove(directory: Path, going: Mapping[str, Sequence[str]]) -> None:
    def contents() -> dict[Path, bytes | None]:
        new: dict[Path, bytes | None] = {}
        for model, keys in going.items():
            path = directory / f"{model}.json"
            left = without(read(path, Place(directory.name, model)), keys)
            new[path] = encode(left) if left.cells else None
        return new

    rewrite([directory], contents)
