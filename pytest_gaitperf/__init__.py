"""Gate model throughput, latency and energy per inference with pytest, on a real Triton server."""
