"""Measurements x baselines -> verdicts: pure statistics."""
