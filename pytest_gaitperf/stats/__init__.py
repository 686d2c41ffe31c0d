"""Intervals and prediction limits: pure numpy and scipy, each formula with its source.

Nothing is re-exported, so that importing this package costs nothing: numpy and scipy come with
``stats.intervals`` and ``stats.prediction``.
"""
