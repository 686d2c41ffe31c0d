"""The device under test: what it is (its profile) and what it is doing (its state)."""
