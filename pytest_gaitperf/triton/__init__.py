"""Attach to a real Triton server, or start one here or in a container, and speak its API."""
