"""``gaitperf baseline``: look after what is recorded; one module per action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.commands import diff, listing, power, show

if TYPE_CHECKING:
    import argparse

# Each adds one action, which sets ``run``; help shows them in this order.
_ACTIONS = (
    listing.add_to,
    show.add_to,
    diff.add_to,
    power.add_to,
)


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``baseline`` to the program's commands."""
    baseline = commands.add_parser(
        "baseline",
        help="look into the recorded baselines, compare, merge and prune them",
        description=(
            "Look into the recorded baselines, compare, merge and prune them. They are recorded "
            "with 'pytest suites --gaitperf-update=missing' (or all)."
        ),
        epilog="ACTION --help tells more of each.",
    )
    actions = baseline.add_subparsers(title="actions", metavar="ACTION", required=True)
    for add_action in _ACTIONS:
        add_action(actions)
