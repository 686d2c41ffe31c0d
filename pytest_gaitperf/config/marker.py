"""What the marker ``gaitperf`` asks of a test: its grid, its quantity and its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf.config.grid import GRID_KEYS
from pytest_gaitperf.config.policy import ANY, RULE_KEYS, Rules, rules
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

MARKER_KEYS = (*GRID_KEYS, "quantity", *RULE_KEYS)
"""The arguments of a marker."""


class Marker(NamedTuple):
    """What the markers of one test say.

    ``grids`` are the arguments that replace some of the grid's, the nearest marker's last.
    ``quantity`` is the one that a cell must have to be the test's, "" where any cell is.
    """

    where: str
    grids: tuple[Mapping[str, Any], ...]
    rules: Rules
    quantity: str = ""


def read_marker(node: pytest.Item | pytest.Collector) -> Marker:
    """Read the markers of a test: of its function, class and module, the nearest wins.

    Raises ConfigurationError for an argument without a name, and for a rule that cannot be read.
    """
    where = f"marker gaitperf of {node.nodeid}"
    grids = []
    asked, quantity = Rules(), ""
    for mark in reversed(list(node.iter_markers("gaitperf"))):
        if mark.args:
            raise ConfigurationError(
                f"{where}: name the argument, as in models={mark.args[0]!r}: it takes "
                + ", ".join(MARKER_KEYS)
            )
        if unknown := sorted(set(mark.kwargs) - set(MARKER_KEYS)):
            raise ConfigurationError(
                f"{where}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], MARKER_KEYS)} "
                f"the keys are {', '.join(MARKER_KEYS)}"
            )
        nearer = rules({key: mark.kwargs[key] for key in RULE_KEYS if key in mark.kwargs}, where)
        # A nearer general tolerance also wins over a farther one of a single metric.
        farther = {} if ANY in nearer.tolerances else asked.tolerances
        heard = {} if ANY in nearer.must_hear else asked.must_hear
        asked = Rules(
            {**farther, **nearer.tolerances},
            {**asked.limits, **nearer.limits},
            {**heard, **nearer.must_hear},
        )
        quantity = mark.kwargs.get("quantity", quantity)
        grids.append({key: mark.kwargs[key] for key in mark.kwargs if key in GRID_KEYS})
    if quantity and quantity not in tuple(QUANTITIES):  # what is given may be no text
        raise ConfigurationError(
            f"{where}: {quantity!r:.40} is not a quantity{did_you_mean(str(quantity), QUANTITIES)} "
            f"the quantities are {', '.join(QUANTITIES)}"
        )
    return Marker(where, tuple(grids), asked, quantity)
