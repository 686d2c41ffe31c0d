"""Baselines: reviewed JSON files in git, one per profile and model."""
