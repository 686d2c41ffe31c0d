"""``gaitperf baseline``: look after what is recorded.

The parsers of all actions are here. What an action does is in a module of its own, which is
imported when it runs: the command line starts without numpy.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.config.policy import tolerances
from pytest_gaitperf.config.values import ratio
from pytest_gaitperf.report.exporters import names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``baseline`` to the program's commands."""
    baseline = commands.add_parser(
        "baseline",
        help="look into the recorded baselines, compare and prune them",
        description=(
            "Look into the recorded baselines, compare and prune them. They are recorded with "
            "'pytest suites --gaitperf-update=missing' (or all)."
        ),
        epilog="ACTION --help tells more of each.",
    )
    actions = baseline.add_subparsers(title="actions", metavar="ACTION", required=True)
    for add in (_list, _show, _diff, _sensitivity, _prune, _export):
        add(actions)


def _list(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "list",
        help="the profiles, or the models of one, with their sessions and age",
        description=(
            "List the profiles that have baselines; with --profile the models of one. SESSIONS is "
            "how many the cells have, fewest to most; the rest is of the newest session."
        ),
    )
    _add_profile(parser, "all, without their models")
    parser.add_argument("--all", action="store_true", help="the models of every profile")
    _finish(parser, "show:list_baselines")


def _show(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "show",
        help="the recorded values of each cell, their spread and their provenance",
        description=(
            "Show for each cell and metric the value that the gate compares with (the geometric "
            "mean over sessions) and in brackets how sessions spread (SD in %); then who recorded "
            "them, when and on what."
        ),
        epilog="Example: gaitperf baseline show '3D_*/b8-*' --sessions",
    )
    parser.add_argument(
        "cells",
        nargs="?",
        default="*",
        metavar="MODEL[/CELL]",
        help="only these; patterns, several models or cells comma-separated (all)",
    )
    parser.add_argument("--sessions", action="store_true", help="each session's values too")
    _add_profile(parser)
    _finish(parser, "show:show_baselines")


def _diff(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "diff",
        help="old -> new -> change per cell, against a git revision",
        description=(
            "Compare the baselines of the work tree with those of a git revision, or of two "
            "revisions, or of two directories. Values are what the gate compares with: geometric "
            "means over sessions. A * marks a change beyond what the spread between sessions "
            "explains (at 1 % for all changes together); the worst stand first."
        ),
        epilog=(
            "Examples: gaitperf baseline diff; gaitperf baseline diff main; "
            "gaitperf baseline diff v1.0 main --models '3D_*'"
        ),
    )
    parser.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        help="the old revision, and the new one (HEAD, and the work tree)",
    )
    parser.add_argument(
        "--between",
        nargs=2,
        type=Path,
        metavar="DIR",
        help="compare two directories of baselines, old and new, without git",
    )
    _add_profile(parser, "all")
    _add_models(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--markdown", action="store_true", help="print Markdown for a pull request's text"
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 where anything differs, as git does"
    )
    _finish(parser, "diff:diff_baselines", form)


def _sensitivity(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "sensitivity",
        help="how small a regression the baseline can detect, and what more sessions would buy",
        description=(
            "For each cell, each model and the run as a whole: the smallest change for the worse "
            "that the gate finds nine times in ten, with the sessions recorded so far, and in "
            "brackets with one more. NEED is from how many sessions on the noise of a cell is "
            "within its tolerance. What lies in the future is an estimate: it holds if sessions "
            "go on differing as they did."
        ),
        epilog=(
            "Defaults come from [tool.gaitperf] of ./pyproject.toml, its tables for models "
            "included. A run of fewer cells finds a little more, since they share alpha."
        ),
    )
    _add_profile(parser)
    _add_models(parser)
    parser.add_argument(
        "--alpha", type=ratio, metavar="P", help="the false-alarm budget of a run (0.005)"
    )
    parser.add_argument(
        "--tolerance",
        type=tolerances,
        default={},
        metavar="RATIO",
        help="the change that does not matter: 5%%, or latency_p99=10%%,throughput=3%% (5%%)",
    )
    _finish(parser, "sensitivity:show_sensitivity")


def _prune(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
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
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="what the results of a full run (--gaitperf-json) say was not part of it",
    )
    _add_models(parser, "models that match one of these, comma-separated")
    parser.add_argument(
        "--cells",
        metavar="PATTERNS",
        help="cells that match one of these, e.g. 'b32-*' (with --models: of those models)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _add_profile(parser, "that of the results, this device's, or the only one")
    _finish(parser, "prune:prune_baselines")


def _export(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "export",
        help="write the baselines, or the results of runs, in the format of another tool",
        description=(
            "Write what the baselines hold, or the results files of runs (--gaitperf-json), in the "
            "format of another tool. Estimated energy is called estimated in every format."
        ),
        epilog="Formats: " + ", ".join(names()) + ". docs/exports.md has a command for each.",
    )
    parser.add_argument("--format", required=True, metavar="FORMAT", help="see below")
    parser.add_argument(
        "--results",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="results files to export in place of the baselines, of one kind of device",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file to write (standard output)"
    )
    _add_profile(parser)
    parser.set_defaults(run=_lazy("export:export_baselines"))


def _add_profile(
    parser: argparse.ArgumentParser, usual: str = "this device's, or the only one"
) -> None:
    """Add ``--baselines`` and ``--profile``; ``usual`` says what is meant without the latter."""
    parser.add_argument(
        "--baselines", type=Path, metavar="DIR", help="the directory of the baselines (./baselines)"
    )
    parser.add_argument(
        "--profile", metavar="NAME", help=f"the kind of device, a folder there ({usual})"
    )


def _add_models(
    parser: argparse.ArgumentParser,
    text: str = "only models that match one of these, comma-separated",
) -> None:
    parser.add_argument("--models", metavar="PATTERNS", help=text)


def _finish(
    parser: argparse.ArgumentParser,
    target: str,
    json_to: argparse._ActionsContainer | None = None,
) -> None:
    """Add ``--json``, and the function ``module:name`` as what the action runs."""
    (json_to or parser).add_argument(
        "--json", metavar="FILE", help="write everything to FILE instead, - for the output"
    )
    parser.set_defaults(run=_lazy(target))


def _lazy(target: str) -> Callable[[argparse.Namespace], Any]:
    module, _, name = target.partition(":")

    def run(arguments: argparse.Namespace) -> Any:
        return getattr(import_module(f"{__package__}.{module}"), name)(arguments)

    return run
