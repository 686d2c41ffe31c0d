"""``gaitperf doctor`` says whether this machine is fit to measure, and what it resolves."""
