"""Several boards at once: each runs the whole suite under pytest-xdist, one pytest gathers it."""
