"""Intervals and prediction limits: pure numpy and scipy, each formula with its source.

Nothing is re-exported, so that importing this package costs nothing: numpy and scipy come with
``stats.intervals`` and ``stats.prediction``.
"""

ENOUGH_SESSIONS = 3
"""From how many sessions on a test rests on a prediction limit over them, not on the windows."""
