"""What the command ``gaitperf`` does to baselines."""
