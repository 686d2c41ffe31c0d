"""Power: find a meter, sample it from a process of its own, integrate over a measured window."""
