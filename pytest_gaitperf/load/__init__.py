"""Load generation: a request is encoded once, then only bytes move."""
