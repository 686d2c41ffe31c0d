"""The marker ``gaitperf``: which cells a test is run for, and what is asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf.config.grid import GRID_KEYS
from pytest_gaitperf.config.policy import ANY, RULE_KEYS, Rules, rules
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

_KEYS = (*GRID_KEYS, *RULE_KEYS)


class Marker(NamedTuple):
    """What the markers of one test say.

    ``grids`` are the arguments that replace some of the grid's, the nearest marker's last.
    """

    where: str
    grids: tuple[Mapping[str, Any], ...]
    rules: Rules


def read_marker(node: pytest.Item | pytest.Collector) -> Marker:
    """Read the markers of a test: of its function, class and module, the nearest wins.

    Raises ConfigurationError for an argument without a name, and for a rule that cannot be read.
    """
    where = f"marker gaitperf of {node.nodeid}"
    grids = []
    asked = Rules()
    for mark in reversed(list(node.iter_markers("gaitperf"))):
        if mark.args:
            raise ConfigurationError(
                f"{where}: name the argument, as in models={mark.args[0]!r}: it takes "
                + ", ".join(_KEYS)
            )
        unknown = sorted(set(mark.kwargs) - set(_KEYS))
        if unknown:
            raise ConfigurationError(
                f"{where}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)} "
                f"the keys are {', '.join(_KEYS)}"
            )
        nearer = rules({key: mark.kwargs[key] for key in RULE_KEYS if key in mark.kwargs}, where)
        # A nearer general tolerance also wins over a farther one of a single metric.
        farther = {} if ANY in nearer.tolerances else asked.tolerances
        asked = Rules({**farther, **nearer.tolerances}, {**asked.limits, **nearer.limits})
        grids.append({key: mark.kwargs[key] for key in mark.kwargs if key not in RULE_KEYS})
    return Marker(where, tuple(grids), asked)
