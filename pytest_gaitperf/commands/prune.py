"""``gaitperf baseline prune``: take out cells and models that are measured no longer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.directory import files_in, read, rewrite, without
from pytest_gaitperf.baseline.schema import encode
from pytest_gaitperf.commands.output import matches, profile_of, say, say_json
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.results_file import read_results
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


def prune_baselines(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline prune``."""
    if (arguments.results, arguments.models, arguments.cells) == (None, None, None):
        raise ConfigurationError(
            "say what is to go: --models PATTERNS, --cells PATTERNS or --results FILE"
        )
    orphans = None if arguments.results is None else _orphans(arguments)
    directory, profile = profile_of(arguments)
    files = files_in(directory, lambda place: place.profile == profile)
    recorded = {place.model: list(content.cells) for place, content in files.items()}
    among = recorded if orphans is None else orphans
    chosen = {
        model: [
            key for key in keys if key in among.get(model, ()) and matches(key, arguments.cells)
        ]
        for model, keys in recorded.items()
        if matches(model, arguments.models)
    }
    going = {model: keys for model, keys in chosen.items() if keys}
    if not going and orphans is None:
        raise ConfigurationError(
            "no recorded cell matches --models and --cells; the models are: " + ", ".join(recorded)
        )
    output = sys.stdout if arguments.json is None else sys.stderr
    for line in _listed(going, recorded, profile):
        say(line, indent="  ", first="", to=output)
    if going and not arguments.dry_run:
        if not arguments.yes:
            _ask()
        _remove(directory / profile, going)
    if arguments.json is not None:
        removed = {"profile": profile, "dry_run": arguments.dry_run, "removed": going}
        say_json(removed, arguments.json)
        return
    done = "removed; what was committed stays in git's history"
    if not going:
        done = f"{profile}: nothing to remove"
    say("nothing was removed (--dry-run)" if going and arguments.dry_run else done)


def _orphans(arguments: argparse.Namespace) -> Mapping[str, Sequence[str]]:
    """Return the orphans that the results name; their profile becomes the chosen one."""
    path: Path = arguments.results
    results = read_results(path)
    if not results.full_run:
        raise ConfigurationError(
            f"--results: {path} is of a run that measured only some of the cells, so the others "
            "need not be orphans: run the whole suite (no -k, no paths, no --gaitperf-models)"
        )
    if arguments.profile not in (None, results.profile.id):
        raise ConfigurationError(
            f"{path} is of profile {results.profile.id!r}, not of {arguments.profile!r}: leave out "
            "--profile"
        )
    arguments.profile = results.profile.id
    return results.orphans


def _listed(
    going: Mapping[str, Sequence[str]], recorded: Mapping[str, Sequence[str]], profile: str
) -> Iterator[str]:
    for model, keys in going.items():
        what = count(len(keys), "cell")
        if len(keys) == len(recorded[model]):
            yield f"{profile}/{model}: all {what}, and the file"
        else:
            yield f"{profile}/{model}: {what} of {len(recorded[model])}: {', '.join(keys)}"


def _ask() -> None:
    """Ask on the terminal. Raises ConfigurationError for any other answer than yes."""
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nothing was removed: there is no terminal to ask on; say --yes, or --dry-run"
        )
    sys.stderr.write("remove them? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigurationError("nothing was removed")


def _remove(directory: Path, going: Mapping[str, Sequence[str]]) -> None:
    def contents() -> dict[Path, bytes | None]:
        new: dict[Path, bytes | None] = {}
        for model, keys in going.items():
            path = directory / f"{model}.json"
            left = without(read(path), keys)
            new[path] = encode(left) if left.cells else None
        return new

    rewrite([directory], contents)
