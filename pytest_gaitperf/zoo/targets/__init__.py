"""What serves a model in Triton: one file for each target, and what they share."""
