"""The words between the controller of a fleet and its boards; all that travels is plain data."""

from __future__ import annotations

INPUT = "gaitperf"
"""The key in xdist's ``workerinput``: the board's name, the channel, and the baselines' name."""

OUTPUT = "gaitperf"
"""The key in xdist's ``workeroutput``: the fields of ``board.Report``."""

CELL, PROBLEM, BASELINES = "cell", "problem", "baselines"
"""What a board says on its channel, each with a text: a line that tells of a cell, what is wrong,
and the profile whose baselines it asks for. The answer to the last is ``{"files": {model: bytes}}``
or ``{"problem": text}``."""
