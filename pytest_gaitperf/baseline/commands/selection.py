"""Which baselines an action is about: directory, profile, patterns."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from pytest_gaitperf.config.settings import Settings


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Add ``--baselines``."""
    parser.add_argument(
        "--baselines", type=Path, metavar="DIR", help="the directory of the baselines (./baselines)"
    )


def add_profile(
    parser: argparse.ArgumentParser,
    usual: str = "this device's, or the only one",
) -> None:
    """Add ``--baselines`` and ``--profile``; ``usual`` says what is meant without the latter."""
    add_directory(parser)
    parser.add_argument(
        "--profile", metavar="NAME", help=f"the kind of device, a folder there ({usual})"
    )


def directory_of(arguments: argparse.Namespace) -> Path:
    """Return the directory of the baselines, of ``--baselines`` or the project's settings."""
    if arguments.baselines is not None:
        return Path(arguments.baselines)
    from pytest_gaitperf.config.settings import project_settings  # noqa: PLC0415 - only if not named

    return project_settings(Path()).baselines


def profiles_in(directory: Path) -> list[str]:
    """Return the profiles that have baselines. Raises ConfigurationError where none has."""
    there = sorted(path.name for path in directory.glob("*") if any(path.glob("*.json")))
    if not there:
        raise ConfigurationError(
            f"{directory}: there are no baselines; record one with 'pytest suites "
            "--gaitperf-update=missing', or name their directory with --baselines"
        )
    return there


def profile_of(arguments: argparse.Namespace, settings: Settings) -> tuple[Path, str]:
    """Return the directory of the baselines, and which one profile is meant."""
    directory: Path = arguments.baselines or settings.baselines
    there = profiles_in(directory)
    wanted = arguments.profile or settings.profile
    if not wanted:
        if len(there) == 1:
            return directory, there[0]
        from pytest_gaitperf.host.identity import identify  # noqa: PLC0415 - only if not named

        wanted = identify().id
    if wanted not in there:
        raise ConfigurationError(
            f"{directory}: there is no baseline of {wanted!r}; name one with --profile: "
            + ", ".join(there)
        )
    return directory, wanted


def patterns(written: str) -> list[str]:
    """Split comma-separated patterns."""
    return [pattern.strip() for pattern in written.split(",")]


def matches(name: str, chosen: Iterable[str]) -> bool:
    """Say whether a name matches one of the patterns, upper and lower case being different."""
    return any(fnmatchcase(name, pattern) for pattern in chosen)
