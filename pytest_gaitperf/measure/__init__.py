"""Workload -> Measurement: plan, load, evaluate, check."""
