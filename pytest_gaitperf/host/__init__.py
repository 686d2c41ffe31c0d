"""The device under test: what it is (its profile), what it is doing (its state), who holds it."""
